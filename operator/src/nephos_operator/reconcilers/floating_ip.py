"""FloatingIP: an address, for whom it stands, and on which Host; from there on phase and conditions are the agent's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nephos_api.conditions import Condition, Conditions, ConditionStatus, ConditionType, find
from nephos_api.metadata import Key
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import FloatingIP, Network, Subnet
from nephos_api.resources.floating_ip import HOST_DOWN, FloatingIPPhase, FloatingIPStatus
from nephos_operator import counted
from nephos_operator.addressing import network_of
from nephos_operator.bindings import Binding, find_binding, target_text
from nephos_operator.claims import better_claimant, held_addresses
from nephos_operator.context import Context, release_finalizer
from nephos_operator.external_addresses import coming, in_use, is_coming, one_of, pool_problem, reserve
from nephos_operator.handover import taken_back
from nephos_operator.host_release import absence, seconds_until_free
from nephos_operator.networks_named import active_subnets
from nephos_operator.reconcilers.life import live
from nephos_operator.router_indices import external_keys
from nephos_operator.router_outside import external_network
from nephos_operator.statuses import outcome, ready, tell, told, write
from nephos_operator.verdict import Problem, Stalls, Waits

BINDING: Final = "Binding"
"""The reason of the Ready condition that the operator leaves to the agent."""

AGENTS_FIELDS: Final = frozenset({"phase", "conditions"})
"""What is the agent's while status.host names a Host that is not Down."""


