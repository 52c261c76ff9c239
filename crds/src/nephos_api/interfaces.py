"""Which Port each NIC of a Server has: operator and agent read it off the names alone."""

from __future__ import annotations

from nephos_api.identity import port_name
from nephos_api.resources.port import Port
from nephos_api.resources.server import NetworkInterface, Server


def port_of(server: Server, interface: NetworkInterface) -> str:
    """Return the name of the NIC's Port: the one that it names, or the Server's own."""
    return interface.port or port_name(server.metadata.name, interface.name)


def is_used(port: Port, server: Server) -> bool:
    """Tell whether an entry of the Server's spec.networks has that Port.

    Where none has it any more, the host unplugs it and says so in the Port's status (condition Released, with the
    Port's generation as observedGeneration); then the Port is the Server's no more.
    """
    return port.spec.server_uid == server.uid and any(
        interface.name == port.spec.server_interface and port_of(server, interface) == port.metadata.name
        for interface in server.spec.networks
    )
