"""Which packets a port's security groups allow, asked of the model. Pure.

The kernel decides by the sets of ``rule_elements``; both say the same of every packet (a test holds them together).
Asked here are the packet-path explainer and the cutting of flows that are no longer allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final

from nephos_agent.network.addresses import link_local
from nephos_agent.network.model import HostNetwork, HostPort, SecurityRule
from nephos_api.resources.security_group import Direction, IPFamily

ICMP: Final = 1
ICMPV6: Final = 58
WITH_PORTS: Final = frozenset({6, 17, 132})
"""TCP, UDP, SCTP (IANA's Protocol Numbers)."""
WITH_TYPES: Final = frozenset({ICMP, ICMPV6})


@dataclass(frozen=True)
class Packet:
    """The first packet of a flow, as the rules look at it."""

    remote: str
    """The other side's address."""
    protocol: int
    """IANA's number."""
    port: int | None = None
    """Destination port; of ICMP and ICMPv6, the type."""
    code: int | None = None
    """Of ICMP and ICMPv6."""


@dataclass(frozen=True)
class Memberships:
    """Which groups are behind each address, by UIDs."""

    by_address: dict[str, frozenset[str]]

    def of(self, address: str) -> frozenset[str]:
        """Return the UIDs of the groups of the port that has the address."""
        return self.by_address.get(address, frozenset())


def memberships(network: HostNetwork) -> Memberships:
    """Return whose address each is: of the network's own ports, and of those that routers join with it."""
    found = {member.address: frozenset(member.security_groups) for member in network.routed_members}
    found |= {address: frozenset(groups) for address, groups in shared_members(network).items()}
    for port in network.ports:
        if port.security_groups:
            found |= dict.fromkeys(own_addresses(port), frozenset(port.security_groups))
    return Memberships(found)


def own_addresses(port: HostPort) -> tuple[str, ...]:
    """Return the addresses that are the port's alone, the link-local one included."""
    return (*(entry.address for entry in port.addresses), link_local(port.mac))


def single_pairs(port: HostPort) -> tuple[str, ...]:
    """Return the single addresses that the port may use beside its own; of a network nobody knows who has which."""
    prefixes = (ip_network(pair.address) for pair in port.address_pairs)
    return tuple(str(prefix.network_address) for prefix in prefixes if prefix.num_addresses == 1)


def shared_members(network: HostNetwork) -> dict[str, tuple[str, ...]]:
    """Return the groups behind each single address that ports may use beside their own, of all such ports together."""
    found: dict[str, set[str]] = {}
    for port in network.ports:
        for address in single_pairs(port) if port.security_groups else ():
            found.setdefault(address, set()).update(port.security_groups)
    if found:
        for port in network.ports:
            for address in own_addresses(port):
                found.pop(address, None)
    return {address: tuple(sorted(groups)) for address, groups in found.items()}


def allowed(network: HostNetwork, port: HostPort, direction: Direction, packet: Packet) -> SecurityRule | None:
    """Return a rule of the port's groups that allows the packet, or None where none does."""
    return Rules(network).allowing(port, direction, packet)


class Rules:
    """The rules of a network's groups, to be asked many times."""

    def __init__(self, network: HostNetwork) -> None:
        self._groups = {group.uid: group.rules for group in network.security_groups}
        self._memberships = memberships(network)
        self._sorted: dict[tuple[tuple[str, ...], Direction, IPFamily], _SortedRules] = {}

    def allowing(self, port: HostPort, direction: Direction, packet: Packet) -> SecurityRule | None:
        """Return the first rule that allows the packet, in a fixed order; None where none does."""
        return min(self._matching(port, direction, packet), key=repr, default=None)

    def allow(self, port: HostPort, direction: Direction, packet: Packet) -> bool:
        """Tell whether any rule allows the packet."""
        return any(True for _rule in self._matching(port, direction, packet))

    def _matching(self, port: HostPort, direction: Direction, packet: Packet) -> Iterator[SecurityRule]:
        remote = ip_address(packet.remote)
        family = IPFamily.IPV4 if remote.version == 4 else IPFamily.IPV6
        rules = self._of(port.security_groups, direction, family)
        groups = self._memberships.of(packet.remote)
        return (prepared.rule for prepared in rules.about(packet) if prepared.has_remote(int(remote), groups))

    def _of(self, groups: tuple[str, ...], direction: Direction, family: IPFamily) -> _SortedRules:
        key = (groups, direction, family)
        if key not in self._sorted:
            rules = {rule for uid in groups for rule in self._groups.get(uid, ())}
            self._sorted[key] = _SortedRules(
                _prepared(rule) for rule in rules if rule.direction is direction and rule.family is family
            )
        return self._sorted[key]


@dataclass(frozen=True)
class _Prepared:
    """A rule with its parts as numbers."""

    rule: SecurityRule
    selectors: tuple[int, int] | None
    network: int
    mask: int

    def has_remote(self, address: int, groups: frozenset[str]) -> bool:
        """Tell whether the other side is one that the rule means."""
        if self.rule.remote_group is not None and self.rule.remote_group not in groups:
            return False
        return address & self.mask == self.network


class _SortedRules:
    """Rules of one port alone by that port, since most are, and the others one after the other."""

    def __init__(self, rules: Iterable[_Prepared]) -> None:
        self._by_port: dict[tuple[int | None, int], list[_Prepared]] = {}
        self._others: list[_Prepared] = []
        for each in rules:
            if each.selectors and each.selectors[0] == each.selectors[1]:
                self._by_port.setdefault((each.rule.protocol, each.selectors[0]), []).append(each)
            else:
                self._others.append(each)

    def about(self, packet: Packet) -> Iterator[_Prepared]:
        """Yield the rules that mean the packet's protocol and port."""
        selector = selector_of(packet)
        if selector is not None:
            yield from self._by_port.get((packet.protocol, selector), ())
        for each in self._others:
            if each.rule.protocol in (None, packet.protocol) and _is_within(selector, each.selectors):
                yield each


def _is_within(selector: int | None, selectors: tuple[int, int] | None) -> bool:
    return selectors is None or (selector is not None and selectors[0] <= selector <= selectors[1])


def _prepared(rule: SecurityRule) -> _Prepared:
    if rule.remote_prefix is None:
        return _Prepared(rule, selectors_of(rule), 0, 0)
    prefix = ip_network(rule.remote_prefix)
    return _Prepared(rule, selectors_of(rule), int(prefix.network_address), int(prefix.netmask))


def selectors_of(rule: SecurityRule) -> tuple[int, int] | None:
    """Return the first and last of the 16 bits that the rule wants behind the protocol; None means all.

    They are the destination port, or ICMP's type and code.
    """
    if rule.port_min is None or rule.protocol is None:
        return None
    if rule.protocol in WITH_TYPES:
        first, last = (0, 0xFF) if rule.port_max is None else (rule.port_max, rule.port_max)
        return rule.port_min << 8 | first, rule.port_min << 8 | last
    return rule.port_min, rule.port_min if rule.port_max is None else rule.port_max


def selector_of(packet: Packet) -> int | None:
    """Return the 16 bits of the packet that rules look at behind its protocol, None where it has none."""
    if packet.port is None:
        return None
    return packet.port << 8 | (packet.code or 0) if packet.protocol in WITH_TYPES else packet.port
