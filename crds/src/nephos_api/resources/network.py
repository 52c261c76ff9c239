"""Network: a layer-2 segment of a project, one VXLAN across the hosts that carry it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from nephos_api.fields import LABEL_NAME, IPAddress, IPv4Or6Prefix, Name, Uid
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel


class NetworkSpec(ApiModel):
    """What the network should be."""

    mtu: Annotated[int | None, Field(ge=576, le=9166)] = None
    """MTU in bytes that guests get; absent means what the underlay carries."""
    dns_domain: Annotated[
        str | None, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    ] = None
    """Domain of the names of its Servers; absent means <network>.<project>.nephos.internal."""


class NetworkPhase(StrEnum):
    """Where the network stands."""

    BUILD = "Build"
    ACTIVE = "Active"
    DELETING = "Deleting"
    ERROR = "Error"


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
    service_address: IPAddress
    """Where DHCP, DNS and metadata answer on every host."""
    dhcp: bool = True
    """Whether guests are served by DHCP."""
    dns_servers: Annotated[tuple[IPAddress, ...], Field(max_length=8)] = ()
    """Resolvers that guests are told; empty means the service address."""
    host_routes: Annotated[tuple[HostRoute, ...], Field(max_length=64)] = ()
    """Routes that guests are told."""


class NetworkStatus(Status):
    """What the operator gave the network."""

    phase: NetworkPhase | None = None
    """Build, Active, Deleting or Error."""
    vni: Annotated[int | None, Field(ge=1, le=16_777_215)] = None
    """VXLAN network identifier (24 bit, RFC 7348)."""
    mtu: Annotated[int | None, Field(ge=576, le=9166)] = None
    """MTU in bytes that guests get."""
    dns_domain: Annotated[str | None, Field(max_length=253)] = None
    """Domain of the names of its Servers."""
    subnets: Annotated[tuple[SubnetView, ...], Field(max_length=32, json_schema_extra={"mapKey": "name"})] = ()
    """Its Subnets, as agents need them."""
    cidrs: Annotated[str | None, Field(max_length=2048)] = None
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
