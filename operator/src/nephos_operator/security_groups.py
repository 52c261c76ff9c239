"""Which SecurityGroups a Port has: names, looked up in its namespace and then in the catalog, and pinned once found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nephos_api.metadata import CATALOG_NAMESPACE, Key
from nephos_api.resources import Network, Port, SecurityGroup, Server
from nephos_api.resources.port import SecurityGroupReference
from nephos_operator.verdict import Problem, Stalls, Waits

if TYPE_CHECKING:
    from nephos_operator.store import Store

DEFAULT: Final = "default"
"""The group that every Project has, and that a Port has which names none; it is never looked up in the catalog."""

Names = tuple[str, ...] | None
"""What a spec says: None means [default], an empty tuple none."""


@dataclass(frozen=True)
class Groups:
    """The groups that were found, and why others are not among them."""

    references: tuple[SecurityGroupReference, ...] = ()
    problems: tuple[Problem, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the field of a Port's spec."""
        return {"securityGroupReferences": [reference.to_wire() for reference in self.references]}


def group_names(names: Names) -> tuple[str, ...]:
    """Return the names that count, each once."""
    return (DEFAULT,) if names is None else tuple(dict.fromkeys(names))


def group_places(namespace: str | None, name: str) -> tuple[Key, ...]:
    """Return where a group of that name may be, the first place first."""
    own = Key(SecurityGroup.info.kind, namespace, name)
    if name == DEFAULT or namespace == CATALOG_NAMESPACE:
        return (own,)
    return own, Key(SecurityGroup.info.kind, CATALOG_NAMESPACE, name)


def group_keys(namespace: str | None, names: Names) -> frozenset[Key]:
    """Return where groups of those names may lie, found or not."""
    return frozenset(key for name in group_names(names) for key in group_places(namespace, name))


def port_groups(port: Port, network: Network | None, store: Store) -> Groups:
    """Return the groups of a Port that a person made."""
    spec = port.spec
    if not is_filtered(port, network):
        return _unfiltered(spec.security_groups, network)
    return resolve_groups(
        port.metadata.namespace, spec.security_groups, spec.security_group_references, "spec.securityGroups", store
    )


def server_groups(server: Server, port: Port | None, network: Network | None, store: Store) -> Groups:
    """Return the groups of a Server's own Port: the Server's, unless a person gave that Port others."""
    if port is not None and port.spec.security_groups is not None:
        return port_groups(port, network, store)
    if not is_filtered(port, network):
        return _unfiltered(server.spec.security_groups, network)
    pinned = port.spec.security_group_references if port is not None else ()
    return resolve_groups(server.metadata.namespace, server.spec.security_groups, pinned, "spec.securityGroups", store)


def _unfiltered(names: Names, network: Network | None) -> Groups:
    """Return no groups; those that a spec names by themselves would filter nothing."""
    if not names or network is None:
        return Groups()
    problem = Stalls(
        "NetworkUnfiltered",
        f"spec.securityGroups: {network.key} has spec.portSecurity false and filters nothing; set them to [], or"
        " spec.portSecurity of the Port to true",
    )
    return Groups(problems=(problem,))


def is_filtered(port: Port | None, network: Network | None) -> bool:
    """Tell whether the Port's frames are filtered: what it says itself, else what its Network says."""
    if port is not None and port.spec.port_security is not None:
        return port.spec.port_security
    return network is None or network.spec.port_security


def resolve_groups(
    namespace: str | None, names: Names, pinned: Iterable[SecurityGroupReference], field: str, store: Store
) -> Groups:
    """Find the groups of those names; what is pinned stays as long as that group exists.

    A group that is being deleted takes no new references. ``field`` names the field that asks, for sentences.
    """
    held = {reference.name: reference for reference in pinned}
    references, missing = [], []
    for name in group_names(names):
        found = _pinned(held.get(name), store) or _look_up(namespace, name, field, store)
        if isinstance(found, Waits):
            missing.append(found)
        else:
            references.append(found)
    return Groups(tuple(references), tuple(missing))


def _pinned(reference: SecurityGroupReference | None, store: Store) -> SecurityGroupReference | None:
    if reference is None:
        return None
    found = store.security_groups.get(reference.name, reference.namespace)
    return reference if found is not None and found.uid == reference.uid else None


def _look_up(namespace: str | None, name: str, field: str, store: Store) -> SecurityGroupReference | Waits:
    for key in group_places(namespace, name):
        group = store.security_groups.find(key)
        if group is None:
            continue
        if group.is_deleting:
            return Waits("SecurityGroupDeleting", f"{key}, which {field} names, is being deleted; name another")
        return _reference(group)
    places = " nor in ".join(str(key.namespace) for key in group_places(namespace, name))
    said = f"it is neither in namespace {places}" if " nor " in places else f"it is not in namespace {places}"
    return Waits("NoSecurityGroup", f"waits for the SecurityGroup {name}, which {field} names: {said}")


def _reference(group: SecurityGroup) -> SecurityGroupReference:
    return SecurityGroupReference(name=group.metadata.name, namespace=group.metadata.namespace or "", uid=group.uid)
