"""Whether its Project takes an object: it has to be there, and of all objects those that came first fit its quota."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from nephos_api.conditions import ConditionType, is_true
from nephos_api.metadata import Key, Resource
from nephos_api.resources import (
    FloatingIP,
    KeyPair,
    Network,
    Port,
    Project,
    Router,
    SecurityGroup,
    Server,
    ServerGroup,
    Subnet,
)
from nephos_operator import quota
from nephos_operator.precedence import rank
from nephos_operator.usable import active_project
from nephos_operator.verdict import UNDER_WAY_S, Problem, Stalls, Waits

if TYPE_CHECKING:
    from nephos_operator.addressing import AddressBook
    from nephos_operator.store import Store


class Known(Protocol):
    """What counts of a reconciler's context: the cloud as it is known, and what is under way there."""

    @property
    def store(self) -> Store:
        """Every object."""

    @property
    def addresses(self) -> AddressBook:
        """Who holds which address, or is about to."""

    @property
    def shares_under_way(self) -> Collection[str]:
        """UIDs of objects whose share is being written."""


Counted = Network | Subnet | Router | FloatingIP | Port | SecurityGroup | KeyPair | ServerGroup


def problem(resource: Counted, known: Known) -> Problem | None:
    """Return why its Project does not take the object: it is not there yet, or this is one too many; or None.

    One that has its share keeps it, whatever its Project waits for.
    """
    project = active_project(resource.metadata.namespace, known.store)
    if project is None or isinstance(project, Waits | Stalls):
        return None if _has_its_share(resource) else project
    if isinstance(resource, Port):
        return None if _has_its_share(resource) else ports_problem(resource, frozenset(), 1, project, known)
    return _beyond_quota(resource, project, known)


def ports_problem(
    asks: Port | Server, own: frozenset[Key], asked: int, project: Project, known: Known
) -> Problem | None:
    """Return why the Project has no room for so many Ports more of a Server, or for one that a person made; or None.

    Those that are being made for Servers are known by the addresses that are reserved for them; ``own`` are the
    Server's. Where only they are in the way, one of them may not be made after all.
    """
    ports, namespace = known.store.ports, asks.metadata.namespace
    promised = sum(
        (key.kind, key.namespace) == (Port.info.kind, namespace) and ports.find(key) is None
        for key in known.addresses.promised() - own
    )

    def refusal(used: int) -> Stalls | None:
        limits = project.spec.quota
        return quota.exceeded(project.metadata.name, limits, quota.within(limits, {"ports": used}), {"ports": asked})

    if refusal(ports.count("namespace", namespace) + promised) is None:  # as a rule there is room for all
        return None
    taken = _taken(ports.by("namespace", namespace), asks, known)
    if (refused := refusal(taken)) or refusal(taken + promised) is None:
        return refused
    return Waits("PortsUnderWay", "waits for Ports that are being made, with which the quota is used up", UNDER_WAY_S)


@contextmanager
def writing(wanted: Resource, under_way: set[str]) -> Iterator[None]:
    """While the object is written as wanted, the share that it gets counts; then the store tells of it."""
    if isinstance(wanted, Counted) and _has_its_share(wanted):
        under_way.add(wanted.uid)
    try:
        yield
    finally:
        under_way.discard(wanted.uid)


def _beyond_quota(resource: Counted, project: Project, known: Known) -> Stalls | None:
    """Return which limit of the Project the object exceeds, or None; one that has what it needs keeps it.

    The sentence is the same however many are beyond the limit: else each that goes would change it for all of them.
    """
    limits = project.spec.quota
    asked: dict[str, int] = {}
    used: dict[str, int] = {}
    if isinstance(resource, Router):
        asked["routes_per_router"] = len(resource.spec.routes)
    if not _has_its_share(resource):
        siblings = known.store.tables[resource.info.kind].by("namespace", resource.metadata.namespace)
        field = quota.COUNTED_KINDS[resource.info.kind]
        asked[field], used[field] = 1, _taken(siblings, resource, known)
        if isinstance(resource, SecurityGroup):  # which never has its share
            asked["security_group_rules"] = quota.rule_count(resource)
            used["security_group_rules"] = sum(
                quota.rule_count(group) for group in siblings if rank(group) < rank(resource)
            )
    return quota.exceeded(project.metadata.name, limits, quota.within(limits, used), asked)


def _taken(siblings: Iterable[Counted], asks: Counted | Server, known: Known) -> int:
    """Return how many of them have their share, are getting it, or came before the one that asks."""
    place = (True, *rank(asks)[1:]) if isinstance(asks, Server) else rank(asks)  # one that runs came no earlier
    return sum(
        sibling.uid != asks.uid
        and (_has_its_share(sibling) or sibling.uid in known.shares_under_way or rank(sibling) < place)
        for sibling in siblings
    )


def _has_its_share(resource: Counted) -> bool:
    """Tell whether the object was given already what its quota is about."""
    match resource:
        case Network():
            return resource.status.mtu is not None
        case Subnet():
            return resource.status.gateway is not None
        case Router():
            return bool(resource.status.legs or resource.status.external)
        case Port():
            return bool(resource.spec.allocations)
        case FloatingIP():
            return resource.status.address is not None
        case KeyPair():
            return resource.status.fingerprint is not None
        case ServerGroup():
            return is_true(resource.status.conditions, ConditionType.READY)
        case SecurityGroup():
            return False
