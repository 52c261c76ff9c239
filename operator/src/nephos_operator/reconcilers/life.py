"""The way of every object that is cleaned up after: kept as it should be, and let go once its deletion is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from nephos_api.metadata import Resource
from nephos_api.reconcile.result import Done, Result
from nephos_operator.context import Context, ensure_finalizer

R = TypeVar("R", bound=Resource)
Step = Callable[[R, Context], Awaitable[Result]]


async def live(resource: R | None, context: Context, *, keep: Step[R], release: Step[R]) -> Result:
    """Bring the object to what it should be, or to its end; one that is gone needs nothing."""
    if resource is None:
        return Done()
    if resource.is_deleting:
        return await release(resource, context)
    if not await ensure_finalizer(resource, context):
        return Done()  # the answer's event brings it back
    return await keep(resource, context)
