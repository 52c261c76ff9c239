"""Router: its legs, its outside, the hidden network to its gateway Host, and that Host, moved when it is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import Network, Router
from nephos_api.resources.router import ExternalGateway, RouterPhase, RouterStatus
from nephos_operator import counted, identifiers
from nephos_operator.claims import held_addresses
from nephos_operator.context import Context, release_finalizer
from nephos_operator.gateways import choose, unfitness
from nephos_operator.reconcilers import in_use
from nephos_operator.reconcilers.life import live
from nephos_operator.router_legs import plan_legs, route_problem
from nephos_operator.router_outside import held_network, plan_outside
from nephos_operator.statuses import settle
from nephos_operator.verdict import UNDER_WAY_S, Problem, Stalls, Waits
from nephos_operator.wording import joined

KEPT = ("LegInUse", "ExternalInUse")
"""Reasons that say what stays, not what is missing."""


@dataclass(frozen=True)
class Plan:
    """The status that a Router gets, and what keeps it from being Ready."""

    status: RouterStatus
    problem: Problem | None


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the Router to what it should be, or to its end."""
    return await live(context.store.routers.find(key), context, keep=_keep, release=_release)


async def _keep(router: Router, context: Context) -> Result:
    planned = plan(router, context)
    with identifiers.writing(planned.status.transit_vni, router.uid, context):
        result = await settle(router, planned.status, planned.problem, context, reason="Active")
    _tell_of_move(router, planned.status.gateway_host, context)
    return result


def plan(router: Router, context: Context) -> Plan:
    """Decide what the Router has; what can be had is given, whatever else is missing. No await in here.

    One that has something keeps working, its gateway's move included, whatever is wrong with its Project or quota.
    """
    problem = counted.problem(router, context)
    if problem is not None and not (router.status.legs or router.status.external):
        context.addresses.cancel(router.key)
        return _settled(router.status, [problem])
    outside = plan_outside(router, context.store, context.addresses)
    legs = plan_legs(router, outside.cidrs, context.store)
    problems: list[Problem] = [*outside.problems, *legs.problems]
    if all(problem.reason in KEPT for problem in problems):  # else a next hop may lie on what is not there yet
        problems += filter(None, [route_problem(router, legs.legs, outside.cidrs)])
    status = RouterStatus(legs=legs.legs, subnet_list=joined(leg.subnet for leg in legs.legs))
    if outside.external is not None and outside.network is not None:
        status = status.model_copy(update=_outside(router, outside.external, outside.network, context))
        problems += filter(None, [_gateway_problem(status, outside.network, context)])
    context.addresses.cancel(router.key, but=held_addresses(router.model_copy(update={"status": status})))
    return _settled(status, [problem, *problems] if problem else problems)


def _outside(router: Router, external: ExternalGateway, network: Network, context: Context) -> dict[str, object]:
    """Return the fields of the status that speak of the outside."""
    return {
        "external": external,
        "transit_vni": identifiers.identifier(router, router.status.transit_vni, context),
        "external_address_list": joined(allocation.address for allocation in external.addresses),
        **_gateway(router, network, context),
    }


def _gateway(router: Router, network: Network | None, context: Context) -> dict[str, object]:
    """Return the fields of the status that say who carries the Router's own addresses."""
    host, store = None, context.store
    if network is not None and network.spec.external is not None:
        current = store.hosts.get(router.status.gateway_host) if router.status.gateway_host else None
        load = partial(store.routers.count, "gateway_host")
        host = choose(current, store.hosts, network.spec.external, load)
    return {
        "gateway_host": host.metadata.name if host is not None else None,
        "gateway_host_address": host.status.address if host is not None else None,
    }


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


def _settled(status: RouterStatus, problems: Sequence[Problem]) -> Plan:
    """Return the plan with its phase; what contradicts is told first, then what is missing, then what stays."""
    problem = min(problems, key=lambda problem: (not isinstance(problem, Stalls), problem.reason in KEPT), default=None)
    if isinstance(problem, Stalls):
        phase = RouterPhase.ERROR
    elif problem is not None and problem.reason not in KEPT:
        phase = RouterPhase.BUILD
    else:
        phase = RouterPhase.ACTIVE
    return Plan(status.model_copy(update={"phase": phase}), problem)


def _tell_of_move(router: Router, now: str | None, context: Context) -> None:
    was = router.status.gateway_host
    if was is None or was == now:
        return
    if now is None:
        context.events.warning(
            router, "GatewayLost", f"its gateway Host {was} can't carry it any more, and no other can"
        )
    else:
        context.events.normal(router, "GatewayMoved", f"its addresses moved from Host {was} to Host {now}")


async def _release(router: Router, context: Context) -> Result:
    """Let the Router go once no FloatingIP needs it; its gateway Host is told first, to let go of the addresses.

    As long as somebody needs it, it works, and its gateway moves like any other's.
    """
    users = in_use.users_of(router.uid, (context.store.floating_ips, "router_uid"))
    waiting = router.status.model_copy(update={"phase": RouterPhase.DELETING})
    if users:
        waiting = waiting.model_copy(update=_gateway(router, held_network(router, context.store), context))
        result = await in_use.release(router, waiting, users, context, remedy="unbind or delete those first")
        _tell_of_move(router, waiting.gateway_host, context)
        return result
    if router.status.gateway_host is not None:
        waits = Waits("Releasing", f"waits for Host {router.status.gateway_host} to let go of its addresses")
        nowhere = waiting.model_copy(update={"gateway_host": None, "gateway_host_address": None})
        await settle(router, nowhere, waits, context)
        return Wait(waits.message, after_s=UNDER_WAY_S)
    context.addresses.cancel(router.key)
    await release_finalizer(router, context)
    return Done()
