"""The way of a packet as the objects say it: where it goes, who judges it there, what it looks like behind each place.

Only the first packet of a flow is followed; answers of a flow that is allowed pass by the same flow's state.
How those of a floating address leave its host is looked at too.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from nephos_agent.network.addresses import METADATA_IPV4, METADATA_IPV6, is_ipv6
from nephos_agent.network.model import HostPort
from nephos_agent.path import needs
from nephos_agent.path.choice import choose, reachable
from nephos_agent.path.model import Question, Stage
from nephos_agent.path.needs import Place
from nephos_agent.path.outside import come_from_outside, leave
from nephos_agent.path.routing import route
from nephos_agent.path.steps import Step
from nephos_agent.path.trail import Trail
from nephos_agent.path.view import View, contains, is_address
from nephos_api.resources import Port
from nephos_api.resources.security_group import Direction

_SERVICE: Final = frozenset({METADATA_IPV4, METADATA_IPV6})


def walk(view: View, question: Question, namespace_prefix: str = "nephos") -> tuple[Step, ...]:
    """Return every place on the way, until the packet is there or nobody knows where to send it."""
    trail = Trail(view, question, namespace_prefix)
    if is_address(question.source):
        _from_outside(trail)
    else:
        _from_inside(trail)
    return tuple(trail.steps)


def _from_outside(trail: Trail) -> None:
    trail.source = trail.question.source
    if is_address(trail.question.destination):
        trail.target = trail.question.destination
    else:
        ports = trail.view.ports_named(trail.question.destination)
        choices = [each for each in reachable(trail, ports) if is_ipv6(each) == is_ipv6(trail.source)]
        if not choices:
            trail.stop(Stage.DESTINATION, None, f"{trail.question.destination} has no address for the outside")
            return
        trail.target = choices[0]
    trail.go(Stage.SOURCE, None, f"{trail.source} sends to {trail.target} from outside")
    come_from_outside(trail)


def _from_inside(trail: Trail) -> None:
    sources = trail.view.ports_named(trail.question.source)
    if not sources:
        trail.stop(Stage.SOURCE, None, f"there is no Server with Ports, and no Port, named {trail.question.source}")
        return
    chosen = choose(trail, sources)
    if chosen is None:
        trail.stop(Stage.SOURCE, None, f"no two addresses of one IP version to reach {trail.question.destination}")
        return
    port, trail.source, trail.target = chosen
    place_and_port = _enter(trail, port)
    if place_and_port is None:
        return
    place, host_port = place_and_port
    if trail.target in _SERVICE or any(each.service_address == trail.target for each in place.network.subnets):
        because = "the network's own service answers on every host, whatever the groups allow"
        trail.go(Stage.DESTINATION, place.host, because, needs.service(place))
        return
    trail.filter(place, host_port, Direction.EGRESS, trail.target)
    _leave_guest(trail, place, port)


def _enter(trail: Trail, port: Port) -> tuple[Place, HostPort] | None:
    name = f"Port {port.metadata.namespace}/{port.metadata.name}"
    host_port = trail.view.host_port(port)
    place = trail.place(port.spec.network_uid or "", host_port) if host_port else None
    if host_port is None or place is None:
        trail.stop(Stage.SOURCE, None, f"{name} is on no host: it is no NIC of a placed Server")
        return None
    if not host_port.is_enabled:
        trail.stop(Stage.SOURCE, host_port.host, f"{name} is switched off (spec.enabled)")
        return None
    because = f"{name} sends from {trail.source} to {trail.target}"
    trail.go(
        Stage.SOURCE,
        host_port.host,
        because,
        needs.attached(place, host_port)
        | (needs.sender(place, host_port, trail.source) if host_port.port_security else frozenset()),
    )
    return place, host_port


def _leave_guest(trail: Trail, place: Place, port: Port) -> None:
    network_uid, subnet = place.network.uid, trail.view.subnet_of(port, trail.source)
    if subnet and contains(subnet.cidr, trail.target):
        _to_neighbour(trail, place)
        return
    own_routes = subnet.host_routes if subnet else ()
    matching = [route for route in own_routes if contains(route.destination, trail.target)]
    nearest = max(matching, key=lambda route: ip_network(route.destination).prefixlen, default=None)
    next_hop = nearest.next_hop if nearest else subnet.gateway if subnet else None
    if next_hop is None:
        name = subnet.name if subnet else "of its address"
        trail.stop(Stage.ROUTER, place.host, f"Subnet {name} has no gateway, and no route to {trail.target}")
        return
    if router := trail.view.router_at(network_uid, next_hop):
        route(trail, router, place)
    elif trail.view.port_with(network_uid, next_hop):
        trail.deliver(place, next_hop)
    elif place.network.provider:
        leave(trail, place, is_neighbour=False)
    else:
        trail.stop(Stage.ROUTER, place.host, f"no Router and no Port has the gateway's address {next_hop}")


def _to_neighbour(trail: Trail, place: Place) -> None:
    if router := trail.view.router_at(place.network.uid, trail.target):
        host_router = trail.view.host_router(router, place.host)
        here = frozenset({place.network.uid})
        entering = needs.leg_entries(host_router, here, place.context)
        inside = needs.routed(host_router, here, place.context)
        because = f"{trail.target} is Router {router.metadata.name}'s own"
        trail.go(Stage.DESTINATION, place.host, because, entering, router.uid, inside)
    elif place.network.provider:
        leave(trail, place, is_neighbour=True)
    else:
        trail.deliver(place, trail.target)