@dataclass(frozen=True)
class Plan:
    """What a FloatingIP gets: its address, for whom it stands, and what is in the way."""

    status: FloatingIPStatus
    problem: Problem | None


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the FloatingIP to what it should be, or to its end."""
    return await live(context.store.floating_ips.find(key), context, keep=_keep, release=_release)


async def _keep(floating_ip: FloatingIP, context: Context) -> Result:
    planned = plan(floating_ip, context)
    if planned.status.host is None:
        return await _settle(floating_ip, planned, context)
    if (why := absence(context.store.hosts.get(planned.status.host))) is not None:
        return await _take_back(floating_ip, planned, why, context)
    return await _hand_over(floating_ip, planned, context)


def plan(floating_ip: FloatingIP, context: Context) -> Plan:
    """Decide which address the FloatingIP has and for whom it stands. No await in here.

    What it does not get does not stay reserved for it.
    """
    planned = _plan(floating_ip, context)
    wanted = floating_ip.model_copy(update={"status": planned.status})
    context.addresses.cancel(floating_ip.key, but=held_addresses(wanted))
    return planned


def _plan(floating_ip: FloatingIP, context: Context) -> Plan:
    problem = counted.problem(floating_ip, context.store, context.shares_under_way)
    if problem is not None and floating_ip.status.address is None:
        return Plan(FloatingIPStatus(), problem)
    network = _network(floating_ip, context)
    if isinstance(network, Waits | Stalls):
        return Plan(FloatingIPStatus(), network)
    addressed = _addressed(floating_ip, network, context)
    if isinstance(addressed, Waits | Stalls):
        return Plan(FloatingIPStatus(), addressed)
    binding = find_binding(floating_ip, network, context.store)
    if isinstance(binding, Waits | Stalls):
        return Plan(addressed, binding)
    return Plan(_bound(addressed, binding, floating_ip), None) if binding is not None else Plan(addressed, None)


def _network(floating_ip: FloatingIP, context: Context) -> Network | Problem:
    """Return the external Network: the one that its address is of, if that is there still."""
    for key in external_keys(floating_ip):
        network = context.store.networks.find(key)
        if network is not None and network.uid == floating_ip.status.network_uid:
            return network
    return external_network(floating_ip.metadata.namespace, floating_ip.spec.external_network, context.store)


def _addressed(floating_ip: FloatingIP, network: Network, context: Context) -> FloatingIPStatus | Problem:
    """Return the status with an address and nothing else; a fresh address is reserved."""
    status = floating_ip.status
    if status.address is not None and status.subnet_uid is not None and status.network_uid == network.uid:
        better = better_claimant(floating_ip, (status.subnet_uid, status.address), context.store)
        if better is None:
            return _unbound(status)
    subnets = [s for s in active_subnets(network, context.store) if network_of(s.spec).version == 4]
    return _fresh(floating_ip, network, subnets, context)


def _fresh(
    floating_ip: FloatingIP, network: Network, subnets: Sequence[Subnet], context: Context
) -> FloatingIPStatus | Problem:
    key, asked = floating_ip.key, floating_ip.spec.address
    if not subnets:
        return Waits("NoSubnet", f"waits for an IPv4 Subnet of {network.key}: it has none that is Active")
    if asked is None:
        found = one_of(key, subnets, context.addresses)
        if isinstance(found, Waits):
            return found
    elif is_coming(asked, network, context.store):
        return coming("spec.address", asked)
    else:
        if problem := pool_problem("spec.address", asked, subnets):
            return problem
        reserved = reserve(key, asked, subnets, context.addresses)
        if reserved is None:
            return in_use(key, "spec.address", asked, subnets, context.addresses)
        found = reserved
    return FloatingIPStatus(address=found.address, subnet_uid=found.subnet_uid, network_uid=network.uid)


def _unbound(status: FloatingIPStatus) -> FloatingIPStatus:
    """Return the status with its address alone."""
    return FloatingIPStatus(address=status.address, subnet_uid=status.subnet_uid, network_uid=status.network_uid)


def _bound(addressed: FloatingIPStatus, binding: Binding, floating_ip: FloatingIP) -> FloatingIPStatus:
    """Return the status with its address, and for whom it stands."""
    return addressed.model_copy(
        update={
            "fixed_address": binding.fixed_address,
            "port": binding.port.metadata.name,
            "port_uid": binding.port.uid,
            "mac_address": binding.port.spec.mac_address,
            "router": binding.router.metadata.name,
            "router_uid": binding.router.uid,
            "host": binding.port.spec.host,
            "target": target_text(floating_ip),
        }
    )


async def _hand_over(floating_ip: FloatingIP, planned: Plan, context: Context) -> Result:
    """Write the status of one that a Host answers for; phase and conditions are in it only as it begins to."""
    host, held = planned.status.host, floating_ip.status.conditions
    said: dict[str, object] = {"observed_generation": floating_ip.metadata.generation}
    is_coming = _stands_for(floating_ip.status) != _stands_for(planned.status) or _is_operators(held)
    if is_coming:
        said |= {
            "phase": FloatingIPPhase.DOWN,
            "conditions": taken_back(held, _binding(floating_ip, context), context.now()),
        }
    status = planned.status.model_copy(update=said)
    moved = floating_ip.status.host is not None and floating_ip.status.host != host
    await write(floating_ip, status, context, guard=is_coming, foreign=frozenset() if is_coming else AGENTS_FIELDS)
    if moved:
        context.events.normal(floating_ip, "Moved", f"moved from Host {floating_ip.status.host} to Host {host}")
    return Done()


async def _take_back(floating_ip: FloatingIP, planned: Plan, why: str, context: Context) -> Result:
    """Write the status of one whose Host is not there to say whether it answers; it is not Active meanwhile."""
    host = planned.status.host
    waits = Waits(HOST_DOWN, f"Host {host} {why} and can't say whether the address answers; waits for it to be Up")
    own = told(floating_ip, waits, context)
    said = {
        "observed_generation": floating_ip.metadata.generation,
        "phase": FloatingIPPhase.DOWN,
        "conditions": taken_back(floating_ip.status.conditions, own, context.now()),
    }
    if floating_ip.status.phase is FloatingIPPhase.ACTIVE:
        context.events.warning(floating_ip, waits.reason, waits.message)
    await write(floating_ip, planned.status.model_copy(update=said), context, guard=True)
    return Wait(waits.message)


def _stands_for(status: FloatingIPStatus) -> tuple[str | None, ...]:
    return status.address, status.host, status.port_uid, status.fixed_address, status.router_uid


def _is_operators(conditions: Conditions) -> bool:
    ready_condition = find(conditions, ConditionType.READY)
    return ready_condition is None or ready_condition.reason in (BINDING, HOST_DOWN)


def _binding(floating_ip: FloatingIP, context: Context) -> Conditions:
    return (
        Condition(
            type=ConditionType.READY,
            status=ConditionStatus.FALSE,
            reason=BINDING,
            message="waits for the Port's Host to answer for it",
            last_transition_time=context.now(),
            observed_generation=floating_ip.metadata.generation,
        ),
    )


async def _settle(floating_ip: FloatingIP, planned: Plan, context: Context) -> Result:
    """Write the status of one that no Host answers for."""
    problem = planned.problem
    if problem is None and planned.status.port is not None:
        problem = Waits(
            "PortUnbound", f"waits for Port {planned.status.port} to be on a Host, which then answers for it"
        )
    own = (
        told(floating_ip, problem, context)
        if problem is not None
        else ready(floating_ip, context, "Unbound", "has its address and stands for nobody")
    )
    said = {
        "observed_generation": floating_ip.metadata.generation,
        "phase": FloatingIPPhase.ERROR if isinstance(problem, Stalls) else FloatingIPPhase.DOWN,
        "conditions": taken_back(floating_ip.status.conditions, own, context.now()),
        "target": target_text(floating_ip),
    }
    status = planned.status.model_copy(update=said)
    if problem is not None and floating_ip.status.port_uid is None:
        return await tell(floating_ip, problem, status, context)
    await write(floating_ip, status, context)  # whom it stood for is told at once that it does so no more
    return outcome(problem) if problem is not None else Done()


async def _release(floating_ip: FloatingIP, context: Context) -> Result:
    """Let the FloatingIP go once nobody answers for it any more."""
    left_s = seconds_until_free(floating_ip, context.store, context.clock())
    if left_s != 0:
        return Wait(f"waits for Host {floating_ip.status.host} to let go of it", after_s=left_s)
    context.addresses.cancel(floating_ip.key)
    await release_finalizer(floating_ip, context)
    return Done()
