"""What the rest of Nephos needs of a Kubernetes API; ``kube.client`` is the real one, ``kube.memory`` its twin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from nephos_api.metadata import Key, Resource

R = TypeVar("R", bound=Resource)
Body = Mapping[str, Any]
"""An object in its JSON form."""


class FieldManager(StrEnum):
    """Who writes fields, for server-side apply."""

    OPERATOR = "nephos-operator"
    AGENT = "nephos-agent"
    IMAGE_SERVICE = "nephos-image-service"


@dataclass(frozen=True)
class Selection:
    """Which objects of a kind: all, those of a namespace, those whose fields or labels match."""

    namespace: str | None = None
    field_selector: str | None = None
    label_selector: str | None = None


@dataclass(frozen=True)
class Listing(Generic[R]):
    """What a list returned, and from where a watch goes on."""

    items: tuple[R, ...]
    resource_version: str
    unreadable: frozenset[Key] = frozenset()
    """Objects that are there but don't fit the model: not seen is not gone."""


class EventType(StrEnum):
    """What a watch says of an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True)
class WatchEvent(Generic[R]):
    """One event of a watch. DELETED also means that the object left the selection."""

    type: EventType
    resource: R | None
    """None for BOOKMARK."""
    resource_version: str


class Kubernetes(Protocol):
    """Typed access to the API server.

    Every call raises ``ApiUnavailable`` (no answer, 429, 5xx), ``Conflict`` (409) or ``Refused`` (other 4xx).
    What is not there is None, and deleting it is no error.
    """

    async def get(self, kind: type[R], name: str, namespace: str | None = None) -> R | None:
        """Return the object, or None."""

    async def list(self, kind: type[R], selection: Selection = Selection()) -> Listing[R]:
        """Return the objects, read in pages; those that don't fit the model are logged and left out."""

    def watch(self, kind: type[R], selection: Selection, resource_version: str) -> AsyncIterator[WatchEvent[R]]:
        """Yield events from that version on, bookmarks included, until the server ends the watch.

        Raises ``Expired`` where the version is too old: list again.
        """

    async def create(self, kind: type[R], body: Body) -> R:
        """Create the object; ``Conflict`` where it exists already."""

    async def apply(self, kind: type[R], body: Body, manager: FieldManager) -> R:
        """Server-side apply (forced) of an object without its status; with a resourceVersion only of that version."""

    async def apply_status(self, resource: R, status: Body, manager: FieldManager, *, guard: bool = False) -> R:
        """Server-side apply (forced) of the status of that object, never of another one of its name.

        ``Conflict`` where it is gone, and with ``guard`` also where somebody wrote it since it was read.
        """

    async def set_finalizers(self, resource: R, finalizers: tuple[str, ...]) -> None:
        """Replace the finalizers, guarded by the resourceVersion; the object may be gone afterwards."""

    async def delete(self, kind: type[R], name: str, namespace: str | None = None, *, uid: str | None = None) -> None:
        """Ask for the deletion; with ``uid`` only of the object that has it."""

    async def raw(
        self, method: str, path: str, *, body: Body | None = None, query: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Call any path (Namespaces, RoleBindings, Leases, Events …); None for 404.

        A PATCH is sent as ``application/apply-patch+yaml`` if the query has a ``fieldManager``, else as a merge patch.
        """
