"""What a network consists of on a host, as single facts. Desired and observed are sets of them; a plan is a difference.

Every fact lies on a ``device`` and goes with it. Facts with one ``key`` are states of one thing: going from one to the
other is a change, not a removal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nephos_agent.network.rate_facts import Diversion, Funnel, PacketLimit, Shaper

Key = tuple[str, ...]


class GuardSet(StrEnum):
    """The sets and maps of ``guard.nft`` and ``filter.nft`` whose elements the agent makes."""

    ROLE = "role"
    MAC = "port_mac"
    IPV4 = "port_ipv4"
    IPV6 = "port_ipv6"
    ND_TARGET = "port_nd_target"
    PAIR_IPV4 = "pair_ipv4"
    PAIR_IPV6 = "pair_ipv6"
    PAIR_ND_TARGET = "pair_nd_target"
    SHARED_IPV4 = "shared_ipv4"
    SHARED_ND_TARGET = "shared_nd_target"
    MARK = "device_mark"
    SPOOFED = "drops_spoofed"
    DISABLED = "drops_disabled"
    LIMITED = "drops_limited"
    NETWORK = "networks"
    POLICY = "policies"
    ZONE = "device_zone"
    SAME_POLICY = "same_policy"
    SERVICE = "service"
    SERVING = "serving"
    CLIENT = "clients"
    MEMBER_IPV4 = "member_ipv4"
    MEMBER_IPV6 = "member_ipv6"
    REFUSED_EGRESS = "drops_egress"
    REFUSED_INGRESS = "drops_ingress"
    CROWDED = "drops_flow_limit"
    EGRESS_IPV4 = "egress_ipv4"
    EGRESS_IPV4_PORT = "egress_ipv4_port"
    EGRESS_IPV6 = "egress_ipv6"
    EGRESS_IPV6_PORT = "egress_ipv6_port"
    EGRESS_GROUP = "egress_group"
    EGRESS_GROUP_PORT = "egress_group_port"
    INGRESS_IPV4 = "ingress_ipv4"
    INGRESS_IPV4_PORT = "ingress_ipv4_port"
    INGRESS_IPV6 = "ingress_ipv6"
    INGRESS_IPV6_PORT = "ingress_ipv6_port"
    INGRESS_GROUP = "ingress_group"
    INGRESS_GROUP_PORT = "ingress_group_port"


MAPS: Final = frozenset(
    {
        GuardSet.ROLE,
        GuardSet.IPV4,
        GuardSet.IPV6,
        GuardSet.MARK,
        GuardSet.ZONE,
        GuardSet.MEMBER_IPV4,
        GuardSet.MEMBER_IPV6,
    }
)
"""Sets whose elements give a value: the last part of ``GuardElement.rest``."""
INTERVALS: Final = frozenset(
    {
        GuardSet.PAIR_IPV4,
        GuardSet.PAIR_IPV6,
        GuardSet.PAIR_ND_TARGET,
        GuardSet.SHARED_IPV4,
        GuardSet.SHARED_ND_TARGET,
        *(name for name in GuardSet if name.startswith(("egress_", "ingress_"))),
    }
)
"""Sets whose elements may not overlap: those of one device or policy are made together, and go together."""
DROP_COUNTERS: Final = frozenset(
    {
        GuardSet.SPOOFED,
        GuardSet.DISABLED,
        GuardSet.LIMITED,
        GuardSet.REFUSED_EGRESS,
        GuardSet.REFUSED_INGRESS,
        GuardSet.CROWDED,
    }
)
"""Sets whose elements count what was dropped of a port, one for each reason."""


@dataclass(frozen=True)
class Bridge:
    """The network's switch on this host, in the tenant namespace."""

    device: str
    network_uid: str
    mtu: int
    judges_flows: bool = True
    """Whether its packets pass the second stage of the filters: where a router alone is on it, nobody asks for that."""
    intact: bool = True
    """False on an observed one whose settings are not as they must be."""

    @property
    def key(self) -> Key:
        """One a name."""
        return ("bridge", self.device)


@dataclass(frozen=True)
class Vxlan:
    """The network's way to other hosts: a bridge port whose tunnel ends in the host's namespace."""

    device: str
    network_uid: str
    bridge: str
    vni: int
    local: str
    """This host's address on the underlay."""
    mtu: int
    intact: bool = True

    @property
    def key(self) -> Key:
        """A vxlan device cannot change its VNI or its local address."""
        return ("vxlan", self.device, str(self.vni), self.local)


