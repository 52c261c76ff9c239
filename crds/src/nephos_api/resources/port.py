"""Port: an interface on a Network. The object is the claim of its addresses."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from nephos_api.fields import LABEL_NAME, IPAddress, MacAddress, Name, ObjectName, Uid
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import fixed_once_set, immutable


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


class PortSpec(ApiModel):
    """What the port is. From ``networkUID`` on, fields are the operator's; tenants who set them are refused."""

    network: Annotated[Name, immutable("spec.network")]
    """The Network in the same namespace."""
    addresses: Annotated[tuple[IPAddress, ...], Field(max_length=16), immutable("spec.addresses")] = ()
    """Addresses that the port asks for; absent means a free one of each IP version that the Network has."""
    mac_address: Annotated[MacAddress | None, fixed_once_set("spec.macAddress")] = None
    """Its MAC address; absent means one that is derived from its UID."""
    network_uid: Annotated[Uid | None, fixed_once_set("spec.networkUID")] = None
    """The Network's UID."""
    allocations: Annotated[tuple[Allocation, ...], Field(max_length=16)] = ()
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

    spec: PortSpec
    status: PortStatus = PortStatus()
