"""Status writes: one a reconcile, and none where nothing would change."""

from __future__ import annotations

from typing import Any, TypeVar

from nephos_api import conditions
from nephos_api.conditions import Conditions
from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import Resource, Status
from nephos_api.reconcile.result import Done, Failed, Result, Wait
from nephos_operator import counted
from nephos_operator.context import GRACE_S, Context
from nephos_operator.verdict import Problem, Stalls
from nephos_operator.wording import shortened

R = TypeVar("R", bound=Resource)


def status_of(resource: Resource) -> Status:
    """Return the status of an object of ours."""
    status = getattr(resource, "status", None)
    if not isinstance(status, Status):
        raise TypeError(f"{resource.key} has no status")
    return status


def ready(resource: Resource, context: Context, reason: str = "Ready", message: str = "") -> Conditions:
    """Return the conditions of an object that is as it should be."""
    fresh = conditions.ready(reason, message, now=context.now(), generation=resource.metadata.generation)
    return conditions.merge(status_of(resource).conditions, fresh)


def told(resource: Resource, problem: Problem, context: Context) -> Conditions:
    """Return the conditions that tell the user what is in the way."""
    make = conditions.stalled if isinstance(problem, Stalls) else conditions.reconciling
    sentence = shortened(problem.message)
    fresh = make(problem.reason, sentence, now=context.now(), generation=resource.metadata.generation)
    return conditions.merge(status_of(resource).conditions, fresh)


async def write(
    resource: R,
    desired: Status,
    context: Context,
    *,
    guard: bool = False,
    foreign: frozenset[str] = frozenset(),
) -> R:
    """Apply the status unless it is so already; return the object as it is then.

    ``foreign`` names fields whose value there does not matter: others write them, or they change with the rest only.
    """
    body = without_empty(desired.to_wire())
    held = without_empty(status_of(resource).to_wire())
    if {**body, **dict.fromkeys(foreign)} == {**held, **dict.fromkeys(foreign)}:
        return resource
    with counted.writing(resource.model_copy(update={"status": desired}), context.shares_under_way):
        return await context.kube.apply_status(resource, body, FieldManager.OPERATOR, guard=guard)


async def settle(
    resource: R, status: Status, problem: Problem | None, context: Context, *, reason: str = "Ready"
) -> Result:
    """Write the status, with the generation that it is of and conditions: the problem, or Ready for that reason."""
    own = ready(resource, context, reason) if problem is None else told(resource, problem, context)
    said = {"observed_generation": resource.metadata.generation, "conditions": own}
    complete = status.model_copy(update=said)
    if problem is not None:
        return await tell(resource, problem, complete, context)
    await write(resource, complete, context)
    return Done()


async def tell(resource: R, problem: Problem, status: Status, context: Context) -> Result:
    """Say what is in the way, by that status, and return what the reconciler returns for it."""
    if after_s := unsaid_s(resource, problem, context):
        return Wait(problem.message, after_s=after_s)
    await write(resource, status, context)
    return outcome(problem)


def outcome(problem: Problem) -> Result:
    """Return what a reconciler returns for an object that this problem keeps from what it should be."""
    if isinstance(problem, Stalls):
        return Failed(problem.reason, problem.message)
    return Wait(problem.message)


def unsaid_s(resource: Resource, problem: Problem, context: Context) -> float | None:
    """Return after how many seconds the object is looked at again, where what it waits for is not worth a write yet.

    It may come with the same ``kubectl apply``, or be decided before anybody could read that it is waited for.
    """
    if isinstance(problem, Stalls):
        return None
    if problem.after_s is not None:
        return problem.after_s
    is_new = context.age_s(resource) < GRACE_S + 1  # creation is told in whole seconds
    return GRACE_S if is_new and not status_of(resource).conditions else None


def without_empty(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body without empty lists and maps, which say nothing."""
    return {name: value for name, value in body.items() if value not in ([], {})}
