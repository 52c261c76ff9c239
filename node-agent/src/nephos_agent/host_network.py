"""From API objects to a network as this host needs it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from nephos_agent.network.model import (
    AddressPair,
    GroupMember,
    HostNetwork,
    HostPort,
    HostSecurityGroup,
    PortAddress,
    ProviderSegment,
    RateLimit,
)
from nephos_agent.remote_port import RemotePort
from nephos_api.identity import mac_address
from nephos_api.resources.network import ExternalSegment, Network
from nephos_api.resources.port import Port, PortQos, RateLimits


def port_mac(port: Port | RemotePort) -> str:
    """Return the port's MAC address."""
    return port.spec.mac_address or mac_address(port.uid)


def host_network(
    network: Network,
    ports: Iterable[HostPort],
    security_groups: Iterable[HostSecurityGroup] = (),
    routed_members: Iterable[GroupMember] = (),
    *,
    serves_guests: bool = True,
) -> HostNetwork | None:
    """Return the network, everything in a fixed order; None while the operator has not said what it is."""
    status, external = network.status, network.spec.external
    if status.mtu is None or (status.vni is None and external is None):
        return None
    return HostNetwork(
        uid=network.uid,
        name=network.metadata.name,
        namespace=network.metadata.namespace or "",
        vni=None if external else status.vni,
        mtu=status.mtu,
        dns_domain=status.dns_domain or "",
        subnets=status.subnets,
        ports=tuple(sorted(ports, key=lambda port: port.uid)),
        provider=_provider(external) if external else None,
        serves_guests=serves_guests,
        security_groups=tuple(sorted(security_groups, key=lambda group: group.uid)),
        routed_members=tuple(sorted(set(routed_members), key=lambda member: (member.address, member.security_groups))),
    )


def host_port(port: Port | RemotePort, *, port_security: bool = True) -> HostPort | None:
    """Return the port as hosts need it; None while it is bound to no host. ``port_security``: what its Network says."""
    spec, mac = port.spec, port_mac(port)
    if spec.host is None or spec.host_address is None:
        return None
    qos = spec.qos or PortQos()
    return HostPort(
        uid=port.uid,
        name=port.metadata.name,
        mac=mac,
        addresses=tuple(PortAddress(held.address, held.subnet_uid, held.prefix_length) for held in spec.allocations),
        server_uid=spec.server_uid,
        server_name=spec.server,
        host=spec.host,
        host_address=spec.host_address,
        security_groups=tuple(sorted({group.uid for group in spec.security_group_references})),
        port_security=port_security if spec.port_security is None else spec.port_security,
        address_pairs=tuple(AddressPair(pair.address, pair.mac_address or mac) for pair in spec.allowed_address_pairs),
        is_enabled=spec.enabled,
        ingress=_limit(qos.ingress),
        egress=_limit(qos.egress),
    )


def routed_members(ports: Iterable[HostPort], groups: frozenset[str]) -> frozenset[GroupMember]:
    """Return the addresses of the ports that are in one of the groups."""
    return frozenset(
        GroupMember(held.address, port.security_groups)
        for port in ports
        if not groups.isdisjoint(port.security_groups)
        for held in port.addresses
    )


def remote_groups(security_groups: Iterable[HostSecurityGroup]) -> frozenset[str]:
    """Return the UIDs of the groups that the rules name as the other side's."""
    return frozenset(rule.remote_group for group in security_groups for rule in group.rules if rule.remote_group)


def _provider(external: ExternalSegment) -> ProviderSegment:
    return ProviderSegment(external.physical_network, external.type, external.vlan_id)


def _limit(limits: RateLimits) -> RateLimit:
    return RateLimit(limits.kilobits_per_second, limits.packets_per_second)
