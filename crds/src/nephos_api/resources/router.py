"""Router: joins Subnets of a project with each other, and with the world by an external Network."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from nephos_api.fields import LABEL_NAME, IPAddress, IPv4Or6Prefix, JoinedList, Name, ObjectName, Uid
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.resources.network import MOST_SUBNETS, HostRoute
from nephos_api.resources.port import Allocation
from nephos_api.schema.rules import rule

MOST_LEGS: Final = 32
"""Subnets that one Router can join."""


class RouterSpec(ApiModel):
    """What the router joins."""

    external_network: Name | None = None
    """An external Network, in the same namespace or in nephos-catalog; absent means a router without an outside."""
    external_addresses: Annotated[tuple[IPAddress, ...], Field(max_length=4)] = ()
    """Addresses that it asks for on the external Network; absent means a free one of each IP version that it has."""
    snat: bool = True
    """Whether Servers without a FloatingIP reach the outside by the router's own address (IPv4 only)."""
    subnets: Annotated[tuple[Name, ...], Field(max_length=MOST_LEGS)] = ()
    """Subnets, in the same namespace; on each the router has the gateway's address."""
    routes: Annotated[
        tuple[HostRoute, ...],
        Field(max_length=30),
        rule(
            "self.all(r, !isCIDR(r.destination) || !isIP(r.nextHop)"
            " || cidr(r.destination).ip().family() == ip(r.nextHop).family())",
            "spec.routes: destination and nextHop of a route must be of one family, IPv4 or IPv6",
        ),
        rule(
            "self.all(r, self.filter(other, other.destination == r.destination).size() == 1)",
            "spec.routes: two routes have the same destination; keep one",
        ),
    ] = ()
    """Extra routes, by a next hop on one of its Subnets or on the external Network."""
    enabled: bool = True
    """False stops all forwarding; addresses stay the router's."""


_ADDRESSES_NEED_NETWORK = rule(
    "!has(self.externalAddresses) || self.externalAddresses.size() == 0 || has(self.externalNetwork)",
    "spec.externalAddresses needs spec.externalNetwork, where the addresses are",
    field_path=".externalAddresses",
)


class RouterPhase(StrEnum):
    """Where the router stands."""

    BUILD = "Build"
    ACTIVE = "Active"
    DELETING = "Deleting"
    ERROR = "Error"


class RouterLeg(ApiModel):
    """A Subnet that the router joins: its own address there is the gateway's, the same on every host."""

    subnet: Name
    """The Subnet's name."""
    subnet_uid: Uid
    """Its UID."""
    cidr: IPv4Or6Prefix
    """Its addresses."""
    address: IPAddress
    """The router's address there."""
    network: Name
    """The Subnet's Network."""
    network_uid: Uid
    """Its UID."""


class ExternalGateway(ApiModel):
    """The router's outside: a Network, its addresses there, and by whom the world is reached."""

    network: Name
    """The external Network's name."""
    network_namespace: Name
    """Its namespace."""
    network_uid: Uid
    """Its UID."""
    addresses: Annotated[tuple[Allocation, ...], Field(max_length=4)] = ()
    """The router's own addresses there: what SNAT shows, and where the world sends what is routed."""
    next_hops: Annotated[tuple[IPAddress, ...], Field(max_length=4)] = ()
    """The external Subnets' gateways, at most one of each IP version that has one."""
    cidrs: Annotated[tuple[IPv4Or6Prefix, ...], Field(max_length=MOST_SUBNETS)] = ()
    """The external Subnets' addresses, which are reached without a next hop."""


class RouterStatus(Status):
    """What the operator gave the router, as agents need it."""

    phase: RouterPhase | None = None
    """Build, Active, Deleting or Error."""
    legs: Annotated[tuple[RouterLeg, ...], Field(max_length=MOST_LEGS)] = ()
    """The Subnets that it joins."""
    external: ExternalGateway | None = None
    """Its outside."""
    transit_vni: Annotated[int | None, Field(ge=1, le=16_777_215)] = None
    """VNI of the hidden network that carries what leaves by the gateway host (24 bit, RFC 7348)."""
    gateway_host: ObjectName | None = None
    """The Host that carries the router's own external addresses."""
    gateway_host_address: IPAddress | None = None
    """That Host's address on the underlay."""
    subnet_list: JoinedList | None = None
    """The Subnets' names in one string, for people."""
    external_address_list: JoinedList | None = None
    """The external addresses in one string, for people."""


class Router(Resource):
    """Joins Subnets of a project with each other, and with the world by an external Network."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Router",
        plural="routers",
        short_names=("rt",),
        columns=(
            Column("Phase", ".status.phase"),
            Column("Subnets", ".status.subnetList"),
            Column("External", ".spec.externalNetwork"),
            Column("Address", ".status.externalAddressList"),
            Column("Gateway-Host", ".status.gatewayHost", wide=True),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable_fields=(".status.gatewayHost",),
        rules=(LABEL_NAME,),
    )

    spec: Annotated[RouterSpec, _ADDRESSES_NEED_NETWORK] = RouterSpec()
    status: RouterStatus = RouterStatus()
