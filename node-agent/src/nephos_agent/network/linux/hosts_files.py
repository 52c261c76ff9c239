"""dnsmasq's files. Each appears under its name complete, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from nephos_agent.network.dnsmasq import configuration_file
from nephos_agent.network.facts import Dnsmasq, HostsFile, HostsKind


def make_folders(run_dir: Path, directory: str) -> None:
    """Make the network's folders."""
    for kind in HostsKind:
        (run_dir / directory / kind).mkdir(parents=True, exist_ok=True)


def write(run_dir: Path, fact: HostsFile) -> None:
    """Write the file of a port; dnsmasq ignores names that start with a dot, and sees the rename."""
    folder = run_dir / fact.directory / fact.kind
    draft = folder / f".{fact.port_uid}"
    draft.write_text(fact.content)
    draft.rename(folder / fact.port_uid)


def remove(run_dir: Path, fact: HostsFile) -> None:
    """Remove the file of a port."""
    (run_dir / fact.directory / fact.kind / fact.port_uid).unlink(missing_ok=True)


def write_configuration(run_dir: Path, fact: Dnsmasq) -> Path:
    """Write the configuration where it is missing, and return its path. Former ones stay for who reads them yet."""
    make_folders(run_dir, fact.directory)
    path = run_dir / fact.directory / configuration_file(fact)
    if not path.exists():
        draft = path.with_name(f".{path.name}")
        draft.write_text(fact.config)
        draft.rename(path)
    return path


def remove_former_configurations(run_dir: Path, fact: Dnsmasq) -> None:
    """Remove all configurations but that of the process, which was started with it."""
    for path in (run_dir / fact.directory).glob("dnsmasq-*.conf"):
        if path.name != configuration_file(fact):
            path.unlink()


def read_configuration(run_dir: Path, directory: str) -> str | None:
    """Return the configuration that dnsmasq was started with.

    None where there is none, and where a former one is there too: nobody came to see the new one started.
    """
    found = tuple((run_dir / directory).glob("dnsmasq-*.conf"))
    return found[0].read_text() if len(found) == 1 else None


def read(run_dir: Path, directory: str, device: str) -> frozenset[HostsFile]:
    """Return the files of all ports."""
    return frozenset(
        HostsFile(device, directory, kind, path.name, path.read_text())
        for kind in HostsKind
        if (run_dir / directory / kind).is_dir()
        for path in (run_dir / directory / kind).iterdir()
        if not path.name.startswith(".")
    )


def remove_folder(run_dir: Path, directory: str) -> None:
    """Remove all of the network's files."""
    shutil.rmtree(run_dir / directory, ignore_errors=True)
