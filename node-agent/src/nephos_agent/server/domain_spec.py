"""From a Server and its Ports to what its domain is made of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nephos_agent.compute.protocol import DomainSpec, NicSpec
from nephos_agent.server.nics import nics as nics_of
from nephos_api.errors import TemporaryFault
from nephos_api.resources.port import Port
from nephos_api.resources.server import Server

DEFAULT_MACHINE_TYPE: Final = "q35"


def own_ports(server: Server, ports: Mapping[str, Port]) -> tuple[Port, ...]:
    """Return the Server's Ports in the order of its NICs; ``ports`` by name, of its namespace.

    Raises TemporaryFault where one is not there, or is not the Server's own.
    """
    found = nics_of(server, ports)
    if found.missing:
        raise TemporaryFault(
            f"waits for its Port {found.missing[0]} to be placed on this host", reason="WaitingForPort"
        )
    return found.listed


def domain_spec(
    server: Server,
    *,
    cloud_id: str,
    disk: Path,
    config_drive: Path | None,
    console_log: Path,
    nics: tuple[NicSpec, ...],
) -> DomainSpec:
    """Return the specification. Raises TemporaryFault where the operator's part of the status is not there yet."""
    status = server.status
    if status.flavor is None or status.image is None or status.placement_epoch is None:
        raise TemporaryFault("waits for the operator to copy its flavor and image", reason="WaitingForPlacement")
    return DomainSpec(
        server_uid=server.uid,
        server_name=server.metadata.name,
        namespace=server.metadata.namespace or "",
        cloud_id=cloud_id,
        placement_epoch=status.placement_epoch,
        vcpus=status.flavor.vcpus,
        memory_mib=status.flavor.memory_mib,
        disk=disk,
        config_drive=config_drive,
        console_log=console_log,
        nics=nics,
        machine_type=status.image.machine_type or DEFAULT_MACHINE_TYPE,
        firmware=status.image.firmware,
    )
