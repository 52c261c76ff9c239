"""What the operator knows: every object of the cloud, typed, with the indices that its decisions need."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from nephos_api.interfaces import port_of
from nephos_api.metadata import Key, Resource
from nephos_api.resources import (
    Flavor,
    FloatingIP,
    Host,
    Image,
    KeyPair,
    Network,
    Port,
    Project,
    Router,
    SecurityGroup,
    Server,
    ServerAction,
    ServerGroup,
    Subnet,
)
from nephos_operator.claims import held_addresses, held_macs
from nephos_operator.kinds import Namespace
from nephos_operator.networks_named import network_places
from nephos_operator.quota import beyond_quota
from nephos_operator.references import interface_keys, missing_interfaces, referenced_keys
from nephos_operator.router_indices import FLOATING_IP_INDICES, ROUTER_INDICES
from nephos_operator.security_groups import group_keys
from nephos_operator.table import Index, Table, version


@dataclass(frozen=True)
class Change:
    """An object that came (old is None), changed, or went (new is None)."""

    old: Resource | None
    new: Resource | None

    @property
    def subject(self) -> Resource:
        """The object as it is, or as it was last seen."""
        subject = self.new or self.old
        if subject is None:
            raise ValueError("a change has an old or a new object")
        return subject


Listener = Callable[[Change], None]


def _namespace(resource: Resource) -> Iterable[Hashable]:
    return (resource.metadata.namespace,)


def _value(value: Hashable | None) -> Iterable[Hashable]:
    return () if value is None else (value,)


def _reason(server: Server) -> Iterable[Hashable]:
    """Why an unplaced Server is not placed; a placed one has no reason here."""
    if server.status.host is not None:
        return ()
    return tuple(condition.reason for condition in server.status.conditions if condition.type == "Ready")


_SERVER_INDICES: Final[dict[str, Index[Server]]] = {
    "namespace": _namespace,
    "host": lambda server: _value(server.status.host),
    "group": lambda server: _value(server.spec.server_group and (server.metadata.namespace, server.spec.server_group)),
    "flavor": lambda server: ((server.metadata.namespace, server.spec.flavor),),
    "names_group": lambda server: group_keys(server.metadata.namespace, server.spec.security_groups),
    "named_port": lambda server: {(server.metadata.namespace, port_of(server, nic)) for nic in server.spec.networks},
    "waits_for": lambda server: (
        interface_keys(server, missing_interfaces(server)) if server.status.host else referenced_keys(server)
    ),
    "incomplete": lambda server: (
        (server.metadata.namespace,) if server.status.host and missing_interfaces(server) else ()
    ),
    "unplaced": lambda server: () if server.status.host else (server.metadata.namespace,),
    "reason": _reason,
    "beyond_quota": lambda server: () if server.status.host else beyond_quota(server),
}


def _remote_groups(group: SecurityGroup) -> Iterable[Hashable]:
    rules = (*group.spec.rules, *group.spec.default_rules)
    return {(group.metadata.namespace, rule.remote_group) for rule in rules if rule.remote_group}


_PORT_INDICES: Final[dict[str, Index[Port]]] = {
    "namespace": _namespace,
    "network_uid": lambda port: _value(port.spec.network_uid),
    "subnet_uid": lambda port: {allocation.subnet_uid for allocation in port.spec.allocations},
    "address": held_addresses,
    "server_uid": lambda port: _value(port.spec.server_uid),
    "mac": held_macs,
    "security_group": lambda port: {reference.uid for reference in port.spec.security_group_references},
    "names_group": lambda port: group_keys(port.metadata.namespace, port.spec.security_groups),
    "beyond_quota": beyond_quota,
    "unallocated": lambda port: (
        () if port.spec.allocations else network_places(port.metadata.namespace, port.spec.network)
    ),
}


class Store:
    """The tables of all kinds; tells its listeners of each change, in the order of subscription."""

    def __init__(self) -> None:
        self.namespaces = Table(Namespace, {})
        self.projects = Table(Project, {})
        self.flavors = Table(Flavor, {})
        self.hosts = Table(Host, {})
        self.images = Table(Image, {"namespace": _namespace})
        self.key_pairs = Table(KeyPair, {"namespace": _namespace, "beyond_quota": beyond_quota})
        self.networks = Table(
            Network,
            {
                "namespace": _namespace,
                "vni": lambda network: _value(network.status.vni),
                "segment": lambda network: _value(network.spec.external),
                "beyond_quota": beyond_quota,
            },
        )
        self.subnets = Table(
            Subnet,
            {
                "namespace": _namespace,
                "network": lambda subnet: ((subnet.metadata.namespace, subnet.spec.network),),
                "beyond_quota": beyond_quota,
            },
        )
        self.security_groups = Table(
            SecurityGroup, {"namespace": _namespace, "remote": _remote_groups, "beyond_quota": beyond_quota}
        )
        self.ports = Table(Port, _PORT_INDICES)
        self.routers = Table(Router, ROUTER_INDICES)
        self.floating_ips = Table(FloatingIP, FLOATING_IP_INDICES)
        self.server_groups = Table(ServerGroup, {"namespace": _namespace, "beyond_quota": beyond_quota})
        self.servers = Table(Server, _SERVER_INDICES)
        self.server_actions = Table(
            ServerAction,
            {
                "namespace": _namespace,
                "server": lambda action: ((action.metadata.namespace, action.spec.server),),
            },
        )
        self.tables: dict[str, Table[Any]] = {
            table.kind.info.kind: table
            for table in (
                self.namespaces,
                self.projects,
                self.flavors,
                self.hosts,
                self.images,
                self.key_pairs,
                self.networks,
                self.subnets,
                self.routers,
                self.floating_ips,
                self.server_groups,
                self.servers,
                self.security_groups,
                self.ports,
                self.server_actions,
            )
        }
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Have each change told to the listener, at once and in order."""
        self._listeners.append(listener)

    def find(self, key: Key) -> Resource | None:
        """Return the object of that key, or None."""
        found: Resource | None = self.tables[key.kind].find(key)
        return found

    def put(self, resource: Resource) -> None:
        """Take in what the API server said of an object; older versions than what is here are dropped."""
        table: Table[Any] = self.tables[resource.info.kind]
        held = table.find(resource.key)
        if held is not None and held.uid != resource.uid and version(held) < version(resource):
            self.remove(held.key, held.uid, version(resource))
        if (taken := table.put(resource)) is not None:
            self._tell(Change(*taken))

    def remove(self, key: Key, uid: str, as_of: int) -> None:
        """Take in that the object of that UID is gone in the version ``as_of``."""
        if (old := self.tables[key.kind].remove(key, uid, as_of)) is not None:
            self._tell(Change(old, None))

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            listener(change)
