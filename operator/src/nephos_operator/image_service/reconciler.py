"""One Image: look at it, decide, act."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.kube.events import EventRecorder
from nephos_api.kube.protocol import FieldManager, Kubernetes
from nephos_api.metadata import CLEANUP_FINALIZER, Key
from nephos_api.reconcile.result import Done, Failed, Result, Wait
from nephos_api.resources.image import Image, ImagePhase, ImageStatus
from nephos_api.resources.server import Server
from nephos_operator.image_service import collection, statuses
from nephos_operator.image_service.importing import Importer, Underway
from nephos_operator.image_service.statuses import Report

log = structlog.get_logger(__name__)


_ADVANCED_BYTES: Final = 1 << 20
"""A try that brought less is as good as one that brought nothing."""


class Images(Protocol):
    """The Images of the cloud, as they were last seen."""

    def get(self, name: str, namespace: str | None = None) -> Image | None:
        """Return the Image, or None."""

    def __iter__(self) -> Iterator[Image]:
        """Iterate over all."""


def is_worth_a_look(old: Image | None, new: Image | None) -> bool:
    """Tell whether a change of an Image concerns this service: its own writes of the status do not."""
    if old is None or new is None:
        return True
    before, after = old.metadata, new.metadata
    return (before.uid, before.generation, before.deletion_timestamp, before.finalizers) != (
        after.uid,
        after.generation,
        after.deletion_timestamp,
        after.finalizers,
    )


@dataclass
class ImageReconciler:
    """Brings Images into the store and out of it. ``is_leading`` is asked before anything is removed."""

    kubernetes: Kubernetes
    images: Images
    importer: Importer
    events: EventRecorder
    is_leading: Callable[[], bool]
    wake: Callable[[Key], None]
    """Has a key reconciled soon."""
    _reports: dict[str, Report] = field(default_factory=dict)
    _written: dict[str, ImageStatus] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    _unused_since: dict[str, float] = field(default_factory=dict)

    async def reconcile(self, key: Key) -> Result:
        """Bring one Image a step on."""
        image = self._look(key)
        for uid in self.importer.of_former(key, image.uid if image else None):
            await self._forget(uid)
        if image is None:
            return Done()
        if image.is_deleting:
            return await self._release(image)
        if CLEANUP_FINALIZER not in image.metadata.finalizers:
            await self.kubernetes.set_finalizers(image, (*image.metadata.finalizers, CLEANUP_FINALIZER))
            return Wait("the finalizer")
        underway = self.importer.get(image.uid)
        if underway is None:
            if await self._is_settled(image):
                return await self._settle(image)
            underway = self.importer.start(image, lambda: self._on_change(image))
        if not underway.task.done():
            await self._report(image, underway)
            return Wait("the import")
        return await self._conclude(image, underway)

    def begin(self) -> None:
        """Begin as a new leader: another one may have written since this one last did."""
        self._reports.clear()
        self._written.clear()

    async def sweep(self) -> None:
        """Look at every Image; remove what none needs: content after a day, half-fetched files at once."""
        store = self.importer.store
        partial_uids = await asyncio.to_thread(store.partial_uids)
        known = {image.uid: image for image in self.images}
        for uid in set(self._written) | set(self.importer.claims) | partial_uids:
            if uid not in known:
                await self._forget(uid)
            elif self.importer.get(uid) is None and self._written.get(uid) != known[uid].status:
                self._written.pop(uid, None)
        for image in known.values():
            self.wake(image.key)
        present = await asyncio.to_thread(store.hashes)
        used = await self._used()
        plan = collection.plan_collection(present, used, self._unused_since, time.monotonic())
        self._unused_since = dict(plan.unused_since)
        if plan.is_suspicious:
            log.error("too much of the store is unused at once; nothing is removed", files=len(plan.unused_since))
        for sha256 in plan.removed:
            await self._remove_content(sha256)

    def _look(self, key: Key) -> Image | None:
        """Return the Image with the status that was written last: it may not have come back yet."""
        image = self.images.get(key.name, key.namespace)
        if image and (written := self._written.get(image.uid)):
            return image.model_copy(update={"status": written})
        return image

    async def _forget(self, uid: str) -> None:
        """Drop what is known of an Image that is going or gone, and what was fetched of it so far."""
        await self.importer.cancel(uid)
        self.importer.claims.pop(uid, None)
        self._reports.pop(uid, None)
        self._written.pop(uid, None)
        self._failures.pop(uid, None)

    def _on_change(self, image: Image) -> None:
        """Wake the reconciler at the beginning, at the end, and for progress that is worth a write."""
        underway = self.importer.get(image.uid)
        if underway is None:
            return
        last = self._reports.get(image.uid)
        is_edge = last is None or underway.task.done()
        if is_edge or statuses.is_worth_a_report(last, underway.percent, time.monotonic()):
            self._reports[image.uid] = Report(underway.percent, time.monotonic())
            self.wake(image.key)

    async def _is_settled(self, image: Image) -> bool:
        sha256 = image.status.sha256
        is_stored = sha256 is not None and await asyncio.to_thread(self.importer.store.has, sha256)
        return statuses.is_settled(image, is_stored=is_stored)

    async def _settle(self, image: Image) -> Result:
        if image.status.observed_generation != image.metadata.generation:
            await self._write(image, statuses.observed(image))
        return Done()

    async def _report(self, image: Image, underway: Underway) -> None:
        """Write where the import stands; nothing while a new try of a failed one has brought nothing."""
        if underway.is_waiting:
            if image.status.phase is None:
                await self._write(image, statuses.queued(image, _now()))
        elif underway.percent is not None or image.status.phase is not ImagePhase.IMPORTING:
            await self._write(image, statuses.importing(image, underway.percent, _now()))

    async def _conclude(self, image: Image, underway: Underway) -> Result:
        """Write how the import ended; its result is kept until that is written."""
        result: Result
        try:
            stored = underway.task.result()
        except TemporaryFault as fault:
            status = statuses.interrupted(image, fault, underway.percent, _now())
            failures = self._count_failure(image.uid, underway)
            result = Wait(fault.message, statuses.next_try_s(fault, failures))
            event = (self.events.warning, fault.reason, fault.message)
        except PermanentFault as fault:
            status = statuses.killed(image, fault, _now())
            result = Failed(fault.reason, fault.message)
            event = (self.events.warning, fault.reason, fault.message)
        except Exception:  # a bug, or a disk that fails: the next try imports anew
            self.importer.forget(image.uid)
            raise
        else:
            self._failures.pop(image.uid, None)
            status = statuses.active(image, stored, _now())
            result = Done()
            event = (self.events.normal, "Imported", f"{stored.size_bytes} bytes, sha256 {stored.sha256}")
        await self._write(image, status)
        self.importer.forget(image.uid)
        self._reports.pop(image.uid, None)
        log.info("import ended", image=str(image.key), reason=event[1], message=event[2])
        event[0](image, event[1], event[2])
        return result

    def _count_failure(self, uid: str, underway: Underway) -> int:
        """Return how many tries in a row brought nothing."""
        has_advanced = underway.advanced_bytes >= _ADVANCED_BYTES
        self._failures[uid] = 0 if has_advanced else self._failures.get(uid, 0) + 1
        return self._failures[uid]

    async def _write(self, image: Image, status: ImageStatus) -> None:
        """Write a status that says something new."""
        if status == image.status:
            return
        await self.kubernetes.apply_status(image, status.to_wire(), FieldManager.IMAGE_SERVICE)
        self._written[image.uid] = status

    async def _release(self, image: Image) -> Result:
        """Let go of an Image that is being deleted, and of its content where it was the last one to need it."""
        sha256 = image.status.sha256 or self.importer.claims.get(image.uid)
        await self._forget(image.uid)
        if sha256 and sha256 not in await self._used():
            await self._remove_content(sha256)
        if CLEANUP_FINALIZER in image.metadata.finalizers:
            rest = tuple(name for name in image.metadata.finalizers if name != CLEANUP_FINALIZER)
            await self.kubernetes.set_finalizers(image, rest)
        return Done()

    async def _used(self) -> frozenset[str]:
        """Return the hashes that Images need, or Servers whose hosts may not have fetched them yet."""
        servers = await self.kubernetes.list(Server)
        by_servers = {server.status.image.sha256 for server in servers.items if server.status.image}
        return self._used_by_images() | by_servers

    def _used_by_images(self) -> frozenset[str]:
        by_images = {image.status.sha256 for image in self.images if image.status.sha256 and not image.is_deleting}
        return frozenset(by_images | set(self.importer.claims.values()))

    async def _remove_content(self, sha256: str) -> None:
        """Remove content, unless an Image came to need it while Servers were listed."""
        async with self.importer.lock:
            if sha256 in self._used_by_images() or not self.is_leading():
                return
            await asyncio.to_thread(self.importer.store.remove, sha256)
            log.info("content removed", sha256=sha256)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
