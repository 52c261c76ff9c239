"""The real ``Kubernetes``: typed objects over the API server's JSON."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from pydantic import ValidationError

from nephos_api.errors import ApiUnavailable, Conflict, Expired
from nephos_api.kube.paths import collection_path, object_path
from nephos_api.kube.protocol import Body, EventType, FieldManager, Listing, Selection, WatchEvent
from nephos_api.kube.transport import APPLY_PATCH, MERGE_PATCH, Transport, fault, open_transport
from nephos_api.metadata import Key, Resource

R = TypeVar("R", bound=Resource)
log = structlog.get_logger(__name__)

PAGE_SIZE: Final = 500
"""Objects a page, as client-go's pager reads them."""

WATCH_LASTS_S: Final = (300, 600)
"""A watch is asked to end by itself after a time from this range, so that watches don't all come back together."""

_LIST_TRIES: Final = 3
_STATUS_TRIES: Final = 5


@asynccontextmanager
async def connect(kubeconfig: Path | None = None, *, user_agent: str = "nephos") -> AsyncIterator[KubernetesClient]:
    """Open a client with that kubeconfig, else ``$KUBECONFIG``, else the pod's service account."""
    async with open_transport(kubeconfig, user_agent) as transport:
        yield KubernetesClient(transport)


class KubernetesClient:
    """Implements ``nephos_api.kube.protocol.Kubernetes``; see there for what each call promises."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, kind: type[R], name: str, namespace: str | None = None) -> R | None:
        """Return the object, or None."""
        found = await self._transport.call("GET", object_path(kind.info, name, namespace))
        return None if found is None else kind.model_validate(found)

    async def list(self, kind: type[R], selection: Selection = Selection()) -> Listing[R]:  # noqa: B008  # why: frozen
        """Return the objects, read in pages."""
        for _ in range(_LIST_TRIES):
            try:
                return await self._list_pages(kind, selection)
            except Expired:
                log.info("list expired between pages, reading it again", kind=kind.info.kind)
        raise ApiUnavailable(f"{kind.info.plural} can't be listed: each try expired between its pages")

    async def watch(self, kind: type[R], selection: Selection, resource_version: str) -> AsyncIterator[WatchEvent[R]]:
        """Yield events until the server ends the watch."""
        lasts_s = random.randint(*WATCH_LASTS_S)  # noqa: S311  # why: spreads load, guards nothing
        query = _selectors(selection) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(lasts_s),
        }
        path = collection_path(kind.info, selection.namespace)
        async for line in self._transport.stream(path, query, silence_s=lasts_s + 30):
            if line["type"] == "ERROR":
                raise fault(line["object"].get("code", 500), line["object"])
            yield _event(kind, line)

    async def create(self, kind: type[R], body: Body) -> R:
        """Create the object."""
        namespace = body["metadata"].get("namespace")
        made = await self._transport.call("POST", collection_path(kind.info, namespace), body=_typed(kind, body))
        if made is None:
            raise ApiUnavailable(f"{kind.info.plural} can't be made: the kind or namespace {namespace} is not there")
        return kind.model_validate(made)

    async def apply(self, kind: type[R], body: Body, manager: FieldManager) -> R:
        """Server-side apply of an object without its status."""
        metadata = body["metadata"]
        path = object_path(kind.info, metadata["name"], metadata.get("namespace"))
        return await self._apply(kind, path, body, manager)

    async def apply_status(self, resource: R, status: Body, manager: FieldManager, *, guard: bool = False) -> R:
        """Server-side apply of the object's status.

        The status subresource takes no UID as a precondition, so the resourceVersion stands in for it; without
        ``guard`` the apply is repeated on what is there now, as long as that is the same object.
        """
        kind, metadata = type(resource), resource.metadata
        named = {"name": metadata.name} | ({"namespace": metadata.namespace} if metadata.namespace else {})
        path = object_path(resource.info, metadata.name, metadata.namespace) + "/status"
        version = metadata.resource_version
        for _ in range(_STATUS_TRIES):
            body = {"metadata": named | {"resourceVersion": version}, "status": status}
            try:
                return await self._apply(kind, path, body, manager)
            except Conflict:
                current = None if guard else await self.get(kind, metadata.name, metadata.namespace)
                if current is None or current.uid != resource.uid:
                    raise
                version = current.metadata.resource_version
        raise Conflict(f"{resource.key} is written by others all the time")

    async def set_finalizers(self, resource: R, finalizers: tuple[str, ...]) -> None:
        """Replace the finalizers."""
        metadata = resource.metadata
        await self._transport.call(
            "PATCH",
            object_path(resource.info, metadata.name, metadata.namespace),
            body={
                "metadata": {
                    "uid": metadata.uid,
                    "resourceVersion": metadata.resource_version,
                    "finalizers": list(finalizers),
                }
            },
            content_type=MERGE_PATCH,
        )

    async def delete(self, kind: type[R], name: str, namespace: str | None = None, *, uid: str | None = None) -> None:
        """Ask for the deletion."""
        body = {"preconditions": {"uid": uid}} if uid else None
        try:
            await self._transport.call("DELETE", object_path(kind.info, name, namespace), body=body)
        except Conflict:
            if uid is None:
                raise
            log.info("not deleted: another object has the name", key=str(Key(kind.info.kind, namespace, name)), uid=uid)

    async def raw(
        self, method: str, path: str, *, body: Body | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Call any path; None for 404."""
        content_type = "application/json"
        if method == "PATCH":
            content_type = APPLY_PATCH if query and "fieldManager" in query else MERGE_PATCH
        return await self._transport.call(method, path, body=body, query=query, content_type=content_type)

    async def _list_pages(self, kind: type[R], selection: Selection) -> Listing[R]:
        query = _selectors(selection) | {"limit": str(PAGE_SIZE)}
        items: list[R] = []
        unreadable: set[Key] = set()
        while True:
            page = await self._transport.call("GET", collection_path(kind.info, selection.namespace), query=query)
            if page is None:
                # A kind that is not served is not the same as a kind without objects.
                raise ApiUnavailable(f"{kind.info.plural} are not served by the API server (yet)")
            for body in page["items"]:
                parsed = _parse(kind, body)
                if parsed is None:
                    unreadable.add(_key(kind, body))
                else:
                    items.append(parsed)
            if not (token := page["metadata"].get("continue")):
                return Listing(tuple(items), page["metadata"]["resourceVersion"], frozenset(unreadable))
            query = query | {"continue": token}

    async def _apply(self, kind: type[R], path: str, body: Body, manager: FieldManager) -> R:
        query = {"fieldManager": str(manager), "force": "true"}
        applied = await self._transport.call(
            "PATCH", path, body=_typed(kind, body), query=query, content_type=APPLY_PATCH
        )
        if applied is None:
            raise Conflict(f"{path} is gone")
        return kind.model_validate(applied)


def _typed(kind: type[Resource], body: Body) -> dict[str, Any]:
    return {**body, "apiVersion": kind.info.api_version, "kind": kind.info.kind}


def _selectors(selection: Selection) -> dict[str, str]:
    found = {"fieldSelector": selection.field_selector, "labelSelector": selection.label_selector}
    return {name: selector for name, selector in found.items() if selector}


def _event(kind: type[R], line: dict[str, Any]) -> WatchEvent[R]:
    """Return the event; one whose object doesn't fit the model only moves the version on, like a bookmark."""
    body = line["object"]
    version = body["metadata"]["resourceVersion"]
    if line["type"] == EventType.BOOKMARK or (parsed := _parse(kind, body)) is None:
        return WatchEvent(EventType.BOOKMARK, None, version)
    return WatchEvent(EventType(line["type"]), parsed, version)


def _parse(kind: type[R], body: dict[str, Any]) -> R | None:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        log.error("object does not fit its model, left out", key=str(_key(kind, body)), errors=error.errors())
        return None


def _key(kind: type[Resource], body: dict[str, Any]) -> Key:
    return Key(kind.info.kind, body["metadata"].get("namespace"), body["metadata"]["name"])
