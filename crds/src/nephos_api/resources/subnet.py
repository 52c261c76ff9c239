"""Subnet: a range of addresses on a Network."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from nephos_api.fields import LABEL_NAME, IPAddress, IPv4Or6Prefix, Name
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.resources.network import DnsDomain, HostRoute, IPv6Mode
from nephos_api.schema.cel import family, ipv4_number, is_ipv4, is_subnet_range, is_usable
from nephos_api.schema.rules import Rule, immutable, rule


class AllocationPool(ApiModel):
    """A range of addresses that are given out, both ends included."""

    start: IPAddress
    """The first address."""
    end: IPAddress
    """The last address."""


_POOL_ORDER = rule(
    f"!{is_ipv4('self.start')} || !{is_ipv4('self.end')} || {ipv4_number('self.start')} <= {ipv4_number('self.end')}",
    "start comes after end; swap them",
)

SubnetPrefix = Annotated[
    IPv4Or6Prefix,
    rule(
        f"!isCIDR(self) || {family('self')} != 4"
        " || (cidr(self).prefixLength() >= 8 && cidr(self).prefixLength() <= 29)",
        "must be a network from /8 to /29: a gateway, a service address and guests have to fit",
    ),
    rule(
        f"!isCIDR(self) || {family('self')} != 6"
        " || (cidr(self).prefixLength() >= 64 && cidr(self).prefixLength() <= 120)",
        "must be an IPv6 network from /64 to /120: guests and DHCPv6 take no larger one",
    ),
    rule(
        f"!isCIDR(self) || {family('self')} != 4 || ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3']"
        ".all(other, !cidr(other).containsCIDR(self) && !cidr(self).containsCIDR(other))",
        "meets addresses that have another meaning (0.0.0.0/8, loopback, link-local, multicast, reserved);"
        " choose a private network, such as 10.10.0.0/24",
    ),
    rule(
        f"!isCIDR(self) || {family('self')} != 6 || ['::/8', '64:ff9b::/96', 'fe80::/10', 'fec0::/10', 'ff00::/8']"
        ".all(other, !cidr(other).containsCIDR(self) && !cidr(self).containsCIDR(other))",
        "meets addresses that have another meaning (::/8, translated IPv4, link-local, site-local, multicast);"
        " choose a unique local network, such as fd00:10::/64, or one that was given to you",
    ),
]


class SubnetSpec(ApiModel):
    """The range and what guests are told."""

    network: Annotated[Name, immutable("spec.network")]
    """The Network in the same namespace."""
    cidr: Annotated[SubnetPrefix, immutable("spec.cidr")]
    """The addresses, such as 10.10.0.0/24 or fd00:10::/64."""
    gateway: Annotated[IPAddress | None, immutable("spec.gateway")] = None
    """The default router that guests are told; absent means the first address that a host can have."""
    allocation_pools: Annotated[tuple[Annotated[AllocationPool, _POOL_ORDER], ...], Field(max_length=16)] = ()
    """What is given out; absent means every address but the gateway and the service address. Ports whose guests make
    their own address (ipv6Mode) take none of it."""
    dhcp: bool = True
    """Whether guests are served: by DHCP, and of IPv6 by router advertisements. Where not, they configure themselves
    from their metadata."""
    dns_servers: Annotated[tuple[IPAddress, ...], Field(max_length=8)] = ()
    """Resolvers that guests are told; absent means the service address, which knows the Servers' names."""
    host_routes: Annotated[tuple[HostRoute, ...], Field(max_length=64)] = ()
    """Routes that guests are told: by DHCP, and those of IPv6, which it has no word for, by their metadata."""
    ipv6_mode: Annotated[IPv6Mode | None, immutable("spec.ipv6Mode")] = None
    """How guests of an IPv6 Subnet get their address: they make it from prefix and MAC (SLAAC, DHCPv6Stateless), or are
    leased the Port's (DHCPv6Stateful). Absent means SLAAC, and nothing on IPv4."""
    ntp_servers: Annotated[tuple[IPAddress, ...], Field(max_length=8)] = ()
    """Time servers that guests are told."""
    search_domains: Annotated[tuple[DnsDomain, ...], Field(max_length=6)] = ()
    """Domains that guests look names up in; absent means the Network's."""
    service_address: Annotated[IPAddress | None, immutable("spec.serviceAddress")] = None
    """Where DHCP, DNS and metadata answer, on every host; absent means the highest address that is free."""


def _in_network(field: str) -> tuple[Rule, Rule, Rule]:
    """Return the rules of an optional address of the Subnet: inside of it, and one that an interface can have."""
    given = f"!has(self.{field}) || !isCIDR(self.cidr) || !isIP(self.{field})"
    inside = f"cidr(self.cidr).containsIP(self.{field})"
    return (
        rule(
            f"{given} || {inside}",
            f"spec.{field} lies outside spec.cidr; choose an address inside of it",
            field_path=f".{field}",
        ),
        rule(
            f"{given} || !{is_subnet_range('self.cidr')} || !{inside} || {is_usable(f'self.{field}', 'self.cidr')}",
            f"spec.{field} is the first or last address of spec.cidr, which no interface can have; choose another",
            field_path=f".{field}",
        ),
        rule(
            f"{given} || {family('self.cidr')} != 6 || !self.cidr.startsWith(self.{field} + '/')",
            f"spec.{field} is the first address of spec.cidr, which is every router's (RFC 4291); choose another",
            field_path=f".{field}",
        ),
    )


