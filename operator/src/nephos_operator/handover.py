"""Conditions of an object whose host's agent wrote them, taken back by the operator.

Server-side apply removes what its own manager leaves out, never what another owns: a condition of the agent's is
overwritten first, which makes it ours, and left out after that.
"""

from __future__ import annotations

from typing import Final

from nephos_api import conditions
from nephos_api.conditions import Condition, Conditions, ConditionStatus

TAKEN_BACK: Final = "TakenBack"
"""The reason of a condition that is ours now and goes with the next write."""


def taken_back(held: Conditions, own: Conditions, now: str) -> Conditions:
    """Return the operator's conditions, and those of the agent's that it does not own yet."""
    left = (
        condition
        for condition in held
        if conditions.find(own, condition.type) is None and condition.reason != TAKEN_BACK
    )
    return (*own, *(_overwritten(condition, now) for condition in left))


def _overwritten(condition: Condition, now: str) -> Condition:
    return condition.model_copy(
        update={
            "status": ConditionStatus.FALSE,
            "reason": TAKEN_BACK,
            "message": "",
            "last_transition_time": now,
            "observed_generation": None,
        }
    )
