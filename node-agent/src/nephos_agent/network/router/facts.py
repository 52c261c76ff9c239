"""What a router consists of on a host, as single facts; a plan is a difference between two sets of them.

Facts with one ``key`` are states of one thing: going from one to the other is a change, not a removal. Those on a
device go with it. Entries of tables are the networks' own (``facts``), here on devices in the router's namespace.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nephos_agent.network.facts import BridgeEntry, Dnsmasq, GuardElement, Key, Neighbour, TunnelEntry

MAIN_TABLE: Final = 254
"""The kernel's own."""
FLOATING_TABLE: Final = 100
"""How packets of floating addresses leave this host."""


class NatSet(StrEnum):
    """The sets and maps of ``router.nft``."""

    INSIDE = "inside"
    KNOWN = "known"
    KNOWN_IPV6 = "known_ipv6"
    BEHIND = "behind"
    BEHIND_IPV6 = "behind_ipv6"
    OWN = "own"
    TRANSLATED = "translated"
    FLOATING_IN = "floating_in"
    FLOATING_OUT = "floating_out"
    OUTSIDE = "outside"
    HELD = "held"
    HELD_IPV6 = "held_ipv6"
    OWN_MAC = "own_mac"
    OWN_MAC_IPV6 = "own_mac_ipv6"


FLOATING_SETS: Final = frozenset({NatSet.FLOATING_IN, NatSet.FLOATING_OUT})
"""Translations of floating addresses."""
BY_DEVICE: Final = frozenset({NatSet.BEHIND, NatSet.BEHIND_IPV6})
"""Sets whose elements are a prefix and a device."""


@dataclass(frozen=True)
class RouterSpace:
    """The router's namespace, and whether it forwards."""

    namespace: str
    forwards: bool

    @property
    def key(self) -> Key:
        """One a router."""
        return ("space", self.namespace)


@dataclass(frozen=True)
class Leg:
    """An interface of the router's: one end on a network's bridge, the other in the router's namespace."""

    device: str
    """The end on the bridge, in the tenant namespace."""
    inner: str
    """The end in the router's namespace."""
    network_uid: str
    bridge: str
    mac: str
    mtu: int
    intact: bool = True
    """False on an observed one whose settings are not as they must be."""

    @property
    def key(self) -> Key:
        """One a name."""
        return ("leg", self.device)


@dataclass(frozen=True)
class Transit:
    """The router's way to its gateway host: a tunnel that ends in the host's namespace."""

    device: str
    vni: int
    local: str
    """This host's address on the underlay."""
    mac: str
    mtu: int
    intact: bool = True

    @property
    def key(self) -> Key:
        """One a name, which says VNI and local address."""
        return ("transit", self.device)


@dataclass(frozen=True)
class Address:
    """An address of an interface, with prefix length."""

    device: str
    address: str

    @property
    def key(self) -> Key:
        """The address itself."""
        return ("address", self.device, self.address)


@dataclass(frozen=True)
class Route:
    """A route in the router's namespace; ``next_hop`` None for what is on the link."""

    table: int
    destination: str
    """CIDR notation."""
    device: str
    next_hop: str | None

    @property
    def key(self) -> Key:
        """A destination has one route in a table."""
        return ("route", str(self.table), self.destination)


@dataclass(frozen=True)
class RoutingRule:
    """Which table is asked for a packet, in the order of ``priority``. IPv4 only."""

    priority: int
    table: int
    source: str | None = None
    """Only for packets from there, CIDR notation."""
    mark: int | None = None
    """Only for packets with that mark."""
    but_default: bool = False
    """Whether a default route found there counts for nothing."""

    @property
    def key(self) -> Key:
        """Rules have no name: another one is another rule."""
        return ("rule", str(self.priority), self.source or "", str(self.mark), str(self.but_default))


@dataclass(frozen=True)
class NatElement:
    """An element of a set or map of ``router.nft``; ``value`` is None in a set, or the device of a prefix."""

    set: NatSet
    name: str
    value: str | None = None

    @property
    def key(self) -> Key:
        """A map has one value for a name; a prefix may be behind several devices."""
        return ("nat", self.set, self.name, *((self.value or "",) if self.set in BY_DEVICE else ()))


RouterFact = (
    RouterSpace
    | GuardElement
    | Leg
    | Transit
    | BridgeEntry
    | TunnelEntry
    | Neighbour
    | NatElement
    | Route
    | RoutingRule
    | Address
    | Dnsmasq
)
