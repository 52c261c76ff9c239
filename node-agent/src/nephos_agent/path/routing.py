"""Through routers, from one network to another and out of the cloud."""

from __future__ import annotations

from dataclasses import replace

from nephos_agent.network.addresses import is_ipv6
from nephos_agent.network.router.facts import RouterFact
from nephos_agent.path import needs
from nephos_agent.path.model import Stage
from nephos_agent.path.needs import Place
from nephos_agent.path.outside import beyond, leave, router_name, translate_in
from nephos_agent.path.sources import is_taken
from nephos_agent.path.trail import Trail
from nephos_agent.path.view import contains, prefix_length
from nephos_api.resources import FloatingIP, Router
from nephos_api.resources.network import HostRoute
from nephos_api.resources.router import ExternalGateway, RouterLeg


def route(trail: Trail, router: Router, place: Place) -> None:
    """Enter the router on this host, and go where it sends the packet."""
    name, external = router_name(router), router.status.external
    if not router.spec.enabled:
        trail.stop(Stage.ROUTER, place.host, f"{name} is switched off (spec.enabled)")
    elif not is_taken(trail.view.host_router(router, place.host), place.network.uid, trail.source):
        because = f"{name} takes {trail.source} for one behind another leg: nobody comes by this one with it"
        trail.stop(Stage.ROUTER, place.host, because)
    elif floating := _floating_ip_on(trail, router, place.host):
        _hairpin(trail, router, place, floating)
    elif inward := _inward(router, trail.target):
        leg, next_hop, because = inward
        _go_on_inside(trail, router, place, leg, next_hop, because)
    elif external is None:
        trail.stop(Stage.ROUTER, place.host, f"{name} has no route to {trail.target}: it has no external network")
    elif not _leads_out(router, external, trail.target):
        because = f"{name} has no route to {trail.target}: Network {external.network} has no gateway"
        trail.stop(Stage.ROUTER, place.host, because)
    else:
        _go_out(trail, router, place, external)


def _enter(
    trail: Trail,
    router: Router,
    place: Place,
    because: str,
    to: frozenset[str] = frozenset(),
    way: frozenset[RouterFact] = frozenset(),
) -> None:
    """Pass the router on this host, to the networks; ``way`` is what it goes on by."""
    host_router, networks = trail.view.host_router(router, place.host), to | {place.network.uid}
    entering = needs.leg_entries(host_router, networks, place.context)
    inside = needs.routed(host_router, networks, place.context)
    inside |= needs.taken(host_router, place.network.uid, trail.source, place.context)
    trail.go(Stage.ROUTER, place.host, f"{router_name(router)} {because}", entering, router.uid, inside | way)


def _go_on_inside(trail: Trail, router: Router, place: Place, leg: RouterLeg, next_hop: str, because: str) -> None:
    host_router = trail.view.host_router(router, place.host)
    way = needs.routes(host_router, trail.target, place.context)
    way |= needs.neighbour(host_router, leg.network_uid, next_hop)
    _enter(trail, router, place, because, frozenset({leg.network_uid}), way)
    trail.deliver_on(leg.network_uid, place, next_hop)


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
    extra = _extra_route(router, target)
    for leg in legs if extra else ():
        if extra and contains(leg.cidr, extra.next_hop):
            because = f"has a route to {extra.destination} by {extra.next_hop} on Network {leg.network}"
            return leg, extra.next_hop, because
    return None


def _extra_route(router: Router, target: str) -> HostRoute | None:
    matching = [extra for extra in router.spec.routes if contains(extra.destination, target)]
    return max(matching, key=lambda extra: prefix_length(extra.destination), default=None)


def _floating_ip_on(trail: Trail, router: Router, host: str) -> FloatingIP | None:
    """Return the FloatingIP of the target, if it is this router's and answers on this host."""
    floating = trail.view.floating_ip_at(trail.target)
    is_here = floating and (floating.status.host, floating.status.router_uid) == (host, router.uid)
    return floating if is_here else None


def _hairpin(trail: Trail, router: Router, place: Place, floating: FloatingIP) -> None:
    """A floating address of this host, asked for from inside."""
    _enter(trail, router, place, f"has {trail.target} on this host")
    _turn_back(trail, router, place, floating)


def _turn_back(trail: Trail, router: Router, place: Place, floating: FloatingIP) -> None:
    """Go in by the floating address, with a sender to whom the answers come back here."""
    own = _own_floating_ip(trail, place.host)
    fixed = floating.status.fixed_address or ""
    leg = next((leg for leg in router.status.legs if contains(leg.cidr, fixed)), None)
    trail.source = (own.status.address if own else leg.address if leg else None) or trail.source
    translate_in(trail, floating, beyond(trail, router, place))


