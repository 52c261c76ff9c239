"""Tenant networks, routers and floating addresses as one host needs them."""

from __future__ import annotations

from dataclasses import dataclass, field

from nephos_api.resources.network import HostRoute, IPv6Mode, SegmentType, SubnetView
from nephos_api.resources.security_group import Direction, IPFamily


@dataclass(frozen=True)
class PortAddress:
    """An address of a port, without prefix, and its Subnet."""

    address: str
    subnet_uid: str
    prefix_length: int


@dataclass(frozen=True)
class AddressPair:
    """An address, or a network in CIDR notation, that the guest may use beside its own, with its MAC."""

    address: str
    mac: str


@dataclass(frozen=True)
class RateLimit:
    """What one direction carries at most; None is no bound."""

    kilobits_per_second: int | None = None
    packets_per_second: int | None = None


@dataclass(frozen=True)
class HostPort:
    """A Port of a network that this host carries."""

    uid: str
    name: str
    mac: str
    addresses: tuple[PortAddress, ...]
    server_uid: str | None
    server_name: str | None
    host: str
    host_address: str
    """Of the host that has the port, on the underlay."""
    security_groups: tuple[str, ...] = ()
    """UIDs, sorted; of remote ports too, since rules may name their groups."""
    port_security: bool = True
    """False: no filter at all, not against spoofing either."""
    address_pairs: tuple[AddressPair, ...] = ()
    is_enabled: bool = True
    """False: nothing passes in either direction."""
    ingress: RateLimit = RateLimit()
    """As the guest sees it: what comes in to it."""
    egress: RateLimit = RateLimit()


@dataclass(frozen=True)
class SecurityRule:
    """What a group allows. Everything that is None matches all."""

    direction: Direction
    family: IPFamily
    """A rule for both families is two of these."""
    protocol: int | None = None
    """IANA's number."""
    port_min: int | None = None
    """First destination port; of ICMP and ICMPv6, the type."""
    port_max: int | None = None
    """Last destination port; of ICMP and ICMPv6, the code, None for all codes."""
    remote_prefix: str | None = None
    """The other side's network, CIDR notation."""
    remote_group: str | None = None
    """UID of the group that the other side's port has; never together with ``remote_prefix``."""


@dataclass(frozen=True)
class HostSecurityGroup:
    """A group that a port on this host uses."""

    uid: str
    rules: frozenset[SecurityRule]


@dataclass(frozen=True)
class GroupMember:
    """An address of a port on another network, reached by a router, and the groups that its port has."""

    address: str
    security_groups: tuple[str, ...]
    """UIDs, sorted."""


@dataclass(frozen=True)
class ProviderSegment:
    """A network that is there already; the host reaches it by a bridge in its own namespace."""

    physical_network: str
    type: SegmentType = SegmentType.FLAT
    vlan_id: int | None = None


@dataclass(frozen=True)
class HostNetwork:
    """A Network with all of its bound Ports, local and remote."""

    uid: str
    name: str
    namespace: str
    vni: int | None
    """None for a network of the provider's."""
    mtu: int
    dns_domain: str
    subnets: tuple[SubnetView, ...]
    ports: tuple[HostPort, ...]
    keep_unknown: bool = False
    """Add and change, but take nothing away: the API may have forgotten what runs here (restored from a backup)."""
    provider: ProviderSegment | None = None
    """Set for a network of the provider's, which has no VNI."""
    serves_guests: bool = True
    """False on a host that has it for a router alone: nobody there asks for DHCP or names."""
    security_groups: tuple[HostSecurityGroup, ...] = ()
    """The groups of the ports on this host, by UID."""
    routed_members: tuple[GroupMember, ...] = ()
    """Ports of networks that a router joins with this one, as rules with a remote group need them."""


@dataclass(frozen=True)
class RouterLeg:
    """A Subnet that the router joins. Legs of one network are one interface with several addresses."""

    network_uid: str
    subnet_uid: str
    cidr: str
    address: str
    """The router's address there (the gateway's), without prefix; the same on every host."""
    ipv6_mode: IPv6Mode | None = None
    """How guests get their IPv6 address, which router advertisements say too; None on IPv4 legs."""


@dataclass(frozen=True)
class RouterNeighbour:
    """A port behind a leg: the router asks nobody where it is."""

    network_uid: str
    address: str
    mac: str


@dataclass(frozen=True)
class RouterGateway:
    """The router's outside."""

    network_uid: str
    """The external network, which this host carries too."""
    addresses: tuple[str, ...]
    """The router's own, with prefix lengths; only the gateway host has them."""
    next_hops: tuple[str, ...]
    """At most one of each IP version."""
    cidrs: tuple[str, ...]
    """The external subnets, reached without a next hop."""
    snat: bool = True
    transit_vni: int | None = None
    """The hidden network that carries what leaves by the gateway host."""
    gateway_host: str | None = None
    gateway_host_address: str | None = None
    """On the underlay."""


@dataclass(frozen=True)
class HostFloatingIP:
    """A floating address that answers on this host."""

    uid: str
    address: str
    fixed_address: str


@dataclass(frozen=True)
class HostRouter:
    """A Router as this host carries it: every host that needs it has the same, but for what leaves it."""

    uid: str
    name: str
    namespace: str
    legs: tuple[RouterLeg, ...]
    mtus: tuple[tuple[str, int], ...] = ()
    """MTU in bytes of each network that it has an interface on, the external one too, by UID, sorted."""
    neighbours: frozenset[RouterNeighbour] = field(default_factory=frozenset)
    members: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    """What ports behind its legs may use beside their addresses: UID of the network, and an address as CIDR. Security
    groups know members by these too."""
    routes: tuple[HostRoute, ...] = ()
    gateway: RouterGateway | None = None
    floating_ips: tuple[HostFloatingIP, ...] = ()
    """Those of ports on this host, by UID."""
    is_enabled: bool = True
    """False: it forwards nothing."""
    keep_unknown: bool = False
    """As of ``HostNetwork``."""

    def known_addresses(self) -> frozenset[str]:
        """Return the fixed addresses of the ports behind its legs."""
        return frozenset(neighbour.address for neighbour in self.neighbours)

    def needs_outside(self, host: str) -> bool:
        """Tell whether the host has the router's interface on the external network: floating IPs, or the gateway."""
        return self.gateway is not None and (bool(self.floating_ips) or self.gateway.gateway_host == host)

    def networks_on(self, host: str) -> frozenset[str]:
        """Return the UIDs of the networks that the host has to carry before the router."""
        outside = {self.gateway.network_uid} if self.gateway and self.needs_outside(host) else set()
        return frozenset(leg.network_uid for leg in self.legs) | outside
