"""The NICs of a placed Server: each with its Port, complete and on its Host; new ones get theirs while it runs."""

from __future__ import annotations

from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import Host, Server
from nephos_api.resources.server import NetworkInterface
from nephos_operator import counted
from nephos_operator.bindings import floating_ip_list
from nephos_operator.context import Context
from nephos_operator.port_state import bound_port
from nephos_operator.provider import reaches
from nephos_operator.reconcilers import port_spec, server_ports
from nephos_operator.reconcilers.server_status import readdressed, write_status
from nephos_operator.references import InterfacePlan, interface_plan
from nephos_operator.usable import active_project
from nephos_operator.verdict import Problem, Stalls, Waits


async def keep(server: Server, context: Context) -> Result:
    """Keep the Ports of a placed Server: there, on its Host, at that Host's address, with its groups.

    A Port whose NIC was taken away is its own reconciler's matter: it goes once the Host has unplugged it.
    """
    host = context.store.hosts.get(server.status.host or "")
    if host is None or host.status.address is None:
        return Done()
    problems: dict[str, Problem] = {}
    for interface in server.spec.networks:
        for problem in await _keep(server, interface, host, context):
            problems[problem.message] = problem
    passing = [problem.after_s for problem in problems.values() if isinstance(problem, Waits) and problem.after_s]
    for problem in problems.values():
        if isinstance(problem, Stalls) or problem.after_s is None:
            context.events.warning(server, problem.reason, problem.message)
    await _keep_addresses(server, context)
    return Wait(" and ".join(problems), after_s=min(passing, default=None)) if problems else Done()


async def _keep(server: Server, interface: NetworkInterface, host: Host, context: Context) -> tuple[Problem, ...]:
    """Keep the Port of one NIC, or make it; return what is in the way."""
    port = bound_port(server, interface, context.store)
    if port is None:
        problem = await _plug(server, interface, host, context)
        return (problem,) if problem else ()
    await port_spec.write(port, server_ports.complete(server, port, interface, host, context), context)
    return server_ports.groups(server, port, context).problems


async def _plug(server: Server, interface: NetworkInterface, host: Host, context: Context) -> Problem | None:
    """Make the Port of a NIC that came later, or that somebody took away by force; or bind the one that it names."""
    nic = interface_plan(server, interface, context.store)
    if not isinstance(nic, InterfacePlan):
        return nic
    if problem := _quota_problem(server, nic, context) or _wire_problem(nic, host):
        return problem
    held = server_ports.reserve(server, (nic,), context)
    if isinstance(held, Waits | Stalls):
        return held
    await server_ports.write(server, nic, held[interface.name], host, context)
    return None


def _wire_problem(nic: InterfacePlan, host: Host) -> Waits | None:
    segment = nic.network.spec.external
    if segment is None or reaches(host, segment):
        return None
    return Waits(
        "HostNotOnNetwork",
        f"spec.networks[{nic.interface.name}].network: Host {host.metadata.name} does not reach physical network"
        f" {segment.physical_network} of {nic.network.key}; name another, or make the Server anew with it",
    )


def _quota_problem(server: Server, nic: InterfacePlan, context: Context) -> Problem | None:
    project = active_project(server.metadata.namespace, context.store)
    if nic.port is not None or project is None or isinstance(project, Waits | Stalls):
        return None
    return counted.ports_problem(server, server_ports.own_keys(server), 1, project, context)


async def _keep_addresses(server: Server, context: Context) -> None:
    """Say the addresses that the Ports hold, and what stands for them.

    A Port that is away for the moment, or lost its address, had those that were said: nothing changes until it is back.
    """
    held = {}
    said = {address.name for address in server.status.addresses}
    for interface in server.spec.networks:
        port = bound_port(server, interface, context.store)
        if port is not None and port.spec.allocations:
            held[interface.name] = port.spec.allocations
        elif interface.name in said:
            return
    addresses = server_ports.addresses(server, held, context)
    floating = floating_ip_list(server, context.store)
    if (addresses, floating) != (server.status.addresses, server.status.floating_ip_list):
        await write_status(server, readdressed(server, addresses, floating), context, guard=True)
