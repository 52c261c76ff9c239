"""What is in use is not let go: its deletion waits, and says for whom."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from nephos_api.metadata import Key, Resource, Status
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_operator.context import Context, release_finalizer
from nephos_operator.statuses import settle
from nephos_operator.table import Table
from nephos_operator.verdict import UNDER_WAY_S, Waits
from nephos_operator.wording import listed

R = TypeVar("R", bound=Resource)


def users_of(uid: str, *indices: tuple[Table[Any], str]) -> frozenset[Key]:
    """Return the objects that these indices of tables file under the UID."""
    return frozenset(user.key for table, index in indices for user in table.by(index, uid))


async def release(
    resource: R,
    waiting: Status,
    users: Collection[Key],
    context: Context,
    *,
    is_promised: bool = False,
    remedy: str = "delete those first, or take it out of their spec",
) -> Result:
    """Let the object go once nobody uses it; until then ``waiting`` is its status, conditions aside.

    ``is_promised``: somebody who will use it is being made, and is not known yet. ``remedy`` says what a person can do.
    """
    if users:
        held = Waits("InUse", f"is being deleted; held by {listed(users)}: {remedy}")
        return await settle(resource, waiting, held, context)
    if is_promised:
        return Wait("somebody who was promised an address of it is being made", after_s=UNDER_WAY_S)
    await release_finalizer(resource, context)
    return Done()
