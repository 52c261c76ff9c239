"""A Port of any host, read as far as other hosts need it: there may be thousands of them on a network."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import Field

from nephos_api.metadata import KindInfo, Metadata, OwnerReference, Resource
from nephos_api.model import ApiModel
from nephos_api.resources.port import Allocation, AllowedAddressPair, Port, PortQos, SecurityGroupReference


class RemoteMetadata(Metadata):
    """Metadata without owners."""

    owner_references: Annotated[tuple[OwnerReference, ...], Field(validation_alias="unread")] = ()


class RemotePortSpec(ApiModel):
    """The spec of a Port without what only its own host and the operator look at."""

    mac_address: str | None = None
    port_security: bool | None = None
    allowed_address_pairs: tuple[AllowedAddressPair, ...] = ()
    enabled: bool = True
    qos: PortQos | None = None
    security_group_references: tuple[SecurityGroupReference, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    server: str | None = None
    server_uid: str | None = None
    host: str | None = None
    host_address: str | None = None


class RemotePort(Resource):
    """A Port without its status, of which every change is told to every host of its network."""

    info: ClassVar[KindInfo] = Port.info

    metadata: RemoteMetadata
    spec: RemotePortSpec


_NO_SPEC: Final = RemotePortSpec()


def without_spec(port: RemotePort) -> RemotePort:
    """Return the port as it is kept once its spec was looked at."""
    return port.model_copy(update={"spec": _NO_SPEC})
