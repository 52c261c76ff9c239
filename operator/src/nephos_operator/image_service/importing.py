"""Imports: from a source to a checked file in the store, several at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.metadata import Key
from nephos_api.resources.image import Image
from nephos_operator.image_service import sources
from nephos_operator.image_service.fetch import Fetcher
from nephos_operator.image_service.inspection import Inspector
from nephos_operator.image_service.metrics import Metrics
from nephos_operator.image_service.statuses import Stored, percent_of
from nephos_operator.image_service.store import Partial, Store, full_disk_is_a_fault

PARALLEL: Final = 6
"""Imports at a time."""
log = structlog.get_logger(__name__)


@dataclass
class Underway:
    """An import under way, or one that ended and was not asked for its result yet."""

    key: Key
    task: asyncio.Task[Stored]
    is_waiting: bool = True
    """Whether it waits for others to end."""
    first_bytes: int = 0
    """What an earlier try had left."""
    fetched_bytes: int = 0
    total_bytes: int | None = None

    @property
    def percent(self) -> int | None:
        """How much is fetched, where that is known."""
        return percent_of(self.fetched_bytes, self.total_bytes)

    @property
    def advanced_bytes(self) -> int:
        """What this try brought."""
        return max(0, self.fetched_bytes - self.first_bytes)


@dataclass
class Importer:
    """Runs imports, at most one for an Image."""

    store: Store
    fetcher: Fetcher
    inspector: Inspector
    file_root: Path | None
    metrics: Metrics
    claims: dict[str, str] = field(default_factory=dict)
    """Hashes that Images need whose status does not say so yet, by UID."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while content comes into the store, or leaves it."""
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARALLEL))
    _underway: dict[str, Underway] = field(default_factory=dict)

    def get(self, uid: str) -> Underway | None:
        """Return the import of an Image, ended or not, or None."""
        return self._underway.get(uid)

    def of_former(self, key: Key, uid: str | None) -> tuple[str, ...]:
        """Return the UIDs of Images that had that key before the one with ``uid`` and whose import is not over."""
        return tuple(other for other, underway in self._underway.items() if underway.key == key and other != uid)

    def start(self, image: Image, on_change: Callable[[], None]) -> Underway:
        """Begin an import; ``on_change`` is called when it advances or ends."""
        task = asyncio.create_task(self._run(image, on_change), name=f"import {image.uid}")
        task.add_done_callback(lambda _task: on_change())
        underway = self._underway[image.uid] = Underway(image.key, task)
        return underway

    def forget(self, uid: str) -> None:
        """Forget an import that ended."""
        self._underway.pop(uid, None)

    async def cancel(self, uid: str) -> None:
        """End the import of an Image, and remove what it fetched."""
        if underway := self._underway.pop(uid, None):
            underway.task.cancel()
            await asyncio.gather(underway.task, return_exceptions=True)
        await asyncio.to_thread(self.store.discard, uid)

    async def close(self) -> None:
        """End all imports; what they fetched stays for the next leader."""
        tasks = [underway.task for underway in self._underway.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._underway.clear()

    async def _run(self, image: Image, on_change: Callable[[], None]) -> Stored:
        async with self._slots:
            started = time.monotonic()
            underway = self._underway[image.uid]
            underway.is_waiting = False
            on_change()
            try:
                with full_disk_is_a_fault():
                    stored = await self._import(image, underway, on_change)
            except PermanentFault as fault:
                await asyncio.to_thread(self.store.discard, image.uid)
                self.metrics.observe_import(fault.reason, time.monotonic() - started)
                raise
            except TemporaryFault as fault:
                if fault.reason == "StoreFull":
                    await asyncio.to_thread(self.store.discard, image.uid)
                self.metrics.observe_import(fault.reason, time.monotonic() - started)
                raise
            self.metrics.observe_import("Active", time.monotonic() - started)
            log.info("imported", image=str(image.key), sha256=stored.sha256, bytes=stored.size_bytes)
            return stored

    async def _import(self, image: Image, underway: Underway, on_change: Callable[[], None]) -> Stored:
        partial = await asyncio.to_thread(self.store.open_partial, image.uid)
        underway.first_bytes = partial.size

        def progress(fetched_bytes: int, total_bytes: int | None) -> None:
            self.metrics.count_fetched(max(0, fetched_bytes - max(underway.fetched_bytes, underway.first_bytes)))
            underway.fetched_bytes, underway.total_bytes = fetched_bytes, total_bytes
            on_change()

        try:
            await self._fetch(image, partial, progress)
            check_checksum(image, partial.sha256, was_resumed=underway.first_bytes > 0)
            await asyncio.to_thread(partial.sync)
            found = await self.inspector.inspect(self.store.partial_path(image.uid), image.spec.format)
            async with self.lock:
                self.claims[image.uid] = partial.sha256
                await asyncio.to_thread(self.store.publish, image.uid, partial.sha256)
            return Stored(partial.sha256, partial.size, found)
        except TemporaryFault as fault:
            if fault.reason == "ChecksumMismatch":
                await asyncio.to_thread(partial.restart)
            raise
        finally:
            partial.close()

    async def _fetch(self, image: Image, partial: Partial, progress: Callable[[int, int | None], None]) -> None:
        source = sources.parse_source(image.spec.source.url, image.metadata.namespace)
        if isinstance(source, Path):
            path = await asyncio.to_thread(sources.confine, source, self.file_root)
            await self.fetcher.copy(path, partial, progress)
        else:
            await self.fetcher.fetch(source, partial, self.store.note_path(image.uid), progress)


def check_checksum(image: Image, sha256: str, *, was_resumed: bool) -> None:
    """Raise where the content is not what the spec says: for good, or to fetch it anew where it came in pieces."""
    declared = image.spec.source.sha256
    if declared is None or declared == sha256:
        return
    message = f"the file's checksum is {sha256} and spec.source.sha256 says {declared}"
    if was_resumed:
        raise TemporaryFault(f"{message}; it came in pieces and is fetched anew", reason="ChecksumMismatch")
    raise PermanentFault(f"{message}; make a new Image with the right one", reason="ChecksumMismatch")
