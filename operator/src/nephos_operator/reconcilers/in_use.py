"""What is in use is not let go: its deletion waits, and says for whom."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, TypeVar

from nephos_api.metadata import Key, Resource, Status
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_operator.context import Context, release_finalizer
from nephos_operator.statuses import settle
from nephos_operator.table import Table
from nephos_operator.verdict import Waits

R = TypeVar("R", bound=Resource)

UNDER_WAY_S: Final = 1.0
"""Nothing tells of one that is not made after all: the promise is looked at again after so long."""
MOST_NAMED: Final = 3
"""Users that a sentence names; of more, how many."""


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
        held = Waits("InUse", f"is being deleted; held by {_listed(users)}: {remedy}")
        return await settle(resource, waiting, held, context)
    if is_promised:
        return Wait("somebody who was promised an address of it is being made", after_s=UNDER_WAY_S)
    await release_finalizer(resource, context)
    return Done()


def _listed(users: Collection[Key]) -> str:
    """Return the first few users as a sentence says them: ``Port demo/a, Port demo/b and 7 more``."""
    names = sorted(map(str, users))
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
