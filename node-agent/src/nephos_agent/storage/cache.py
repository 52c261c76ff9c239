"""Cached images: each is fetched once, checked, and kept under its hash until space is short.

A Server's folder holds a hard link to its base, so an entry is in use while it has more than one name; removing one
that is in use would hurt nobody.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from nephos_agent.storage.durable import PARTIAL_SUFFIX, partial_of, publish
from nephos_agent.storage.protocol import Progress
from nephos_agent.storage.source import ImageSource
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.server import ServerImage

FREE_SHARE: Final = 0.10
"""Images that nobody uses are evicted while less than this share of the file system is free."""
RESERVED_SHARE: Final = 0.02
"""What images leave free in any case: running guests write to the same file system."""
_PARTIAL_KEPT_S: Final = 24 * 3600.0
"""An interrupted fetch may go on for so long."""
_READ_BYTES: Final = 4 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Space:
    """A file system's bytes."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Entry:
    """A cached image as eviction sees it."""

    path: Path
    size_bytes: int
    """What its removal frees."""
    last_used: float
    is_used: bool


def plan_eviction(entries: tuple[Entry, ...], space: Space, needed_bytes: int = 0) -> tuple[Entry, ...]:
    """Return what to evict, the longest unused first, to have a tenth of the file system and ``needed_bytes`` free."""
    missing = int(space.total_bytes * FREE_SHARE) + needed_bytes - space.free_bytes
    evicted: list[Entry] = []
    for entry in sorted((entry for entry in entries if not entry.is_used), key=lambda entry: entry.last_used):
        if missing <= 0:
            break
        evicted.append(entry)
        missing -= entry.size_bytes
    return tuple(evicted)


def disk_space(folder: Path) -> Space:
    """Return the space of the file system that holds the folder."""
    usage = shutil.disk_usage(folder)
    return Space(total_bytes=usage.total, free_bytes=usage.free)


class _Fetch:
    """A fetch under way, and who wants to hear of its progress."""

    def __init__(self, task: asyncio.Task[Path]) -> None:
        self.task = task
        self.percent = 0
        self.listeners: list[Progress] = []

    def report(self, percent: int) -> None:
        if percent != self.percent:
            self.percent = percent
            for listener in self.listeners:
                listener(percent)


