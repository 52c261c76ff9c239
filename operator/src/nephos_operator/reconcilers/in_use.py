"""What is in use is not let go: its deletion waits, and says for whom."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from nephos_api.metadata import Key, Resource
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_operator.context import Context, listed, release_finalizer
from nephos_operator.statuses import status_of, told, write
from nephos_operator.verdict import Waits

UNDER_WAY_S: Final = 1.0
"""Nothing tells of one that is not made after all: the promise is looked at again after so long."""


async def release(
    resource: Resource,
    phase: StrEnum | None,
    users: Collection[Key],
    context: Context,
    *,
    is_promised: bool = False,
    remedy: str = "delete those first, or take it out of their spec",
) -> Result:
    """Let the object go once nobody uses it; ``phase`` is the one that it shows until then, where its kind has one.

    ``is_promised``: somebody who will use it is being made, and is not known yet. ``remedy`` says what a person can do.
    """
    if users:
        held = Waits("InUse", f"is being deleted; held by {listed(users)}: {remedy}")
        said: dict[str, object] = {
            "observed_generation": resource.metadata.generation,
            "conditions": told(resource, held, context),
        }
        if phase is not None:
            said["phase"] = phase
        await write(resource, status_of(resource).model_copy(update=said), context)
        return Wait(held.message)
    if is_promised:
        return Wait("somebody who was promised an address of it is being made", after_s=UNDER_WAY_S)
    await release_finalizer(resource, context)
    return Done()
