"""The operator's part of a Port's spec: the rest is its users', and no write of the operator's touches it."""

from __future__ import annotations

from typing import Any, Final

from nephos_api import identity
from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import Host, Port, Server
from nephos_api.resources.port import Allocation
from nephos_api.resources.server import NetworkInterface
from nephos_operator import counted
from nephos_operator.context import Context
from nephos_operator.port_state import is_servers_own, server_owners

_BINDING: Final = ("server", "serverUID", "serverInterface", "host", "hostAddress")
_OWNED: Final = ("networkUID", "networkNamespace", "allocations", "securityGroupReferences", *_BINDING)
"""Fields that nobody else writes; macAddress is the operator's too where the user gave none."""


def held(port: Port) -> dict[str, Any]:
    """Return the operator's part as it is: what is not said again in an apply would be taken away."""
    wire = port.spec.to_wire()
    names = (*_OWNED, "network", "addresses", "macAddress") if is_servers_own(port) else _OWNED
    spec = {name: wire[name] for name in names if wire.get(name)}
    if port.spec.mac_address == identity.mac_address(port.uid):
        spec["macAddress"] = port.spec.mac_address
    return spec


def binding(server: Server, interface: NetworkInterface, host: Host) -> dict[str, Any]:
    """Return what makes a Port the NIC of a Server on that Host."""
    return {
        "server": server.metadata.name,
        "serverUID": server.uid,
        "serverInterface": interface.name,
        "host": host.metadata.name,
        "hostAddress": host.status.address,
    }


def unbound(port: Port) -> dict[str, Any]:
    """Return the operator's part of the Port once it is nobody's NIC."""
    return {name: value for name, value in held(port).items() if name not in _BINDING}


async def write(port: Port, spec: dict[str, Any], context: Context) -> Port:
    """Make that the operator's part of the spec, unless it is so already; Conflict where somebody wrote it since."""
    if not _lacks(port, spec):
        return port
    metadata: dict[str, Any] = {
        "name": port.metadata.name,
        "namespace": port.metadata.namespace,
        "uid": port.uid,
        "resourceVersion": port.metadata.resource_version,
    }
    if owners := server_owners(port):
        metadata["ownerReferences"] = [owner.to_wire() for owner in owners]
    allocations = tuple(map(Allocation.model_validate, spec.get("allocations", ())))
    wanted = port.model_copy(update={"spec": port.spec.model_copy(update={"allocations": allocations})})
    with counted.writing(wanted, context.shares_under_way):
        return await context.kube.apply(Port, {"metadata": metadata, "spec": spec}, FieldManager.OPERATOR)


def _lacks(port: Port, spec: dict[str, Any]) -> bool:
    wire = port.spec.to_wire()
    return any((wire.get(name) or None) != (spec.get(name) or None) for name in {*_OWNED, *spec})
