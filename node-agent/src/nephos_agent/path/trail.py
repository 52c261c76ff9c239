"""How far a packet has come: its addresses, the places that it has passed, and the last mile to a Port."""

from __future__ import annotations

from dataclasses import replace

from nephos_agent.network.facts import Fact
from nephos_agent.network.filters.judgement import Packet
from nephos_agent.network.model import HostPort
from nephos_agent.network.names import network_names, tap_name
from nephos_agent.network.router.facts import RouterFact
from nephos_agent.path import needs
from nephos_agent.path.model import Question, Stage
from nephos_agent.path.needs import Place
from nephos_agent.path.steps import FilterCheck, Step
from nephos_agent.path.view import View, has, mac_for
from nephos_api.resources import Port
from nephos_api.resources.security_group import Direction


class Trail:
    """``source`` and ``target`` are the packet's addresses where it is just now."""

    def __init__(self, view: View, question: Question, namespace_prefix: str) -> None:
        self.view = view
        self.question = question
        self.namespace_prefix = namespace_prefix
        self.steps: list[Step] = []
        self.source = self.target = ""

    def go(
        self,
        stage: Stage,
        host: str | None,
        because: str,
        needed: frozenset[Fact] = frozenset(),
        router_uid: str | None = None,
        inside: frozenset[RouterFact] = frozenset(),
    ) -> None:
        """Pass this place; ``needed`` in the tenant namespace, ``inside`` in that router."""
        self.steps.append(Step(stage, host, True, because, needed, router_uid, inside))

    def stop(
        self,
        stage: Stage,
        host: str | None,
        because: str,
        router_uid: str | None = None,
        inside: frozenset[RouterFact] = frozenset(),
    ) -> None:
        """End here, whatever is programmed."""
        self.steps.append(Step(stage, host, False, because, frozenset(), router_uid, inside))

    def deliver_on(self, network_uid: str, here: Place, address: str) -> None:
        """Bring it to the Port of that network with the address, from a router on this host."""
        network = self.view.host_network(network_uid)
        if network is None:
            self.stop(Stage.BRIDGE, here.host, "the Network that it is routed to is not Active")
            return
        port = self.view.port_with(network_uid, address, here.host)
        host_port = self.view.host_port(port) if port else None
        if host_port and not network.provider and host_port.host != here.host and not has(host_port, address):
            because = f"Port {host_port.name} may use {address}, but is on host {host_port.host}"
            self.stop(Stage.BRIDGE, here.host, f"{because}: a router asks on its own host who has what no Port holds")
            return
        self.deliver(replace(here, network=network), address)

    def deliver(self, place: Place, address: str) -> None:
        """Bring it to the Port with the address, from this host; ``address`` may be a next hop."""
        port = self.view.port_with(place.network.uid, address, place.host)
        host_port = self.view.host_port(port) if port else None
        if port is None or host_port is None:
            held = "whose Port is on no host" if port else "that no Port holds"
            self.stop(Stage.BRIDGE, place.host, f"{address} is an address of Network {place.network.name} {held}")
            return
        far, mac = replace(place, host=host_port.host, host_address=host_port.host_address), mac_for(host_port, address)
        if far.host == place.host:
            because = f"Port {host_port.name} is on this host"
        elif place.network.provider:
            because = f"Port {host_port.name} is here"
            self.cross(place, far)
        else:
            because = f"Port {host_port.name} is here"
            self._tunnel(place, far, host_port, address)
        self.go(Stage.BRIDGE, far.host, because, needs.delivered(far, host_port, mac))
        self.finish(far, port, host_port, address)

    def _tunnel(self, place: Place, far: Place, port: HostPort, address: str) -> None:
        mac = mac_for(port, address)
        because = f"Port {port.name} is on host {far.host}"
        self.go(Stage.BRIDGE, place.host, because, needs.answered(place, address, mac))
        because = f"the tunnel of Network {place.network.name} leads to {port.host_address}"
        self.go(Stage.TUNNEL, place.host, because, needs.tunnelled(place, mac))
        self.go(Stage.TUNNEL, far.host, f"host {far.host} takes it in", needs.tunnel_end(far))

    def cross(self, here: Place | None, there: Place) -> None:
        """Come to a host by the provider's network: from another host, or None for outside; a host's own bridge needs
        no uplink."""
        if here and here.host == there.host:
            return
        if here:
            self.leave(here)
        self.go(Stage.UPLINK, there.host, "it comes in by the provider's network", needs.uplink(there))

    def leave(self, place: Place) -> None:
        """Go from the bridge to the provider's network."""
        physical = place.network.provider.physical_network if place.network.provider else ""
        because = f"it leaves by physical network {physical} as {self.source}"
        self.go(Stage.UPLINK, place.host, because, needs.uplink(place))

    def finish(self, place: Place, port: Port, host_port: HostPort, address: str) -> None:
        """Come to the Port: its filter, then its guest."""
        name = f"Port {port.metadata.namespace}/{port.metadata.name}"
        if not host_port.is_enabled:
            self.stop(Stage.DESTINATION, place.host, f"{name} is switched off (spec.enabled)")
            return
        self.filter(place, host_port, Direction.INGRESS, self.source)
        end = f"{name} gets it" if address == self.target else f"the guest of {name} forwards it, or does not"
        if not has(host_port, address):
            end = f"{name} may use {address}: its guest takes it, or does not"
        self.go(Stage.DESTINATION, place.host, end)

    def filter(self, place: Place, port: HostPort, direction: Direction, remote: str) -> None:
        """Have the port's filter judge the packet; what it refuses is followed on all the same."""
        stage = Stage.SOURCE_FILTER if direction is Direction.EGRESS else Stage.DESTINATION_FILTER
        question = self.question
        packet = Packet(remote, question.protocol, question.port, question.code)
        bridge = network_names(place.network.uid, self.namespace_prefix).bridge
        check = FilterCheck(tap_name(port.uid), bridge, direction, packet)
        allowed: str | None = "port security is off: nothing is filtered"
        if port.port_security:
            allowed = self.view.allowing(place.network.uid, port, direction, packet)
        groups = self.view.group_names(port.security_groups)
        refused = f"no {direction.value} rule of {groups} allows it with {remote} as the other side"
        self.steps.append(Step(stage, place.host, allowed is not None, allowed or refused, check=check))

    def place(self, network_uid: str, port: HostPort) -> Place | None:
        """Return the port's network on its host; None while the network is not Active."""
        network = self.view.host_network(network_uid)
        return Place(network, port.host, port.host_address, self.namespace_prefix) if network else None

    def is_provided(self, network_uid: str | None) -> bool:
        """Tell whether the network is the provider's."""
        network = self.view.network(network_uid or "")
        return network is not None and network.spec.external is not None
