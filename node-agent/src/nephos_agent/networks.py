"""Keeps the networks of this host as the API describes them, through the network driver."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from nephos_agent.coalescing import Coalescing
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.watches import Watches
from nephos_api.errors import TemporaryFault
from nephos_api.reconcile.result import Done, Result, Wait

log = structlog.get_logger(__name__)
WAITING: Final = "WaitingForNetwork"


class Networks:
    """One network a key.

    ``may_remove()`` says whether what the API does not name may go now (rule 4); ``vacate(uid)`` takes routers off a
    network before it goes.
    """

    def __init__(
        self,
        driver: NetworkDriver,
        watches: Watches,
        may_remove: Callable[[], bool],
        vacate: Callable[[str], Awaitable[None]],
    ) -> None:
        self._driver = driver
        self._watches = watches
        self._may_remove = may_remove
        self._vacate = vacate
        self._apply = Coalescing(self._apply_now)

    async def reconcile(self, uid: str) -> Result:
        """Make the host carry the network as it is described, or not at all where nothing here needs it."""
        if uid not in self._watches.network_uids():
            return await self._remove(uid)
        try:
            await self._apply.run(uid)
        except TemporaryFault as fault:
            if fault.reason != WAITING:
                raise
            return Wait(fault.message)
        return Done()

    async def ensure(self, uid: str) -> None:
        """Apply the network as it is known now. Raises TemporaryFault while it is not known in full."""
        await self._apply.run(uid)

    async def _apply_now(self, uid: str) -> None:
        network = self._watches.host_network(uid)
        if network is None:
            raise TemporaryFault(f"waits for Network {uid} to be known on this host", reason=WAITING)
        keep_unknown = network.keep_unknown or not self._may_remove()
        await self._driver.apply(replace(network, keep_unknown=keep_unknown))

    async def _remove(self, uid: str) -> Result:
        if uid not in await self._driver.networks():
            return Done()
        if not self._may_remove():
            return Wait("domains run here that the API does not know: their networks stay")
        if not self._watches.is_complete:
            return Wait("not everything that this host needs is known yet: it may need the network")
        await self._vacate(uid)
        if uid in self._watches.network_uids():
            return await self.reconcile(uid)
        log.info("network goes: nothing needs it here", network=uid)
        await self._driver.remove(uid)
        return Done()
