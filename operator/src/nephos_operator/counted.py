"""Whether its Project takes an object: it has to be there, and of all objects those that came first fit its quota."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nephos_api.conditions import ConditionType, is_true
from nephos_api.metadata import Resource
from nephos_api.resources import (
    FloatingIP,
    KeyPair,
    Network,
    Port,
    Project,
    Router,
    SecurityGroup,
    ServerGroup,
    Subnet,
)
from nephos_operator import quota
from nephos_operator.precedence import rank
from nephos_operator.usable import active_project
from nephos_operator.verdict import Problem, Stalls, Waits

if TYPE_CHECKING:
    from nephos_operator.store import Store


Counted = Network | Subnet | Router | FloatingIP | Port | SecurityGroup | KeyPair | ServerGroup


def problem(resource: Counted, store: Store, under_way: Collection[str]) -> Problem | None:
    """Return why its Project does not take the object: it is not there yet, or this is one too many; or None.

    One that has its share keeps it, whatever its Project waits for. ``under_way`` has the UIDs of those whose share is
    being written.
    """
    project = active_project(resource.metadata.namespace, store)
    if project is None or isinstance(project, Waits | Stalls):
        return None if _has_its_share(resource) else project
    return _beyond_quota(resource, project, store, under_way)


@contextmanager
def writing(wanted: Resource, under_way: set[str]) -> Iterator[None]:
    """While the object is written as wanted, the share that it gets counts; then the store tells of it."""
    if isinstance(wanted, Counted) and _has_its_share(wanted):
        under_way.add(wanted.uid)
    try:
        yield
    finally:
        under_way.discard(wanted.uid)


def _beyond_quota(resource: Counted, project: Project, store: Store, under_way: Collection[str]) -> Stalls | None:
    """Return which limit of the Project the object exceeds, or None; one that has what it needs keeps it.

    The sentence is the same however many are beyond the limit: else each that goes would change it for all of them.
    """
    limits = project.spec.quota
    asked: dict[str, int] = {}
    used: dict[str, int] = {}
    if isinstance(resource, Router):
        asked["routes_per_router"] = len(resource.spec.routes)
    siblings = store.tables[resource.info.kind].by("namespace", resource.metadata.namespace)
    if not _has_its_share(resource):
        field = quota.COUNTED_KINDS[resource.info.kind]
        asked[field] = 1
        used[field] = sum(
            sibling.uid != resource.uid
            and (_has_its_share(sibling) or sibling.uid in under_way or rank(sibling) < rank(resource))
            for sibling in siblings
        )
    if isinstance(resource, SecurityGroup):
        asked["security_group_rules"] = quota.rule_count(resource)
        used["security_group_rules"] = sum(
            quota.rule_count(group) for group in siblings if rank(group) < rank(resource)
        )
    return quota.exceeded(project.metadata.name, limits, quota.within(limits, used), asked)


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
