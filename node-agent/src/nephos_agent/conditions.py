"""How the agent says things of objects that others say things of too. Pure."""

from __future__ import annotations

from nephos_api.conditions import Condition, ConditionStatus, ConditionType, merge


def take_over(old: tuple[Condition, ...], new: tuple[Condition, ...], now: str) -> tuple[Condition, ...]:
    """Return the conditions to apply: those of another manager that hold no more are said to be False, not left out.

    What server-side apply leaves out stays if somebody else owns it too.
    """
    types = {condition.type for condition in new}
    over = tuple(
        condition.model_copy(
            update={
                "status": ConditionStatus.FALSE,
                "reason": "Done",
                "message": "",
                "last_transition_time": now,
                "observed_generation": new[0].observed_generation,
            }
        )
        for condition in old
        if condition.type in {ConditionType.RECONCILING, ConditionType.STALLED} and condition.type not in types
    )
    return tuple(sorted(merge(old, (*new, *over)), key=lambda condition: condition.type))


def sentence(message: str) -> str:
    """Return what a fault says as a sentence for people."""
    text = message.strip()[:1000]
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def released(message: str, now: str, generation: int, status: ConditionStatus = ConditionStatus.TRUE) -> Condition:
    """Return the condition that tells the operator whether this host holds nothing of an object any more."""
    return Condition(
        type=ConditionType.RELEASED,
        status=status,
        reason="Released" if status is ConditionStatus.TRUE else "InUse",
        message=message,
        last_transition_time=now,
        observed_generation=generation,
    )
