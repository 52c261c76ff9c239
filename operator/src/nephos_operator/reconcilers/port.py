"""Port: addresses and groups for those that people make; an end for those whose Server is gone; nothing held twice."""

from __future__ import annotations

from nephos_api.conditions import ConditionType
from nephos_api.interfaces import is_used, mac_of
from nephos_api.metadata import Key
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import Port, Server
from nephos_api.resources.port import Allocation, PortPhase, PortStatus
from nephos_operator import counted
from nephos_operator.allocation import allocate
from nephos_operator.context import Context, release_finalizer
from nephos_operator.host_release import has_unplugged
from nephos_operator.networks_named import pinned_network, pinned_network_key
from nephos_operator.port_plan import PortPlan, better_claim, kept_addresses, mac_rival, plan
from nephos_operator.port_state import UNBOUND, is_servers_own
from nephos_operator.reconcilers import port_spec
from nephos_operator.reconcilers.life import live
from nephos_operator.security_groups import port_groups
from nephos_operator.statuses import ready, settle, write
from nephos_operator.verdict import Problem, Stalls, Waits


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the Port to what it should be, or to its end."""
    return await live(context.store.ports.find(key), context, keep=_keep, release=_release)


async def _keep(port: Port, context: Context) -> Result:
    if port.spec.server_uid is not None:
        return await _follow_server(port, context)
    planned = counted.problem(port, context) or plan(port, context.store, context.addresses)
    if not isinstance(planned, PortPlan):
        context.addresses.cancel(port.key)
        return await _tell(port, planned, context)
    port = await port_spec.write(port, port_spec.held(port) | planned.spec, context)
    return await _settle(port, planned, context)


async def _settle(port: Port, planned: PortPlan, context: Context) -> Result:
    """Write the status of a Port that no Server uses; on a host, it is the agent's."""
    problem: Problem | None = better_claim(port, context.store) or mac_rival(port, context.store)
    if problem := problem or next(iter(planned.groups.problems), None):
        return await _tell(port, problem, context)
    status = PortStatus(
        observed_generation=port.metadata.generation,
        phase=PortPhase.DOWN,
        conditions=ready(port, context, UNBOUND, "has its addresses; no Server uses it"),
    )
    await write(_without_release(port), status, context)
    return Done()


async def _tell(port: Port, problem: Problem, context: Context) -> Result:
    phase = PortPhase.ERROR if isinstance(problem, Stalls) else PortPhase.BUILD
    return await settle(_without_release(port), PortStatus(phase=phase), problem, context)


def _without_release(port: Port) -> Port:
    """Return the Port without the word of the host that let go of it last, which is no matter of the operator's."""
    kept = tuple(held for held in port.status.conditions if held.type != ConditionType.RELEASED)
    return port.model_copy(update={"status": port.status.model_copy(update={"conditions": kept})})


async def _follow_server(port: Port, context: Context) -> Result:
    """A Server's own Port goes with its Server or its NIC; one that a person made is free then."""
    server = _server(port, context)
    if server is None:
        return await _outlive(port, context)
    if is_used(port, server) and not server.is_deleting:
        return await _yield_contested(await _keep_in_use(port, context), context)
    if server.is_deleting and is_servers_own(port):
        return Done()  # its Server deletes it
    if not has_unplugged(port, server, context.store):
        return Wait(f"waits for Host {port.spec.host} to unplug it")
    return await _part(port, context)


async def _outlive(port: Port, context: Context) -> Result:
    """Part with a Server that is gone: gone as the API server says, not only unseen."""
    server = await context.kube.get(Server, port.spec.server or "", port.metadata.namespace)
    if server is not None and server.uid == port.spec.server_uid:
        context.store.put(server)
        return Done()
    return await _part(port, context)


async def _part(port: Port, context: Context) -> Result:
    """Delete a Server's own Port; take the binding off one that a person made."""
    if is_servers_own(port):
        await context.kube.delete(Port, port.metadata.name, port.metadata.namespace, uid=port.uid)
    else:
        await port_spec.write(port, port_spec.unbound(port), context)
    return Done()


async def _keep_in_use(port: Port, context: Context) -> Port:
    """Keep the addresses of a Port in use; and its groups, where a person made it."""
    spec = port_spec.held(port) | kept_addresses(port, context.store, context.addresses)
    if not is_servers_own(port):
        groups = port_groups(port, pinned_network(port, context.store), context.store)
        for problem in groups.problems:
            context.events.warning(port, problem.reason, problem.message)
        spec |= groups.to_wire()
    return await port_spec.write(port, spec, context)


async def _yield_contested(port: Port, context: Context) -> Result:
    """Give up an address that another Port has the better claim to; take another where any would do."""
    if (problem := better_claim(port, context.store)) is None:
        return Done()
    namespace = pinned_network_key(port).namespace
    subnets = [context.store.subnets.get(allocation.subnet, namespace) for allocation in port.spec.allocations]
    there = [subnet for subnet in subnets if subnet is not None]
    held: tuple[Allocation, ...] | Problem = ()
    if not port.spec.addresses:
        held = allocate(port.key, "spec.addresses", (), there, context.addresses, mac_of(port))
    kept = () if isinstance(held, Waits | Stalls) else held
    allocations = [allocation.to_wire() for allocation in kept]
    await port_spec.write(port, port_spec.held(port) | {"allocations": allocations}, context)
    context.events.warning(port, problem.reason, problem.message)
    return Done()


async def _release(port: Port, context: Context) -> Result:
    """Let the Port go once no NIC has it and its Server's host has let go of it."""
    server = _server(port, context)
    if server is not None and is_used(port, server) and not server.is_deleting:
        message = f"is being deleted; held by Server {server.metadata.name}, whose interface it is"
        context.events.warning(port, "InUse", f"{message}: take it out of spec.networks there, or delete the Server")
        return Wait(message)
    if server is not None and not has_unplugged(port, server, context.store):
        return Wait(f"is being deleted; waits for Host {port.spec.host} to unplug it")
    if port.spec.server_uid is None:
        context.addresses.cancel(port.key)
    await release_finalizer(port, context)
    return Done()


def _server(port: Port, context: Context) -> Server | None:
    """Return the Server of that UID that the Port belongs to, if it is known."""
    server = context.store.servers.get(port.spec.server or "", port.metadata.namespace)
    return server if server is not None and server.uid == port.spec.server_uid else None
