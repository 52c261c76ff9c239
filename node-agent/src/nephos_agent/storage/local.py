"""Disks as files of this host.

::

    <state>/images/<cloud>/<sha256>              cached images
    <state>/servers/<uid>/mark.json              whose folder it is
                         /base                   hard link to the cached image
                         /disk.qcow2             overlay on it
                         /config.iso             config drive
    <state>/trash/<cloud>/<uid>.<seconds>/       folders of orphans, and when they came
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog

from nephos_agent.storage import trash
from nephos_agent.storage.cache import ImageCache, Space, disk_space
from nephos_agent.storage.config_drive import digest, write_config_drive
from nephos_agent.storage.durable import PARTIAL_SUFFIX
from nephos_agent.storage.folder import is_bare, remove_folder
from nephos_agent.storage.mark import MARK_NAME, Mark, read_mark, write_mark
from nephos_agent.storage.overlay import check_size, create_overlay
from nephos_agent.storage.protocol import Disk, Progress
from nephos_agent.storage.source import ImageSource
from nephos_api.errors import PermanentFault
from nephos_api.resources.server import ServerImage

DISK_NAME: Final = "disk.qcow2"
BASE_NAME: Final = "base"
CONFIG_DRIVE_NAME: Final = "config.iso"
_GIB: Final = 1 << 30
log = structlog.get_logger(__name__)


def _ignore(_percent: int) -> None:
    """Hear of progress and do nothing."""


class LocalStorage:
    """The storage driver of a host whose disks are files under ``state``; it touches only what is ``cloud_id``'s."""

    def __init__(
        self,
        state: Path,
        cloud_id: str,
        source: ImageSource,
        *,
        now: Callable[[], float] = time.time,
        space: Callable[[Path], Space] = disk_space,
    ) -> None:
        self._servers = state / "servers"
        self._images = state / "images" / cloud_id
        self._trash = state / "trash" / cloud_id
        self._cloud_id = cloud_id
        self._now = now
        self._space = space
        self._cache = ImageCache(self._images, source, space)

    async def start(self) -> None:
        """Make the folders, remove half-made files of a former life."""
        await asyncio.to_thread(self._start)

    async def ensure_base(self, image: ServerImage, progress: Progress) -> Path:
        """Return the path of the image's content in the cache; fetch and check it first where it is not there."""
        return await self._cache.ensure(image, progress)

    async def ensure_disk(
        self, server_uid: str, namespace: str, server_name: str, image: ServerImage, size_gib: int
    ) -> Path:
        """Return the path of the server's disk; one that waits in the trash comes back."""
        folder = self._servers / server_uid
        path = folder / DISK_NAME
        if await asyncio.to_thread(self._find, server_uid):
            return path
        check_size(image, size_gib)
        mark = Mark(
            cloud_id=self._cloud_id,
            server_uid=server_uid,
            namespace=namespace,
            server_name=server_name,
            size_gib=size_gib,
            image_sha256=image.sha256,
        )
        await asyncio.to_thread(self._mark, mark)
        while not await asyncio.to_thread(self._cache.link, image.sha256, folder / BASE_NAME):
            await self._cache.ensure(image, _ignore)
        await create_overlay(path, BASE_NAME, image, size_gib)
        return path

    async def ensure_config_drive(self, server_uid: str, files: Mapping[str, bytes]) -> Path:
        """Return the path of the server's config drive; written again only where the files differ."""
        return await asyncio.to_thread(self._ensure_config_drive, server_uid, files)

    async def disks(self) -> tuple[Disk, ...]:
        """Return the disks that carry this cloud's mark."""
        return await asyncio.to_thread(self._disks)

    async def delete(self, server_uid: str) -> None:
        """Delete what there is of the server, in the trash too."""
        await asyncio.to_thread(self._delete, server_uid)

    async def trash(self, server_uid: str) -> None:
        """Move the server's folder to the trash."""
        if await asyncio.to_thread(self._is_ours, self._servers / server_uid):
            await asyncio.to_thread(trash.put, self._trash, self._servers / server_uid, self._now())

    async def sweep(self) -> None:
        """Empty the trash of what is older than a week, evict unused images where space is short."""
        await asyncio.to_thread(trash.empty, self._trash, self._now())
        await asyncio.to_thread(self._cache.sweep)

    async def capacity_gib(self) -> int:
        """Return the size of the file system that holds the disks."""
        space = await asyncio.to_thread(self._space, self._servers)
        return space.total_bytes // _GIB

    def _start(self) -> None:
        for folder in (self._servers, self._images, self._trash):
            folder.mkdir(parents=True, exist_ok=True)
        for folder, _mark in self._marked():
            for partial in folder.glob(f"*{PARTIAL_SUFFIX}"):
                partial.unlink()
            if not (folder / DISK_NAME).exists():
                log.info("half-made disk removed", server_uid=folder.name)
                remove_folder(folder)

    def _marked(self) -> Iterator[tuple[Path, Mark]]:
        for folder in sorted(self._servers.iterdir()):
            mark = read_mark(folder)
            if mark and mark.cloud_id == self._cloud_id:
                yield folder, mark

    def _is_ours(self, folder: Path) -> bool:
        mark = read_mark(folder)
        return mark is not None and mark.cloud_id == self._cloud_id

    def _find(self, server_uid: str) -> bool:
        """Tell whether the server's disk is there, after bringing it back from the trash where it is there."""
        folder = self._servers / server_uid
        trash.restore(self._trash, folder)
        return (folder / DISK_NAME).exists() and self._is_ours(folder)

    def _mark(self, mark: Mark) -> None:
        """Mark a server's folder, made where it is missing. Raises ``PermanentFault`` where it is another cloud's."""
        folder = self._servers / mark.server_uid
        folder.mkdir(mode=0o711, exist_ok=True)
        known = read_mark(folder)
        if known and known.cloud_id != self._cloud_id:
            raise PermanentFault(f"{folder} belongs to another cloud ({known.cloud_id})", reason="ForeignDisk")
        if known is None and (folder / DISK_NAME).exists():
            message = f"{folder} holds a disk and no {MARK_NAME} that says whose; bring that back or move the disk away"
            raise PermanentFault(message, reason="ForeignDisk")
        if known:
            mark = mark.model_copy(update={"config_drive_digest": known.config_drive_digest})
        if mark != known:
            write_mark(folder, mark)

    def _ensure_config_drive(self, server_uid: str, files: Mapping[str, bytes]) -> Path:
        folder = self._servers / server_uid
        path = folder / CONFIG_DRIVE_NAME
        trash.restore(self._trash, folder)
        if not self._is_ours(folder):
            self._mark(Mark(cloud_id=self._cloud_id, server_uid=server_uid))
        mark = read_mark(folder)
        content = digest(files)
        if mark and (mark.config_drive_digest != content or not path.exists()):
            write_config_drive(path, files)
            write_mark(folder, mark.model_copy(update={"config_drive_digest": content}))
        return path

    def _disks(self) -> tuple[Disk, ...]:
        return tuple(
            Disk(
                server_uid=mark.server_uid,
                namespace=mark.namespace,
                server_name=mark.server_name,
                path=folder / DISK_NAME,
                size_gib=mark.size_gib,
            )
            for folder, mark in self._marked()
            if (folder / DISK_NAME).exists()
        )

    def _delete(self, server_uid: str) -> None:
        folder = self._servers / server_uid
        if self._is_ours(folder) or is_bare(folder):
            remove_folder(folder)
        for trashed in trash.find(self._trash, server_uid):
            remove_folder(trashed)
