"""A local copy of a selection of objects, kept by list and watch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Generic, TypeVar

import structlog

from nephos_api.errors import ApiUnavailable, Expired, Refused
from nephos_api.kube.protocol import EventType, Kubernetes, Listing, Selection, WatchEvent
from nephos_api.metadata import Key, Resource
from nephos_api.reconcile.queue import Backoff

R = TypeVar("R", bound=Resource)
OnEvent = Callable[[R | None, R | None], None]
log = structlog.get_logger(__name__)

_BACKOFF: Final = Backoff(first_s=0.1, most_s=10.0)
_STEADY_S: Final = 5.0
"""A watch that lasted so long was a good one: what comes after it is a first failure."""


def _all_of_it(resource: R) -> R:
    return resource


class Informer(Generic[R]):
    """Keeps the selected objects of a kind, as parsed models, and calls ``on_event(old, new)`` for each change.

    ``old`` is None for an object that is new here, ``new`` is None for one that is gone: deleted, or left the
    selection. A deletion that no watch showed is found by the next list and looks the same; an API server that
    suddenly has nothing is passed on as just that, so whoever destroys something on ``new is None`` guards himself.
    While the API server can't be reached nothing is called and the last picture stays.
    ``keep`` returns what is kept of an object, and shown as ``old``, where all of it would be too much.
    """

    def __init__(
        self,
        kind: type[R],
        selection: Selection,
        kubernetes: Kubernetes,
        on_event: OnEvent[R],
        *,
        keep: Callable[[R], R] = _all_of_it,
        backoff: Backoff = _BACKOFF,
    ) -> None:
        self.synced = asyncio.Event()
        """Set once the first list is here, and for good."""
        self._kind = kind
        self._selection = selection
        self._kubernetes = kubernetes
        self._on_event = on_event
        self._keep = keep
        self._backoff = backoff
        self._objects: dict[Key, R] = {}
        self._version: str | None = None
        self._resync_asked = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        """Return how many objects are kept."""
        return len(self._objects)

    def __iter__(self) -> Iterator[R]:
        """Iterate over a snapshot of the kept objects."""
        return iter(tuple(self._objects.values()))

    def get(self, name: str, namespace: str | None = None) -> R | None:
        """Return the object as it was last seen, or None."""
        return self._objects.get(Key(self._kind.info.kind, namespace, name))

    async def resync(self) -> None:
        """Compare with a fresh list, and return when that is done (it waits while the API server is away)."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._resync_asked.set()
        await done

    async def run(self) -> None:
        """List and watch until cancelled."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started = loop.time()
            reason = await self._list_and_watch()
            if loop.time() - started >= _STEADY_S:
                failures = 0
            if reason is None:
                continue
            failures += 1
            delay_s = self._backoff.delay_s(failures)
            log.warning(
                "watch interrupted",
                kind=self._kind.info.kind,
                selection=self._selection,
                reason=reason,
                failures=failures,
                delay_s=round(delay_s, 3),
            )
            await asyncio.sleep(delay_s)

    async def _list_and_watch(self) -> str | None:
        """List if need be, then watch until the watch ends or a resync is asked for; return why it can't go on."""
        try:
            if self._version is None or self._resync_asked.is_set():
                await self._list()
            started = asyncio.get_running_loop().time()
            await _until(self._resync_asked, self._watch(self._version or ""))
        except Expired as expired:
            self._version = None
            return expired.message
        except (ApiUnavailable, Refused) as error:
            return error.message
        if self._resync_asked.is_set() or asyncio.get_running_loop().time() - started >= _STEADY_S:
            return None
        return "the API server ended the watch at once"

    async def _list(self) -> None:
        self._resync_asked.clear()
        asked = len(self._waiting)
        try:
            listing = await self._kubernetes.list(self._kind, self._selection)
        except (ApiUnavailable, Expired, Refused):
            if asked:
                self._resync_asked.set()
            raise
        self._replace(listing)
        self._version = listing.resource_version
        self.synced.set()
        done, self._waiting = self._waiting[:asked], self._waiting[asked:]
        for waiter in done:
            if not waiter.done():
                waiter.set_result(None)

    async def _watch(self, version: str) -> None:
        events = self._kubernetes.watch(self._kind, self._selection, version)
        async for event in events:
            self._take(event)
            self._version = event.resource_version

    def _replace(self, listing: Listing[R]) -> None:
        found = {item.key: item for item in listing.items}
        for key, old in tuple(self._objects.items()):
            if key not in found and key not in listing.unreadable:
                del self._objects[key]
                self._on_event(old, None)
        for item in listing.items:
            self._put(item)

    def _take(self, event: WatchEvent[R]) -> None:
        if event.resource is None:
            return
        if event.type is EventType.DELETED:
            if self._objects.pop(event.resource.key, None):
                self._on_event(event.resource, None)
        else:
            self._put(event.resource)

    def _put(self, new: R) -> None:
        old = self._objects.get(new.key)
        self._objects[new.key] = self._keep(new)
        if old is None:
            self._on_event(None, new)
        elif old.uid != new.uid:
            self._on_event(old, None)
            self._on_event(None, new)
        elif old.metadata.resource_version != new.metadata.resource_version:
            self._on_event(old, new)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until it ends or ``stop`` is set; raise what it raises."""
    worker = asyncio.ensure_future(work)
    stopper = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({worker, stopper}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        worker.cancel()
        stopper.cancel()
        await asyncio.gather(worker, stopper, return_exceptions=True)
    if not worker.cancelled():
        worker.result()
