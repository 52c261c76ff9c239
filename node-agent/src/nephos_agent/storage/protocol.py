"""What the agent needs of the host's disks. Both drivers pass ``tests/contract/test_storage.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nephos_api.resources.server import ServerImage

Progress = Callable[[int], None]
"""Called with the percentage fetched, when it changes."""


@dataclass(frozen=True)
class Disk:
    """A root disk on this host, with the mark that says whose it is."""

    server_uid: str
    namespace: str
    server_name: str
    path: Path
    size_gib: int


class StorageDriver(Protocol):
    """Every call may be repeated: what is so already is no error; nothing half-made is left behind."""

    async def start(self) -> None:
        """Make the folders, remove half-made files of a former life."""

    async def ensure_base(self, image: ServerImage, progress: Progress) -> Path:
        """Return the path of the image's content in the cache; fetch and check it first where it is not there.

        Raises ``TemporaryFault`` (image service away, disk full) or ``PermanentFault`` (content is not what it says).
        """

    async def ensure_disk(
        self, server_uid: str, namespace: str, server_name: str, image: ServerImage, size_gib: int
    ) -> Path:
        """Return the path of the server's disk, an overlay on the cached image; made in constant time where missing."""

    async def ensure_config_drive(self, server_uid: str, files: Mapping[str, bytes]) -> Path:
        """Return the path of the server's config drive (ISO 9660, label ``config-2``) with those files in it."""

    async def disks(self) -> tuple[Disk, ...]:
        """Return the disks that carry this cloud's mark."""

    async def delete(self, server_uid: str) -> None:
        """Delete the server's disk and config drive at once: its deletion was seen."""

    async def trash(self, server_uid: str) -> None:
        """Move an orphan's disk to the trash folder, where it stays for a week."""

    async def sweep(self) -> None:
        """Empty the trash of what is older than a week, evict unused images where space is short (LRU)."""

    async def capacity_gib(self) -> int:
        """Return the size of the file system that holds the disks."""
