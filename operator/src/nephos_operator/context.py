"""What every reconciler is given: the cloud as it is known, the API to write to, and the claims under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Final, Protocol, TypeVar

from nephos_api.kube.protocol import Kubernetes
from nephos_api.metadata import CLEANUP_FINALIZER, Key, Resource
from nephos_api.resources import FloatingIP, Port, Router, Server, Subnet
from nephos_operator.addressing import AddressBook
from nephos_operator.claims import held_addresses
from nephos_operator.heartbeats import Heartbeats
from nephos_operator.ledger import Ledger
from nephos_operator.placement.snapshot import HostViews
from nephos_operator.store import Change, Store

R = TypeVar("R", bound=Resource)

GRACE_S: Final = 1.0
"""A new object whose references come in the same ``kubectl apply`` needs no status that says it waits for them."""


class Events(Protocol):
    """Tells people what happened to an object (kubectl describe)."""

    def normal(self, resource: Resource, reason: str, message: str) -> None:
        """Say that something happened to the object."""

    def warning(self, resource: Resource, reason: str, message: str) -> None:
        """Say that something went wrong with the object, and what to do."""


def utc_now() -> datetime:
    """Return the time now."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Context:
    """What every reconciler is given."""

    kube: Kubernetes
    store: Store
    ledger: Ledger
    addresses: AddressBook
    events: Events
    heartbeats: Heartbeats
    clock: Callable[[], datetime] = utc_now
    count_placement: Callable[[str], None] = lambda _: None
    """Called with the outcome of each decision of placement."""
    vnis_under_way: dict[int, str] = field(default_factory=dict)
    """VNIs that are decided and not yet in the store, and the UIDs of their Networks and Routers."""
    shares_under_way: set[str] = field(default_factory=set)
    """UIDs of objects whose share of their Project's quota is being written."""
    promised_ports: dict[Key, str] = field(default_factory=dict)
    """Ports that people made and that are being bound to a Server, whose UID it is: another must not take them."""
    refusals: dict[str, frozenset[str]] = field(default_factory=dict)
    """By Server UID: Hosts that refused it in the search that goes on."""
    busy: dict[Key, None] = field(default_factory=dict)
    """Servers that fit on Hosts which build too many others now, the longest waiting first."""

    @cached_property
    def host_views(self) -> HostViews:
        """The Hosts as placement sees them."""
        return HostViews(self.ledger)

    def forget_undertakings(self) -> None:
        """Forget what was decided and not written: another replica may have led since."""
        self.vnis_under_way.clear()
        self.shares_under_way.clear()
        self.promised_ports.clear()
        self.refusals.clear()
        self.busy.clear()
        self.ledger.abandon_all()
        self.addresses.cancel_all()

    def now(self) -> str:
        """Return the time now as conditions say it (RFC 3339, UTC, seconds)."""
        return self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    def age_s(self, resource: Resource) -> float:
        """Return how long ago the object was made, in seconds; the API server tells it in whole ones."""
        created = resource.metadata.creation_timestamp
        return (self.clock() - datetime.fromisoformat(created)).total_seconds() if created else 0.0


def follow(store: Store, ledger: Ledger, addresses: AddressBook) -> None:
    """Keep the ledger of claims and the book of addresses in step with the store."""
    store.subscribe(lambda change: _count(change, ledger, addresses))


def _count(change: Change, ledger: Ledger, addresses: AddressBook) -> None:
    old, new = change.old, change.new
    match change.subject:
        case Server() as server:
            if isinstance(new, Server):
                ledger.observe(new)
            else:
                ledger.forget(server.uid)
        case Port() | Router() | FloatingIP() as holder:
            was, now = held_addresses(old), held_addresses(new)
            addresses.release(holder.key, was - now)
            addresses.hold(holder.key, now - was)
        case Subnet() as subnet:
            if new is None:
                addresses.forget_subnet(subnet.uid)


async def ensure_finalizer(resource: R, context: Context) -> bool:
    """Add the finalizer where admission did not; return whether it was there."""
    finalizers = resource.metadata.finalizers
    if CLEANUP_FINALIZER in finalizers:
        return True
    await context.kube.set_finalizers(resource, (*finalizers, CLEANUP_FINALIZER))
    return False


async def release_finalizer(resource: Resource, context: Context) -> None:
    """Let the object go: nothing of it is left that the operator has to clean up."""
    finalizers = resource.metadata.finalizers
    if CLEANUP_FINALIZER in finalizers:
        await context.kube.set_finalizers(resource, tuple(f for f in finalizers if f != CLEANUP_FINALIZER))
