"""Quotas: how much of what a project has, and whether it may have more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from nephos_api.conditions import Conditions, ConditionType, find
from nephos_api.metadata import Resource
from nephos_api.model import wire_name
from nephos_api.resources import SecurityGroup
from nephos_api.resources.project import Quota
from nephos_operator.verdict import Stalls

if TYPE_CHECKING:
    from nephos_operator.store import Store

Amounts = Mapping[str, int]
"""Amounts by the names of the fields of a Quota."""

COUNTED_KINDS: Final = {
    "Server": "instances",
    "KeyPair": "key_pairs",
    "ServerGroup": "server_groups",
    "Network": "networks",
    "Subnet": "subnets",
    "Port": "ports",
    "Router": "routers",
    "FloatingIP": "floating_ips",
    "SecurityGroup": "security_groups",
}
"""Kinds of which a project may have only so many, and the quota's field that says how many."""

EXCEEDED: Final = "QuotaExceeded"
"""The reason of what is one too many."""
UNLIMITED: Final = -1


def usage(namespace: str, store: Store) -> dict[str, int]:
    """Return what the objects of a namespace ask for, placed or not; constant time per kind and flavor in use."""
    amounts = {field: store.tables[kind].count("namespace", namespace) for kind, field in COUNTED_KINDS.items()}
    cores = ram_mib = 0
    for flavor in store.flavors:
        servers = store.servers.count("flavor", (namespace, flavor.metadata.name))
        cores += servers * flavor.spec.vcpus
        ram_mib += servers * flavor.spec.memory_mib
    groups = store.security_groups.by("namespace", namespace)
    return amounts | {"cores": cores, "ram_mib": ram_mib, "security_group_rules": sum(map(rule_count, groups))}


def beyond_quota(resource: Resource) -> tuple[str | None, ...]:
    """Return the namespace of an object that is one too many there, to file it by: it waits until there is room."""
    conditions: Conditions = getattr(getattr(resource, "status", None), "conditions", ())
    ready = find(conditions, ConditionType.READY)
    return (resource.metadata.namespace,) if ready is not None and ready.reason == EXCEEDED else ()


def rule_count(group: SecurityGroup) -> int:
    """Return how many rules the group has, those of defaultRules included."""
    return len(group.spec.rules) + len(group.spec.default_rules)


def within(limits: Quota, used: Amounts) -> dict[str, int]:
    """Return what is used, as far as the limits allow it."""
    return {
        field: amount if (limit := getattr(limits, field)) == UNLIMITED else min(amount, limit)
        for field, amount in used.items()
    }


def exceeded(project: str, quota: Quota, used: Amounts, asked: Amounts) -> Stalls | None:
    """Return which limit of the project would be exceeded by what is asked for beside what is used, or None."""
    for field, amount in asked.items():
        limit = getattr(quota, field)
        total = used.get(field, 0) + amount
        if amount and limit != UNLIMITED and total > limit:
            return Stalls(
                EXCEEDED,
                f"the quota of Project {project} allows {limit} {wire_name(field)}, this would make it {total};"
                f" delete something, or ask a cloud admin to raise spec.quota.{wire_name(field)}",
            )
    return None
