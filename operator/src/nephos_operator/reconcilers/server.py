"""Server: a Host, addresses and Ports for it; after that it is its Host's, until it is refused or deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import Host, Port, Server
from nephos_api.resources.server import ServerPhase
from nephos_operator import counted, quota
from nephos_operator.context import Context, release_finalizer
from nephos_operator.host_release import has_let_go
from nephos_operator.ledger import Claim
from nephos_operator.placement import snapshot
from nephos_operator.placement.decision import Chosen, NoValidHost, decide
from nephos_operator.port_state import is_servers_own
from nephos_operator.reconcilers import server_nics, server_ports
from nephos_operator.reconcilers.life import live
from nephos_operator.reconcilers.server_status import is_refused, placed, unplaced, write_status
from nephos_operator.references import Resolved, resolve
from nephos_operator.statuses import outcome, unsaid_s
from nephos_operator.together import together
from nephos_operator.verdict import Problem, Stalls, Waits

MOST_ATTEMPTS: Final = 3
"""Hosts that a Server is offered to in one search (Nova's max_attempts)."""

BUSY_S: Final = 30.0
"""A Server whose Hosts are only busy says so after so long."""


@dataclass(frozen=True)
class Placement:
    """Everything that is decided for a Server, reserved and assumed, and not yet written."""

    resolved: Resolved
    host: Host
    allocations: server_ports.Held


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the Server to its Host, or to its end."""
    context.busy.pop(key, None)
    return await live(context.store.servers.find(key), context, keep=_keep, release=_delete)


async def _keep(server: Server, context: Context) -> Result:
    if server.status.host is not None and not is_refused(server):
        if server.status.phase is not ServerPhase.BUILD:
            context.refusals.pop(server.uid, None)
        return await server_nics.keep(server, context)
    planned = plan(server, context)
    context.count_placement("placed" if isinstance(planned, Placement) else planned.reason)
    if isinstance(planned, Placement):
        return await _write_placement(server, planned, context)
    return await _tell(server, planned, context)


def plan(server: Server, context: Context) -> Placement | Problem:
    """Decide where the Server goes and reserve what it needs there. No await in here: two plans never interleave.

    Where it can't go anywhere, nothing stays reserved for it.
    """
    context.ledger.abandon(server.uid)
    planned = _plan(server, context)
    if not isinstance(planned, Placement):
        server_ports.give_back(server, context)
    return planned


def _plan(server: Server, context: Context) -> Placement | Problem:
    resolved = resolve(server, context.store)
    if not isinstance(resolved, Resolved):
        return resolved
    if problem := _quota_problem(server, resolved, context):
        return problem
    held = server_ports.reserve(server, resolved.interfaces, context)
    if isinstance(held, Waits | Stalls):
        return held
    host = _choose(server, resolved, context)
    if not isinstance(host, Host):
        return host
    context.ledger.assume(server.uid, _claim(server, resolved, host.metadata.name))
    return Placement(resolved, host, held)


def _choose(server: Server, resolved: Resolved, context: Context) -> Host | Problem:
    refused = context.refusals.get(server.uid, frozenset())
    if is_refused(server) and server.status.host is not None:
        refused |= {server.status.host}
        context.refusals[server.uid] = refused
    if len(refused) >= MOST_ATTEMPTS:
        last = server.status.placement_refused
        return Stalls(
            "NoValidHost",
            f"No valid host: {len(refused)} Hosts took it in and refused it ({', '.join(sorted(refused))})"
            + (f"; the last one said: {last.reason}" if last else "")
            + "; it is tried again when Hosts change",
        )
    group_name = server.spec.server_group
    group_hosts = context.ledger.group_hosts((server.metadata.namespace, group_name), server.uid) if group_name else {}
    request = snapshot.request(
        server.uid,
        resolved,
        availability_zone=server.spec.availability_zone,
        group_hosts=group_hosts,
        refused_by=refused,
    )
    ports = context.store.ports.by("server_uid", server.uid)
    preferred = next((port.spec.host for port in ports if port.spec.host), None)
    decision = decide(request, context.host_views.of(context.store.hosts), preferred=preferred)
    host = context.store.hosts.get(decision.host) if isinstance(decision, Chosen) else None
    if host is not None:
        return host
    if isinstance(decision, NoValidHost) and not decision.is_passing:
        return Stalls("NoValidHost", decision.message)
    return Waits("HostsBusy", "waits for a Host: those that fit build as many Servers as they do at a time")


def _quota_problem(server: Server, resolved: Resolved, context: Context) -> Problem | None:
    """Return which quota the Server would exceed, counting the Servers that are placed; or None."""
    project = resolved.project
    if project is None:
        return None
    namespace = server.metadata.namespace or ""
    limits, flavor = project.spec.quota, resolved.flavor.spec
    sums = context.ledger.in_namespace(namespace)
    own = context.ledger.claim_of(server.uid)
    used = {
        "instances": sums.servers - (own is not None),
        "cores": sums.vcpus - (own.vcpus if own else 0),
        "ram_mib": sums.memory_mib - (own.memory_mib if own else 0),
    }
    asked = {"instances": 1, "cores": flavor.vcpus, "ram_mib": flavor.memory_mib}
    if server.spec.server_group:
        members = context.ledger.group_hosts((namespace, server.spec.server_group), server.uid)
        used["server_group_members"] = members.total()
        asked["server_group_members"] = 1
    asked["metadata_items"] = len(server.spec.metadata)
    missing = server_ports.missing_count(server, context)
    return quota.exceeded(project.metadata.name, limits, used, asked) or counted.ports_problem(
        server, server_ports.own_keys(server), missing, project, context
    )


def _claim(server: Server, resolved: Resolved, host: str) -> Claim:
    flavor = resolved.flavor.spec
    return Claim(
        namespace=server.metadata.namespace or "",
        host=host,
        vcpus=flavor.vcpus,
        memory_mib=flavor.memory_mib,
        disk_gib=flavor.disk_gib,
        group=(server.metadata.namespace, server.spec.server_group) if server.spec.server_group else None,
    )


async def _write_placement(server: Server, planned: Placement, context: Context) -> Result:
    """Write the Ports, then the status: an agent that sees the Server finds its Ports there."""
    await together(
        server_ports.write(server, nic, planned.allocations[nic.interface.name], planned.host, context)
        for nic in planned.resolved.interfaces
    )
    if is_refused(server) and server.status.placement_refused:
        reason = server.status.placement_refused.reason
        context.events.warning(server, "Refused", f"Host {server.status.host} refused it: {reason}")
    addresses = server_ports.addresses(server, planned.allocations, context)
    status = placed(server, planned.resolved, planned.host.metadata.name, addresses, context)
    await write_status(server, status, context, guard=True)
    return Done()


async def _tell(server: Server, problem: Problem, context: Context) -> Result:
    """Say why the Server has no Host."""
    if problem.reason == "HostsBusy":
        context.busy[server.key] = None
        if context.age_s(server) < BUSY_S:
            return Wait(problem.message, after_s=BUSY_S)
    if after_s := unsaid_s(server, problem, context):
        return Wait(problem.message, after_s=after_s)
    status = unplaced(server, problem, context)
    written = await write_status(server, status, context)
    if isinstance(problem, Stalls) and written is not server:
        context.events.warning(server, problem.reason, problem.message)
    return outcome(problem)


async def _delete(server: Server, context: Context) -> Result:
    """Once its Host has let go of it, delete its own Ports and let it go; Ports that people made outlive it."""
    if not has_let_go(server, context.store):
        return Wait(f"waits for Host {server.status.host} to let go of it")
    context.ledger.forget(server.uid)
    context.refusals.pop(server.uid, None)
    ports = context.store.ports.by("server_uid", server.uid)
    await together(
        context.kube.delete(Port, port.metadata.name, port.metadata.namespace, uid=port.uid)
        for port in ports
        if is_servers_own(port) and not port.is_deleting
    )
    server_ports.give_back(server, context)
    await release_finalizer(server, context)
    return Done()
