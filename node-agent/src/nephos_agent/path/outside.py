"""On the provider's networks: what goes on there, and what comes in from there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nephos_agent.network.addresses import is_ipv6
from nephos_agent.path import needs
from nephos_agent.path.model import Stage
from nephos_agent.path.needs import Place
from nephos_agent.path.sources import is_inside
from nephos_agent.path.trail import Trail
from nephos_agent.path.view import contains, is_address
from nephos_api.resources import FloatingIP, Router
from nephos_api.resources.floating_ip import FloatingIPPhase


def come_from_outside(trail: Trail) -> None:
    """Come in by a provider's network, whichever leads to the target."""
    if not _come_in(trail):
        trail.stop(Stage.UPLINK, None, f"{trail.target} is no FloatingIP, and no address that the outside can reach")


def router_name(router: Router) -> str:
    """Return what the router is called, for people."""
    return f"Router {router.metadata.namespace}/{router.metadata.name}"


def leave(trail: Trail, place: Place, *, is_neighbour: bool) -> None:
    """Go on from a host's bridge of the provider's network: to a neighbour there, or to the provider's router."""
    if is_neighbour and (floating := trail.view.floating_ip_at(trail.target)):
        translate_in(trail, floating, place)
    elif is_neighbour and trail.view.port_with(place.network.uid, trail.target):
        trail.deliver(place, trail.target)
    else:
        trail.leave(place)
        if not _come_in(trail):
            trail.go(Stage.DESTINATION, None, f"{trail.target} is outside of the cloud")


def _come_in(trail: Trail) -> bool:
    """Come in where the target is; False where nothing of the cloud's has it."""
    if floating := trail.view.floating_ip_at(trail.target):
        translate_in(trail, floating, None)
        return True
    places = list(_places(trail))
    provided = next((place for place in places if place.network.provider), None)
    if provided:
        trail.cross(None, provided)
        trail.deliver(provided, trail.target)
        return True
    # Private addresses are routed to by a provider who wants it: only asked for from there they are taken to be.
    is_routed = is_ipv6(trail.target) or is_address(trail.question.source)
    return is_routed and any(_come_in_routed(trail, place) for place in places)


def _places(trail: Trail) -> Iterator[Place]:
    for port in trail.view.ports_with(trail.target):
        host_port = trail.view.host_port(port)
        place = trail.place(port.spec.network_uid or "", host_port) if host_port else None
        if place:
            yield place


def _come_in_routed(trail: Trail, place: Place) -> bool:
    """Bring it in by the gateway host of the Router of that network."""
    subnets = [subnet for subnet in place.network.subnets if contains(subnet.cidr, trail.target)]
    routers = (trail.view.router_at(place.network.uid, each.gateway) for each in subnets if each.gateway)
    router = next((each for each in routers if each and each.status.external), None)
    if router is None or router.status.gateway_host is None or router.status.gateway_host_address is None:
        return False
    there = replace(place, host=router.status.gateway_host, host_address=router.status.gateway_host_address)
    outside = beyond(trail, router, there)
    if outside is None:
        return False
    trail.cross(None, outside)
    name = router_name(router)
    if not router.spec.enabled:
        trail.stop(Stage.ROUTER, there.host, f"{name} is switched off (spec.enabled)")
    elif is_inside(trail.view.host_router(router, there.host), trail.source):
        because = f"{name} takes {trail.source} for inside: nobody comes from outside with it"
        trail.stop(Stage.ROUTER, there.host, because)
    else:
        _pass_in(trail, router, there, outside)
    return True


def _pass_in(trail: Trail, router: Router, there: Place, outside: Place) -> None:
    both = frozenset({there.network.uid, outside.network.uid})
    host_router = trail.view.host_router(router, there.host)
    entering = needs.leg_entries(host_router, both, there.context)
    inside = needs.routed(host_router, both, there.context)
    inside |= needs.neighbour(host_router, there.network.uid, trail.target)
    because = f"the outside routes it to the gateway host of Router {router.metadata.name}"
    trail.go(Stage.ROUTER, there.host, because, entering, router.uid, inside)
    trail.deliver_on(there.network.uid, there, trail.target)


def beyond(trail: Trail, router: Router, place: Place) -> Place | None:
    """Return the router's external network on that host; None while it is not Active."""
    external = router.status.external
    network = trail.view.host_network(external.network_uid) if external else None
    return replace(place, network=network) if network and network.provider else None


def translate_in(trail: Trail, floating: FloatingIP, here: Place | None) -> None:
    """Come to the host of the FloatingIP by its network, from ``here`` or from outside, and to its Port."""
    status, name = floating.status, f"FloatingIP {floating.metadata.namespace}/{floating.metadata.name}"
    router = trail.view.routers.get(status.router_uid or "")
    place = _place_of(trail, floating)
    if status.host is None or status.fixed_address is None or router is None or place is None:
        trail.stop(Stage.FLOATING_IP, None, f"{name} is bound to no Port that a host carries")
        return
    outside = beyond(trail, router, place)
    if outside is None:
        trail.stop(Stage.FLOATING_IP, status.host, f"the external Network of {name} is not Active")
        return
    both = frozenset({place.network.uid, outside.network.uid})
    host_router = trail.view.host_router(router, status.host)
    inside = needs.translated(host_router, frozenset({status.address or ""}), place.context)
    inside |= needs.routed(host_router, both, place.context)
    inside |= needs.neighbour(host_router, place.network.uid, status.fixed_address)
    inside |= needs.floating_routes(host_router, trail.source, place.context)
    if status.phase is not FloatingIPPhase.ACTIVE or not router.spec.enabled:
        why = "does not answer yet" if router.spec.enabled else "belongs to a Router that is switched off"
        trail.stop(Stage.FLOATING_IP, status.host, f"{name} {why}", router.uid, inside)
        return
    trail.cross(here, outside)
    because = f"{name} makes {status.fixed_address} of {trail.target}"
    entering = needs.leg_entries(host_router, both, place.context)
    trail.go(Stage.FLOATING_IP, status.host, because, entering, router.uid, inside)
    trail.target = status.fixed_address
    trail.deliver(place, trail.target)


def _place_of(trail: Trail, floating: FloatingIP) -> Place | None:
    port = trail.view.ports.get(floating.status.port_uid or "")
    host_port = trail.view.host_port(port) if port else None
    return trail.place(port.spec.network_uid or "", host_port) if port and host_port else None
