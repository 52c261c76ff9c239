"""What the operator says of a FloatingIP, and when phase and conditions are its own, and when its Host's agent's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nephos_api.conditions import Condition, Conditions, ConditionStatus, ConditionType, find
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import FloatingIP
from nephos_api.resources.floating_ip import HOST_DOWN, FloatingIPPhase, FloatingIPStatus
from nephos_operator.bindings import target_text
from nephos_operator.context import Context
from nephos_operator.handover import taken_back
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


async def hand_over(floating_ip: FloatingIP, planned: Plan, context: Context) -> Result:
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


async def take_back(floating_ip: FloatingIP, planned: Plan, why: str, context: Context) -> Result:
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


async def write_own(floating_ip: FloatingIP, planned: Plan, context: Context) -> Result:
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
