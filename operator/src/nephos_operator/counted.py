"""Whether an object is one too many for its Project: those that came first stay within the quota."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nephos_api.resources import FloatingIP, Port, Project, Router, SecurityGroup
from nephos_operator import quota
from nephos_operator.precedence import rank
from nephos_operator.verdict import Stalls

if TYPE_CHECKING:
    from nephos_operator.store import Store


Counted = Router | FloatingIP | Port | SecurityGroup


def problem(resource: Counted, project: Project | None, store: Store) -> Stalls | None:
    """Return which limit of the Project the object exceeds, or None; one that has what it needs keeps it."""
    if project is None:
        return None
    asked: dict[str, int] = {}
    used: dict[str, int] = {}
    if isinstance(resource, Router):
        asked["routes_per_router"] = len(resource.spec.routes)
    siblings = store.tables[resource.info.kind].by("namespace", resource.metadata.namespace)
    if not _has_its_share(resource):
        field = quota.COUNTED_KINDS[resource.info.kind]
        asked[field] = 1
        used[field] = sum(_has_its_share(sibling) or rank(sibling) < rank(resource) for sibling in siblings)
    if isinstance(resource, SecurityGroup):
        asked["security_group_rules"] = quota.rule_count(resource)
        used["security_group_rules"] = sum(
            quota.rule_count(group) for group in siblings if rank(group) < rank(resource)
        )
    return quota.exceeded(project.metadata.name, project.spec.quota, used, asked)


def _has_its_share(resource: Counted) -> bool:
    match resource:
        case Router():
            return bool(resource.status.legs or resource.status.external)
        case Port():
            return bool(resource.spec.allocations)
        case FloatingIP():
            return resource.status.address is not None
        case _:
            return False
