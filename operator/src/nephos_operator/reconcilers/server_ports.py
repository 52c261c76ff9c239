"""The Ports of a Server: one a NIC, born complete, so that agents on all hosts learn of it by one event."""

from __future__ import annotations

from typing import Any

from nephos_api import identity
from nephos_api.metadata import API_VERSION
from nephos_api.resources import Host, Network, Port, Server
from nephos_api.resources.port import Allocation, SecurityGroupReference
from nephos_api.resources.server import NetworkInterface, ServerAddress
from nephos_operator.allocation import allocate
from nephos_operator.context import Context
from nephos_operator.references import InterfacePlan
from nephos_operator.security_groups import Groups, server_groups
from nephos_operator.verdict import Problem, Stalls, Waits


def own_port(server: Server, interface: str, context: Context) -> Port | None:
    """Return the Port of the Server's NIC, if it is there and the Server's own."""
    port = context.store.ports.get(identity.port_name(server.metadata.name, interface), server.metadata.namespace)
    return port if port is not None and port.spec.server_uid == server.uid else None


def allocations(
    server: Server, interfaces: tuple[InterfacePlan, ...], context: Context
) -> dict[str, tuple[Allocation, ...]] | Problem:
    """Reserve the addresses of all NICs; those that a Port of the Server holds already stay."""
    found: dict[str, tuple[Allocation, ...]] = {}
    for plan in interfaces:
        name = plan.interface.name
        key = context.store.ports.key(identity.port_name(server.metadata.name, name), server.metadata.namespace)
        port = context.store.ports.find(key)
        if port is not None and port.spec.server_uid != server.uid:
            return Waits(
                "PortNameTaken",
                f"waits for {key} to be gone: it has the name of the port of NIC {name} and is not this Server's",
            )
        if port is not None and port.spec.allocations:
            found[name] = port.spec.allocations
            continue
        chosen = allocate(
            key,
            f"spec.networks[{name}].addresses",
            plan.interface.addresses,
            plan.subnets,
            context.addresses,
            identity.mac_address(server.uid, name),
        )
        if isinstance(chosen, Waits | Stalls):
            return chosen
        found[name] = chosen
    return found


def give_back(server: Server, context: Context) -> None:
    """Give back the addresses that are reserved for Ports of the Server which are not made."""
    for interface in server.spec.networks:
        key = context.store.ports.key(
            identity.port_name(server.metadata.name, interface.name), server.metadata.namespace
        )
        port = context.store.ports.find(key)
        if port is None or port.spec.server_uid == server.uid:  # another's Port of that name may be under way itself
            context.addresses.cancel(key)


def groups(server: Server, interface: NetworkInterface, network: Network | None, context: Context) -> Groups:
    """Return the SecurityGroups of the Port of a NIC, whether it is there or not."""
    return server_groups(server, own_port(server, interface.name, context), network, context.store)


def port_spec(
    server: Server,
    interface: NetworkInterface,
    network_uid: str,
    held: tuple[Allocation, ...],
    host: Host,
    references: tuple[SecurityGroupReference, ...],
) -> dict[str, Any]:
    """Return the operator's part of the spec of the Port of a NIC on that Host."""
    spec: dict[str, Any] = {
        "network": interface.network,
        "networkUID": network_uid,
        "allocations": [allocation.to_wire() for allocation in held],
        "macAddress": identity.mac_address(server.uid, interface.name),
        "server": server.metadata.name,
        "serverUID": server.uid,
        "serverInterface": interface.name,
        "host": host.metadata.name,
        "hostAddress": host.status.address,
        "securityGroupReferences": [reference.to_wire() for reference in references],
    }
    if interface.addresses:
        spec["addresses"] = list(interface.addresses)
    return spec


def port_body(server: Server, interface: NetworkInterface, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the Port of a NIC with that spec; it belongs to the Server and goes with it."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": "Server",
        "name": server.metadata.name,
        "uid": server.uid,
        "controller": True,
    }
    metadata = {
        "name": identity.port_name(server.metadata.name, interface.name),
        "namespace": server.metadata.namespace,
        "ownerReferences": [owner],
    }
    return {"metadata": metadata, "spec": spec}


def addresses(server: Server, held: dict[str, tuple[Allocation, ...]]) -> tuple[ServerAddress, ...]:
    """Return the addresses as the Server's status says them, in the order of its NICs."""
    return tuple(
        ServerAddress(
            name=interface.name,
            network=interface.network,
            address=allocation.address,
            mac=identity.mac_address(server.uid, interface.name),
        )
        for interface in server.spec.networks
        for allocation in held.get(interface.name, ())
    )
