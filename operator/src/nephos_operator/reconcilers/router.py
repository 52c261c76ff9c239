"""Router: its legs, its outside, the hidden network to its gateway Host, and that Host, moved when it is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import Host, Network, Router
from nephos_api.resources.router import RouterPhase, RouterStatus
from nephos_operator import counted
from nephos_operator.context import Context, ensure_finalizer, release_finalizer
from nephos_operator.gateways import choose, unfitness
from nephos_operator.identifiers import identifier
from nephos_operator.reconcilers import in_use
from nephos_operator.references import active_project
from nephos_operator.router_legs import plan_legs, route_problem
from nephos_operator.router_outside import Outside, plan_outside
from nephos_operator.statuses import ready, tell, told, write
from nephos_operator.verdict import Problem, Stalls, Waits

KEPT = ("LegInUse", "ExternalInUse")
"""Reasons that say what stays, not what is missing."""


@dataclass(frozen=True)
class Plan:
    """The status that a Router gets, and what keeps it from being Ready."""

    status: RouterStatus
    problem: Problem | None


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the Router to what it should be, or to its end."""
    router = context.store.routers.find(key)
    if router is None:
        return Done()
    if router.is_deleting:
        return await _release(router, context)
    if not await ensure_finalizer(router, context):
        return Done()
    planned = plan(router, context)
    held = planned.status.transit_vni
    if held is not None:
        context.vnis_under_way[held] = router.uid
    try:
        return await _write(router, planned, context)
    finally:
        if held is not None:
            context.vnis_under_way.pop(held, None)


def plan(router: Router, context: Context) -> Plan:
    """Decide what the Router has; what can be had is given, whatever else is missing. No await in here.

    One that has something keeps working, its gateway's move included, whatever is wrong with its Project or quota.
    """
    project = active_project(router.metadata.namespace, context.store)
    problem = project if isinstance(project, Waits | Stalls) else counted.problem(router, project, context.store)
    if problem is not None and not (router.status.legs or router.status.external):
        return _settled(router, router.status, [problem], context)
    outside = plan_outside(router, context.store, context.addresses)
    legs = plan_legs(router, outside.cidrs, context.store)
    problems: list[Problem] = [*outside.problems, *legs.problems]
    if all(problem.reason in KEPT for problem in problems):  # else a next hop may lie on what is not there yet
        problems += filter(None, [route_problem(router, legs.legs, outside.cidrs)])
    status = RouterStatus(legs=legs.legs, subnet_list=", ".join(leg.subnet for leg in legs.legs) or None)
    if outside.external is not None and outside.network is not None:
        status = status.model_copy(update=_outside(router, outside, context))
        problems += filter(None, [_gateway_problem(status, outside.network, context)])
    return _settled(router, status, [problem, *problems] if problem else problems, context)


def _outside(router: Router, outside: Outside, context: Context) -> dict[str, object]:
    """Return the fields of the status that speak of the outside."""
    addresses = outside.external.addresses if outside.external is not None else ()
    host = _gateway_host(router, outside.network, context)
    return {
        "external": outside.external,
        "transit_vni": identifier(router, router.status.transit_vni, context),
        "gateway_host": host.metadata.name if host is not None else None,
        "gateway_host_address": host.status.address if host is not None else None,
        "external_address_list": ", ".join(allocation.address for allocation in addresses) or None,
    }


def _gateway_host(router: Router, network: Network | None, context: Context) -> Host | None:
    if network is None or network.spec.external is None:
        return None
    store = context.store
    current = store.hosts.get(router.status.gateway_host) if router.status.gateway_host else None
    return choose(current, store.hosts, network.spec.external, lambda name: store.routers.count("gateway_host", name))


def _gateway_problem(status: RouterStatus, network: Network, context: Context) -> Waits | None:
    """Return why nobody carries the Router's own addresses, or None."""
    if network.spec.external is None:
        return None
    needed = f"an Up, enabled Host that reaches physical network {network.spec.external.physical_network}"
    if status.gateway_host is None:
        return Waits("NoGatewayHost", f"waits for {needed}: its addresses and SNAT are nowhere until then")
    why = unfitness(context.store.hosts.get(status.gateway_host), network.spec.external)
    return (
        Waits("GatewayHostUnfit", f"its gateway Host {status.gateway_host} {why}; waits for {needed}") if why else None
    )


def _settled(router: Router, status: RouterStatus, problems: Sequence[Problem], context: Context) -> Plan:
    """Return the plan with phase and conditions: first what contradicts, then what is missing, then what stays."""
    problem = min(problems, key=lambda problem: (not isinstance(problem, Stalls), problem.reason in KEPT), default=None)
    if isinstance(problem, Stalls):
        phase = RouterPhase.ERROR
    elif problem is not None and problem.reason not in KEPT:
        phase = RouterPhase.BUILD
    else:
        phase = RouterPhase.ACTIVE
    said = {
        "observed_generation": router.metadata.generation,
        "phase": phase,
        "conditions": told(router, problem, context) if problem else ready(router, context, "Active"),
    }
    return Plan(status.model_copy(update=said), problem)


async def _write(router: Router, planned: Plan, context: Context) -> Result:
    if planned.problem is not None:
        result = await tell(router, planned.problem, planned.status, context)
    else:
        await write(router, planned.status, context)
        result = Done()
    was, now = router.status.gateway_host, planned.status.gateway_host
    if was is not None and was != now:
        _tell_of_move(router, was, now, context)
    return result


def _tell_of_move(router: Router, was: str, now: str | None, context: Context) -> None:
    if now is None:
        context.events.warning(
            router, "GatewayLost", f"its gateway Host {was} can't carry it any more, and no other can"
        )
    else:
        context.events.normal(router, "GatewayMoved", f"its addresses moved from Host {was} to Host {now}")


async def _release(router: Router, context: Context) -> Result:
    """Let the Router go once no FloatingIP needs it; its gateway Host is told first, to let go of the addresses."""
    users = [user.key for user in context.store.floating_ips.by("router_uid", router.uid)]
    if users:
        return await in_use.release(router, RouterPhase.DELETING, users, context, remedy="unbind or delete those first")
    if router.status.gateway_host is not None:
        waits = Waits("Releasing", f"waits for Host {router.status.gateway_host} to let go of its addresses")
        said = {
            "observed_generation": router.metadata.generation,
            "phase": RouterPhase.DELETING,
            "conditions": told(router, waits, context),
            "gateway_host": None,
            "gateway_host_address": None,
        }
        await write(router, router.status.model_copy(update=said), context)
        return Wait(waits.message, after_s=in_use.UNDER_WAY_S)
    context.addresses.cancel(router.key)
    await release_finalizer(router, context)
    return Done()
