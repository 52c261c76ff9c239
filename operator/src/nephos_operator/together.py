"""Several calls at once, a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

AT_ONCE: Final = 16
"""Requests of one reconciler that are under way at a time."""


async def together(calls: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Await all calls; when all have ended, raise the first error there was."""
    room = asyncio.Semaphore(AT_ONCE)

    async def bounded(call: Coroutine[Any, Any, object]) -> object:
        async with room:
            return await call

    for result in await asyncio.gather(*map(bounded, calls), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
