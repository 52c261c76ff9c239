"""Which senders a router takes for inside, and on which side it takes them. Pure.

Security groups know their members by addresses, so nobody may come in as a member by the way that is not a member's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import Protocol

from nephos_api.resources.network import HostRoute

Prefix = IPv4Network | IPv6Network


class Joined(Protocol):
    """A Subnet that a router joins."""

    @property
    def network_uid(self) -> str:
        """Of its network."""

    @property
    def cidr(self) -> str:
        """Of the Subnet."""


def behind(
    legs: Iterable[Joined], routes: Iterable[HostRoute], members: Iterable[tuple[str, str]] = ()
) -> dict[str, tuple[Prefix, ...]]:
    """Return what is behind the router's leg on each network, by its UID.

    Those are Subnets, what ``members`` use beside them, and where routes lead inside. What lies in a Subnet is behind
    the leg of this Subnet, whoever elsewhere may use it too. A default route says nothing of who is there.
    """
    joined = [(leg.network_uid, ip_network(leg.cidr)) for leg in legs]
    found: dict[str, list[Prefix]] = {}
    for network_uid, prefix in joined:
        found.setdefault(network_uid, []).append(prefix)
    for network_uid, address in members:
        member = ip_network(address)
        is_elsewhere = any(uid != network_uid and _overlap(member, prefix) for uid, prefix in joined)
        if network_uid in found and not is_elsewhere:
            found[network_uid].append(member)
    for route in routes:
        destination, next_hop = ip_network(route.destination, strict=False), ip_address(route.next_hop)
        by = next((network_uid for network_uid, prefix in joined if next_hop in prefix), None)
        if by is not None and destination.prefixlen:
            found[by].append(destination)
    return {network_uid: tuple(collapsed(prefixes)) for network_uid, prefixes in found.items()}


def _overlap(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def collapsed(prefixes: Iterable[Prefix]) -> Iterator[Prefix]:
    """Yield the same addresses in prefixes that do not overlap, since the kernel's sets refuse those that do."""
    those = tuple(prefixes)
    yield from collapse_addresses(each for each in those if isinstance(each, IPv4Network))
    yield from collapse_addresses(each for each in those if isinstance(each, IPv6Network))
