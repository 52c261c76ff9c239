"""The objects, their versions and their history: etcd and the generic part of an API server in one."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from nephos_api.errors import ApiUnavailable, Conflict, Expired, Refused
from nephos_api.kube.memory.merge import Path

Body = dict[str, Any]
_CLEARED: Final = ("managedFields", "selfLink")


class Address(NamedTuple):
    """Where an object lies."""

    api_version: str
    plural: str
    namespace: str | None
    name: str


@dataclass(frozen=True)
class Write:
    """One write that changed something, as tests count them."""

    verb: str
    address: Address
    subresource: str = ""
    manager: str = ""


@dataclass(frozen=True)
class Change:
    """What one write did to one object."""

    version: int
    address: Address
    old: Body | None
    new: Body | None


@dataclass
class Entry:
    """An object and who owns which of its fields."""

    body: Body
    owners: dict[tuple[str, str], frozenset[Path]] = field(default_factory=dict)


class Store:
    """Objects by address. Every change gets the next version, is kept in the history, and wakes the watches."""

    def __init__(self, now: Callable[[], str]) -> None:
        self.entries: dict[Address, Entry] = {}
        self.version = 1
        self.unavailable = False
        self._now = now
        self._history: list[Change] = []
        self._forgotten = 0
        self._generation = 0
        self._changed = asyncio.Event()

    def check_available(self) -> None:
        """Raise ``ApiUnavailable`` while a test has the server away."""
        if self.unavailable:
            raise ApiUnavailable("connection refused")

    def body(self, address: Address) -> Body | None:
        """Return a copy of the object."""
        entry = self.entries.get(address)
        return copy.deepcopy(entry.body) if entry else None

    def select(self, api_version: str, plural: str) -> Iterator[Body]:
        """Yield copies of all objects of a kind."""
        for address, entry in tuple(self.entries.items()):
            if (address.api_version, address.plural) == (api_version, plural):
                yield copy.deepcopy(entry.body)

    def insert(self, address: Address, body: Body) -> Entry:
        """Add a new object; it gets what the server gives: UID, generation, time, version."""
        if address in self.entries:
            raise Conflict(f'{address.plural} "{address.name}" already exists')
        self._check_namespace(address)
        body = copy.deepcopy(body)
        metadata = body["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", self._now())
        metadata.setdefault("generation", 1)
        entry = self.entries[address] = Entry(body)
        self._record(address, None, entry)
        return entry

    def update(self, address: Address, body: Body) -> bool:
        """Replace the object, or remove it if only a finalizer kept it; tell whether anything changed."""
        entry = self.entries[address]
        old = entry.body
        body = copy.deepcopy(body)
        for name in _CLEARED:
            body["metadata"].pop(name, None)
        for name in ("uid", "creationTimestamp", "deletionTimestamp", "generation", "resourceVersion"):
            if name in old["metadata"]:
                body["metadata"][name] = old["metadata"][name]
        if body == old:
            return False
        if body.get("spec") != old.get("spec"):
            body["metadata"]["generation"] += 1
        entry.body = body
        if "deletionTimestamp" in body["metadata"] and not body["metadata"].get("finalizers"):
            self._remove(address)
        else:
            self._record(address, old, entry)
        return True

    def delete(self, address: Address) -> bool:
        """Remove the object, or mark it as deleting where finalizers keep it; tell whether anything changed."""
        entry = self.entries[address]
        metadata = entry.body["metadata"]
        if "deletionTimestamp" in metadata:
            return False
        if address.plural == "namespaces":
            self._empty_namespace(address.name)
        elif not metadata.get("finalizers"):
            self._remove(address)
            return True
        old = copy.deepcopy(entry.body)
        metadata["deletionTimestamp"] = self._now()
        metadata["generation"] = metadata.get("generation", 0) + 1
        self._record(address, old, entry)
        self._drop_empty_namespace(address.name if address.plural == "namespaces" else None)
        return True

    def forget_history(self) -> None:
        """Make every watch of an older version expire, as compaction does."""
        self._forgotten += len(self._history)
        self._history.clear()
        self.version += 1
        self.wake()

    def end_watches(self) -> None:
        """End every running watch as a server does that shuts down."""
        self._generation += 1
        self.wake()

    def wake(self) -> None:
        """Have the watches look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changes(self, version: int) -> AsyncIterator[Change]:
        """Yield the changes after that version, those to come too; ``Expired`` where they are forgotten."""
        generation = self._generation
        seen = self._forgotten + sum(change.version <= version for change in self._history)
        if self._forgotten and version < self._history_starts():
            raise Expired(f"too old resource version: {version}")
        while generation == self._generation:
            self.check_available()
            if seen < self._forgotten:
                raise Expired("the history was compacted")
            if seen < self._forgotten + len(self._history):
                change = self._history[seen - self._forgotten]
                seen += 1
                yield change
            else:
                await self._changed.wait()

    def _history_starts(self) -> int:
        return self._history[0].version - 1 if self._history else self.version

    def _record(self, address: Address, old: Body | None, entry: Entry) -> None:
        self.version += 1
        entry.body["metadata"]["resourceVersion"] = str(self.version)
        self._note(address, old, copy.deepcopy(entry.body))

    def _remove(self, address: Address) -> None:
        self.version += 1
        last = copy.deepcopy(self.entries.pop(address).body)
        last["metadata"]["resourceVersion"] = str(self.version)
        self._note(address, last, None)
        self._collect_dependents(last["metadata"]["uid"])
        self._drop_empty_namespace(address.namespace)

    def _note(self, address: Address, old: Body | None, new: Body | None) -> None:
        self._history.append(Change(self.version, address, old, new))
        self.wake()

    def _collect_dependents(self, uid: str) -> None:
        """Do the garbage collector's work: what has no owner left is deleted."""
        for address, entry in tuple(self.entries.items()):
            owners = entry.body["metadata"].get("ownerReferences") or []
            if any(owner["uid"] == uid for owner in owners) and not any(map(self._is_there, owners)):
                self.delete(address)

    def _is_there(self, owner: Body) -> bool:
        return any(entry.body["metadata"]["uid"] == owner["uid"] for entry in self.entries.values())

    def _check_namespace(self, address: Address) -> None:
        namespace = self.entries.get(Address("v1", "namespaces", None, address.namespace or ""))
        if namespace and "deletionTimestamp" in namespace.body["metadata"]:
            raise Refused(
                f"unable to create new content in namespace {address.namespace} because it is being terminated",
                code=403,
                reason="NamespaceTerminating",
            )

    def _empty_namespace(self, name: str) -> None:
        for address in tuple(self.entries):
            if address.namespace == name and address in self.entries:
                self.delete(address)

    def _drop_empty_namespace(self, name: str | None) -> None:
        address = Address("v1", "namespaces", None, name or "")
        namespace = self.entries.get(address)
        if namespace is None or "deletionTimestamp" not in namespace.body["metadata"]:
            return
        if not any(other.namespace == name for other in self.entries):
            self._remove(address)
