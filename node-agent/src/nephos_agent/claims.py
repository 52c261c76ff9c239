"""Who has a router's outside addresses: its gateway host says so again and again, while it counts as alive.

Where the agent of the host that had them before is lost, that host's kernel gives them up when it hears so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from nephos_agent.network.protocol import NetworkDriver
from nephos_api.errors import TemporaryFault
from nephos_api.kube.lease import HOST_LOST_AFTER_S

log = structlog.get_logger(__name__)
_EVERY_S: Final = 10.0
_DOUBTS_FROM_S: Final = HOST_LOST_AFTER_S - _EVERY_S
"""Age of the Lease: one that was ever old enough for the host to count as lost is seen to be older than this."""
_DOUBTS_FOR_S: Final = 60.0
"""How long after that what the agent knows may still be what it knew before."""


class Claims:
    """``lease_age_s`` is how long ago the Host's Lease was renewed; None before the first time."""

    def __init__(
        self,
        driver: NetworkDriver,
        lease_age_s: Callable[[], float | None],
        *,
        every_s: float = _EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._driver = driver
        self._lease_age_s = lease_age_s
        self._every_s = every_s
        self._clock = clock
        self._doubts_until = 0.0

    async def run(self) -> None:
        """Claim until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.claim()

    async def claim(self) -> None:
        """Say once what addresses are here, unless the gateway may have moved and this host not heard of it."""
        for router_uid in sorted(await self._driver.routers()):
            if self._is_in_doubt():
                return
            try:
                await self._driver.claim(router_uid)
            except TemporaryFault as fault:
                log.warning("outside addresses not announced", router=router_uid, error=fault.message)

    def _is_in_doubt(self) -> bool:
        age_s, now = self._lease_age_s(), self._clock()
        if age_s is None or age_s > _DOUBTS_FROM_S:
            self._doubts_until = now + _DOUBTS_FOR_S
        return now < self._doubts_until
