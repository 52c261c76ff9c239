"""Which Port each NIC of a Server has, and with which MAC: operator and agent read it off names and UIDs alone."""

from __future__ import annotations

from nephos_api.identity import mac_address, port_name
from nephos_api.resources.port import Port
from nephos_api.resources.server import NetworkInterface, Server


def port_of(server: Server, interface: NetworkInterface) -> str:
    """Return the name of the NIC's Port: the one that it names, or the Server's own."""
    return interface.port or port_name(server.metadata.name, interface.name)


def mac_of(port: Port) -> str:
    """Return the Port's MAC address: the one that was given to it, or the one that its UID gives it."""
    return port.spec.mac_address or mac_address(port.uid)


def is_nic(port: Port, server: Server, interface: NetworkInterface) -> bool:
    """Tell whether the Port is bound to that NIC of the Server."""
    bound = (port.spec.server_uid, port.spec.server_interface, port.metadata.name)
    return bound == (server.uid, interface.name, port_of(server, interface))


def is_used(port: Port, server: Server) -> bool:
    """Tell whether an entry of the Server's spec.networks has that Port.

    Where none has it any more, the host unplugs it and says so in the Port's status (condition Released, with the
    Port's generation as observedGeneration); then the Port is the Server's no more.
    """
    return any(is_nic(port, server, interface) for interface in server.spec.networks)
