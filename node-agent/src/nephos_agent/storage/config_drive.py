"""Config drives: metadata as an ISO 9660 file system with the label that guests look for."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from nephos_agent.storage.durable import TENANTS_MODE, partial_of

if TYPE_CHECKING:
    import pycdlib

LABEL: Final = "config-2"
"""cloud-init's ConfigDrive data source looks for this label."""


def digest(files: Mapping[str, bytes]) -> str:
    """Return a hash of names and contents."""
    total = hashlib.sha256()
    for name, content in sorted(files.items()):
        total.update(f"{len(name)} {name} {len(content)} ".encode())
        total.update(content)
    return total.hexdigest()


def write_config_drive(path: Path, files: Mapping[str, bytes]) -> None:
    """Write an ISO with those files (paths like ``openstack/latest/meta_data.json``), Rock Ridge and Joliet names.

    ISO 9660's own names are plain counters: no guest that knows either extension shows them.
    """
    import pycdlib  # here, since it is 5 MB that hosts without config drives do not need

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    try:
        folders: dict[PurePosixPath, str] = {PurePosixPath("."): ""}
        for number, (name, content) in enumerate(sorted(files.items())):
            file = PurePosixPath(name)
            parent = _add_folder(iso, file.parent, folders)
            iso.add_fp(
                io.BytesIO(content),
                len(content),
                f"{parent}/F{number:07d}.;1",
                rr_name=file.name,
                joliet_path=f"/{file}",
            )
        partial = partial_of(path)
        iso.write(str(partial))
        partial.chmod(TENANTS_MODE)
        partial.replace(path)
    finally:
        iso.close()


def _add_folder(iso: pycdlib.PyCdlib, folder: PurePosixPath, known: dict[PurePosixPath, str]) -> str:
    """Add the folder and its parents; return its ISO 9660 path."""
    if folder not in known:
        parent = _add_folder(iso, folder.parent, known)
        known[folder] = f"{parent}/D{len(known):07d}"
        iso.add_directory(known[folder], rr_name=folder.name, joliet_path=f"/{folder}")
    return known[folder]
