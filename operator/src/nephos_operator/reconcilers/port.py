"""Port: addresses for those that people make; an end for those whose Server is gone; no address held twice."""

from __future__ import annotations

from typing import Any

from nephos_api import identity
from nephos_api.metadata import Key, Resource
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import Network, Port, Server
from nephos_api.resources.network import NetworkPhase
from nephos_api.resources.port import Allocation, PortPhase, PortStatus
from nephos_operator.allocation import allocate, completed
from nephos_operator.claims import better_claimant
from nephos_operator.context import Context, ensure_finalizer, release_finalizer
from nephos_operator.host_release import has_let_go
from nephos_operator.reconcilers import port_spec
from nephos_operator.references import active_project, active_subnets, usable
from nephos_operator.security_groups import Groups, port_groups
from nephos_operator.statuses import ready, tell, told, write
from nephos_operator.verdict import Problem, Stalls, Waits


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the Port to what it should be, or to its end."""
    port = context.store.ports.find(key)
    if port is None:
        return Done()
    if port.is_deleting:
        return await _release(port, context)
    if not await ensure_finalizer(port, context):
        return Done()
    if port.spec.server_uid is not None:
        return await _check_server(port, context)
    planned = plan(port, context)
    if isinstance(planned, Waits | Stalls):
        context.addresses.cancel(port.key)
        return await _tell(port, planned, context)
    groups = port_groups(port, _network(port, context), context.store)
    spec = planned | {"securityGroupReferences": [reference.to_wire() for reference in groups.references]}
    port = await port_spec.write(port, spec, context)
    return await _settle(port, groups, context)


def plan(port: Port, context: Context) -> dict[str, Any] | Problem:
    """Return the Network, the addresses and the MAC address of a Port that a person made."""
    if port.spec.allocations and port.spec.network_uid:
        return _followed(port, context)
    project = active_project(port.metadata.namespace, context.store)
    if isinstance(project, Waits | Stalls):
        return project
    key = Key("Network", port.metadata.namespace, port.spec.network)
    network = usable(context.store.networks.find(key), key, "spec.network")
    if not isinstance(network, Network):
        return network
    subnets = active_subnets(network, context.store)
    if network.status.phase is not NetworkPhase.ACTIVE or not subnets:
        return Waits("NetworkNotActive", f"waits for {key} to become Active and to have a Subnet")
    mac = port.spec.mac_address or identity.mac_address(port.uid)
    allocations = allocate(port.key, "spec.addresses", port.spec.addresses, subnets, context.addresses, mac)
    if isinstance(allocations, Waits | Stalls):
        return allocations
    spec: dict[str, Any] = {
        "networkUID": network.uid,
        "allocations": [allocation.to_wire() for allocation in allocations],
    }
    if port.spec.mac_address is None:
        spec["macAddress"] = mac
    return spec


def _followed(port: Port, context: Context) -> dict[str, Any]:
    """Return the operator's part of the spec, with the addresses that the guest makes on Subnets that came later."""
    spec, network = port_spec.held(port), _network(port, context)
    if network is None or network.uid != port.spec.network_uid:
        return spec
    subnets = active_subnets(network, context.store)
    mac = port.spec.mac_address or identity.mac_address(port.uid)
    allocations = completed(port.key, port.spec.allocations, subnets, context.addresses, mac)
    return spec | {"allocations": [allocation.to_wire() for allocation in allocations]}


def contested(port: Port, context: Context) -> tuple[Allocation, Resource] | None:
    """Return the first address that another has a better claim to, and that one; None where all are the Port's own."""
    for allocation in port.spec.allocations:
        best = better_claimant(port, (allocation.subnet_uid, allocation.address), context.store)
        if best is not None:
            return allocation, best
    return None


async def _settle(port: Port, groups: Groups, context: Context) -> Result:
    """Write the status of a Port that no host carries; on a host, it is the agent's."""
    if port.spec.host is not None:
        return Done()
    if lost := contested(port, context):
        allocation, best = lost
        problem = Stalls(
            "AddressTaken", f"{allocation.address} belongs to {best.key}; delete one of the two and make it anew"
        )
        return await _tell(port, problem, context)
    if groups.missing:
        return await _tell(port, groups.missing[0], context)
    status = PortStatus(
        observed_generation=port.metadata.generation,
        phase=PortPhase.DOWN,
        conditions=ready(port, context, "Unbound", "has its addresses; no Server uses it"),
    )
    await write(port, status, context)
    return Done()


async def _tell(port: Port, problem: Problem, context: Context) -> Result:
    status = PortStatus(
        observed_generation=port.metadata.generation,
        phase=PortPhase.ERROR if isinstance(problem, Stalls) else PortPhase.BUILD,
        conditions=told(port, problem, context),
    )
    return await tell(port, problem, status, context)


async def _check_server(port: Port, context: Context) -> Result:
    """A Server's own Port goes when its Server is gone: gone as the API server says, not only unseen."""
    if _server(port, context) is not None:
        if port.spec.allocations:
            port = await port_spec.write(port, _followed(port, context), context)
        return await _yield_contested(port, context)
    name, namespace = port.spec.server or "", port.metadata.namespace
    server = await context.kube.get(Server, name, namespace)
    if server is not None and server.uid == port.spec.server_uid:
        context.store.put(server)
        return Done()
    await context.kube.delete(Port, port.metadata.name, namespace, uid=port.uid)
    return Done()


async def _yield_contested(port: Port, context: Context) -> Result:
    """Give up an address that another Port has the better claim to; take another where any would do."""
    lost = contested(port, context)
    if lost is None:
        return Done()
    allocation, best = lost
    held: tuple[Allocation, ...] | Problem = ()
    subnets = [context.store.subnets.get(a.subnet, port.metadata.namespace) for a in port.spec.allocations]
    if not port.spec.addresses:
        mac, left = port.spec.mac_address or identity.mac_address(port.uid), [s for s in subnets if s is not None]
        held = allocate(port.key, "spec.addresses", (), left, context.addresses, mac)
    kept = () if isinstance(held, Waits | Stalls) else held
    spec = {**port_spec.held(port), "allocations": [allocation.to_wire() for allocation in kept]}
    await port_spec.write(port, spec, context)
    message = f"{allocation.address} belongs to {best.key}, which has the better claim"
    context.events.warning(port, "AddressTaken", message)
    return Done()


async def _release(port: Port, context: Context) -> Result:
    """Let the Port go once its Server's host has let go of it."""
    server = _server(port, context)
    if server is not None and not (server.is_deleting and has_let_go(server, context.store)):
        message = f"is being deleted; held by Server {server.metadata.name}, whose interface it is"
        if not server.is_deleting:
            context.events.warning(port, "InUse", f"{message}: delete the Server")
        return Wait(message)
    if port.spec.server_uid is None:
        context.addresses.cancel(port.key)
    await release_finalizer(port, context)
    return Done()


def _network(port: Port, context: Context) -> Network | None:
    return context.store.networks.get(port.spec.network, port.metadata.namespace)


def _server(port: Port, context: Context) -> Server | None:
    """Return the Server of that UID that the Port belongs to, if it is known."""
    server = context.store.servers.get(port.spec.server or "", port.metadata.namespace)
    return server if server is not None and server.uid == port.spec.server_uid else None
