"""From API objects to a network as this host needs it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from nephos_agent.network.model import HostNetwork, HostPort, PortAddress
from nephos_api.identity import mac_address
from nephos_api.resources.network import Network
from nephos_api.resources.port import Port


def port_mac(port: Port) -> str:
    """Return the port's MAC address."""
    return port.spec.mac_address or mac_address(port.uid)


def host_network(network: Network, ports: Iterable[HostPort]) -> HostNetwork | None:
    """Return the network with its ports, in a fixed order; None while the operator has not given it a VNI."""
    status = network.status
    if status.vni is None or status.mtu is None:
        return None
    return HostNetwork(
        uid=network.uid,
        name=network.metadata.name,
        namespace=network.metadata.namespace or "",
        vni=status.vni,
        mtu=status.mtu,
        dns_domain=status.dns_domain or "",
        subnets=status.subnets,
        ports=tuple(sorted(ports, key=lambda port: port.uid)),
    )


def host_port(port: Port) -> HostPort | None:
    """Return the port as hosts need it; None while it is bound to no host."""
    spec = port.spec
    if spec.host is None or spec.host_address is None:
        return None
    return HostPort(
        uid=port.uid,
        name=port.metadata.name,
        mac=port_mac(port),
        addresses=tuple(PortAddress(held.address, held.subnet_uid, held.prefix_length) for held in spec.allocations),
        server_uid=spec.server_uid,
        server_name=spec.server,
        host=spec.host,
        host_address=spec.host_address,
    )
