"""The way of a packet as the objects say it: where it goes, who judges it there, what it looks like behind each place.

Only the first packet of a flow is followed; answers of a flow that is allowed pass by the same flow's state.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from nephos_agent.network.addresses import METADATA_IPV4, METADATA_IPV6, is_ipv6
from nephos_agent.network.facts import Fact
from nephos_agent.network.judgement import Packet
from nephos_agent.network.model import HostPort, HostRouter
from nephos_agent.network.names import network_names, tap_name
from nephos_agent.network.router_facts import RouterFact
from nephos_agent.path import needs
from nephos_agent.path.model import Question, Stage
from nephos_agent.path.needs import Place
from nephos_agent.path.steps import FilterCheck, Step
from nephos_agent.path.view import View, addresses, contains, is_address
from nephos_api.resources import FloatingIP, Port, Router
from nephos_api.resources.floating_ip import FloatingIPPhase
from nephos_api.resources.security_group import Direction

_SERVICE: Final = frozenset({METADATA_IPV4, METADATA_IPV6})


def walk(view: View, question: Question, namespace_prefix: str = "nephos") -> tuple[Step, ...]:
    """Return every place on the way, until the packet is there or nobody knows where to send it."""
    return _Walk(view, question, namespace_prefix).run()


class _Walk:
    """``source`` and ``target`` are the packet's addresses where it is just now."""

    def __init__(self, view: View, question: Question, namespace_prefix: str) -> None:
        self._view = view
        self._question = question
        self._prefix = namespace_prefix
        self._steps: list[Step] = []
        self._source = self._target = ""

    def run(self) -> tuple[Step, ...]:
        if is_address(self._question.source):
            self._from_outside()
        else:
            self._from_inside()
        return tuple(self._steps)

    # Where it begins.

    def _from_outside(self) -> None:
        self._source = self._question.source
        if is_address(self._question.destination):
            self._target = self._question.destination
        else:
            ports = self._view.ports_named(self._question.destination)
            choices = [each for each in self._reachable(ports) if is_ipv6(each) == is_ipv6(self._source)]
            if not choices:
                self._stop(Stage.DESTINATION, None, f"{self._question.destination} has no address for the outside")
                return
            self._target = choices[0]
        self._pass(Stage.SOURCE, None, f"{self._source} sends to {self._target} from outside")
        self._arrive()

    def _reachable(self, ports: tuple[Port, ...]) -> list[str]:
        """Return the addresses under which the outside knows the Ports: floating ones, then those that are routed."""
        held = [(port, address) for port in ports for address in addresses(port)]
        floating = [found.status.address for each in held if (found := self._view.floating_ip_of(*each))]
        provided = [address for port, address in held if self._is_provided(port.spec.network_uid)]
        return [*(it for it in floating if it), *provided, *(address for _, address in held if is_ipv6(address))]

    def _from_inside(self) -> None:
        sources = self._view.ports_named(self._question.source)
        if not sources:
            self._stop(Stage.SOURCE, None, f"there is no Server with Ports, and no Port, named {self._question.source}")
            return
        chosen = self._choose(sources)
        if chosen is None:
            self._stop(Stage.SOURCE, None, f"no two addresses of one IP version to reach {self._question.destination}")
            return
        port, self._source, self._target = chosen
        place_and_port = self._enter(port)
        if place_and_port is None:
            return
        place, host_port = place_and_port
        self._filter(place, host_port, Direction.EGRESS, self._target)
        self._leave_guest(place, port)

    def _choose(self, sources: tuple[Port, ...]) -> tuple[Port, str, str] | None:
        """Return NIC, own address and target that the guest would choose: on the link, then by a router."""
        pairs = [
            (port, own, target)
            for port in sources
            for own in addresses(port)
            for target in self._targets()
            if is_ipv6(own) == is_ipv6(target)
        ]
        return min(pairs, key=lambda pair: self._distance(*pair), default=None)

    def _targets(self) -> list[str]:
        if is_address(self._question.destination):
            return [self._question.destination]
        ports = self._view.ports_named(self._question.destination)
        return [*(address for port in ports for address in addresses(port)), *self._reachable(ports)]

    def _distance(self, port: Port, own: str, target: str) -> int:
        network_uid, subnet = port.spec.network_uid or "", self._view.subnet_of(port, own)
        if subnet is None:
            return 3
        if contains(subnet.cidr, target) and self._view.port_with(network_uid, target):
            return 0
        router = self._view.router_at(network_uid, subnet.gateway) if subnet.gateway else None
        if router is None:
            return 3
        legs = [leg for leg in router.status.legs if contains(leg.cidr, target)]
        return 1 if any(self._view.port_with(leg.network_uid, target) for leg in legs) else 2

    def _enter(self, port: Port) -> tuple[Place, HostPort] | None:
        name = f"Port {port.metadata.namespace}/{port.metadata.name}"
        host_port = self._view.host_port(port)
        place = self._place(port.spec.network_uid or "", host_port) if host_port else None
        if host_port is None or place is None:
            self._stop(Stage.SOURCE, None, f"{name} is on no host: it is no NIC of a placed Server")
            return None
        if not host_port.is_enabled:
            self._stop(Stage.SOURCE, host_port.host, f"{name} is switched off (spec.enabled)")
            return None
        because = f"{name} sends from {self._source} to {self._target}"
        self._pass(
            Stage.SOURCE,
            host_port.host,
            because,
            needs.attached(place, host_port)
            | (needs.sender(place, host_port, self._source) if host_port.port_security else frozenset()),
        )
        return place, host_port

    def _leave_guest(self, place: Place, port: Port) -> None:
        network_uid, subnet = place.network.uid, self._view.subnet_of(port, self._source)
        if self._target in _SERVICE or any(each.service_address == self._target for each in place.network.subnets):
            self._pass(Stage.DESTINATION, place.host, "the network's own service answers on every host")
            return
        if subnet and contains(subnet.cidr, self._target):
            self._deliver(place, self._target)
            return
        own_routes = subnet.host_routes if subnet else ()
        matching = [route for route in own_routes if contains(route.destination, self._target)]
        nearest = max(matching, key=lambda route: ip_network(route.destination).prefixlen, default=None)
        next_hop = nearest.next_hop if nearest else subnet.gateway if subnet else None
        if next_hop is None:
            name = subnet.name if subnet else "of its address"
            self._stop(Stage.ROUTER, place.host, f"Subnet {name} has no gateway, and no route to {self._target}")
            return
        if router := self._view.router_at(network_uid, next_hop):
            self._route(router, place)
        elif place.network.provider:
            self._pass(Stage.UPLINK, place.host, f"it goes to the provider's router {next_hop}", needs.uplink(place))
            self._end_outside()
        elif self._view.port_with(network_uid, next_hop):
            self._deliver(place, next_hop)
        else:
            self._stop(Stage.ROUTER, place.host, f"no Router and no Port has the gateway's address {next_hop}")

    # Through a router.

    def _route(self, router: Router, place: Place) -> None:
        host_router = self._view.host_router(router, place.host)
        entering = needs.leg_entries(host_router, place.network.uid, place.context)
        name = f"Router {router.metadata.namespace}/{router.metadata.name}"
        if not router.spec.enabled:
            self._stop(Stage.ROUTER, place.host, f"{name} is switched off (spec.enabled)")
            return
        floating = self._view.floating_ip_at(self._target)
        if floating and router.status.external and floating.status.network_uid == router.status.external.network_uid:
            self._hairpin(router, host_router, place, floating)
            return
        if leg := next((leg for leg in router.status.legs if contains(leg.cidr, self._target)), None):
            because = f"{name} routes on this host to Network {leg.network}"
            inside = needs.routed(host_router, frozenset({place.network.uid, leg.network_uid}), place.context)
            inside |= needs.neighbour(host_router, leg.network_uid, self._target)
            self._pass(Stage.ROUTER, place.host, because, entering, router.uid, inside)
            self._deliver_on(leg.network_uid, place, self._target)
            return
        matching = [route for route in router.spec.routes if contains(route.destination, self._target)]
        route = max(matching, key=lambda each: ip_network(each.destination, strict=False).prefixlen, default=None)
        via = route and next((leg for leg in router.status.legs if contains(leg.cidr, route.next_hop)), None)
        if route and via:
            because = f"{name} has a route to {route.destination} by {route.next_hop} on Network {via.network}"
            inside = needs.routed(host_router, frozenset({place.network.uid, via.network_uid}), place.context)
            self._pass(Stage.ROUTER, place.host, because, entering, router.uid, inside)
            self._deliver_on(via.network_uid, place, route.next_hop)
            return
        if router.status.external is None:
            self._stop(Stage.ROUTER, place.host, f"{name} has no route to {self._target}: it has no external network")
            return
        inside = needs.routed(host_router, frozenset({place.network.uid}), place.context)
        self._pass(Stage.ROUTER, place.host, f"{name} sends it out", entering, router.uid, inside)
        self._go_out(router, place)

    def _hairpin(self, router: Router, host_router: HostRouter, place: Place, floating: FloatingIP) -> None:
        """A floating address, asked for from inside."""
        inside = needs.routed(host_router, frozenset({place.network.uid}), place.context)
        entering = needs.leg_entries(host_router, place.network.uid, place.context)
        name = f"Router {router.metadata.namespace}/{router.metadata.name}"
        if floating.status.host != place.host or floating.status.router_uid != router.uid:
            self._pass(Stage.ROUTER, place.host, f"{name} sends it out to {self._target}", entering, router.uid, inside)
            self._go_out(router, place)
            return
        self._pass(Stage.ROUTER, place.host, f"{name} has {self._target} on this host", entering, router.uid, inside)
        own = self._own_floating_ip(place.host)
        fixed = floating.status.fixed_address or ""
        leg = next((leg for leg in router.status.legs if contains(leg.cidr, fixed)), None)
        self._source = (own.status.address if own else leg.address if leg else None) or self._source
        self._translate_in(floating)

    def _own_floating_ip(self, host: str) -> FloatingIP | None:
        """Return the FloatingIP of the sender, if it answers on that host."""
        ports = self._view.ports_named(self._question.source)
        found = (self._view.floating_ip_of(port, self._source) for port in ports)
        return next((each for each in found if each and each.status.host == host), None)

    def _go_out(self, router: Router, place: Place) -> None:
        external = router.status.external
        own = None if is_ipv6(self._target) else self._own_floating_ip(place.host)
        if own and own.status.address:
            host_router = self._view.host_router(router, place.host)
            changed = needs.translated(host_router, frozenset({own.status.address}), place.context)
            because = f"its FloatingIP {own.metadata.name} makes {own.status.address} of {self._source}"
            self._pass(Stage.FLOATING_IP, place.host, because, frozenset(), router.uid, changed)
            self._source = own.status.address
            self._by_uplink(external.network_uid if external else "", place)
            return
        gateway = self._reach_gateway(router, place)
        if gateway is not None:
            self._by_uplink(external.network_uid if external else "", gateway)

    def _reach_gateway(self, router: Router, place: Place) -> Place | None:
        """Bring it to the gateway host and translate it there, if it is to be."""
        status = router.status
        if status.gateway_host is None or status.gateway_host_address is None:
            self._stop(Stage.SNAT, None, "the Router has no gateway host: no Host that is Up reaches the outside")
            return None
        there = Place(place.network, status.gateway_host, status.gateway_host_address, self._prefix)
        if there.host != place.host:
            for end, word in ((place, "leaves"), (there, "reaches")):
                host_router = self._view.host_router(router, end.host)
                needed = needs.transit(host_router, end.context)
                needed |= needs.routes(host_router, self._target, end.context)
                because = f"it {word} the transit to the gateway host {there.host}"
                self._pass(Stage.TUNNEL, end.host, because, frozenset(), router.uid, needed)
        own = [held.address for held in (status.external.addresses if status.external else ())]
        own = [address for address in own if is_ipv6(address) == is_ipv6(self._target)]
        if is_ipv6(self._target) or not router.spec.snat:
            return there
        if not own:
            self._stop(Stage.SNAT, there.host, "the Router has no external address to translate to")
            return None
        changed = needs.translated(self._view.host_router(router, there.host), frozenset(own), there.context)
        because = f"the gateway host makes {own[0]} of {self._source}"
        self._pass(Stage.SNAT, there.host, because, frozenset(), router.uid, changed)
        self._source = own[0]
        return there

    def _by_uplink(self, network_uid: str, place: Place) -> None:
        external = self._view.host_network(network_uid)
        if external is None or external.provider is None:
            self._stop(
                Stage.UPLINK, place.host, "the external Network is not Active, or is no network of the provider's"
            )
            return
        there = Place(external, place.host, place.host_address, self._prefix)
        because = f"it leaves by physical network {external.provider.physical_network} as {self._source}"
        self._pass(Stage.UPLINK, place.host, because, needs.uplink(there))
        if self._view.floating_ip_at(self._target):
            self._arrive()
        else:
            self._end_outside()

    def _end_outside(self) -> None:
        self._pass(Stage.DESTINATION, None, f"{self._target} is outside of the cloud")

    # From outside.

    def _arrive(self) -> None:
        if floating := self._view.floating_ip_at(self._target):
            self._translate_in(floating)
            return
        for port in self._view.ports.values():
            host_port = self._view.host_port(port)
            place = self._place(port.spec.network_uid or "", host_port) if host_port else None
            if self._target not in addresses(port) or host_port is None or place is None:
                continue
            if self._is_provided(port.spec.network_uid):
                self._pass(Stage.UPLINK, place.host, "it comes by the provider's network", needs.uplink(place))
                self._deliver(place, self._target)
                return
            if is_ipv6(self._target) and self._come_in_routed(place):
                return
        self._stop(Stage.UPLINK, None, f"{self._target} is no FloatingIP, and no address that the outside can reach")

    def _come_in_routed(self, place: Place) -> bool:
        """Bring IPv6 in by the gateway host of the Router of that network."""
        subnets = [subnet for subnet in place.network.subnets if contains(subnet.cidr, self._target)]
        routers = (self._view.router_at(place.network.uid, each.gateway) for each in subnets if each.gateway)
        router = next((each for each in routers if each and each.status.external), None)
        if router is None or router.status.gateway_host is None or router.status.gateway_host_address is None:
            return False
        there = Place(place.network, router.status.gateway_host, router.status.gateway_host_address, self._prefix)
        host_router = self._view.host_router(router, there.host)
        inside = needs.routed(host_router, frozenset({place.network.uid}), there.context)
        because = f"the outside routes it to the gateway host of Router {router.metadata.name}"
        self._pass(Stage.ROUTER, there.host, because, frozenset(), router.uid, inside)
        self._deliver(there, self._target)
        return True

    def _translate_in(self, floating: FloatingIP) -> None:
        status, name = floating.status, f"FloatingIP {floating.metadata.namespace}/{floating.metadata.name}"
        router = self._view.routers.get(status.router_uid or "")
        port = self._view.ports.get(status.port_uid or "")
        host_port = self._view.host_port(port) if port else None
        if status.host is None or status.fixed_address is None or router is None or port is None or host_port is None:
            self._stop(Stage.FLOATING_IP, None, f"{name} is bound to no Port that a host carries")
            return
        place = self._place(port.spec.network_uid or "", host_port)
        if place is None:
            self._stop(Stage.FLOATING_IP, status.host, f"the Network of {name}'s Port is not Active")
            return
        host_router = self._view.host_router(router, status.host)
        changed = needs.translated(host_router, frozenset({status.address or ""}), place.context)
        changed |= needs.routed(host_router, frozenset({place.network.uid}), place.context)
        if status.phase is not FloatingIPPhase.ACTIVE or not router.spec.enabled:
            why = "does not answer yet" if router.spec.enabled else "belongs to a Router that is switched off"
            self._stop(Stage.FLOATING_IP, status.host, f"{name} {why}", router.uid, changed)
            return
        because = f"{name} makes {status.fixed_address} of {self._target}"
        self._pass(Stage.FLOATING_IP, status.host, because, frozenset(), router.uid, changed)
        self._target = status.fixed_address
        self._deliver(place, self._target)

    # The last mile.

    def _deliver_on(self, network_uid: str, here: Place, address: str) -> None:
        network = self._view.host_network(network_uid)
        if network is None:
            self._stop(Stage.BRIDGE, here.host, "the Network that it is routed to is not Active")
            return
        self._deliver(Place(network, here.host, here.host_address, self._prefix), address)

    def _deliver(self, place: Place, address: str) -> None:
        """Bring it to the Port with the address, from this host; ``address`` may be a next hop."""
        port = self._view.port_with(place.network.uid, address)
        host_port = self._view.host_port(port) if port else None
        if port is None or host_port is None:
            held = "whose Port is on no host" if port else "that no Port holds"
            self._stop(Stage.BRIDGE, place.host, f"{address} is an address of Network {place.network.name} {held}")
            return
        far = Place(place.network, host_port.host, host_port.host_address, self._prefix)
        if far.host == place.host:
            because = f"Port {host_port.name} is on this host"
            self._pass(Stage.BRIDGE, place.host, because, needs.delivered(place, host_port))
        elif place.network.provider:
            self._pass(Stage.UPLINK, place.host, f"it goes to host {far.host} by the provider's", needs.uplink(place))
            self._pass(Stage.BRIDGE, far.host, f"Port {host_port.name} is here", needs.delivered(far, host_port))
        else:
            because = f"Port {host_port.name} is on host {far.host}"
            self._pass(Stage.BRIDGE, place.host, because, needs.answered(place, address, host_port.mac))
            because = f"the tunnel of Network {place.network.name} leads to {host_port.host_address}"
            self._pass(Stage.TUNNEL, place.host, because, needs.tunnelled(place, host_port))
            because = f"host {far.host} takes it in"
            self._pass(Stage.TUNNEL, far.host, because, needs.tunnel_end(far))
            self._pass(Stage.BRIDGE, far.host, f"Port {host_port.name} is here", needs.delivered(far, host_port))
        self._finish(far, port, host_port, address)

    def _finish(self, place: Place, port: Port, host_port: HostPort, address: str) -> None:
        name = f"Port {port.metadata.namespace}/{port.metadata.name}"
        if not host_port.is_enabled:
            self._stop(Stage.DESTINATION, place.host, f"{name} is switched off (spec.enabled)")
            return
        self._filter(place, host_port, Direction.INGRESS, self._source)
        end = f"{name} gets it" if address == self._target else f"the guest of {name} forwards it, or does not"
        self._pass(Stage.DESTINATION, place.host, end)

    def _filter(self, place: Place, port: HostPort, direction: Direction, remote: str) -> None:
        stage = Stage.SOURCE_FILTER if direction is Direction.EGRESS else Stage.DESTINATION_FILTER
        question = self._question
        packet = Packet(remote, question.protocol, question.port, question.code)
        bridge = network_names(place.network.uid, self._prefix).bridge
        check = FilterCheck(tap_name(port.uid), bridge, direction, packet)
        allowed: str | None = "port security is off: nothing is filtered"
        if port.port_security:
            allowed = self._view.allowing(place.network.uid, port, direction, packet)
        groups = self._view.group_names(port.security_groups)
        refused = f"no {direction.value} rule of {groups} allows it with {remote} as the other side"
        self._steps.append(Step(stage, place.host, allowed is not None, allowed or refused, check=check))

    def _is_provided(self, network_uid: str | None) -> bool:
        network = self._view.network(network_uid or "")
        return network is not None and network.spec.external is not None

    def _place(self, network_uid: str, port: HostPort) -> Place | None:
        network = self._view.host_network(network_uid)
        return Place(network, port.host, port.host_address, self._prefix) if network else None

    def _pass(
        self,
        stage: Stage,
        host: str | None,
        because: str,
        needed: frozenset[Fact] = frozenset(),
        router_uid: str | None = None,
        inside: frozenset[RouterFact] = frozenset(),
    ) -> None:
        self._steps.append(Step(stage, host, True, because, needed, router_uid, inside))

    def _stop(
        self,
        stage: Stage,
        host: str | None,
        because: str,
        router_uid: str | None = None,
        inside: frozenset[RouterFact] = frozenset(),
    ) -> None:
        self._steps.append(Step(stage, host, False, because, frozenset(), router_uid, inside))
