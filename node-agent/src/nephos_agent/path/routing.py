"""Through routers, out of the cloud and into it."""

from __future__ import annotations

from ipaddress import ip_network

from nephos_agent.network.addresses import is_ipv6
from nephos_agent.network.model import HostRouter
from nephos_agent.path import needs
from nephos_agent.path.model import Stage
from nephos_agent.path.needs import Place
from nephos_agent.path.trail import Trail
from nephos_agent.path.view import addresses, contains
from nephos_api.resources import FloatingIP, Router
from nephos_api.resources.floating_ip import FloatingIPPhase
from nephos_api.resources.router import ExternalGateway, RouterLeg


def route(trail: Trail, router: Router, place: Place) -> None:
    """Enter the router on this host, and go where it sends the packet."""
    host_router = trail.view.host_router(router, place.host)
    entering = needs.leg_entries(host_router, place.network.uid, place.context)
    name = f"Router {router.metadata.namespace}/{router.metadata.name}"
    if not router.spec.enabled:
        trail.stop(Stage.ROUTER, place.host, f"{name} is switched off (spec.enabled)")
        return
    floating = trail.view.floating_ip_at(trail.target)
    if floating and router.status.external and floating.status.network_uid == router.status.external.network_uid:
        _hairpin(trail, router, host_router, place, floating)
        return
    if inward := _inward(router, trail.target):
        leg, next_hop, because = inward
        inside = needs.routed(host_router, frozenset({place.network.uid, leg.network_uid}), place.context)
        inside |= needs.neighbour(host_router, leg.network_uid, next_hop)
        trail.go(Stage.ROUTER, place.host, f"{name} {because}", entering, router.uid, inside)
        trail.deliver_on(leg.network_uid, place, next_hop)
        return
    if router.status.external is None:
        trail.stop(Stage.ROUTER, place.host, f"{name} has no route to {trail.target}: it has no external network")
        return
    if not _leads_out(router, router.status.external, trail.target):
        network = router.status.external.network
        trail.stop(Stage.ROUTER, place.host, f"{name} has no route to {trail.target}: Network {network} has no gateway")
        return
    inside = needs.routed(host_router, frozenset({place.network.uid}), place.context)
    trail.go(Stage.ROUTER, place.host, f"{name} sends it out", entering, router.uid, inside)
    _go_out(trail, router, place)


def _leads_out(router: Router, external: ExternalGateway, target: str) -> bool:
    """Tell whether the router knows a way to the address on its external network or beyond it."""
    extra = (each.next_hop for each in router.spec.routes if contains(each.destination, target))
    is_on_link = any(contains(cidr, target) for cidr in external.cidrs)
    has_default = any(is_ipv6(next_hop) == is_ipv6(target) for next_hop in external.next_hops)
    return is_on_link or has_default or any(contains(cidr, hop) for hop in extra for cidr in external.cidrs)


def _inward(router: Router, target: str) -> tuple[RouterLeg, str, str] | None:
    """Return the leg that it leaves by, whom it is sent to there, and why; None where it leaves by the outside."""
    legs = router.status.legs
    for leg in legs:
        if contains(leg.cidr, target):
            return leg, target, f"routes on this host to Network {leg.network}"
    matching = [extra for extra in router.spec.routes if contains(extra.destination, target)]
    for extra in sorted(matching, key=lambda each: ip_network(each.destination).prefixlen, reverse=True)[:1]:
        for leg in legs:
            if contains(leg.cidr, extra.next_hop):
                because = f"has a route to {extra.destination} by {extra.next_hop} on Network {leg.network}"
                return leg, extra.next_hop, because
    return None


def arrive(trail: Trail) -> None:
    """Come in from outside."""
    if floating := trail.view.floating_ip_at(trail.target):
        _translate_in(trail, floating)
        return
    for port in trail.view.ports.values():
        host_port = trail.view.host_port(port)
        place = trail.place(port.spec.network_uid or "", host_port) if host_port else None
        if trail.target not in addresses(port) or host_port is None or place is None:
            continue
        if trail.is_provided(port.spec.network_uid):
            trail.go(Stage.UPLINK, place.host, "it comes by the provider's network", needs.uplink(place))
            trail.deliver(place, trail.target)
            return
        if is_ipv6(trail.target) and _come_in_routed(trail, place):
            return
    trail.stop(Stage.UPLINK, None, f"{trail.target} is no FloatingIP, and no address that the outside can reach")


def end_outside(trail: Trail) -> None:
    """Leave the cloud for good."""
    trail.go(Stage.DESTINATION, None, f"{trail.target} is outside of the cloud")


def _hairpin(trail: Trail, router: Router, host_router: HostRouter, place: Place, floating: FloatingIP) -> None:
    """A floating address, asked for from inside."""
    inside = needs.routed(host_router, frozenset({place.network.uid}), place.context)
    entering = needs.leg_entries(host_router, place.network.uid, place.context)
    name = f"Router {router.metadata.namespace}/{router.metadata.name}"
    if floating.status.host != place.host or floating.status.router_uid != router.uid:
        trail.go(Stage.ROUTER, place.host, f"{name} sends it out to {trail.target}", entering, router.uid, inside)
        _go_out(trail, router, place)
        return
    trail.go(Stage.ROUTER, place.host, f"{name} has {trail.target} on this host", entering, router.uid, inside)
    own = _own_floating_ip(trail, place.host)
    fixed = floating.status.fixed_address or ""
    leg = next((leg for leg in router.status.legs if contains(leg.cidr, fixed)), None)
    trail.source = (own.status.address if own else leg.address if leg else None) or trail.source
    _translate_in(trail, floating)


