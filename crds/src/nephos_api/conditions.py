"""Conditions in kstatus' terms: Ready, and while they are true Reconciling and Stalled.

Source of the terms: the kstatus convention of sigs.k8s.io/cli-utils.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from nephos_api.fields import Sentence, Timestamp
from nephos_api.model import ApiModel


class ConditionStatus(StrEnum):
    """What is known of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """The condition types that Nephos writes."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    RELEASED = "Released"
    """The host holds nothing of it any more: of a Server or FloatingIP being deleted, of a Port unplugged."""


class Condition(ApiModel):
    """One statement about an object, for programs (type, status, reason) and for people (message)."""

    type: Annotated[str, Field(min_length=1, max_length=63)]
    """What the statement is about, such as Ready."""
    status: ConditionStatus
    """Whether it holds."""
    reason: Annotated[str, Field(min_length=1, max_length=63)]
    """One CamelCase word for programs."""
    message: Sentence = ""
    """A sentence for people that says what to do."""
    last_transition_time: Timestamp
    """When the status last changed."""
    observed_generation: int | None = Field(default=None, ge=0)
    """The generation of the spec that this statement speaks of."""


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra={"mapKey": "type"})]


def find(conditions: tuple[Condition, ...], condition_type: str) -> Condition | None:
    """Return the condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == condition_type), None)


def is_true(conditions: tuple[Condition, ...], condition_type: str) -> bool:
    """Tell whether the condition of that type is there and True."""
    found = find(conditions, condition_type)
    return found is not None and found.status is ConditionStatus.TRUE


def is_true_of(conditions: tuple[Condition, ...], condition_type: str, generation: int) -> bool:
    """Tell whether the condition is True of that generation of the spec, and not only of an earlier one."""
    found = find(conditions, condition_type)
    return found is not None and found.status is ConditionStatus.TRUE and found.observed_generation == generation


def ready(reason: str, message: str = "", *, now: str, generation: int) -> tuple[Condition, ...]:
    """Return the conditions of an object that is as it should be."""
    return (_condition(ConditionType.READY, ConditionStatus.TRUE, reason, message, now, generation),)


def reconciling(reason: str, message: str, *, now: str, generation: int) -> tuple[Condition, ...]:
    """Return the conditions of an object that is on its way, or waits for another (say for what in the message)."""
    return (
        _condition(ConditionType.READY, ConditionStatus.FALSE, reason, message, now, generation),
        _condition(ConditionType.RECONCILING, ConditionStatus.TRUE, reason, message, now, generation),
    )


def stalled(reason: str, message: str, *, now: str, generation: int) -> tuple[Condition, ...]:
    """Return the conditions of an object that stays as it is until somebody changes its spec."""
    return (
        _condition(ConditionType.READY, ConditionStatus.FALSE, reason, message, now, generation),
        _condition(ConditionType.STALLED, ConditionStatus.TRUE, reason, message, now, generation),
    )


def merge(old: tuple[Condition, ...], new: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Return ``new`` with the transition time of each condition of ``old`` whose status is the same."""
    kept = {condition.type: condition for condition in old}
    return tuple(
        condition.model_copy(update={"last_transition_time": kept[condition.type].last_transition_time})
        if condition.type in kept and kept[condition.type].status is condition.status
        else condition
        for condition in new
    )


def _condition(
    condition_type: ConditionType, status: ConditionStatus, reason: str, message: str, now: str, generation: int
) -> Condition:
    return Condition(
        type=condition_type,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=now,
        observed_generation=generation,
    )
