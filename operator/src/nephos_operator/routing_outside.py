"""Which Routers, FloatingIPs, and what they use, a change concerns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from nephos_api.metadata import Key, Resource
from nephos_api.resources import FloatingIP, Host, Network, Port, Project, Router, Server, Subnet
from nephos_api.resources.network import NetworkPhase
from nephos_operator.changes import Rule, facts, keys
from nephos_operator.claims import claimants, held_addresses, identifier_claimants
from nephos_operator.gateways import is_in_service
from nephos_operator.networks_named import pinned_network_key
from nephos_operator.router_indices import external_keys, targets
from nephos_operator.store import Change, Store


def contested(old: Resource | None, new: Resource | None, store: Store) -> Iterator[Key]:
    """All who hold an address that the object came to hold, where it is not the only one, or that it gave up."""
    for held in held_addresses(old) - held_addresses(new):
        yield from keys(claimants(held, store))
    for held in held_addresses(new) - held_addresses(old):
        holders = claimants(held, store)
        if len(holders) > 1:
            yield from keys(holders)


_project_facts = facts("is_deleting", "spec", "status.phase")


def _project(old: Project | None, new: Project | None, store: Store) -> Iterator[Key]:
    if _project_facts(old) == _project_facts(new):
        return
    name = Change(old, new).subject.metadata.name
    for table in (store.routers, store.floating_ips):
        yield from keys(table.by("namespace", name))


_network_facts = facts("uid", "is_deleting", "status.phase", "spec")


def _network(old: Network | None, new: Network | None, store: Store) -> Iterator[Key]:
    if _network_facts(old) == _network_facts(new):
        return
    subject = Change(old, new).subject
    for table in (store.routers, store.floating_ips):
        yield from keys(table.by("external", subject.key))
    if isinstance(subject, Network) and subject.spec.external is not None:
        yield from keys(store.networks.by("segment", subject.spec.external))
    for network in (old, new):
        if network is not None and network.status.vni is not None:
            yield from keys(store.routers.by("vni", network.status.vni))


_subnet_facts = facts("uid", "is_deleting", "spec", "status.phase", "status.gateway")


def _subnet(old: Subnet | None, new: Subnet | None, store: Store) -> Iterator[Key]:
    subnet = new or old
    if subnet is None or _subnet_facts(old) == _subnet_facts(new):
        return
    yield from keys(store.routers.by("subnet", (subnet.metadata.namespace, subnet.metadata.name)))
    network = store.networks.key(subnet.spec.network, subnet.metadata.namespace)
    yield from keys(store.routers.by("external", network))
    yield from keys(store.floating_ips.by("unaddressed", network))


_port_facts = facts("uid", "is_deleting", "spec.allocations", "spec.host", "spec.mac_address", "spec.server_uid")


def _port(old: Port | None, new: Port | None, store: Store) -> Iterator[Key]:
    port = new or old
    if port is None or _port_facts(old) == _port_facts(new):
        return
    yield from contested(old, new, store)
    namespace = port.metadata.namespace
    yield from keys(store.floating_ips.by("port_uid", port.uid))
    yield from keys(store.floating_ips.by("target", port.key))
    if port.spec.server is not None:
        yield from keys(store.floating_ips.by("target", store.servers.key(port.spec.server, namespace)))
    if held_addresses(old) - held_addresses(new):
        yield from _waiting_for_an_address((pinned_network_key(port),), store)


_server_facts = facts("uid", "is_deleting", "spec.networks")


def _server(old: Server | None, new: Server | None, store: Store) -> Iterable[Key]:
    if _server_facts(old) == _server_facts(new):
        return ()
    return keys(store.floating_ips.by("target", Change(old, new).subject.key))


def _router(old: Router | None, new: Router | None, store: Store) -> Iterator[Key]:
    yield from contested(old, new, store)
    yield from _transit(old, new, store)
    yield from _joined(old, new, store)
    yield from _bound_by(old, new, store)
    router = new or old
    if router is None:
        return
    if held_addresses(old) - held_addresses(new) or _external_uid(old) != _external_uid(new):
        yield from _let_go_outside(old, store)


def _transit(old: Router | None, new: Router | None, store: Store) -> Iterator[Key]:
    """All who hold the VNI that the Router came to hold, where it is not the only one."""
    held = new.status.transit_vni if new is not None else None
    if held is None or (old is not None and old.status.transit_vni == held):
        return
    holders = identifier_claimants(held, store)
    if len(holders) > 1:
        yield from keys(holders)


def _joined(old: Router | None, new: Router | None, store: Store) -> Iterator[Key]:
    """What the Router joins, or joins no more, and other Routers that want to."""
    was, now = (set(router.status.legs) if router else set() for router in (old, new))
    namespace = Change(old, new).subject.metadata.namespace
    for leg in was ^ now:
        yield store.networks.key(leg.network, namespace)
        yield store.subnets.key(leg.subnet, namespace)
    named_before, named_now = (set(router.spec.subnets) if router else set() for router in (old, new))
    for name in {leg.subnet for leg in was ^ now} | (named_before ^ named_now):
        yield from (
            other for other in keys(store.routers.by("subnet", (namespace, name))) if new is None or other != new.key
        )


def _outside_of(router: Router | None) -> object:
    if router is None:
        return None
    external = router.status.external
    named = (router.spec.subnets, router.spec.external_network)
    return router.uid, router.is_deleting, named, router.status.legs, external and external.network_uid


def _bound_by(old: Router | None, new: Router | None, store: Store) -> Iterator[Key]:
    """FloatingIPs that the Router translates, or may translate now."""
    router = new or old
    if router is None or _outside_of(old) == _outside_of(new):
        return
    yield from keys(store.floating_ips.by("router_uid", router.uid))
    for key in external_keys(router):
        yield from keys(store.floating_ips.by("unbound", key))


def _external_uid(router: Router | None) -> str | None:
    external = router.status.external if router is not None else None
    return external.network_uid if external is not None else None


def _let_go_outside(old: Router | None, store: Store) -> Iterator[Key]:
    external = old.status.external if old is not None else None
    if external is None:
        return
    network = store.networks.key(external.network, external.network_namespace)
    yield network
    yield from (store.subnets.key(held.subnet, external.network_namespace) for held in external.addresses)
    yield from _waiting_for_an_address((network,), store)


def _waiting_for_an_address(networks: Iterable[Key], store: Store) -> Iterator[Key]:
    for network in networks:
        yield from keys(store.floating_ips.by("unaddressed", network))
        yield from keys(store.routers.by("unaddressed", network))


_floating_facts = facts("uid", "is_deleting", "spec", "status.address", "status.port_uid", "status.router_uid")


def _floating_ip(old: FloatingIP | None, new: FloatingIP | None, store: Store) -> Iterator[Key]:
    if _floating_facts(old) == _floating_facts(new) and _fixed(old) == _fixed(new):
        return
    yield from contested(old, new, store)
    for floating_ip in (old, new):
        if floating_ip is not None:
            yield from _used_by(floating_ip, store)
    if old is not None and held_addresses(old) - held_addresses(new):
        for network in external_keys(old):
            yield network
            yield from keys(store.subnets.by("network", (network.namespace, network.name)))
        yield from _waiting_for_an_address(external_keys(old), store)


def _fixed(floating_ip: FloatingIP | None) -> str | None:
    return floating_ip.status.fixed_address if floating_ip is not None else None


def _used_by(floating_ip: FloatingIP, store: Store) -> Iterator[Key]:
    """The Server that shows the address, the Router that translates it, and FloatingIPs that want the same target."""
    status, namespace = floating_ip.status, floating_ip.metadata.namespace
    wanted = set(targets(floating_ip))
    if status.port is not None:
        wanted.add(store.ports.key(status.port, namespace))
        port = store.ports.get(status.port, namespace)
        if port is not None and port.spec.server is not None:
            wanted.add(store.servers.key(port.spec.server, namespace))
    yield from (key for key in wanted if key.kind == "Server")
    for key in wanted:
        yield from (other for other in keys(store.floating_ips.by("target", key)) if other != floating_ip.key)
    if status.router_uid is not None:
        yield from keys(store.routers.by("uid", status.router_uid))


_host_facts = facts(
    "uid",
    "spec.enabled",
    "spec.out_of_service",
    "status.phase",
    "status.address",
    "status.physical_networks",
    "status.has_vlan",
)


def _host(old: Host | None, new: Host | None, store: Store) -> Iterator[Key]:
    if _host_facts(old) == _host_facts(new):
        return
    name = Change(old, new).subject.metadata.name
    yield from keys(store.routers.by("gateway_host", name))
    yield from keys(store.routers.by("without_gateway", True))
    for other in store.hosts:  # who stays on a lost one for want of another may have found it
        if not is_in_service(other):
            yield from keys(store.routers.by("gateway_host", other.metadata.name))
    yield from keys(store.floating_ips.by("host", name))
    for network in store.networks:
        if network.spec.external is not None and network.status.phase is not NetworkPhase.ACTIVE:
            yield network.key


RULES: Final[dict[str, Rule]] = {
    "Project": _project,
    "Network": _network,
    "Subnet": _subnet,
    "Port": _port,
    "Server": _server,
    "Router": _router,
    "FloatingIP": _floating_ip,
    "Host": _host,
}
"""By kind of the object that changed, beside the rules of ``routing``."""
