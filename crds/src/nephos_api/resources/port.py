"""Port: an interface on a Network. The object is the claim of its addresses."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from nephos_api.fields import LABEL_NAME, AddressOrPrefix, IPAddress, MacAddress, Name, ObjectName, Uid
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.resources.network import MOST_SUBNETS
from nephos_api.schema.rules import fixed_once_set, immutable, rule

MOST_ASKED: Final = 16
MOST_ALLOCATIONS: Final = MOST_ASKED + MOST_SUBNETS
"""Addresses of a Port: those that it asks for, and one that its guest makes on each Subnet."""


class Allocation(ApiModel):
    """An address that this Port holds."""

    subnet: Name
    """The Subnet's name."""
    subnet_uid: Uid
    """Its UID."""
    address: IPAddress
    """The address."""
    prefix_length: Annotated[int, Field(ge=0, le=128)]
    """Bits of the Subnet's prefix."""


class AllowedAddressPair(ApiModel):
    """An address that the guest may use beside its own."""

    address: AddressOrPrefix
    """An address, or a network in CIDR notation."""
    mac_address: MacAddress | None = None
    """The MAC address that goes with it; absent means the Port's."""


class RateLimits(ApiModel):
    """What one direction carries at most; absent means no bound."""

    kilobits_per_second: Annotated[int | None, Field(ge=64, le=400_000_000)] = None
    """Bandwidth in kbit/s."""
    packets_per_second: Annotated[int | None, Field(ge=10, le=100_000_000)] = None
    """Packets in a second."""


class PortQos(ApiModel):
    """Limits of a Port, as the guest sees the directions."""

    ingress: RateLimits = RateLimits()
    """What comes in to the guest."""
    egress: RateLimits = RateLimits()
    """What leaves it."""


class SecurityGroupReference(ApiModel):
    """A SecurityGroup, as the operator found it."""

    name: Name
    """Its name."""
    namespace: Name
    """Its namespace: the Port's own, or nephos-catalog."""
    uid: Uid
    """Its UID."""


class PortSpec(ApiModel):
    """What the port is. From ``networkNamespace`` on, fields are the operator's; tenants who set them are refused."""

    network: Annotated[Name, immutable("spec.network")]
    """The Network in the same namespace, or a shared one in nephos-catalog."""
    addresses: Annotated[tuple[IPAddress, ...], Field(max_length=MOST_ASKED), immutable("spec.addresses")] = ()
    """Addresses that the port asks for; absent means a free one of each IP version that the Network has."""
    mac_address: Annotated[MacAddress | None, fixed_once_set("spec.macAddress")] = None
    """Its MAC address; absent means one that is derived from its UID."""
    security_groups: Annotated[tuple[Name, ...] | None, Field(max_length=16)] = None
    """SecurityGroups, in the same namespace or in nephos-catalog; absent means [default], and [] means none: then
    nothing passes but what every guest needs."""
    port_security: bool | None = None
    """False switches off all filters, those against spoofing too, and demands securityGroups to be []; absent means
    what the Network says."""
    allowed_address_pairs: Annotated[tuple[AllowedAddressPair, ...], Field(max_length=32)] = ()
    """Addresses that the guest may use beside its own."""
    enabled: bool = True
    """False stops everything in both directions; the guest keeps its NIC."""
    qos: PortQos | None = None
    """Limits of bandwidth and packets."""
    network_namespace: Annotated[Name | None, fixed_once_set("spec.networkNamespace")] = None
    """The Network's namespace, where it is not the Port's own."""
    security_group_references: Annotated[tuple[SecurityGroupReference, ...], Field(max_length=16)] = ()
    """The SecurityGroups that were found; those that do not exist yet allow nothing."""
    network_uid: Annotated[Uid | None, fixed_once_set("spec.networkUID")] = None
    """The Network's UID."""
    allocations: Annotated[tuple[Allocation, ...], Field(max_length=MOST_ALLOCATIONS)] = ()
    """The addresses that the port holds."""
    server: Annotated[Name | None, fixed_once_set("spec.server")] = None
    """The Server that it belongs to."""
    server_uid: Annotated[Uid | None, fixed_once_set("spec.serverUID")] = None
    """The Server's UID."""
    server_interface: Annotated[Name | None, fixed_once_set("spec.serverInterface")] = None
    """The name of the entry in the Server's spec.networks."""
    host: ObjectName | None = None
    """The Host that the port is bound to."""
    host_address: IPAddress | None = None
    """That Host's address on the underlay, where other hosts send frames for this port."""


class PortPhase(StrEnum):
    """Where the port stands (Neutron's words)."""

    BUILD = "Build"
    ACTIVE = "Active"
    DOWN = "Down"
    ERROR = "Error"


class PortStatus(Status):
    """Where the port stands; written by the agent of its host, or by the operator while it has none."""

    phase: PortPhase | None = None
    """Build, Active, Down or Error."""


class Port(Resource):
    """An interface on a Network, with its MAC and its addresses. A Server's own are named <server>-<interface>."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Port",
        plural="ports",
        columns=(
            Column("Phase", ".status.phase"),
            Column("Network", ".spec.network"),
            Column("Address", ".spec.allocations[0].address"),
            Column("MAC", ".spec.macAddress"),
            Column("Server", ".spec.server"),
            Column("Host", ".spec.host", wide=True),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(LABEL_NAME,),
        selectable_fields=(".spec.host", ".spec.networkUID", ".spec.network"),
    )

    spec: Annotated[
        PortSpec,
        rule(
            "!has(self.portSecurity) || self.portSecurity"
            " || (has(self.securityGroups) && self.securityGroups.size() == 0)",
            "spec.portSecurity: false leaves nothing to filter by; set spec.securityGroups to []",
            field_path=".securityGroups",
        ),
        rule(
            "!has(oldSelf.macAddress) || has(self.macAddress)",
            "spec.macAddress can't be taken away; delete the Port and make it anew",
            field_path=".macAddress",
            reason="FieldValueForbidden",
        ),
    ]
    status: PortStatus = PortStatus()