def _own_floating_ip(trail: Trail, host: str) -> FloatingIP | None:
    """Return the FloatingIP of the sender, if it answers on that host."""
    ports = trail.view.ports_named(trail.question.source)
    found = (trail.view.floating_ip_of(port, trail.source) for port in ports)
    return next((each for each in found if each and each.status.host == host), None)


def _go_out(trail: Trail, router: Router, place: Place) -> None:
    external = router.status.external
    own = None if is_ipv6(trail.target) else _own_floating_ip(trail, place.host)
    if own and own.status.address:
        host_router = trail.view.host_router(router, place.host)
        changed = needs.translated(host_router, frozenset({own.status.address}), place.context)
        because = f"its FloatingIP {own.metadata.name} makes {own.status.address} of {trail.source}"
        trail.go(Stage.FLOATING_IP, place.host, because, frozenset(), router.uid, changed)
        trail.source = own.status.address
        _by_uplink(trail, external.network_uid if external else "", place)
        return
    gateway = _reach_gateway(trail, router, place)
    if gateway is not None:
        _by_uplink(trail, external.network_uid if external else "", gateway)


def _reach_gateway(trail: Trail, router: Router, place: Place) -> Place | None:
    """Bring it to the gateway host and translate it there, if it is to be."""
    status = router.status
    if status.gateway_host is None or status.gateway_host_address is None:
        trail.stop(Stage.SNAT, None, "the Router has no gateway host: no Host that is Up reaches the outside")
        return None
    there = Place(place.network, status.gateway_host, status.gateway_host_address, trail.namespace_prefix)
    if there.host != place.host:
        for end, word in ((place, "leaves"), (there, "reaches")):
            host_router = trail.view.host_router(router, end.host)
            needed = needs.transit(host_router, end.context)
            needed |= needs.routes(host_router, trail.target, end.context)
            because = f"it {word} the transit to the gateway host {there.host}"
            trail.go(Stage.TUNNEL, end.host, because, frozenset(), router.uid, needed)
    own = [held.address for held in (status.external.addresses if status.external else ())]
    own = [address for address in own if is_ipv6(address) == is_ipv6(trail.target)]
    if is_ipv6(trail.target) or not router.spec.snat:
        return there
    if not own:
        trail.stop(Stage.SNAT, there.host, "the Router has no external address to translate to")
        return None
    changed = needs.translated(trail.view.host_router(router, there.host), frozenset(own), there.context)
    because = f"the gateway host makes {own[0]} of {trail.source}"
    trail.go(Stage.SNAT, there.host, because, frozenset(), router.uid, changed)
    trail.source = own[0]
    return there


def _by_uplink(trail: Trail, network_uid: str, place: Place) -> None:
    external = trail.view.host_network(network_uid)
    if external is None or external.provider is None:
        trail.stop(Stage.UPLINK, place.host, "the external Network is not Active, or is no network of the provider's")
        return
    there = Place(external, place.host, place.host_address, trail.namespace_prefix)
    because = f"it leaves by physical network {external.provider.physical_network} as {trail.source}"
    trail.go(Stage.UPLINK, place.host, because, needs.uplink(there))
    if trail.view.floating_ip_at(trail.target):
        arrive(trail)
    else:
        end_outside(trail)


def _come_in_routed(trail: Trail, place: Place) -> bool:
    """Bring IPv6 in by the gateway host of the Router of that network."""
    subnets = [subnet for subnet in place.network.subnets if contains(subnet.cidr, trail.target)]
    routers = (trail.view.router_at(place.network.uid, each.gateway) for each in subnets if each.gateway)
    router = next((each for each in routers if each and each.status.external), None)
    if router is None or router.status.gateway_host is None or router.status.gateway_host_address is None:
        return False
    there = Place(place.network, router.status.gateway_host, router.status.gateway_host_address, trail.namespace_prefix)
    host_router = trail.view.host_router(router, there.host)
    inside = needs.routed(host_router, frozenset({place.network.uid}), there.context)
    because = f"the outside routes it to the gateway host of Router {router.metadata.name}"
    trail.go(Stage.ROUTER, there.host, because, frozenset(), router.uid, inside)
    trail.deliver(there, trail.target)
    return True


def _translate_in(trail: Trail, floating: FloatingIP) -> None:
    status, name = floating.status, f"FloatingIP {floating.metadata.namespace}/{floating.metadata.name}"
    router = trail.view.routers.get(status.router_uid or "")
    port = trail.view.ports.get(status.port_uid or "")
    host_port = trail.view.host_port(port) if port else None
    if status.host is None or status.fixed_address is None or router is None or port is None or host_port is None:
        trail.stop(Stage.FLOATING_IP, None, f"{name} is bound to no Port that a host carries")
        return
    place = trail.place(port.spec.network_uid or "", host_port)
    if place is None:
        trail.stop(Stage.FLOATING_IP, status.host, f"the Network of {name}'s Port is not Active")
        return
    host_router = trail.view.host_router(router, status.host)
    changed = needs.translated(host_router, frozenset({status.address or ""}), place.context)
    changed |= needs.routed(host_router, frozenset({place.network.uid}), place.context)
    if status.phase is not FloatingIPPhase.ACTIVE or not router.spec.enabled:
        why = "does not answer yet" if router.spec.enabled else "belongs to a Router that is switched off"
        trail.stop(Stage.FLOATING_IP, status.host, f"{name} {why}", router.uid, changed)
        return
    because = f"{name} makes {status.fixed_address} of {trail.target}"
    trail.go(Stage.FLOATING_IP, status.host, because, frozenset(), router.uid, changed)
    trail.target = status.fixed_address
    trail.deliver(place, trail.target)
