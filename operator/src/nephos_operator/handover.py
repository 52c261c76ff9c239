"""Conditions of an object whose host's agent wrote them, taken back by the operator.

Server-side apply never removes an item of a list that another manager owns too. So a condition of the agent's that the
operator has no use for is not taken away but said to be False.
"""

from __future__ import annotations

from nephos_api import conditions
from nephos_api.conditions import Conditions, ConditionStatus


def taken_back(held: Conditions, own: Conditions, now: str) -> Conditions:
    """Return the operator's conditions, and as False those that the object has beside them."""
    left = (condition for condition in held if conditions.find(own, condition.type) is None)
    reason = own[0].reason
    ended = tuple(
        condition.model_copy(
            update={
                "status": ConditionStatus.FALSE,
                "reason": reason,
                "message": "",
                "last_transition_time": now,
                "observed_generation": own[0].observed_generation,
            }
        )
        for condition in left
    )
    return conditions.merge(held, (*own, *ended))
