"""Addresses of Subnets: what is usable, what is held, and what comes next.

Ports, Routers and FloatingIPs are the claims. An address is given out at most once: those that objects in the store
hold, and those reserved for one that is being made, are taken. Numbers instead of address objects: a /64 has more
addresses than fit in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from nephos_api.identity import interface_id
from nephos_api.metadata import Key
from nephos_api.resources import Subnet
from nephos_api.resources.network import IPv6Mode
from nephos_api.resources.subnet import SubnetSpec
from nephos_operator.claims import Held

IPNetwork = IPv4Network | IPv6Network

_REFILL_BOUND: Final = 2**20
"""Addresses looked at when a Subnet seems full: more than any IPv4 Subnet that is in use."""


@dataclass(frozen=True)
class Range:
    """Addresses as numbers, both ends included."""

    first: int
    last: int

    def __contains__(self, address: int) -> bool:
        """Tell whether the address lies in the range."""
        return self.first <= address <= self.last


def network_of(subnet: SubnetSpec) -> IPNetwork:
    """Return the Subnet's addresses."""
    return ip_network(subnet.cidr)


def usable(cidr: IPNetwork) -> Range:
    """Return what hosts may have: all but the network's own address, and IPv4's broadcast; a /31 or /32 all."""
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    if cidr.num_addresses <= 2:  # RFC 3021, RFC 6164
        return Range(first, last)
    return Range(first + 1, last - 1 if cidr.version == 4 else last)


def pools(spec: SubnetSpec) -> tuple[Range, ...]:
    """Return what is given out without being asked for by name: the allocation pools, or everything usable."""
    if not spec.allocation_pools:
        return (usable(network_of(spec)),)
    return tuple(Range(int(ip_address(pool.start)), int(ip_address(pool.end))) for pool in spec.allocation_pools)


def text(number: int, cidr: IPNetwork) -> str:
    """Return the address as people write it."""
    return str(cidr.network_address + (number - int(cidr.network_address)))


def ipv6_mode(spec: SubnetSpec) -> IPv6Mode | None:
    """Return how guests get their IPv6 address; None on an IPv4 Subnet."""
    if network_of(spec).version == 4:
        return None
    return spec.ipv6_mode or IPv6Mode.SLAAC


def is_automatic(spec: SubnetSpec) -> bool:
    """Tell whether guests make their own address, of the Subnet's prefix and their MAC."""
    return ipv6_mode(spec) in (IPv6Mode.SLAAC, IPv6Mode.DHCPV6_STATELESS)


def automatic_address(cidr: IPNetwork, mac: str) -> str:
    """Return the address that the guest with that MAC makes (modified EUI-64, RFC 4291)."""
    return text(int(cidr.network_address) | interface_id(mac), cidr)


def default_gateway(cidr: IPNetwork) -> str:
    """Return the first usable address."""
    return text(usable(cidr).first, cidr)


def highest_free(cidr: IPNetwork, is_taken: Callable[[int], bool]) -> str | None:
    """Return the highest usable address that is not taken, or None."""
    span = usable(cidr)
    for number in range(span.last, max(span.first, span.last - _REFILL_BOUND) - 1, -1):
        if not is_taken(number):
            return text(number, cidr)
    return None


class Cursor:
    """Gives out the next free number of some ranges: fresh ones in order, then those freed, the longest free first."""

    def __init__(self, ranges: tuple[Range, ...]) -> None:
        self.ranges = ranges
        self._fresh = deque(ranges)
        self._next = ranges[0].first if ranges else 0
        self._freed: deque[int] = deque()

    def next_free(self, is_taken: Callable[[int], bool]) -> int | None:
        """Return a number that is not taken, or None where the ranges are full."""
        found = self._next_fresh(is_taken)
        if found is None:
            found = self._next_freed(is_taken)
        return found

    def free(self, number: int) -> None:
        """Take note that the number may be given out again."""
        self._freed.append(number)

    def _next_fresh(self, is_taken: Callable[[int], bool]) -> int | None:
        while self._fresh:
            if self._next > self._fresh[0].last:
                self._fresh.popleft()
                if self._fresh:
                    self._next = self._fresh[0].first
                continue
            number, self._next = self._next, self._next + 1
            if not is_taken(number):
                return number
        return None

    def _next_freed(self, is_taken: Callable[[int], bool]) -> int | None:
        while self._freed:
            number = self._freed.popleft()
            if not is_taken(number) and any(number in span for span in self.ranges):
                return number
        return None