def _own_floating_ip(trail: Trail, host: str) -> FloatingIP | None:
    """Return the FloatingIP of the sender, if it answers on that host."""
    ports = trail.view.ports_named(trail.question.source)
    found = (trail.view.floating_ip_of(port, trail.source) for port in ports)
    return next((each for each in found if each and each.status.host == host), None)


def _go_out(trail: Trail, router: Router, place: Place, external: ExternalGateway) -> None:
    """By the sender's floating address from this host, else by the gateway host.

    The user's routes come before the table of floating addresses; from other hosts than the gateway they lead to it.
    """
    extra, is_gateway = _extra_route(router, trail.target), router.status.gateway_host == place.host
    is_by_extra = extra is not None and prefix_length(extra.destination) > 0
    own = _own_floating_ip(trail, place.host) if is_gateway or not is_by_extra else None
    to = frozenset({external.network_uid}) if own or is_gateway else frozenset()
    host_router = trail.view.host_router(router, place.host)
    way = needs.routes(host_router, trail.target, place.context) if own is None or is_by_extra else frozenset()
    _enter(trail, router, place, "sends it out", to, way)
    if own and own.status.address:
        _show_floating(trail, router, place, own.metadata.name, own.status.address)
        _by_uplink(trail, router, place, external)
    else:
        _by_gateway(trail, router, place, external)


def _show_floating(trail: Trail, router: Router, place: Place, name: str, address: str) -> None:
    host_router = trail.view.host_router(router, place.host)
    inside = needs.translated(host_router, frozenset({address}), place.context)
    inside |= needs.floating_routes(host_router, trail.target, place.context)
    because = f"its FloatingIP {name} makes {address} of {trail.source}"
    trail.go(Stage.FLOATING_IP, place.host, because, frozenset(), router.uid, inside)
    trail.source = address


def _by_gateway(trail: Trail, router: Router, place: Place, external: ExternalGateway) -> None:
    there = _reach_gateway(trail, router, place, external)
    if there is None:
        return
    if floating := _floating_ip_on(trail, router, there.host):
        _turn_back(trail, router, there, floating)
    elif is_ipv6(trail.target) or not router.spec.snat or _translate_out(trail, router, there, external):
        _by_uplink(trail, router, there, external)


def _reach_gateway(trail: Trail, router: Router, place: Place, external: ExternalGateway) -> Place | None:
    """Bring it to the gateway host."""
    status = router.status
    if status.gateway_host is None or status.gateway_host_address is None:
        trail.stop(Stage.SNAT, None, "the Router has no gateway host: no Host that is Up reaches the outside")
        return None
    there = replace(place, host=status.gateway_host, host_address=status.gateway_host_address)
    if there.host == place.host:
        return there
    leaving = needs.transit(trail.view.host_router(router, place.host), place.context)
    because = f"it leaves the transit to the gateway host {there.host}"
    trail.go(Stage.TUNNEL, place.host, because, frozenset(), router.uid, leaving)
    host_router, outside = trail.view.host_router(router, there.host), frozenset({external.network_uid})
    inside = needs.transit(host_router, there.context)
    inside |= needs.routed(host_router, outside, there.context)
    inside |= needs.routes(host_router, trail.target, there.context)
    entering = needs.leg_entries(host_router, outside, there.context)
    because = f"it reaches the gateway host {there.host} by the transit"
    trail.go(Stage.TUNNEL, there.host, because, entering, router.uid, inside)
    return there


def _translate_out(trail: Trail, router: Router, there: Place, external: ExternalGateway) -> bool:
    """Translate it on the gateway host; False where there is nothing to translate to."""
    own = next((held.address for held in external.addresses if not is_ipv6(held.address)), None)
    if own is None:
        trail.stop(Stage.SNAT, there.host, "the Router has no external address to translate to")
        return False
    changed = needs.translated(trail.view.host_router(router, there.host), frozenset({own}), there.context)
    because = f"the gateway host makes {own} of {trail.source}"
    trail.go(Stage.SNAT, there.host, because, frozenset(), router.uid, changed)
    trail.source = own
    return True


def _by_uplink(trail: Trail, router: Router, place: Place, external: ExternalGateway) -> None:
    outside = beyond(trail, router, place)
    if outside is None:
        because = "the external Network is not Active, or is no network of the provider's"
        trail.stop(Stage.UPLINK, place.host, because)
        return
    leave(trail, outside, is_neighbour=any(contains(cidr, trail.target) for cidr in external.cidrs))
