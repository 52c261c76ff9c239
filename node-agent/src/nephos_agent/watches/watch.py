"""Watches that come and go with what the host carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from nephos_api.kube.informer import Informer


class Watch:
    """Informers that belong together; their tasks are of ``group``, so that none ends unnoticed.

    ``on_synced`` is called once, when the first lists are here, be they empty.
    """

    def __init__(self, group: asyncio.TaskGroup, on_synced: Callable[[], None], *informers: Informer[Any]) -> None:
        self._informers = informers
        self._tasks = [group.create_task(informer.run()) for informer in informers]
        self._announcing = group.create_task(self._announce(on_synced))

    @property
    def is_synced(self) -> bool:
        """Whether the first lists are here."""
        return all(informer.synced.is_set() for informer in self._informers)

    async def synced(self) -> None:
        """Wait until the first lists are here; returns too when this is not needed here any more."""
        await self._unless_stopped(self._first_lists())

    async def resync(self) -> None:
        """Compare with fresh lists; returns too when this is not needed here any more."""
        await self._unless_stopped(self._compare())

    def stop(self) -> None:
        """End: the host does not need it any more."""
        for task in (*self._tasks, self._announcing):
            task.cancel()

    async def _announce(self, on_synced: Callable[[], None]) -> None:
        await self._first_lists()
        on_synced()

    async def _first_lists(self) -> None:
        for informer in self._informers:
            await informer.synced.wait()

    async def _compare(self) -> None:
        for informer in self._informers:
            await informer.resync()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
