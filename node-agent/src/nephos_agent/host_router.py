"""From API objects to a router as this host needs it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from nephos_agent.network.filters.judgement import single_pairs
from nephos_agent.network.model import (
    HostFloatingIP,
    HostPort,
    HostRouter,
    RouterGateway,
    RouterLeg,
    RouterNeighbour,
)
from nephos_api.resources.floating_ip import FloatingIP
from nephos_api.resources.network import Network
from nephos_api.resources.router import ExternalGateway, Router
from nephos_api.resources.router import RouterLeg as Leg


def host_router(
    router: Router,
    networks: Mapping[str, Network],
    ports: Mapping[str, Iterable[HostPort]],
    floating_ips: Iterable[FloatingIP],
    host: str,
) -> HostRouter:
    """Return the router, everything in a fixed order.

    ``networks`` and their ``ports`` are by UID, the external network among them where the host carries it; the
    ``floating_ips`` are those of this host.
    """
    spec, status = router.spec, router.status
    return HostRouter(
        uid=router.uid,
        name=router.metadata.name,
        namespace=router.metadata.namespace or "",
        legs=tuple(sorted((_leg(leg, networks) for leg in status.legs), key=lambda leg: leg.subnet_uid)),
        mtus=tuple(sorted((uid, network.status.mtu) for uid, network in networks.items() if network.status.mtu)),
        neighbours=frozenset(_neighbours(status.legs, ports)),
        members=frozenset(_members(status.legs, ports)),
        routes=spec.routes,
        gateway=_gateway(router, status.external, host) if status.external else None,
        floating_ips=_floating_ips(floating_ips),
        is_enabled=spec.enabled,
    )


def carried(floating_ip: FloatingIP) -> bool:
    """Tell whether the address should answer where it is bound."""
    status = floating_ip.status
    return not floating_ip.is_deleting and status.address is not None and status.fixed_address is not None


def _leg(leg: Leg, networks: Mapping[str, Network]) -> RouterLeg:
    subnets = networks[leg.network_uid].status.subnets
    return RouterLeg(
        network_uid=leg.network_uid,
        subnet_uid=leg.subnet_uid,
        cidr=leg.cidr,
        address=leg.address,
        ipv6_mode=next((subnet.ipv6_mode for subnet in subnets if subnet.uid == leg.subnet_uid), None),
    )


def _neighbours(legs: Iterable[Leg], ports: Mapping[str, Iterable[HostPort]]) -> Iterable[RouterNeighbour]:
    """Yield the ports' addresses in Subnets that the router joins; it has no business with others of the network."""
    subnets = {leg.subnet_uid for leg in legs}
    for network_uid in {leg.network_uid for leg in legs}:
        for port in ports[network_uid]:
            for held in port.addresses:
                if held.subnet_uid in subnets:
                    yield RouterNeighbour(network_uid, held.address, port.mac)


def _members(legs: Iterable[Leg], ports: Mapping[str, Iterable[HostPort]]) -> Iterable[tuple[str, str]]:
    """Yield the single addresses that ports on the router's networks may use beside their own."""
    for network_uid in {leg.network_uid for leg in legs}:
        for port in ports[network_uid]:
            for address in single_pairs(port):
                yield network_uid, str(ip_network(address))


def _gateway(router: Router, external: ExternalGateway, host: str) -> RouterGateway:
    status = router.status
    is_here = status.gateway_host == host
    return RouterGateway(
        network_uid=external.network_uid,
        addresses=tuple(f"{held.address}/{held.prefix_length}" for held in external.addresses) if is_here else (),
        next_hops=external.next_hops,
        cidrs=external.cidrs,
        snat=router.spec.snat,
        transit_vni=status.transit_vni,
        gateway_host=status.gateway_host,
        gateway_host_address=status.gateway_host_address,
    )


def _floating_ips(floating_ips: Iterable[FloatingIP]) -> tuple[HostFloatingIP, ...]:
    found = (
        HostFloatingIP(each.uid, each.status.address, each.status.fixed_address)
        for each in floating_ips
        if carried(each) and each.status.address and each.status.fixed_address
    )
    return tuple(sorted(found, key=lambda each: each.uid))
