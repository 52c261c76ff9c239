"""Which packets a port's security groups allow, asked of the model. Pure.

The kernel decides by the sets of ``rule_elements``; both say the same of every packet (a test holds them together).
Asked here are the packet-path explainer and the cutting of flows that are no longer allowed.
"""

from __future__ import annotations

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


def shared_members(network: HostNetwork) -> dict[str, tuple[str, ...]]:
    """Return the groups behind each single address that ports may use beside their own, of all such ports together."""
    found: dict[str, set[str]] = {}
    for port in network.ports:
        for pair in port.address_pairs:
            prefix = ip_network(pair.address)
            if prefix.num_addresses == 1 and port.security_groups:
                found.setdefault(str(prefix.network_address), set()).update(port.security_groups)
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

    def allowing(self, port: HostPort, direction: Direction, packet: Packet) -> SecurityRule | None:
        """Return the first rule that allows the packet, in a fixed order; None where none does."""
        remote_groups = self._memberships.of(packet.remote)
        rules = (rule for uid in port.security_groups for rule in self._groups.get(uid, ()))
        matching = (rule for rule in rules if rule.direction is direction and _matches(rule, packet, remote_groups))
        return min(matching, key=repr, default=None)


def _matches(rule: SecurityRule, packet: Packet, remote_groups: frozenset[str]) -> bool:
    remote = ip_address(packet.remote)
    if (rule.family is IPFamily.IPV4) != (remote.version == 4):
        return False
    if rule.remote_prefix is not None and remote not in ip_network(rule.remote_prefix):
        return False
    if rule.remote_group is not None and rule.remote_group not in remote_groups:
        return False
    return _matches_protocol(rule, packet)


def _matches_protocol(rule: SecurityRule, packet: Packet) -> bool:
    if rule.protocol is not None and rule.protocol != packet.protocol:
        return False
    selectors = selectors_of(rule)
    if selectors is None:
        return True
    selector = selector_of(packet)
    return selector is not None and selectors[0] <= selector <= selectors[1]


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