class AddressBook:
    """Which address of which Subnet is held by which object, or reserved for one that is being made."""

    def __init__(self) -> None:
        self._held: dict[str, dict[int, set[Key]]] = {}
        self._reserved: dict[str, dict[int, Key]] = {}
        self._reservations: dict[Key, set[tuple[str, int]]] = {}
        self._cursors: dict[str, Cursor] = {}

    def hold(self, holder: Key, addresses: Iterable[Held]) -> None:
        """Take note of the addresses that an object holds; what was reserved for it is its own now."""
        for subnet_uid, address in addresses:
            number = int(ip_address(address))
            self._held.setdefault(subnet_uid, {}).setdefault(number, set()).add(holder)
            if (subnet_uid, number) in self._reservations.get(holder, ()):
                self._unreserve(subnet_uid, holder, number)

    def release(self, holder: Key, addresses: Iterable[Held]) -> None:
        """Take note that an object holds these addresses no more."""
        for subnet_uid, address in addresses:
            number = int(ip_address(address))
            held = self._held.get(subnet_uid, {})
            holders = held.get(number)
            if holders is None:
                continue
            holders.discard(holder)
            if not holders:
                del held[number]
                self._freed(subnet_uid, number)

    def forget_subnet(self, subnet_uid: str) -> None:
        """Forget what is kept for a Subnet that is gone."""
        self._cursors.pop(subnet_uid, None)
        for number, holder in tuple(self._reserved.get(subnet_uid, {}).items()):
            self._unreserve(subnet_uid, holder, number)

    def cancel(self, holder: Key, *, but: Collection[Held] = ()) -> None:
        """Give back what is reserved for an object, but for the addresses that it will have."""
        kept = {(subnet_uid, int(ip_address(address))) for subnet_uid, address in but}
        for subnet_uid, number in sorted(self._reservations.get(holder, set()) - kept):
            self._unreserve(subnet_uid, holder, number)
            self._freed(subnet_uid, number)

    def cancel_all(self) -> None:
        """Give back everything that is reserved."""
        for holder in tuple(self._reservations):
            self.cancel(holder)

    def is_taken(self, subnet_uid: str, number: int) -> bool:
        """Tell whether an object holds the address, or it is reserved for one."""
        return number in self._held.get(subnet_uid, ()) or number in self._reserved.get(subnet_uid, ())

    def holders(self, subnet_uid: str, address: str) -> frozenset[Key]:
        """Return the objects that hold the address or have it reserved."""
        number = int(ip_address(address))
        keys = set(self._held.get(subnet_uid, {}).get(number, ()))
        if (reserved := self._reserved.get(subnet_uid, {}).get(number)) is not None:
            keys.add(reserved)
        return frozenset(keys)

    def promised(self) -> frozenset[Key]:
        """Return the objects that something is reserved for."""
        return frozenset(self._reservations)

    def count(self, subnet_uid: str) -> int:
        """Return how many addresses of the Subnet are held or reserved."""
        return len(self._held.get(subnet_uid, ())) + len(self._reserved.get(subnet_uid, ()))

    def reserve(self, subnet: Subnet, holder: Key, address: str) -> bool:
        """Reserve that address for the object, beside what it has reserved already; False where another has it."""
        if self.holders(subnet.uid, address) - {holder}:
            return False
        self._reserve(subnet.uid, holder, int(ip_address(address)))
        return True

    def reserve_next(self, subnet: Subnet, holder: Key) -> str | None:
        """Reserve a free address of the Subnet's pools for the object, if it has none yet; None where there is none."""
        cidr = network_of(subnet.spec)
        if reserved := [number for uid, number in self._reservations.get(holder, ()) if uid == subnet.uid]:
            return text(min(reserved), cidr)
        excluded = unusable(subnet)
        number = self._cursor(subnet).next_free(lambda n: n in excluded or self.is_taken(subnet.uid, n))
        if number is None:
            return None
        self._reserve(subnet.uid, holder, number)
        return text(number, cidr)

    def _reserve(self, subnet_uid: str, holder: Key, number: int) -> None:
        self._reserved.setdefault(subnet_uid, {})[number] = holder
        self._reservations.setdefault(holder, set()).add((subnet_uid, number))

    def _unreserve(self, subnet_uid: str, holder: Key, number: int) -> None:
        reserved, own = self._reserved[subnet_uid], self._reservations[holder]
        del reserved[number]
        own.discard((subnet_uid, number))
        if not reserved:
            del self._reserved[subnet_uid]
        if not own:
            del self._reservations[holder]

    def _cursor(self, subnet: Subnet) -> Cursor:
        ranges = pools(subnet.spec)
        cursor = self._cursors.get(subnet.uid)
        if cursor is None or cursor.ranges != ranges:
            cursor = self._cursors[subnet.uid] = Cursor(ranges)
        return cursor

    def _freed(self, subnet_uid: str, number: int) -> None:
        if cursor := self._cursors.get(subnet_uid):
            cursor.free(number)


def unusable(subnet: Subnet) -> frozenset[int]:
    """Return the addresses of the Subnet that no object may have: its gateway's and its service address."""
    addresses: Iterable[str | None] = (
        subnet.status.gateway or subnet.spec.gateway,
        subnet.status.service_address or subnet.spec.service_address,
    )
    return frozenset(int(ip_address(address)) for address in addresses if address)
