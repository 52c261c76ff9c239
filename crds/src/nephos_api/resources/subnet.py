"""Subnet: a range of addresses on a Network."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from nephos_api.fields import IPAddress, IPv4Or6Prefix, Name
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.resources.network import HostRoute
from nephos_api.schema.rules import immutable, rule


class AllocationPool(ApiModel):
    """A range of addresses that are given out, both ends included."""

    start: IPAddress
    """The first address."""
    end: IPAddress
    """The last address."""


class SubnetSpec(ApiModel):
    """The range and what guests are told."""

    network: Annotated[Name, immutable("spec.network")]
    """The Network in the same namespace."""
    cidr: Annotated[IPv4Or6Prefix, immutable("spec.cidr")]
    """The addresses, such as 10.10.0.0/24."""
    gateway: Annotated[IPAddress | None, immutable("spec.gateway")] = None
    """The default router; absent means the first address."""
    allocation_pools: Annotated[tuple[AllocationPool, ...], Field(max_length=32)] = ()
    """What is given out; absent means every address but the gateway and the service address."""
    dhcp: bool = True
    """Whether guests are served by DHCP."""
    dns_servers: Annotated[tuple[IPAddress, ...], Field(max_length=8)] = ()
    """Resolvers that guests are told; absent means the service address, which knows the Servers' names."""
    host_routes: Annotated[tuple[HostRoute, ...], Field(max_length=64)] = ()
    """Routes that guests are told."""
    service_address: Annotated[IPAddress | None, immutable("spec.serviceAddress")] = None
    """Where DHCP, DNS and metadata answer, on every host; absent means the highest address that is free."""


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
        rules=(
            rule(
                "!has(self.spec.gateway) || cidr(self.spec.cidr).containsIP(self.spec.gateway)",
                "spec.gateway lies outside spec.cidr",
            ),
            rule(
                "!has(self.spec.serviceAddress) || cidr(self.spec.cidr).containsIP(self.spec.serviceAddress)",
                "spec.serviceAddress lies outside spec.cidr",
            ),
            rule(
                "!has(self.spec.allocationPools) || self.spec.allocationPools.all(p,"
                " cidr(self.spec.cidr).containsIP(p.start) && cidr(self.spec.cidr).containsIP(p.end))",
                "spec.allocationPools: a pool lies outside spec.cidr",
            ),
        ),
    )

    spec: SubnetSpec
    status: SubnetStatus = SubnetStatus()
