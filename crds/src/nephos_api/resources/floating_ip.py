"""FloatingIP: an address of an external Network that stands for one fixed address of a Port."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from nephos_api.fields import LABEL_NAME, IPAddress, MacAddress, Name, ObjectName, Uid
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import immutable, rule


class FloatingIPSpec(ApiModel):
    """Which address, and whom it stands for; without server and port it is only held."""

    external_network: Annotated[Name, immutable("spec.externalNetwork")]
    """An external Network, in the same namespace or in nephos-catalog."""
    address: Annotated[IPAddress | None, immutable("spec.address")] = None
    """The address that it asks for; absent means a free one."""
    server: Name | None = None
    """The Server that it stands for: its first Port with an address behind a Router to the external Network."""
    port: Name | None = None
    """The Port that it stands for."""
    fixed_address: IPAddress | None = None
    """Which of the Port's addresses; absent means its first IPv4 address behind the Router."""


_TARGET = (
    rule(
        "!has(self.server) || !has(self.port)",
        "spec.server and spec.port exclude each other; name one of them",
        field_path=".port",
    ),
    rule(
        "!has(self.fixedAddress) || has(self.server) || has(self.port)",
        "spec.fixedAddress needs spec.server or spec.port, whose address it is",
        field_path=".fixedAddress",
    ),
    rule(
        "!has(self.address) || !isIP(self.address) || ip(self.address).family() == 4",
        "spec.address: floating addresses are IPv4's; IPv6 is routed and needs none",
        field_path=".address",
    ),
    rule(
        "!has(self.fixedAddress) || !isIP(self.fixedAddress) || ip(self.fixedAddress).family() == 4",
        "spec.fixedAddress: floating addresses stand for IPv4 addresses; IPv6 is routed and needs none",
        field_path=".fixedAddress",
    ),
)


class FloatingIPPhase(StrEnum):
    """Where the address stands (Neutron's words): Active once it answers."""

    DOWN = "Down"
    ACTIVE = "Active"
    ERROR = "Error"


HOST_DOWN: Final = "HostDown"
"""The reason of the Ready condition while the operator has phase and conditions back from a Host that fell silent."""


class FloatingIPStatus(Status):
    """The operator owns everything but phase and conditions, which are the agent's while status.host is set.

    Of a Host that is Down nobody knows whether the address answers: the operator says so (Ready, reason HostDown). That
    Host's agent says nothing more of it, even if it runs, until the operator has seen the Host Up and says Binding.

    Once the deletion of a FloatingIP was asked for, that agent ends what it does for it, and says so by the condition
    Released: only then another may have the address.
    """

    phase: FloatingIPPhase | None = None
    """Down, Active or Error."""
    address: IPAddress | None = None
    """The address."""
    subnet_uid: Uid | None = None
    """UID of the external Subnet that it is from."""
    network_uid: Uid | None = None
    """UID of the external Network."""
    fixed_address: IPAddress | None = None
    """The address that it stands for."""
    port: Name | None = None
    """The Port that has the fixed address."""
    port_uid: Uid | None = None
    """Its UID."""
    mac_address: MacAddress | None = None
    """The Port's MAC address."""
    router: Name | None = None
    """The Router that translates."""
    router_uid: Uid | None = None
    """Its UID."""
    host: ObjectName | None = None
    """The Host that carries the Port, where the address answers."""
    target: Annotated[str | None, Field(max_length=255)] = None
    """Whom it stands for, in one string for people."""


class FloatingIP(Resource):
    """An address of an external Network that stands for one fixed address of a Port."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="FloatingIP",
        plural="floatingips",
        short_names=("fip",),
        columns=(
            Column("Phase", ".status.phase"),
            Column("Address", ".status.address"),
            Column("Target", ".status.target"),
            Column("Fixed", ".status.fixedAddress"),
            Column("Host", ".status.host", wide=True),
            Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable_fields=(".status.host",),
        rules=(LABEL_NAME,),
    )

    spec: Annotated[FloatingIPSpec, *_TARGET]
    status: FloatingIPStatus = FloatingIPStatus()
