"""Writes of the one that leads: refused to anybody else, counted, and read back at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

from nephos_api.errors import TemporaryFault
from nephos_api.kube.protocol import Body, FieldManager, Kubernetes, Listing, Selection, WatchEvent
from nephos_api.metadata import Resource
from nephos_operator.store import Store

R = TypeVar("R", bound=Resource)
T = TypeVar("T")


class NotLeading(TemporaryFault):
    """Another replica may act now: nothing was written."""

    def __init__(self) -> None:
        super().__init__("this replica does not lead", reason="NotLeading")


class LeaderWrites:
    """A ``Kubernetes`` that writes only while this replica surely leads, and puts each answer into the store.

    ``lead_left_s()`` tells for how many seconds more nobody else can lead; a write that takes longer is given up.
    ``count(verb, kind)`` is called for each write.
    """

    def __init__(
        self,
        kube: Kubernetes,
        store: Store,
        lead_left_s: Callable[[], float],
        count: Callable[[str, str], None],
    ) -> None:
        self._kube = kube
        self._store = store
        self._lead_left_s = lead_left_s
        self._count = count

    async def get(self, kind: type[R], name: str, namespace: str | None = None) -> R | None:
        """Return the object, or None."""
        return await self._kube.get(kind, name, namespace)

    async def list(self, kind: type[R], selection: Selection = Selection()) -> Listing[R]:  # noqa: B008  # why: frozen
        """Return the objects."""
        return await self._kube.list(kind, selection)

    def watch(self, kind: type[R], selection: Selection, resource_version: str) -> AsyncIterator[WatchEvent[R]]:
        """Yield events."""
        return self._kube.watch(kind, selection, resource_version)

    async def create(self, kind: type[R], body: Body) -> R:
        """Create the object."""
        return self._kept(await self._guarded("create", kind, lambda: self._kube.create(kind, body)))

    async def apply(self, kind: type[R], body: Body, manager: FieldManager) -> R:
        """Server-side apply of an object."""
        return self._kept(await self._guarded("apply", kind, lambda: self._kube.apply(kind, body, manager)))

    async def apply_status(self, resource: R, status: Body, manager: FieldManager, *, guard: bool = False) -> R:
        """Server-side apply of the status."""
        call = lambda: self._kube.apply_status(resource, status, manager, guard=guard)  # noqa: E731  # why: one expression
        return self._kept(await self._guarded("apply_status", type(resource), call))

    async def set_finalizers(self, resource: R, finalizers: tuple[str, ...]) -> None:
        """Replace the finalizers."""
        call = lambda: self._kube.set_finalizers(resource, finalizers)  # noqa: E731  # why: one expression
        await self._guarded("set_finalizers", type(resource), call)

    async def delete(self, kind: type[R], name: str, namespace: str | None = None, *, uid: str | None = None) -> None:
        """Ask for the deletion."""
        await self._guarded("delete", kind, lambda: self._kube.delete(kind, name, namespace, uid=uid))

    async def raw(
        self, method: str, path: str, *, body: Body | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Call any path; everything but GET is a write."""
        if method == "GET":
            return await self._kube.raw(method, path, body=body, query=query)
        self._count(method.lower(), "")
        async with self._while_leading():
            return await self._kube.raw(method, path, body=body, query=query)

    async def _guarded(self, verb: str, kind: type[Resource], call: Callable[[], Awaitable[T]]) -> T:
        async with self._while_leading():
            self._count(verb, kind.info.kind)
            return await call()

    def _while_leading(self) -> asyncio.Timeout:
        left_s = self._lead_left_s()
        if left_s <= 0:
            raise NotLeading
        return asyncio.timeout(left_s)

    def _kept(self, answer: R) -> R:
        if answer.info.kind in self._store.tables:
            self._store.put(answer)
        return answer
