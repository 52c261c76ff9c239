"""Which objects a change concerns: for each kind, the keys that are worth another look, and how soon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from nephos_api.metadata import PROJECT_LABEL, Key, Resource
from nephos_api.resources import Host, Network, Port, Project, SecurityGroup, Server, Subnet
from nephos_api.resources.server import ServerPhase
from nephos_api.resources.subnet import SubnetPhase
from nephos_operator import routing_outside
from nephos_operator.allocation import is_told
from nephos_operator.changes import Rule, facts, keys
from nephos_operator.claims import held_macs
from nephos_operator.host_release import has_let_go
from nephos_operator.kinds import Namespace
from nephos_operator.networks_named import pinned_network_key
from nephos_operator.port_state import can_be_bound
from nephos_operator.quota import COUNTED_KINDS, rule_count
from nephos_operator.reconcilers.network import carried_mtu, mtu
from nephos_operator.reconcilers.server_action import FINISHED
from nephos_operator.security_groups import DEFAULT
from nephos_operator.store import Change, Store

Wake = tuple[Key, float]
"""A key, and in how many seconds it is worth a look."""

CROWD_S: Final = 1.0
"""Servers that no Host can take are looked at again together, after changes of a second have been gathered."""


def wakes(change: Change, store: Store) -> Iterator[Wake]:
    """Yield every key that the change concerns."""
    subject = change.subject
    if change.new is not None:
        yield subject.key, 0.0
    for rules in (_RULES, routing_outside.RULES):
        rule = rules.get(subject.info.kind)
        if rule is not None:
            for key in rule(change.old, change.new, store):
                yield key, 0.0
    if change.new is None:
        yield from ((key, 0.0) for key in _makes_room(subject, store))
    if _frees_capacity(change):
        for server in store.servers.by("reason", "NoValidHost"):
            yield server.key, CROWD_S


def _makes_room(gone: Resource, store: Store) -> Iterator[Key]:
    """What waited for one less of its kind in the Project, or for none at all."""
    namespace = gone.metadata.namespace
    if gone.info.kind in COUNTED_KINDS:
        yield from keys(store.tables[gone.info.kind].by("beyond_quota", namespace))
    project = store.projects.get(namespace or "")
    if project is not None and project.is_deleting:
        yield project.key


def leaves_build(change: Change) -> bool:
    """Tell whether a Host has one Server less to build."""
    old, new = change.old, change.new
    if not isinstance(old, Server) or old.status.phase is not ServerPhase.BUILD or old.status.host is None:
        return False
    return not isinstance(new, Server) or new.status.phase is not ServerPhase.BUILD


def hosts_changed(change: Change) -> bool:
    """Tell whether Hosts may take now what they refused."""
    return isinstance(change.subject, Host) and _offer(change.old) != _offer(change.new)


def _offer(host: Resource | None) -> object:
    """Return everything of a Host that decides what it can take, what is promised there left out."""
    if not isinstance(host, Host):
        return None
    status = host.status
    return (
        host.spec,
        host.metadata.labels,
        (status.phase, status.address, status.capacity, status.traits),
        (status.architecture, status.machine_types, status.firmwares),
        (status.physical_networks, status.has_vlan),
    )


def _frees_capacity(change: Change) -> bool:
    if hosts_changed(change):
        return True
    old, new = change.old, change.new
    if not isinstance(old, Server) or old.status.host is None:
        return False
    return not isinstance(new, Server) or (new.is_deleting and old.status.conditions != new.status.conditions)


_project_facts = facts("is_deleting", "spec", "status.phase")


def _project(old: Project | None, new: Project | None, store: Store) -> Iterable[Key]:
    if _project_facts(old) == _project_facts(new):
        return
    name = Change(old, new).subject.metadata.name
    for table in (
        store.networks,
        store.subnets,
        store.key_pairs,
        store.server_groups,
        store.server_actions,
        store.security_groups,
    ):
        yield from keys(table.by("namespace", name))
    yield from keys(store.servers.by("unplaced", name))
    yield from keys(store.servers.by("incomplete", name))
    yield from keys(port for port in store.ports.by("namespace", name) if not port.spec.allocations)


def _namespace(old: Namespace | None, new: Namespace | None, store: Store) -> Iterable[Key]:
    for namespace in (old, new):
        if namespace is not None:
            for name in {namespace.metadata.name, namespace.metadata.labels.get(PROJECT_LABEL, "")}:
                yield store.projects.key(name)


def _referred(old: Resource | None, new: Resource | None, store: Store) -> Iterable[Key]:
    """Servers without a Host that name the object."""
    subject = Change(old, new).subject
    return keys(store.servers.by("waits_for", subject.key))


_network_facts = facts(
    "uid", "is_deleting", "status.phase", "status.vni", "spec.port_security", "spec.shared", "spec.projects"
)


def _network(old: Network | None, new: Network | None, store: Store) -> Iterable[Key]:
    if _network_facts(old) == _network_facts(new):
        return
    subject = Change(old, new).subject
    named = (subject.metadata.namespace, subject.metadata.name)
    yield from keys(store.subnets.by("network", named))
    yield from keys(store.ports.by("unallocated", subject.key))
    yield from _referred(old, new, store)
    if old is not None and new is not None and old.spec.port_security is not new.spec.port_security:
        for port in store.ports.by("network_uid", new.uid):
            yield from _with_server(port, store)
    for network in (old, new):
        if network is not None and network.status.vni is not None:
            yield from keys(store.networks.by("vni", network.status.vni))


_subnet_facts = facts("uid", "is_deleting", "spec", "status.phase", "status.gateway", "status.service_address")


def _is_advertised(subnet: Subnet | None) -> bool:
    """Tell whether guests make an address of their own there, which their Ports have too then."""
    return subnet is not None and subnet.status.phase is SubnetPhase.ACTIVE and is_told(subnet)


def _subnet(old: Subnet | None, new: Subnet | None, store: Store) -> Iterable[Key]:
    if _subnet_facts(old) == _subnet_facts(new):
        return
    subnet = new or old
    if subnet is None:
        return
    namespace, named = subnet.metadata.namespace, (subnet.metadata.namespace, subnet.spec.network)
    network = store.networks.key(subnet.spec.network, namespace)
    yield network
    yield from keys(store.servers.by("waits_for", network))
    yield from keys(store.ports.by("unallocated", network))
    if _is_advertised(new) and not _is_advertised(old):
        found = store.networks.find(network)
        yield from keys(store.ports.by("network_uid", found.uid) if found else ())
    yield from (key for key in keys(store.subnets.by("network", named)) if key != subnet.key)


def _with_server(port: Port, store: Store) -> Iterator[Key]:
    """The Port, and the Server whose NIC it is: one of the two writes its groups."""
    yield port.key
    if port.spec.server is not None:
        yield store.servers.key(port.spec.server, port.metadata.namespace)


_group_facts = facts("uid", "is_deleting")


def _security_group(old: SecurityGroup | None, new: SecurityGroup | None, store: Store) -> Iterable[Key]:
    if old is not None and new is not None and rule_count(old) != rule_count(new):
        yield from keys(store.security_groups.by("namespace", new.metadata.namespace))
    if _group_facts(old) == _group_facts(new):
        return
    subject = Change(old, new).subject
    namespace, name = subject.metadata.namespace, subject.metadata.name
    yield from keys(store.security_groups.by("remote", (namespace, name)))
    yield from keys(store.servers.by("names_group", subject.key))
    for port in store.ports.by("names_group", subject.key):
        yield from _with_server(port, store)
    if new is None and name == DEFAULT:
        yield store.projects.key(namespace or "")


def _binding_facts(port: Port | None) -> object:
    """What Servers want to know of the Port that a NIC names, or whose name is the one of its own."""
    return port and (port.uid, port.is_deleting, port.spec.server_uid, port.spec.allocations, can_be_bound(port))


_filter_facts = facts("spec.security_groups", "spec.port_security")


def _left_groups(old: Port | None, new: Port | None, store: Store) -> Iterable[Key]:
    """The groups that the Port has no more: one that is being deleted may have waited for that."""
    left = set(old.spec.security_group_references if old else ())
    left -= set(new.spec.security_group_references if new else ())
    return (store.security_groups.key(reference.name, reference.namespace) for reference in left)


def _rivals(old: Port | None, new: Port | None, store: Store) -> Iterator[Key]:
    """All Ports with the MAC address that the Port came to have on its Network, or had: one of them is the winner."""
    for held in held_macs(old) ^ held_macs(new):
        yield from keys(store.ports.by("mac", held))


def _port(old: Port | None, new: Port | None, store: Store) -> Iterable[Key]:
    port = new or old
    if port is None:
        return
    if new is None:  # Servers to be placed, or with a NIC to come, count Ports too
        for index in ("beyond_quota", "incomplete"):
            yield from keys(store.servers.by(index, port.metadata.namespace))
    yield from _left_groups(old, new, store)
    yield from _rivals(old, new, store)
    if _binding_facts(old) != _binding_facts(new):
        yield from keys(store.servers.by("named_port", (port.metadata.namespace, port.metadata.name)))
    if new is not None and new.spec.server is not None and _filter_facts(old) != _filter_facts(new):
        yield store.servers.key(new.spec.server, new.metadata.namespace)
    if old is None or (new is not None and new.spec.allocations == old.spec.allocations):
        return
    network = pinned_network_key(old)
    yield network
    yield from (store.subnets.key(allocation.subnet, network.namespace) for allocation in old.spec.allocations)
    yield from keys(store.ports.by("unallocated", network))
    yield from keys(store.servers.by("waits_for", network))
    if old.spec.server:
        yield store.servers.key(old.spec.server, old.metadata.namespace)


def _server(old: Server | None, new: Server | None, store: Store) -> Iterable[Key]:
    subject = new or old
    if subject is None:
        return
    namespace, name = subject.metadata.namespace, subject.metadata.name
    if old is None or new is None or old.status.phase is not new.status.phase:
        actions = store.server_actions.by("server", (namespace, name))
        yield from (action.key for action in actions if action.status.phase not in FINISHED)
    if old is not None and new is not None and old.spec.networks != new.spec.networks:
        yield from keys(store.ports.by("server_uid", subject.uid))
    if new is None or (new.is_deleting and has_let_go(new, store)):
        yield from keys(store.ports.by("server_uid", subject.uid))
        yield from keys(store.servers.by("beyond_quota", namespace))
        waiting = store.servers.by("reason", "AddressInUse")
        yield from (server.key for server in waiting if server.metadata.namespace == namespace)


_lifelines = facts("uid", "spec.out_of_service", "status.address", "status.physical_networks")


def _host(old: Host | None, new: Host | None, store: Store) -> Iterable[Key]:
    subject = Change(old, new).subject
    if _lifelines(old) != _lifelines(new):
        for server in store.servers.by("host", subject.metadata.name):
            yield server.key
            yield from keys(store.ports.by("server_uid", server.uid))
    was, now = (host.status.underlay_mtu if host else None for host in (old, new))
    if was != now:
        carried = carried_mtu(store.hosts)
        yield from (network.key for network in store.networks if network.status.mtu != mtu(network, carried))


_RULES: Final[dict[str, Rule]] = {
    "Project": _project,
    "Namespace": _namespace,
    "Flavor": _referred,
    "Image": _referred,
    "KeyPair": _referred,
    "ServerGroup": _referred,
    "Network": _network,
    "Subnet": _subnet,
    "SecurityGroup": _security_group,
    "Port": _port,
    "Server": _server,
    "Host": _host,
}
