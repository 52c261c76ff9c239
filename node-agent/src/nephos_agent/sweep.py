"""The slow sweep: what no event told is found by looking at everything once in a while."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import structlog

from nephos_agent.collector import Collector
from nephos_agent.consoles import Consoles
from nephos_agent.metrics import Metrics
from nephos_agent.storage.protocol import StorageDriver
from nephos_agent.watches import Watches
from nephos_api.errors import NephosError

log = structlog.get_logger(__name__)
_ROTATE_EVERY_S: Final = 60.0


class Everything(Protocol):
    """What can be looked at."""

    watches: Watches

    async def look_at_everything(self) -> None:
        """Have each Server and each network of this host looked at."""


class Sweep:
    """Looks at everything every ``every_s`` seconds, and when it is asked to (the hypervisor came back)."""

    def __init__(
        self,
        everything: Everything,
        collector: Collector,
        consoles: Consoles,
        storage: StorageDriver,
        metrics: Metrics,
        *,
        every_s: float,
    ) -> None:
        self._everything = everything
        self._collector = collector
        self._consoles = consoles
        self._storage = storage
        self._metrics = metrics
        self._every_s = every_s
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Look at everything now, without a fresh list."""
        self._asked.set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rotate_for_ever())
            tasks.create_task(self._look_when_asked())
            while True:
                await asyncio.sleep(self._every_s)
                await self._sweep()

    async def _look_when_asked(self) -> None:
        """Not kept waiting by a sweep: that one waits for the API server."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._everything.look_at_everything()

    async def _sweep(self) -> None:
        try:
            await self._everything.watches.resync()
            await self._everything.look_at_everything()
            await self._collector.run()
            await self._storage.sweep()
        except (NephosError, OSError) as error:
            self._metrics.sweep_failures.inc()
            log.warning("sweep not finished", error=str(error))
        self._metrics.orphans.set(self._collector.orphans)
        self._metrics.collection_stopped.set(1 if self._collector.stopped else 0)

    async def _rotate_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_ROTATE_EVERY_S)
            try:
                await self._consoles.rotate()
            except OSError as error:
                log.warning("console logs not rotated", error=str(error))
