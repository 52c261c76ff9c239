"""Network: a layer-2 segment: one VXLAN across the hosts that carry it, or a network of the provider's own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from nephos_api.fields import LABEL_NAME, IPAddress, IPv4Or6Prefix, JoinedList, Name, Uid
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import immutable, rule

PhysicalNetworkName = Annotated[str, Field(min_length=1, max_length=31, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A name under which hosts know one of the provider's networks; their agents are told by which bridge."""


DnsDomain = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]


SMALLEST_MTU: Final = 576
LARGEST_MTU: Final = 9166
Mtu = Annotated[int, Field(ge=SMALLEST_MTU, le=LARGEST_MTU)]

MOST_SUBNETS: Final = 32
"""Subnets that one Network can have in use."""
MOST_ROUTERS: Final = 64
"""Routers that a Network's status names."""


class SegmentType(StrEnum):
    """How a provider's network is told from others on its wire: not at all, or by an 802.1Q tag."""

    FLAT = "Flat"
    VLAN = "VLAN"


class ExternalSegment(ApiModel):
    """A network that is there already, outside of the cloud: hosts reach it by a bridge of their own."""

    physical_network: PhysicalNetworkName
    """The name under which hosts know it."""
    type: SegmentType = SegmentType.FLAT
    """Flat (the wire is the network) or VLAN."""
    vlan_id: Annotated[int | None, Field(ge=1, le=4094)] = None
    """The tag, of type VLAN (IEEE 802.1Q)."""


class NetworkSpec(ApiModel):
    """What the network should be."""

    external: Annotated[
        ExternalSegment | None,
        immutable("spec.external"),
        rule(
            "has(self.vlanID) == (self.type == 'VLAN')",
            "spec.external.vlanID belongs to type VLAN: set it there, and leave it out of Flat",
        ),
    ] = None
    """The provider's network that it is; Routers and FloatingIPs take addresses there. Only cloud admins may set it.
    Absent means a network of its own, carried between hosts by VXLAN."""
    shared: bool = False
    """Whether Servers and Ports of other projects may be on it; only a network of nephos-catalog can be shared."""
    projects: Annotated[tuple[Name, ...], Field(max_length=256)] = ()
    """Which projects may use it, where it is of nephos-catalog; absent means all."""
    port_security: bool = True
    """What its Ports have unless they say otherwise: filters against spoofing, and security groups."""

    mtu: Mtu | None = None
    """MTU in bytes that guests get; absent means what the underlay carries."""
    dns_domain: DnsDomain | None = None
    """Domain of the names of its Servers; absent means <network>.<project>.nephos.internal."""


class NetworkPhase(StrEnum):
    """Where the network stands."""

    BUILD = "Build"
    ACTIVE = "Active"
    DELETING = "Deleting"
    ERROR = "Error"


class IPv6Mode(StrEnum):
    """How guests of an IPv6 Subnet get their address (Neutron's ipv6_address_mode)."""

    SLAAC = "SLAAC"
    DHCPV6_STATEFUL = "DHCPv6Stateful"
    DHCPV6_STATELESS = "DHCPv6Stateless"


class HostRoute(ApiModel):
    """A route that guests of a Subnet are told."""

    destination: IPv4Or6Prefix
    """Where to."""
    next_hop: IPAddress
    """By which router, in the Subnet."""


class SubnetView(ApiModel):
    """A Subnet as agents need it, published by the operator so that they watch one object a network."""

    name: Name
    """The Subnet's name."""
    uid: Uid
    """Its UID."""
    cidr: IPv4Or6Prefix
    """Its addresses."""
    gateway: IPAddress | None = None
    """The default router that guests are told."""
    service_address: IPAddress | None = None
    """Where DHCP, DNS and metadata answer on every host; absent where nothing does: on a provider's network without
    DHCP."""
    dhcp: bool = True
    """Whether guests are served by DHCP."""
    dns_servers: Annotated[tuple[IPAddress, ...], Field(max_length=8)] = ()
    """Resolvers that guests are told; empty means the service address."""
    host_routes: Annotated[tuple[HostRoute, ...], Field(max_length=64)] = ()
    """Routes that guests are told."""
    ipv6_mode: IPv6Mode | None = None
    """How guests get their IPv6 address; absent on IPv4 Subnets."""
    ntp_servers: Annotated[tuple[IPAddress, ...], Field(max_length=8)] = ()
    """Time servers that guests are told."""
    search_domains: Annotated[tuple[DnsDomain, ...], Field(max_length=6)] = ()
    """Domains that guests look names up in; empty means the Network's."""


class RouterReference(ApiModel):
    """A Router that has a leg on the Network, published so that hosts of the Network find it."""

    name: Name
    """The Router's name."""
    namespace: Name
    """Its namespace."""
    uid: Uid
    """Its UID."""


class NetworkStatus(Status):
    """What the operator gave the network."""

    phase: NetworkPhase | None = None
    """Build, Active, Deleting or Error."""
    vni: Annotated[int | None, Field(ge=1, le=16_777_215)] = None
    """VXLAN network identifier (24 bit, RFC 7348)."""
    mtu: Mtu | None = None
    """MTU in bytes that guests get."""
    dns_domain: DnsDomain | None = None
    """Domain of the names of its Servers."""
    subnets: Annotated[
        tuple[SubnetView, ...], Field(max_length=MOST_SUBNETS, json_schema_extra={"mapKey": "name"})
    ] = ()
    """Its Subnets, as agents need them."""
    routers: Annotated[tuple[RouterReference, ...], Field(max_length=MOST_ROUTERS)] = ()
    """The Routers that have a leg on it, by UID."""
    cidrs: JoinedList | None = None
    """The Subnets' addresses in one string, for people."""


class Network(Resource):
    """A layer-2 segment of a project. Its Subnets give it addresses."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Network",
        plural="networks",
        short_names=("net",),
        columns=(
            Column("Phase", ".status.phase"),
            Column("Subnets", ".status.cidrs"),
            Column("VNI", ".status.vni", "integer", wide=True),
            Column("MTU", ".status.mtu", "integer", wide=True),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(LABEL_NAME,),
    )

    spec: NetworkSpec = NetworkSpec()
    status: NetworkStatus = NetworkStatus()
