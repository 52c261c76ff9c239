"""From a router's description to the facts that this host must carry."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from typing import Final

from nephos_agent.network.addresses import is_ipv6
from nephos_agent.network.desired import HostContext
from nephos_agent.network.facts import BridgeEntry, Dnsmasq, Fact, GuardElement, Neighbour
from nephos_agent.network.filters.desired import attachment
from nephos_agent.network.model import HostFloatingIP, HostRouter, RouterGateway, RouterNeighbour
from nephos_agent.network.names import network_names
from nephos_agent.network.router import advertiser as router_advertiser
from nephos_agent.network.router.facts import Address, Leg, NatElement, NatSet, RouterFact, RouterSpace
from nephos_agent.network.router.names import inner_name, leg_mac, leg_name, outside_mac, router_names
from nephos_agent.network.router.routes import routes
from nephos_agent.network.router.sources import behind, collapsed
from nephos_agent.network.router.transit import transit

_EVERYWHERE: Final = "0.0.0.0/0"


def router_facts(router: HostRouter, context: HostContext) -> frozenset[RouterFact]:
    """Return all facts of the router on this host, those of its neighbours apart."""
    names = router_names(router.uid, context.namespace_prefix)
    result: set[RouterFact] = {RouterSpace(names.namespace, router.is_enabled)}
    for leg in _legs(router, context):
        result |= {leg, BridgeEntry(leg.device, leg.mac), *attachment(leg.device, leg.bridge, "from_router")}
    result |= {*_inside_addresses(router), *_outside_addresses(router, context)}
    result |= {*_sources(router), *_translations(router, context), *transit(router, context), *routes(router, context)}
    config = router_advertiser.configuration(router)
    if config is not None:
        result.add(Dnsmasq(names.unit, names.unit, names.namespace, names.directory, config))
    return frozenset(result)


def neighbour_facts(neighbours: frozenset[RouterNeighbour]) -> frozenset[RouterFact]:
    """Return where the router sends packets for the ports behind its legs."""
    return frozenset(
        Neighbour(inner_name(each.network_uid, is_outside=False), each.address, each.mac) for each in neighbours
    )


def on_bridges(inside: frozenset[RouterFact]) -> Iterator[Fact]:
    """Yield what of a router lies on the networks' bridges, and so among the facts of the tenant namespace too."""
    legs = {fact.device for fact in inside if isinstance(fact, Leg)}
    for fact in inside:
        if isinstance(fact, (BridgeEntry, GuardElement)) and fact.device in legs:
            yield fact


def floating_ips(router: HostRouter) -> tuple[HostFloatingIP, ...]:
    """Return the floating IPs that answer here: one for a fixed address, none of a router that forwards nothing."""
    if router.gateway is None or not router.is_enabled:
        return ()
    by_uid = sorted(router.floating_ips, key=lambda each: each.uid)
    by_fixed = {each.fixed_address: each for each in reversed(by_uid)}
    return tuple(by_fixed.values())


def own_gateway(router: HostRouter, context: HostContext) -> RouterGateway | None:
    """Return the router's outside where this host is its gateway host."""
    gateway = router.gateway
    return gateway if gateway and gateway.gateway_host == context.host else None


def _legs(router: HostRouter, context: HostContext) -> Iterator[Leg]:
    mtus = dict(router.mtus)
    for network_uid in sorted({leg.network_uid for leg in router.legs}):
        yield _leg(router, network_uid, leg_mac(router.uid, network_uid), mtus[network_uid], context, is_outside=False)
    if router.gateway and router.needs_outside(context.host):
        network_uid = router.gateway.network_uid
        mac = outside_mac(router.uid, network_uid, context.host)
        yield _leg(router, network_uid, mac, mtus[network_uid], context, is_outside=True)


def _leg(router: HostRouter, network_uid: str, mac: str, mtu: int, context: HostContext, *, is_outside: bool) -> Leg:
    return Leg(
        leg_name(router.uid, network_uid, is_outside=is_outside),
        inner_name(network_uid, is_outside=is_outside),
        network_uid,
        network_names(network_uid, context.namespace_prefix).bridge,
        mac,
        mtu,
    )


def _inside_addresses(router: HostRouter) -> Iterator[Address]:
    for leg in router.legs:
        length = ip_network(leg.cidr).prefixlen
        yield Address(inner_name(leg.network_uid, is_outside=False), f"{leg.address}/{length}")


def _outside_addresses(router: HostRouter, context: HostContext) -> Iterator[Address]:
    """Yield what the router answers for on the external network, from this host."""
    if router.gateway is None:
        return
    device = inner_name(router.gateway.network_uid, is_outside=True)
    gateway = own_gateway(router, context)
    for address in gateway.addresses if gateway else ():
        yield Address(device, address)
    for each in floating_ips(router):
        yield Address(device, f"{each.address}/32")


def _sources(router: HostRouter) -> Iterator[NatElement]:
    """Yield who is behind which leg, and behind any."""
    by_network = behind(router.legs, router.routes, router.members)
    for network_uid, prefixes in by_network.items():
        device = inner_name(network_uid, is_outside=False)
        for prefix in prefixes:
            yield NatElement(NatSet.BEHIND if prefix.version == 4 else NatSet.BEHIND_IPV6, str(prefix), device)
    for prefix in collapsed(prefix for prefixes in by_network.values() for prefix in prefixes):
        yield NatElement(NatSet.KNOWN if prefix.version == 4 else NatSet.KNOWN_IPV6, str(prefix))


def _translations(router: HostRouter, context: HostContext) -> Iterator[NatElement]:
    for leg in router.legs:
        if not is_ipv6(leg.address):
            yield NatElement(NatSet.INSIDE, leg.cidr)
            yield NatElement(NatSet.OWN, leg.address)
    for each in floating_ips(router):
        yield NatElement(NatSet.FLOATING_IN, each.address, each.fixed_address)
        yield NatElement(NatSet.FLOATING_OUT, each.fixed_address, each.address)
    gateway = own_gateway(router, context)
    held = [_host_part(text) for text in gateway.addresses] if gateway else []
    own = [address for address in held if not is_ipv6(address)]
    for address in own:
        yield NatElement(NatSet.OWN, address)
    if gateway:
        mac = outside_mac(router.uid, gateway.network_uid, context.host)
        yield from (NatElement(name, mac) for name in (NatSet.OWN_MAC, NatSet.OWN_MAC_IPV6))
    for address in held:
        yield NatElement(NatSet.HELD_IPV6 if is_ipv6(address) else NatSet.HELD, address)
    if gateway and gateway.snat and own:
        yield NatElement(NatSet.TRANSLATED, _EVERYWHERE)
        yield NatElement(NatSet.OUTSIDE, inner_name(gateway.network_uid, is_outside=True), own[0])


def _host_part(interface: str) -> str:
    return str(ip_interface(interface).ip)