@dataclass(frozen=True)
class Uplink:
    """The way to the provider's network: a bridge port that leads to a bridge in the host's namespace."""

    device: str
    network_uid: str
    bridge: str
    physical_network: str
    vlan_id: int | None
    mtu: int
    intact: bool = True

    @property
    def key(self) -> Key:
        """A tagged uplink is a device of another kind than an untagged one."""
        return ("uplink", self.device, str(self.vlan_id))


@dataclass(frozen=True)
class Service:
    """The namespace that answers DHCP, DNS and metadata, and its leg on the bridge."""

    device: str
    network_uid: str
    bridge: str
    namespace: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    """With prefix lengths, sorted."""
    intact: bool = True

    @property
    def key(self) -> Key:
        """A leg whose namespace lost its name is made anew."""
        return ("service", self.device, self.namespace)


@dataclass(frozen=True)
class GuardElement:
    """An element of a set or map of the filters; whom it is about is its first part."""

    device: str
    """The device's name; of a rule the policy's, which no device has."""
    set: GuardSet
    rest: tuple[str, ...] = ()
    """What else the key has, and the value that a map gives: of ``role`` the chain that judges the device's frames, of
    others the names of a policy or a bridge, which the filters know by number."""

    @property
    def key(self) -> Key:
        """The element itself, but a map gives one value."""
        return ("guard", self.set, self.device, *(self.rest[:-1] if self.set in MAPS else self.rest))


@dataclass(frozen=True)
class Tap:
    """A guest's NIC on the bridge."""

    device: str
    port_uid: str
    bridge: str
    mtu: int
    intact: bool = True
    takes_any_mac: bool = False
    """Whether the guest may send with other MACs than its own."""

    @property
    def key(self) -> Key:
        """One a name."""
        return ("tap", self.device)


@dataclass(frozen=True)
class BridgeEntry:
    """The bridge sends frames for the MAC out of the device."""

    device: str
    mac: str

    @property
    def key(self) -> Key:
        """A MAC has one place in a bridge; moving it is adding it elsewhere, and the kernel forgets the old place."""
        return ("fdb", self.device, self.mac)


@dataclass(frozen=True)
class TunnelEntry:
    """The vxlan device sends frames for the MAC to a host; for the zero MAC, what has no place of its own."""

    device: str
    mac: str
    destination: str

    @property
    def key(self) -> Key:
        """The zero MAC has one entry a host, others have one."""
        return ("tunnel", self.device, self.mac, *((self.destination,) if self.mac == ZERO_MAC else ()))


@dataclass(frozen=True)
class Neighbour:
    """A permanent entry on the bridge device: what ARP and ND are answered with."""

    device: str
    address: str
    mac: str

    @property
    def key(self) -> Key:
        """An address has one MAC."""
        return ("neighbour", self.device, self.address)


class HostsKind(StrEnum):
    """The folders that dnsmasq watches."""

    DHCP = "dhcp"
    DNS = "dns"


@dataclass(frozen=True)
class HostsFile:
    """What dnsmasq knows of one port: its address (of local ports) or its names (of all)."""

    device: str
    directory: str
    kind: HostsKind
    port_uid: str
    content: str

    @property
    def key(self) -> Key:
        """One a port and folder."""
        return ("hosts", self.directory, self.kind, self.port_uid)


@dataclass(frozen=True)
class Dnsmasq:
    """The process that answers DHCP and DNS."""

    device: str
    unit: str
    namespace: str
    directory: str
    config: str
    """The whole configuration; the file's name carries its digest, so another one means a restart."""

    @property
    def key(self) -> Key:
        """One a network."""
        return ("dnsmasq", self.unit)


ZERO_MAC: Final = "00:00:00:00:00:00"
DEVICES: Final = (Bridge, Vxlan, Uplink, Service, Tap, Funnel)
"""Facts that are a device; others on it go with it."""
OUTLIVING: Final = (GuardElement, PacketLimit, HostsFile, Dnsmasq)
"""Facts that a device leaves behind when it goes."""

Fact = (
    Bridge
    | Vxlan
    | Uplink
    | Service
    | GuardElement
    | PacketLimit
    | Funnel
    | Tap
    | Shaper
    | Diversion
    | BridgeEntry
    | TunnelEntry
    | Neighbour
    | HostsFile
    | Dnsmasq
)
