"""``MemoryKubernetes``: the ``Kubernetes`` protocol over a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from nephos_api.errors import Conflict, Refused
from nephos_api.kube.memory.kinds import (
    address_of,
    applied_fields,
    check_model,
    kind_of,
    naming,
    parse_path,
    schema_of,
    selectable_fields,
    typed,
)
from nephos_api.kube.memory.merge import apply_fields, merge_patch
from nephos_api.kube.memory.selectors import selects
from nephos_api.kube.memory.store import Address, Change, Entry, Store, Write
from nephos_api.kube.protocol import Body, EventType, FieldManager, Listing, Selection, WatchEvent
from nephos_api.metadata import CLEANUP_FINALIZER, Resource
from nephos_api.resources import CLEANED_KINDS

R = TypeVar("R", bound=Resource)


class MemoryKubernetes:
    """Implements ``nephos_api.kube.protocol.Kubernetes``, and what its surroundings do.

    That is: UIDs, versions and generations; the finalizer that a policy sets at creation; deletion that waits for
    finalizers; garbage collection by owner; namespaces that end when they are empty; writes without a change that
    cost nothing. Models are checked, CEL rules are not. ``writes`` holds what changed something, in order.
    """

    def __init__(self, now: Callable[[], str] = lambda: datetime.now(UTC).isoformat()) -> None:
        self.writes: list[Write] = []
        self._store = Store(now)

    # What tests do to it.

    def seed(self, kind: type[R], body: Body) -> R:
        """Put an object there as it is, status included, without counting a write."""
        address = address_of(kind, body["metadata"]["name"], body["metadata"].get("namespace"))
        return kind.model_validate(self._store.insert(address, typed(kind, body)).body)

    def set_available(self, available: bool) -> None:
        """Take the server away, or bring it back: calls fail and watches break meanwhile."""
        self._store.unavailable = not available
        self._store.wake()

    def end_watches(self) -> None:
        """End every running watch, as a server does now and then."""
        self._store.end_watches()

    def expire(self) -> None:
        """Forget the history: every watch has to start from a new list."""
        self._store.forget_history()

    # The protocol.

    async def get(self, kind: type[R], name: str, namespace: str | None = None) -> R | None:
        """Return the object, or None."""
        self._store.check_available()
        body = self._store.body(address_of(kind, name, namespace))
        return None if body is None else kind.model_validate(body)

    async def list(self, kind: type[R], selection: Selection = Selection()) -> Listing[R]:  # noqa: B008  # why: frozen
        """Return the objects of the selection."""
        self._store.check_available()
        matches = selects(selection, selectable_fields(kind))
        bodies = self._store.select(kind.info.api_version, kind.info.plural)
        items = tuple(kind.model_validate(body) for body in bodies if matches(body))
        return Listing(items, str(self._store.version))

    async def watch(self, kind: type[R], selection: Selection, resource_version: str) -> AsyncIterator[WatchEvent[R]]:
        """Yield what happens to the selection after that version."""
        self._store.check_available()
        matches = selects(selection, selectable_fields(kind))
        async for change in self._store.changes(int(resource_version)):
            if (change.address.api_version, change.address.plural) == (kind.info.api_version, kind.info.plural):
                yield _event(kind, change, matches)

    async def create(self, kind: type[R], body: Body) -> R:
        """Create the object."""
        self._store.check_available()
        metadata = body["metadata"]
        address = address_of(kind, metadata["name"], metadata.get("namespace"))
        return kind.model_validate(self._create(address, typed(kind, body)).body)

    async def apply(self, kind: type[R], body: Body, manager: FieldManager) -> R:
        """Server-side apply of an object without its status."""
        self._store.check_available()
        metadata = body["metadata"]
        address = address_of(kind, metadata["name"], metadata.get("namespace"))
        return kind.model_validate(self._apply(address, typed(kind, body), str(manager)).body)

    async def apply_status(self, resource: R, status: Body, manager: FieldManager, *, guard: bool = False) -> R:
        """Server-side apply of the object's status."""
        self._store.check_available()
        address = address_of(type(resource), resource.metadata.name, resource.metadata.namespace)
        entry = self._store.entries.get(address)
        if entry is None or entry.body["metadata"]["uid"] != resource.uid:
            raise Conflict(f"{resource.key} is gone")
        if guard and entry.body["metadata"]["resourceVersion"] != resource.metadata.resource_version:
            raise Conflict(f"{resource.key} was written by somebody else")
        self._apply_to(address, entry, {"status": dict(status)}, str(manager), "status")
        return type(resource).model_validate(entry.body)

    async def set_finalizers(self, resource: R, finalizers: tuple[str, ...]) -> None:
        """Replace the finalizers."""
        self._store.check_available()
        address = address_of(type(resource), resource.metadata.name, resource.metadata.namespace)
        body = self._store.body(address)
        if body is None:
            return
        if body["metadata"]["resourceVersion"] != resource.metadata.resource_version:
            raise Conflict(f"{resource.key} was written by somebody else")
        body["metadata"]["finalizers"] = [*finalizers]
        self._update(address, body, "patch")

    async def delete(self, kind: type[R], name: str, namespace: str | None = None, *, uid: str | None = None) -> None:
        """Ask for the deletion."""
        self._store.check_available()
        self._delete(address_of(kind, name, namespace), uid)

    async def raw(
        self, method: str, path: str, *, body: Body | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Call any path of an object or a collection; None for 404."""
        self._store.check_available()
        address, subresource = parse_path(path)
        given = dict(body or {})
        match method:
            case "GET" if address.name:
                return self._store.body(address)
            case "GET":
                return self._list_bodies(address, query or {})
            case "POST":
                name = given["metadata"].get("name") or f"{given['metadata']['generateName']}{self._store.version}"
                return self._create(address._replace(name=name), given).body
            case "PATCH" if query and "fieldManager" in query:
                return self._apply(address, given, query["fieldManager"], subresource).body
            case "DELETE" if address not in self._store.entries:
                return None
            case "DELETE":
                found = self._store.body(address)
                self._delete(address, (given.get("preconditions") or {}).get("uid"))
                return found
            case "PATCH" | "PUT":
                return self._replace(address, given, whole=method == "PUT", subresource=subresource)
        raise Refused(f"{method} is not served", code=405, reason="MethodNotAllowed")

    # How writes end in the store.

    def _create(self, address: Address, body: dict[str, Any], manager: str = "") -> Entry:
        body["metadata"] = {**body["metadata"], **naming(address)}
        kind = kind_of(address)
        if kind is not None:
            body.pop("status", None)
            if kind in CLEANED_KINDS:
                finalizers = body["metadata"].get("finalizers") or []
                body["metadata"] = {
                    **body["metadata"],
                    "finalizers": [*dict.fromkeys((*finalizers, CLEANUP_FINALIZER))],
                }
        check_model(address, body)
        entry = self._store.insert(address, body)
        self.writes.append(Write("create", address, manager=manager))
        return entry

    def _apply(self, address: Address, body: dict[str, Any], manager: str, subresource: str = "") -> Entry:
        entry = self._store.entries.get(address)
        uid = body["metadata"].get("uid")
        if entry is None:
            if uid or subresource:
                raise Conflict(f'{address.plural} "{address.name}" is gone')
            entry = self._create(address, {**body, "metadata": dict(body["metadata"])}, manager)
            _, owned = apply_fields({}, applied_fields(body), schema_of(address), owned=frozenset(), others=frozenset())
            entry.owners[(manager, "")] = owned
            return entry
        if uid and uid != entry.body["metadata"]["uid"]:
            raise Conflict(f'{address.plural} "{address.name}" has another UID')
        if body["metadata"].get("resourceVersion") not in (None, entry.body["metadata"]["resourceVersion"]):
            raise Conflict(f'{address.plural} "{address.name}" was written by somebody else')
        self._apply_to(address, entry, applied_fields(body, subresource), manager, subresource)
        return entry

    def _apply_to(
        self, address: Address, entry: Entry, applied: dict[str, Any], manager: str, subresource: str
    ) -> None:
        me = (manager, subresource)
        others = frozenset().union(*(paths for owner, paths in entry.owners.items() if owner != me))
        merged, entry.owners[me] = apply_fields(
            entry.body, applied, schema_of(address), owned=entry.owners.get(me, frozenset()), others=others
        )
        self._update(address, merged, "apply", subresource, manager)

    def _replace(
        self, address: Address, given: dict[str, Any], *, whole: bool, subresource: str
    ) -> dict[str, Any] | None:
        current = self._store.body(address)
        if current is None:
            return None
        version = (given.get("metadata") or {}).get("resourceVersion")
        if version and version != current["metadata"]["resourceVersion"]:
            raise Conflict(f'{address.plural} "{address.name}" was written by somebody else')
        body = given if whole else merge_patch(current, given)
        if subresource == "status":
            body = {**current, "status": body.get("status", {})}
        self._update(address, body, "update" if whole else "patch", subresource)
        return self._store.body(address) or body

    def _update(
        self, address: Address, body: dict[str, Any], verb: str, subresource: str = "", manager: str = ""
    ) -> None:
        check_model(address, body)
        if self._store.update(address, body):
            self.writes.append(Write(verb, address, subresource, manager))

    def _delete(self, address: Address, uid: str | None) -> None:
        body = self._store.body(address)
        if body is None or uid not in (None, body["metadata"]["uid"]):
            return
        if self._store.delete(address):
            self.writes.append(Write("delete", address))

    def _list_bodies(self, address: Address, query: Mapping[str, str]) -> dict[str, Any]:
        selection = Selection(address.namespace, query.get("fieldSelector"), query.get("labelSelector"))
        kind = kind_of(address)
        matches = selects(selection, selectable_fields(kind) if kind else frozenset({"spec.nodeName"}))
        items = [body for body in self._store.select(address.api_version, address.plural) if matches(body)]
        return {"metadata": {"resourceVersion": str(self._store.version)}, "items": items}


def _event(kind: type[R], change: Change, matches: Callable[[Body], bool]) -> WatchEvent[R]:
    """Return what the change is for a watch with that selection: objects enter it and leave it."""
    was = change.old is not None and matches(change.old)
    is_now = change.new is not None and matches(change.new)
    event_type = {
        (False, True): EventType.ADDED,
        (True, True): EventType.MODIFIED,
        (True, False): EventType.DELETED,
        (False, False): EventType.BOOKMARK,
    }[was, is_now]
    body = change.new or change.old
    resource = None if event_type is EventType.BOOKMARK else kind.model_validate(body)
    return WatchEvent(event_type, resource, str(change.version))
