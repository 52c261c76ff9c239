"""The storage driver's twin in memory: the same answers, no file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nephos_agent.storage.overlay import check_size
from nephos_agent.storage.protocol import Disk, Progress
from nephos_agent.storage.trash import KEPT_S
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.server import ServerImage

_ROOT: Final = Path("/memory")


@dataclass(frozen=True)
class _Trashed:
    disk: Disk
    came_at: float


class MemoryStorage:
    """A host whose disks are notes in dictionaries.

    ``contents`` is what the image service has, by hash; None means that it has every image, as it should be.
    """

    def __init__(
        self,
        *,
        contents: Mapping[str, bytes] | None = None,
        capacity_gib: int = 1024,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.cached: set[str] = set()
        """Hashes of the cached images."""
        self.config_drives: dict[str, Mapping[str, bytes]] = {}
        """What lies on the config drives, by server UID."""
        self._contents = contents
        self._capacity_gib = capacity_gib
        self._now = now
        self._disks: dict[str, Disk] = {}
        self._trash: dict[str, _Trashed] = {}

    async def start(self) -> None:
        """Nothing is half-made in memory."""

    async def ensure_base(self, image: ServerImage, progress: Progress) -> Path:
        """Note that the image is cached."""
        if image.sha256 not in self.cached:
            self._check(image)
            self.cached.add(image.sha256)
            progress(100)
        return _ROOT / "images" / image.sha256

    async def ensure_disk(
        self, server_uid: str, namespace: str, server_name: str, image: ServerImage, size_gib: int
    ) -> Path:
        """Note the disk; one that waits in the trash comes back."""
        if trashed := self._trash.pop(server_uid, None):
            self._disks.setdefault(server_uid, trashed.disk)
        if server_uid not in self._disks:
            check_size(image, size_gib)
            await self.ensure_base(image, lambda _percent: None)
            path = _ROOT / "servers" / server_uid / "disk.qcow2"
            self._disks[server_uid] = Disk(server_uid, namespace, server_name, path, size_gib)
        return self._disks[server_uid].path

    async def ensure_config_drive(self, server_uid: str, files: Mapping[str, bytes]) -> Path:
        """Note the files."""
        self.config_drives[server_uid] = dict(files)
        return _ROOT / "servers" / server_uid / "config.iso"

    async def disks(self) -> tuple[Disk, ...]:
        """Return the disks."""
        return tuple(disk for _uid, disk in sorted(self._disks.items()))

    async def delete(self, server_uid: str) -> None:
        """Forget the server, in the trash too."""
        self._disks.pop(server_uid, None)
        self._trash.pop(server_uid, None)
        self.config_drives.pop(server_uid, None)

    async def trash(self, server_uid: str) -> None:
        """Move the disk to the trash."""
        if disk := self._disks.pop(server_uid, None):
            self._trash[server_uid] = _Trashed(disk, self._now())

    async def sweep(self) -> None:
        """Forget what is in the trash for more than a week."""
        self._trash = {uid: item for uid, item in self._trash.items() if self._now() - item.came_at <= KEPT_S}

    async def capacity_gib(self) -> int:
        """Return the size that it was made with."""
        return self._capacity_gib

    def _check(self, image: ServerImage) -> None:
        if self._contents is None:
            return
        content = self._contents.get(image.sha256)
        if content is None:
            raise TemporaryFault(f"the image service does not have {image.sha256}", reason="ImageNotInStore")
        if len(content) != image.size_bytes or hashlib.sha256(content).hexdigest() != image.sha256:
            raise PermanentFault(
                f"what the image service delivers for {image.name} does not have the checksum {image.sha256}",
                reason="ChecksumMismatch",
            )