class ImageCache:
    """Images in ``folder``, which is this cloud's alone."""

    def __init__(self, folder: Path, source: ImageSource, space: Callable[[Path], Space] = disk_space) -> None:
        self._folder = folder
        self._source = source
        self._space = space
        self._fetches: dict[str, _Fetch] = {}

    async def ensure(self, image: ServerImage, progress: Progress) -> Path:
        """Return the image's file, fetched first where it is not there; requests for one image share one fetch."""
        path = self._folder / image.sha256
        if await asyncio.to_thread(_touch, path):
            return path
        fetch = self._fetches.get(image.sha256)
        if fetch is None:
            fetch = self._begin(image, path)
        fetch.listeners.append(progress)
        return await asyncio.shield(fetch.task)

    def link(self, sha256: str, path: Path) -> bool:
        """Give the image a second name, and tell whether it was there."""
        try:
            path.hardlink_to(self._folder / sha256)
        except FileExistsError:
            return True
        except FileNotFoundError:
            return False
        return _touch(path)

    def sweep(self) -> None:
        """Evict unused images while space is short; forget fetches that were interrupted long ago."""
        now = time.time()
        for partial in self._folder.glob(f"*{PARTIAL_SUFFIX}"):
            is_fetched = partial.name.removesuffix(PARTIAL_SUFFIX) in self._fetches
            if not is_fetched and now - partial.stat().st_mtime > _PARTIAL_KEPT_S:
                partial.unlink(missing_ok=True)
        self._evict(0)

    def _begin(self, image: ServerImage, path: Path) -> _Fetch:
        task = asyncio.create_task(self._fetch(image, path), name=f"fetch {image.sha256}")
        fetch = self._fetches[image.sha256] = _Fetch(task)

        def end(ended: asyncio.Task[Path]) -> None:
            del self._fetches[image.sha256]
            if not ended.cancelled():
                ended.exception()  # whoever waits sees it; nobody may be left who does

        task.add_done_callback(end)
        return fetch

    async def _fetch(self, image: ServerImage, path: Path) -> Path:
        partial = partial_of(path)
        try:
            await asyncio.to_thread(self._make_room, image, partial)
            await self._download(image, partial)
            return await asyncio.to_thread(_publish, partial, path)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            await asyncio.to_thread(partial.unlink, missing_ok=True)
            raise _full(image) from error

    async def _download(self, image: ServerImage, partial: Path) -> None:
        """Complete the partial file; where its content is not what it should be, it is removed."""
        file, digest, size = await asyncio.to_thread(_open_partial, partial, image.size_bytes)
        resumed_at = size
        report = self._fetches[image.sha256].report
        try:
            if size < image.size_bytes:
                async with aclosing(self._source.read(image.sha256, size)) as chunks:
                    async for chunk in chunks:
                        size += len(chunk)
                        if size > image.size_bytes:
                            break
                        await asyncio.to_thread(_append, file, digest, chunk)
                        report(size * 100 // image.size_bytes)
        finally:
            await asyncio.to_thread(file.close)
        if size < image.size_bytes:
            raise TemporaryFault(f"the fetch of {image.sha256} ended early", reason="ImageServiceUnavailable")
        if size == image.size_bytes and digest.hexdigest() == image.sha256:
            return
        await asyncio.to_thread(partial.unlink, missing_ok=True)
        if not resumed_at:
            raise PermanentFault(
                f"what the image service delivers for {image.name} does not have the checksum {image.sha256}",
                reason="ChecksumMismatch",
            )
        log.warning("what an interrupted fetch left was damaged; fetching anew", sha256=image.sha256)
        await self._download(image, partial)

    def _make_room(self, image: ServerImage, partial: Path) -> None:
        """Evict what a fetch needs the room of. Raises ``TemporaryFault`` where there is too little to evict."""
        needed_bytes = image.size_bytes - (partial.stat().st_size if partial.exists() else 0)
        self._evict(needed_bytes)
        space = self._space(self._folder)
        if space.free_bytes - needed_bytes < space.total_bytes * RESERVED_SHARE:
            partial.unlink(missing_ok=True)
            raise _full(image)

    def _evict(self, needed_bytes: int) -> None:
        entries = tuple(_entry(path) for path in self._folder.iterdir() if path.suffix != PARTIAL_SUFFIX)
        for entry in plan_eviction(entries, self._space(self._folder), needed_bytes):
            log.info("image evicted", sha256=entry.path.name, bytes=entry.size_bytes)
            entry.path.unlink(missing_ok=True)


def _full(image: ServerImage) -> TemporaryFault:
    return TemporaryFault(f"no space on this host for image {image.name} ({image.size_bytes} bytes)", reason="DiskFull")


def _entry(path: Path) -> Entry:
    stat = path.stat()
    return Entry(path, stat.st_blocks * 512, stat.st_mtime, stat.st_nlink > 1)


def _touch(path: Path) -> bool:
    """Note that the image is used now, and tell whether it is there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _open_partial(partial: Path, size_bytes: int) -> tuple[BinaryIO, hashlib._Hash, int]:
    """Open what an interrupted fetch left, or an empty file; return it with the hash and the size of what is there."""
    digest = hashlib.sha256()
    size = 0
    file = partial.open("a+b")
    file.seek(0)
    while block := file.read(_READ_BYTES):
        digest.update(block)
        size += len(block)
    if size > size_bytes:
        file.truncate(0)
        return file, hashlib.sha256(), 0
    return file, digest, size


def _append(file: BinaryIO, digest: hashlib._Hash, chunk: bytes) -> None:
    digest.update(chunk)
    file.write(chunk)


def _publish(partial: Path, path: Path) -> Path:
    partial.chmod(0o444)
    publish(partial, path)
    return path
