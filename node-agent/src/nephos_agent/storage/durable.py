"""Files that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

PARTIAL_SUFFIX: Final = ".partial"
TENANTS_MODE: Final = 0o600
"""Of files with what is a tenant's: libvirt gives them to QEMU's user while a guest runs; nobody else reads them."""


def partial_of(path: Path) -> Path:
    """Return the name that a file has while it is being made."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def write_durably(path: Path, content: bytes) -> None:
    """Replace the file by one with that content."""
    partial = partial_of(path)
    partial.write_bytes(content)
    publish(partial, path)


def publish(partial: Path, path: Path) -> None:
    """Give a file that was made under another name its own, once its content is on the disk."""
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    partial.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
