"""The operator's part of a Port's spec: the rest is its users', and no write of the operator's touches it."""

from __future__ import annotations

from typing import Any, Final

from nephos_api import identity
from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import OwnerReference
from nephos_api.resources import Port, Server
from nephos_operator.context import Context

OWNED: Final = (
    "networkUID",
    "networkNamespace",
    "allocations",
    "securityGroupReferences",
    "server",
    "serverUID",
    "serverInterface",
    "host",
    "hostAddress",
)
"""Fields that nobody else writes; macAddress is the operator's too where the user gave none."""


def lacks(port: Port, spec: dict[str, Any]) -> bool:
    """Tell whether the Port differs from the operator's part as it should be."""
    held = port.spec.to_wire()
    names = {*OWNED, *spec}
    return any((held.get(name) or None) != (spec.get(name) or None) for name in names)


def held(port: Port) -> dict[str, Any]:
    """Return the operator's part as it is: what is not said again in an apply would be taken away."""
    wire = port.spec.to_wire()
    names = (*OWNED, "network", "addresses", "macAddress") if is_servers_own(port) else OWNED
    spec = {name: wire[name] for name in names if wire.get(name)}
    if port.spec.mac_address == identity.mac_address(port.uid):
        spec["macAddress"] = port.spec.mac_address
    return spec


def is_servers_own(port: Port) -> bool:
    """Tell whether the operator made the Port for a Server, and it goes with that."""
    return bool(_servers(port))


async def write(port: Port, spec: dict[str, Any], context: Context) -> Port:
    """Make that the operator's part of the spec, unless it is so already."""
    if not lacks(port, spec):
        return port
    metadata: dict[str, Any] = {"name": port.metadata.name, "namespace": port.metadata.namespace, "uid": port.uid}
    if owners := _servers(port):
        metadata["ownerReferences"] = [owner.to_wire() for owner in owners]
    return await context.kube.apply(Port, {"metadata": metadata, "spec": spec}, FieldManager.OPERATOR)


def _servers(port: Port) -> tuple[OwnerReference, ...]:
    return tuple(owner for owner in port.metadata.owner_references if owner.kind == Server.info.kind)
