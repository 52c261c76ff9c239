"""Rules of the webhook for Ports, NICs of Servers, and SecurityGroups. Of an update only what is new is judged."""

from __future__ import annotations

from collections.abc import Iterable

from nephos_api.identity import mac_address
from nephos_api.interfaces import is_used, port_of
from nephos_api.metadata import Key, Resource
from nephos_api.resources import Network, Port, SecurityGroup, Server
from nephos_api.resources.server import NetworkInterface
from nephos_operator import quota
from nephos_operator.admission.cloud import Cloud, quota_refusal, sentence, terminating
from nephos_operator.allocation import automatic_problem, choice_problem, subnet_of
from nephos_operator.claims import named_holders
from nephos_operator.networks_named import active_subnets, coming_subnets, network_places, shared_network
from nephos_operator.port_plan import guest_problem
from nephos_operator.security_groups import group_names, group_places
from nephos_operator.verdict import Stalls


def server_interfaces(server: Server, cloud: Cloud) -> str | None:
    """Refuse NICs on Networks that the project may not use, with addresses or Ports that can't be had."""
    return next(filter(None, (_interface(server, nic, cloud) for nic in _new_interfaces(server, cloud))), None)


def server_groups(server: Server, cloud: Cloud) -> str | None:
    """Refuse groups that are being deleted."""
    return _groups(server, server.spec.security_groups, cloud)


def server_ports(server: Server, cloud: Cloud) -> str | None:
    """Refuse more NICs than the project may have Ports."""
    used = {"ports": cloud.store.ports.count("namespace", server.metadata.namespace)}
    return quota_refusal(server, {"ports": port_count(_new_interfaces(server, cloud))}, cloud, used=used)


def port_count(interfaces: Iterable[NetworkInterface]) -> int:
    """Return how many Ports are made for these NICs."""
    return sum(interface.port is None for interface in interfaces)


def port_network(port: Port, cloud: Cloud) -> str | None:
    """Refuse Networks that the project may not use, and what it may not have there."""
    network = _network(port, port.spec.network, "spec.network", cloud)
    return sentence(guest_problem(port, network)) if isinstance(network, Network) else network


def port_addresses(port: Port, cloud: Cloud) -> str | None:
    """Refuse addresses and a MAC address that can't be had."""
    network = _network(port, port.spec.network, "spec.network", cloud)
    if not isinstance(network, Network):
        return None
    mac = port.spec.mac_address
    if mac is not None and (others := cloud.store.ports.by("mac", (network.uid, mac))):
        names = named_holders({others[0].key}, port.metadata.namespace)
        return f"spec.macAddress: {mac} is in use by {names}; choose another, or leave it out to get one"
    return _addresses(port.key, network, "spec.addresses", port.spec.addresses, mac, cloud)


def port_groups(port: Port, cloud: Cloud) -> str | None:
    """Refuse groups that are being deleted."""
    return _groups(port, port.spec.security_groups, cloud)


def group_rules(group: SecurityGroup, cloud: Cloud) -> str | None:
    """Refuse more rules than the project may have."""
    held = cloud.store.security_groups.find(group.key)
    more = quota.rule_count(group) - (quota.rule_count(held) if held else 0)
    used = quota.usage(group.metadata.namespace or "", cloud.store)
    return quota_refusal(group, {"security_group_rules": max(more, 0)}, cloud, used=used)


def _new_interfaces(server: Server, cloud: Cloud) -> list[NetworkInterface]:
    held = cloud.store.servers.find(server.key)
    known = {interface.name for interface in held.spec.networks} if held else frozenset()
    return [interface for interface in server.spec.networks if interface.name not in known]


def _interface(server: Server, interface: NetworkInterface, cloud: Cloud) -> str | None:
    field = f"spec.networks[{interface.name}]"
    if interface.port is not None:
        return _port_of(server, interface, f"{field}.port", cloud)
    network = _network(server, interface.network, f"{field}.network", cloud)
    if not isinstance(network, Network):
        return network
    if server.spec.security_groups and not network.spec.port_security:
        return (
            f"spec.securityGroups: {network.key}, which {field} names, has spec.portSecurity false and filters nothing;"
            " leave one of them out, or name a Port that has spec.portSecurity true"
        )
    own = Key(Port.info.kind, server.metadata.namespace, port_of(server, interface))
    mac = mac_address(server.uid, interface.name) if server.uid else None
    return _addresses(own, network, f"{field}.addresses", interface.addresses, mac, cloud)


def _port_of(server: Server, interface: NetworkInterface, field: str, cloud: Cloud) -> str | None:
    """Refuse a Port on another Network, and one that stays another Server's; one that is about to be free is let in."""
    key = Key(Port.info.kind, server.metadata.namespace, port_of(server, interface))
    port = cloud.store.ports.find(key)
    if port is None:
        return None
    if port.is_deleting:
        return terminating([(field, key)], cloud)
    if port.spec.network != interface.network:
        return f"{field}: {key} is on Network {port.spec.network}, not on {interface.network}; name that one in network"
    user = cloud.store.servers.get(port.spec.server or "", key.namespace)
    if user is None or user.key == server.key or user.is_deleting or not is_used(port, user):
        return None
    return f"{field}: {key} is in use by {user.key}; take it out of spec.networks there first, or name another"


def _network(resource: Resource, name: str, field: str, cloud: Cloud) -> Network | str | None:
    """Return the Network, the sentence that refuses it, or None where it is yet to come."""
    namespace = resource.metadata.namespace
    found = next((key for key in network_places(namespace, name) if cloud.store.find(key) is not None), None)
    if found is None:
        return None
    if refused := terminating([(field, found)], cloud):
        return refused
    network = shared_network(namespace, name, field, cloud.store)
    if isinstance(network, Stalls):
        return network.message
    return network if isinstance(network, Network) else None


def _addresses(
    own: Key, network: Network, field: str, addresses: Iterable[str], mac: str | None, cloud: Cloud
) -> str | None:
    subnets, coming = active_subnets(network, cloud.store), coming_subnets(network, cloud.store)
    for address in addresses if subnets else ():
        if subnet_of(address, coming):
            continue
        problem = choice_problem(field, address, subnets, own.namespace, mac)
        problem = problem or automatic_problem(field, address, subnets, mac)
        if problem:
            return problem.message
        subnet = subnet_of(address, subnets)
        holders = cloud.addresses.holders(subnet.uid, address) - {own} if subnet else frozenset()
        if holders:
            names = named_holders(holders, own.namespace)
            return f"{field}: {address} is in use by {names}; choose another, or leave it out to get a free one"
    return None


def _groups(resource: Server | Port, names: tuple[str, ...] | None, cloud: Cloud) -> str | None:
    held = cloud.store.find(resource.key)
    known = group_names(held.spec.security_groups) if isinstance(held, Server | Port) else ()
    named = [name for name in group_names(names) if name not in known] if names else []
    found = [
        ("spec.securityGroups", key)
        for name in named
        for key in [key for key in group_places(resource.metadata.namespace, name) if cloud.store.find(key)][:1]
    ]
    return terminating(found, cloud)
