"""Which flows have to end because nobody allows them any more. Pure.

Whoever allowed a flow did so with its first packet; afterwards the kernel passes it by its state alone. So when a rule,
a membership or a port goes, the flows of the network are judged anew, by the same rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import ip_address, ip_network

from nephos_agent.network.addresses import METADATA_IPV4, METADATA_IPV6, link_local
from nephos_agent.network.facts import Fact, GuardElement, GuardSet
from nephos_agent.network.filters.judgement import Packet, Rules, own_addresses
from nephos_agent.network.model import HostNetwork, HostPort
from nephos_agent.network.names import tap_name
from nephos_api.resources.security_group import Direction

Holder = tuple[str, str]
"""An address, and the tap behind which it is."""


@dataclass(frozen=True)
class Flow:
    """A connection as the kernel tracks it, by its first packet."""

    source: str
    destination: str
    protocol: int
    port: int | None
    """Destination port; of ICMP and ICMPv6, the type."""
    code: int | None
    """Of ICMP and ICMPv6."""
    is_cut: bool = False
    """Whether nobody here passes it without being asked, so that there is nothing to cut."""


class Fate(Enum):
    """What becomes of a flow."""

    STAYS = auto()
    IS_CUT = auto()
    """It is to be judged by its next packets, and its answers do not pass until it is allowed again."""
    ENDS = auto()
    """Its port is gone: whoever gets the address begins with nothing."""


class FlowJudge:
    """Judges the flows of one network on one host."""

    def __init__(self, network: HostNetwork, host: str, gone: frozenset[str]) -> None:
        """``gone`` are addresses that ports here had and have no more."""
        self._rules = Rules(network)
        self._gone = gone
        self._services = {METADATA_IPV4, METADATA_IPV6, *(subnet.service_address for subnet in network.subnets)}
        local = [port for port in network.ports if port.host == host]
        self._by_address = {address: port for port in local for address in own_addresses(port)}
        self._by_prefix = [
            (ip_network(pair.address, strict=False), port) for port in local for pair in port.address_pairs
        ]

    def fate(self, flow: Flow) -> Fate:
        """Return what becomes of the flow."""
        if flow.source in self._gone or flow.destination in self._gone:
            return Fate.ENDS
        if flow.is_cut or (self._may_leave(flow) and self._may_come(flow)):
            return Fate.STAYS
        return Fate.IS_CUT

    def _may_leave(self, flow: Flow) -> bool:
        if flow.destination in self._services:
            return True
        packet = Packet(flow.destination, flow.protocol, flow.port, flow.code)
        return self._is_allowed(self._owners(flow.source), Direction.EGRESS, packet)

    def _may_come(self, flow: Flow) -> bool:
        if flow.source in self._services:
            return True
        packet = Packet(flow.source, flow.protocol, flow.port, flow.code)
        return self._is_allowed(self._owners(flow.destination), Direction.INGRESS, packet)

    def _is_allowed(self, owners: list[HostPort], direction: Direction, packet: Packet) -> bool:
        """Tell whether one of those who may use the address allows it; nobody here filters what has no owner here."""
        return not owners or any(
            not port.port_security or self._rules.allow(port, direction, packet) for port in owners
        )

    def _owners(self, address: str) -> list[HostPort]:
        own = self._by_address.get(address)
        if own:
            return [own]
        return [port for prefix, port in self._by_prefix if ip_address(address) in prefix]


def holders(network: HostNetwork, host: str) -> frozenset[Holder]:
    """Return who has each address on the host, the link-local ones of address pairs included."""
    return frozenset(
        (address, tap_name(port.uid))
        for port in network.ports
        if port.host == host
        for address in (*own_addresses(port), *(link_local(pair.mac) for pair in port.address_pairs))
    )


def observed_holders(found: Iterable[Fact]) -> dict[str, frozenset[Holder]]:
    """Return by bridges who has each address, as the elements of the filters tell an agent that begins."""
    elements = [fact for fact in found if isinstance(fact, GuardElement)]
    bridges = {element.device: element.rest[0] for element in elements if element.set is GuardSet.ZONE}
    by_bridge: defaultdict[str, set[Holder]] = defaultdict(set)
    for element in elements:
        if element.set in (GuardSet.IPV4, GuardSet.IPV6) and element.device in bridges:
            by_bridge[bridges[element.device]].add((element.rest[1], element.device))
    return {bridge: frozenset(those) for bridge, those in by_bridge.items()}


def given_up(before: frozenset[Holder], after: frozenset[Holder]) -> frozenset[str]:
    """Return the addresses that somebody had and has no more, even where somebody else has them now."""
    return frozenset(address for address, _tap in before - after)
