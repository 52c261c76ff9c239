"""Work by key that many ask for at once: one run at a time, shared by all who asked before it began."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Coalescing(Generic[K]):
    """Calls ``work(key)``; who asks during a run shares the next one, since this one may not see the cause."""

    def __init__(self, work: Callable[[K], Awaitable[None]]) -> None:
        self._work = work
        self._locks: dict[K, asyncio.Lock] = {}
        self._next: dict[K, asyncio.Task[None]] = {}

    async def run(self, key: K) -> None:
        """Return when a run that began after this call has ended; raise what it raised."""
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._run(key))
            task.add_done_callback(_retrieve)
        await asyncio.shield(task)

    async def _run(self, key: K) -> None:
        lock = self._locks.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                self._next.pop(key, None)
                await self._work(key)
        finally:
            if not lock.locked() and key not in self._next:
                self._locks.pop(key, None)


def _retrieve(task: asyncio.Task[None]) -> None:
    """Mark the error as seen: those who wait raise it, and when all of them were cancelled nobody needs it."""
    if not task.cancelled():
        task.exception()
