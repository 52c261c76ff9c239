"""Finding and ending every process of a cloud, also those whose parent is gone."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from nephos_dev.waiting import NotYet, wait_for

MARK = "NEPHOS_DEV_STATE"  # in the environment of every process that a cloud's supervisor started
_PROC = Path("/proc")
_NAMED_NAMESPACES = Path("/run/netns")
_GONE_TIMEOUT_S = 30


def find(namespaces: Iterable[str], state: Path | None = None) -> set[int]:
    """Return the processes in those mount or network namespaces, and those with the mark of the cloud in `state`.

    QEMU and its like lose the environment, but never leave the host's mount namespace; a pod's containers have mounts
    of their own, but the host's network.
    """
    foreign = set(namespaces) - _namespaces(os.getpid()) - {""}
    mark = f"{MARK}={state}".encode() if state else None
    found = set()
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        pid = int(entry.name)
        if (mark and _carries(entry, mark)) or foreign & _namespaces(pid):
            found.add(pid)
    return found


def boot_id() -> str:
    """Return the identity of this boot of the machine; namespace numbers mean nothing in another one."""
    return (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()


def recorded_namespace(record: Path) -> str:
    """Return the mount namespace that a host's init noted in this boot, or an empty string."""
    try:
        namespace, _, boot = record.read_text().strip().partition(" ")
    except FileNotFoundError:
        return ""
    return namespace if boot == boot_id() else ""


def network_namespaces(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the named network namespaces that are there, as /proc names them."""
    paths = (_NAMED_NAMESPACES / name for name in names)
    return tuple(f"net:[{path.stat().st_ino}]" for path in paths if path.exists())


def end_all(namespaces: Iterable[str], state: Path | None = None, *, first: Iterable[int] = ()) -> None:
    """Kill what `find` returns until none is left; `first` are the supervisors, which would start others again."""
    namespaces = tuple(namespaces)
    for pid in first:
        _kill(pid)

    def none_left() -> None:
        left = find(namespaces, state)
        for pid in left:
            _kill(pid)
        if left:
            raise NotYet(f"processes {sorted(left)} are still there")

    wait_for(none_left, what="all processes end", timeout_s=_GONE_TIMEOUT_S)


def _namespaces(pid: int) -> set[str]:
    """Return the mount and the network namespace of a process (`mnt:[4026531841]`), or nothing if it is gone."""
    folder = _PROC / str(pid) / "ns"
    try:
        return {str((folder / kind).readlink()) for kind in ("mnt", "net")}
    except OSError:
        return set()


def _carries(entry: Path, mark: bytes) -> bool:
    try:
        # A zombie has an empty environment: it is as good as gone.
        return mark in (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
