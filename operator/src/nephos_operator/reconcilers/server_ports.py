"""The Ports of a Server, one a NIC: its own, born complete, so that agents learn of it by one event; or a person's."""

from __future__ import annotations

from itertools import islice
from typing import Any

from nephos_api import identity
from nephos_api.interfaces import is_nic, mac_of, port_of
from nephos_api.metadata import API_VERSION, Key
from nephos_api.resources import Host, Port, Server
from nephos_api.resources.port import Allocation
from nephos_api.resources.server import MOST_ADDRESSES, NetworkInterface, ServerAddress
from nephos_operator.allocation import allocate
from nephos_operator.context import Context
from nephos_operator.networks_named import pinned_network
from nephos_operator.port_state import bound_port, is_servers_own
from nephos_operator.reconcilers import port_spec
from nephos_operator.references import InterfacePlan
from nephos_operator.security_groups import Groups, server_groups
from nephos_operator.verdict import Problem, Stalls, Waits

Held = dict[str, tuple[Allocation, ...]]
"""The addresses of a Server's Ports, by the names of its NICs."""


def port_key(server: Server, interface: NetworkInterface) -> Key:
    """Return the key of the NIC's Port."""
    return Key(Port.info.kind, server.metadata.namespace, port_of(server, interface))


def missing_count(server: Server, context: Context) -> int:
    """Return how many Ports are to be made for the Server."""
    return sum(nic.port is None and bound_port(server, nic, context.store) is None for nic in server.spec.networks)


def own_keys(server: Server) -> frozenset[Key]:
    """Return the keys of the Ports of all its NICs, made or to be made."""
    return frozenset(port_key(server, nic) for nic in server.spec.networks)


def reserve(server: Server, interfaces: tuple[InterfacePlan, ...], context: Context) -> Held | Problem:
    """Reserve the addresses of these NICs, or the Ports that they name; what a Port of the Server holds stays."""
    found: Held = {}
    for nic in interfaces:
        held = _promise(server, nic.port, context) if nic.port else _addresses(server, nic, context)
        if isinstance(held, Waits | Stalls):
            return held
        found[nic.interface.name] = held
    return found


def _promise(server: Server, port: Port, context: Context) -> tuple[Allocation, ...] | Waits:
    """Promise a person's Port to the Server, unless another has that promise."""
    if context.promised_ports.setdefault(port.key, server.uid) != server.uid:
        return Waits("PortInUse", f"waits for {port.key}: another Server is about to use it")
    return port.spec.allocations


def _addresses(server: Server, nic: InterfacePlan, context: Context) -> tuple[Allocation, ...] | Problem:
    name, key = nic.interface.name, port_key(server, nic.interface)
    port = context.store.ports.find(key)
    if port is not None and not is_nic(port, server, nic.interface):
        return Waits(
            "PortNameTaken",
            f"waits for {key} to be gone: it has the name of the port of NIC {name} and is not this Server's",
        )
    if port is not None and port.spec.allocations:
        return port.spec.allocations
    had = [address.address for address in server.status.addresses if address.name == name]
    field = "status.addresses" if had else f"spec.networks[{name}].addresses"
    mac = identity.mac_address(server.uid, name)
    return allocate(key, field, had or nic.interface.addresses, nic.subnets, context.addresses, mac)


def give_back(server: Server, context: Context) -> None:
    """Give back what is reserved for Ports of the Server that are not made, or bound."""
    for interface in server.spec.networks:
        key = port_key(server, interface)
        _take_back(server, key, context)
        port = context.store.ports.find(key)
        if interface.port is None and (port is None or is_nic(port, server, interface)):
            context.addresses.cancel(key)  # another's Port of that name may be under way itself


def _take_back(server: Server, port: Key, context: Context) -> None:
    """Forget that the Port is promised to the Server: it is bound now, or will not be."""
    if context.promised_ports.get(port) == server.uid:
        del context.promised_ports[port]


async def write(server: Server, nic: InterfacePlan, held: tuple[Allocation, ...], host: Host, context: Context) -> None:
    """Make or bind the Port of a NIC on that Host."""
    allocations = {"allocations": [allocation.to_wire() for allocation in held]}
    if nic.port is not None:
        port = context.store.ports.find(nic.port.key) or nic.port
        spec = port_spec.held(port) | port_spec.binding(server, nic.interface, host)
        try:
            await port_spec.write(port, spec, context)
        finally:
            _take_back(server, port.key, context)
        return
    own = bound_port(server, nic.interface, context.store)
    if own is None:
        await context.kube.create(Port, _new(server, nic, allocations, host, context))
        return
    await port_spec.write(own, complete(server, own, nic.interface, host, context) | allocations, context)


def groups(server: Server, port: Port, context: Context) -> Groups:
    """Return the SecurityGroups of the Server's own Port; those of a person's Port are that Port's matter."""
    if not is_servers_own(port):
        return Groups(port.spec.security_group_references)
    return server_groups(server, port, pinned_network(port, context.store), context.store)


def complete(server: Server, port: Port, interface: NetworkInterface, host: Host, context: Context) -> dict[str, Any]:
    """Return the operator's part of the spec of a Port that is the Server's NIC, as it should be."""
    wire = groups(server, port, context).to_wire()
    return port_spec.held(port) | port_spec.binding(server, interface, host) | wire


def _new(
    server: Server, nic: InterfacePlan, allocations: dict[str, Any], host: Host, context: Context
) -> dict[str, Any]:
    """Return the Server's own Port of a NIC; it belongs to the Server and goes with it."""
    interface = nic.interface
    owner = {
        "apiVersion": API_VERSION,
        "kind": Server.info.kind,
        "name": server.metadata.name,
        "uid": server.uid,
        "controller": True,
    }
    metadata = {
        "name": port_of(server, interface),
        "namespace": server.metadata.namespace,
        "ownerReferences": [owner],
    }
    spec: dict[str, Any] = {
        "network": interface.network,
        "networkUID": nic.network.uid,
        "macAddress": identity.mac_address(server.uid, interface.name),
        **allocations,
        **port_spec.binding(server, interface, host),
        **server_groups(server, None, nic.network, context.store).to_wire(),
    }
    if nic.network.metadata.namespace != server.metadata.namespace:
        spec["networkNamespace"] = nic.network.metadata.namespace
    if interface.addresses:
        spec["addresses"] = list(interface.addresses)
    return {"metadata": metadata, "spec": spec}


def addresses(server: Server, held: Held, context: Context) -> tuple[ServerAddress, ...]:
    """Return the addresses as the Server's status says them, in the order of its NICs; of very many, the first."""
    all_of_them = (
        ServerAddress(name=nic.name, network=nic.network, address=one.address, mac=_mac(server, nic, context))
        for nic in server.spec.networks
        for one in held.get(nic.name, ())
    )
    return tuple(islice(all_of_them, MOST_ADDRESSES))


def _mac(server: Server, interface: NetworkInterface, context: Context) -> str:
    port = context.store.ports.find(port_key(server, interface)) if interface.port else None
    return mac_of(port) if port is not None else identity.mac_address(server.uid, interface.name)