_POOLS_CHECKED = "!has(self.allocationPools) || !isCIDR(self.cidr)"
_POOL_IS_INSIDE = "(cidr(self.cidr).containsIP(p.start) && cidr(self.cidr).containsIP(p.end))"
_POOLS_COMPARED = (
    f"!has(self.allocationPools) || !self.allocationPools.all(p, {is_ipv4('p.start')} && {is_ipv4('p.end')})"
)

_SPEC_RULES = (
    *_in_network("gateway"),
    *_in_network("serviceAddress"),
    rule(
        "!has(self.gateway) || !has(self.serviceAddress) || self.gateway != self.serviceAddress",
        "spec.serviceAddress is the same as spec.gateway; choose another, or leave it out",
        field_path=".serviceAddress",
    ),
    rule(
        f"{_POOLS_CHECKED} || self.allocationPools.all(p, !isIP(p.start) || !isIP(p.end) || {_POOL_IS_INSIDE})",
        "spec.allocationPools: a pool lies outside spec.cidr; both ends must be inside of it",
        field_path=".allocationPools",
    ),
    rule(
        f"{_POOLS_COMPARED} || self.allocationPools.all(p, self.allocationPools.exists_one(q,"
        f" {ipv4_number('p.start')} <= {ipv4_number('q.end')} && {ipv4_number('q.start')} <= {ipv4_number('p.end')})"
        f" || {ipv4_number('p.start')} > {ipv4_number('p.end')})",
        "spec.allocationPools: two pools overlap; each address may be in one pool only",
        field_path=".allocationPools",
    ),
    rule(
        f"{_POOLS_COMPARED} || !has(self.gateway) || !{is_ipv4('self.gateway')} || !self.allocationPools.exists(p,"
        f" {ipv4_number('p.start')} <= {ipv4_number('self.gateway')}"
        f" && {ipv4_number('self.gateway')} <= {ipv4_number('p.end')})",
        "spec.allocationPools: a pool contains spec.gateway; leave the gateway out of the pools",
        field_path=".allocationPools",
    ),
    rule(
        "!has(self.hostRoutes) || self.hostRoutes.all(r, !isCIDR(r.destination) || !isIP(r.nextHop)"
        " || cidr(r.destination).ip().family() == ip(r.nextHop).family())",
        "spec.hostRoutes: destination and nextHop of a route must be of one family, IPv4 or IPv6",
        field_path=".hostRoutes",
    ),
    rule(
        f"!has(self.hostRoutes) || !isCIDR(self.cidr) || self.hostRoutes.all(r, !isCIDR(r.destination)"
        f" || {family('r.destination')} == {family('self.cidr')})",
        "spec.hostRoutes: routes must be of the family of spec.cidr; put others into a Subnet of theirs",
        field_path=".hostRoutes",
    ),
    rule(
        f"!has(self.ipv6Mode) || !isCIDR(self.cidr) || {family('self.cidr')} == 6",
        "spec.ipv6Mode is of IPv6 alone, and spec.cidr is an IPv4 network; leave it out",
        field_path=".ipv6Mode",
    ),
    rule(
        f"!isCIDR(self.cidr) || {family('self.cidr')} != 6 || cidr(self.cidr).prefixLength() == 64"
        " || (has(self.ipv6Mode) && self.ipv6Mode == 'DHCPv6Stateful')",
        "spec.cidr: guests that make their own address need a /64; write one, or set spec.ipv6Mode to DHCPv6Stateful",
        field_path=".cidr",
    ),
)


class SubnetPhase(StrEnum):
    """Where the subnet stands."""

    PENDING = "Pending"
    ACTIVE = "Active"
    DELETING = "Deleting"
    ERROR = "Error"


class SubnetStatus(Status):
    """What the operator gave the subnet."""

    phase: SubnetPhase | None = None
    """Pending, Active, Deleting or Error."""
    gateway: IPAddress | None = None
    """The default router."""
    service_address: IPAddress | None = None
    """Where DHCP, DNS and metadata answer."""


class Subnet(Resource):
    """A range of addresses on a Network."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Subnet",
        plural="subnets",
        short_names=("sn",),
        columns=(
            Column("Phase", ".status.phase"),
            Column("Network", ".spec.network"),
            Column("CIDR", ".spec.cidr"),
            Column("Gateway", ".status.gateway"),
            Column("Service", ".status.serviceAddress", wide=True),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable_fields=(".spec.network",),
        rules=(LABEL_NAME,),
    )

    spec: Annotated[SubnetSpec, *_SPEC_RULES]
    status: SubnetStatus = SubnetStatus()
