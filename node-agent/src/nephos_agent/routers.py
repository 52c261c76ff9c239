"""Keeps the routers of this host as the API describes them, through the network driver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from nephos_agent.coalescing import Coalescing
from nephos_agent.floating_ips import FloatingIPs
from nephos_agent.network.model import HostRouter
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.networks import Networks
from nephos_agent.watches import Watches
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.reconcile.result import Result, Wait

log = structlog.get_logger(__name__)
WAITING: Final = "WaitingForRouter"


class Routers:
    """One router a key, its floating IPs with it. ``may_remove`` is that of ``Networks``."""

    def __init__(
        self,
        host_name: str,
        driver: NetworkDriver,
        watches: Watches,
        networks: Networks,
        floating_ips: FloatingIPs,
        may_remove: Callable[[], bool],
    ) -> None:
        self._host_name = host_name
        self._driver = driver
        self._watches = watches
        self._networks = networks
        self._floating_ips = floating_ips
        self._may_remove = may_remove
        self._applied: dict[str, HostRouter] = {}
        """What the driver was last told, by UID; empty after a start."""
        self._apply = Coalescing(self._apply_now)

    async def reconcile(self, uid: str) -> Result:
        """Make the host carry the router as it is described, or not at all where nothing here needs it."""
        if uid not in self._watches.router_uids():
            return await self._remove(uid)
        try:
            await self._apply.run(uid)
        except (TemporaryFault, PermanentFault) as fault:
            if fault.reason == WAITING:
                return Wait(fault.message)
            await self._floating_ips.report_fault(uid, fault)
            raise
        return await self._floating_ips.report(uid, self._applied.get(uid))

    async def vacate(self, network_uid: str) -> None:
        """Take every router off a network that nothing needs any more."""
        for uid in await self._driver.routers():
            applied = self._applied.get(uid)
            if applied is None or network_uid in applied.networks_on(self._host_name):
                await self._leave(uid)

    async def _leave(self, uid: str) -> None:
        if uid in self._watches.router_uids():
            await self._apply.run(uid)
        else:
            await self._remove(uid)
            if uid in await self._driver.routers():
                raise TemporaryFault(f"waits for router {uid} to go", reason=WAITING)

    async def _apply_now(self, uid: str) -> None:
        router = self._watches.host_router(uid)
        if router is None:
            raise TemporaryFault(f"waits for Router {uid} to be known on this host", reason=WAITING)
        for network_uid in router.networks_on(self._host_name) - await self._driver.networks():
            await self._networks.ensure(network_uid)
        router = replace(router, keep_unknown=not self._may_remove())
        await self._driver.apply_router(router)
        self._applied[uid] = router

    async def _remove(self, uid: str) -> Result:
        if uid in await self._driver.routers():
            if not self._may_remove():
                return Wait("domains run here that the API does not know: their routers stay")
            if not self._watches.is_complete:
                return Wait("not everything that this host needs is known yet: it may need the router")
            log.info("router goes: nothing needs it here", router=uid)
            await self._driver.remove_router(uid)
        self._applied.pop(uid, None)
        return await self._floating_ips.report(uid, None)
