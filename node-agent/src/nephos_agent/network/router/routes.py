"""Where a router on this host sends packets: routes, and rules that say which table is asked."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Final

from nephos_agent.network.addresses import is_ipv6, link_local
from nephos_agent.network.desired import HostContext
from nephos_agent.network.model import HostRouter, RouterGateway
from nephos_agent.network.router.facts import FLOATING_TABLE, MAIN_TABLE, Route, RouterFact, RoutingRule
from nephos_agent.network.router.names import inner_name, transit_mac, transit_name
from nephos_agent.network.router.transit import GATEWAY_IPV4

FLOATING_MARK: Final = 1
"""As ``router.nft`` sets it."""
_DEFAULTS: Final = {4: "0.0.0.0/0", 6: "::/0"}
_INSIDE_FIRST: Final = 100
_FROM_OUTSIDE: Final = 110
_FLOATING: Final = 120


def routes(router: HostRouter, context: HostContext) -> frozenset[RouterFact]:
    """Return routes and rules; those that the kernel makes itself, of addresses, are not among them."""
    by_destination = {route.destination: route for route in _default_routes(router, context)}
    by_destination |= {route.destination: route for route in _extra_routes(router, context)}
    return frozenset({*by_destination.values(), *_floating_routes(router)})


def _default_routes(router: HostRouter, context: HostContext) -> Iterator[Route]:
    gateway = router.gateway
    if gateway is None:
        return
    if gateway.gateway_host == context.host:
        device = inner_name(gateway.network_uid, is_outside=True)
        for next_hop in gateway.next_hops:
            yield _route(_DEFAULTS[ip_address(next_hop).version], device, next_hop)
        return
    for version in sorted({ip_network(cidr).version for cidr in gateway.cidrs}):
        by_transit = _by_transit(router, gateway, context, version)
        if by_transit:
            yield _route(_DEFAULTS[version], *by_transit)


def _extra_routes(router: HostRouter, context: HostContext) -> Iterator[Route]:
    """Yield the user's routes. A next hop outside is reached as the outside is: here, or by the gateway host."""
    for extra in router.routes:
        destination = str(ip_network(extra.destination, strict=False))
        inside = [leg.network_uid for leg in router.legs if _is_in(extra.next_hop, leg.cidr)]
        gateway = router.gateway
        if inside:
            yield _route(destination, inner_name(inside[0], is_outside=False), extra.next_hop)
        elif gateway and any(_is_in(extra.next_hop, cidr) for cidr in gateway.cidrs):
            if gateway.gateway_host == context.host:
                yield _route(destination, inner_name(gateway.network_uid, is_outside=True), extra.next_hop)
            elif by_transit := _by_transit(router, gateway, context, ip_address(extra.next_hop).version):
                yield _route(destination, *by_transit)


def _by_transit(
    router: HostRouter, gateway: RouterGateway, context: HostContext, version: int
) -> tuple[str, str] | None:
    """Return device and next hop to the gateway host, or None while there is none."""
    if gateway.transit_vni is None or gateway.gateway_host is None or gateway.gateway_host_address is None:
        return None
    if not router.legs:
        return None
    next_hop = GATEWAY_IPV4 if version == 4 else link_local(transit_mac(router.uid, gateway.gateway_host))
    return transit_name(gateway.transit_vni, context.underlay_address), next_hop


def _floating_routes(router: HostRouter) -> Iterator[RouterFact]:
    """Yield how packets of floating addresses leave: networks of the router's first, all else from this host."""
    gateway = router.gateway
    if gateway is None or not router.floating_ips or not router.is_enabled:
        return
    device = inner_name(gateway.network_uid, is_outside=True)
    yield RoutingRule(_INSIDE_FIRST, MAIN_TABLE, but_default=True)
    yield RoutingRule(_FLOATING, FLOATING_TABLE, mark=FLOATING_MARK)
    for cidr in gateway.cidrs:
        if ip_network(cidr).version == 4:
            yield RoutingRule(_FROM_OUTSIDE, FLOATING_TABLE, source=cidr)
            yield Route(FLOATING_TABLE, cidr, device, None)
    for next_hop in gateway.next_hops:
        if not is_ipv6(next_hop):
            yield Route(FLOATING_TABLE, _DEFAULTS[4], device, next_hop)


def _route(destination: str, device: str, next_hop: str) -> Route:
    return Route(MAIN_TABLE, destination, device, next_hop)


def _is_in(address: str, cidr: str) -> bool:
    return ip_address(address) in ip_network(cidr)
