"""Says of the floating IPs that are bound to this host whether they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from nephos_agent import floating_ip_status
from nephos_agent.floating_ip_status import Observation
from nephos_agent.network.model import HostRouter
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.watches import Watches
from nephos_api.conditions import ConditionType, find
from nephos_api.errors import Conflict, PermanentFault, TemporaryFault
from nephos_api.kube.events import EventRecorder
from nephos_api.kube.protocol import FieldManager, Kubernetes
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources.floating_ip import FloatingIP, FloatingIPPhase

log = structlog.get_logger(__name__)
_PATIENCE_S: Final = 3.0
"""One that does not answer for less than this is on its way: that is not worth a write."""
_ASK_AGAIN_S: Final = 0.5
_ASK_LATER_S: Final = 10.0
_STALE_S: Final = 1.0


class FloatingIPs:
    """Writes phase and conditions of FloatingIPs whose ``status.host`` is this host, once for each change."""

    def __init__(
        self,
        driver: NetworkDriver,
        watches: Watches,
        kubernetes: Kubernetes,
        events: EventRecorder,
        *,
        now: Callable[[], str],
    ) -> None:
        self._driver = driver
        self._watches = watches
        self._kubernetes = kubernetes
        self._events = events
        self._now = now
        self._silent_since: dict[str, float] = {}
        self._settled: dict[str, tuple[object, ...]] = {}
        """What was asked for and answered, by router: as long as it is the same, nobody is asked again."""

    async def report(self, router_uid: str, router: HostRouter | None) -> Result:
        """Ask the router, as the host carries it, for its floating IPs, and say what is; asks again where one has to.

        Returns when to look again.
        """
        bound = self._watches.floating_ips_of(router_uid)
        asked = _asked(bound, router)
        if not bound or self._settled.get(router_uid) == asked:
            return Done()
        answering = await self._driver.answering(router_uid) if router else frozenset()
        result = await self._say(bound, Observation(router, answering))
        if isinstance(result, Done):
            self._settled[router_uid] = _asked(self._watches.floating_ips_of(router_uid), router)
        return result

    async def report_fault(self, router_uid: str, fault: TemporaryFault | PermanentFault) -> None:
        """Say why the router's floating IPs are not as they should be."""
        self._settled.pop(router_uid, None)
        await self._say(self._watches.floating_ips_of(router_uid), Observation(None, fault=fault))

    def ask_again(self) -> None:
        """Have all asked again when their routers are looked at next."""
        self._settled.clear()

    async def _say(self, bound: tuple[FloatingIP, ...], seen: Observation) -> Result:
        wait_s: float | None = None
        for floating_ip in bound:
            if floating_ip_status.is_the_operators(floating_ip):
                self._silent_since.pop(floating_ip.uid, None)
                continue
            silent_s = self._silence_s(floating_ip, seen)
            if silent_s is not None:
                wait_s = min(_ASK_LATER_S if silent_s >= _PATIENCE_S else _ASK_AGAIN_S, wait_s or _ASK_LATER_S)
            if silent_s is None or silent_s >= _PATIENCE_S:
                try:
                    await self._write(floating_ip, seen)
                except Conflict:
                    return Wait("the newest version of the FloatingIP", _STALE_S)
        return Done() if wait_s is None else Wait("its floating IPs to answer", wait_s)

    def _silence_s(self, floating_ip: FloatingIP, seen: Observation) -> float | None:
        """Return for how long one is on its way already; None for one that is where it should be."""
        if seen.is_settled(floating_ip):
            self._silent_since.pop(floating_ip.uid, None)
            return None
        now_s = asyncio.get_running_loop().time()
        return now_s - self._silent_since.setdefault(floating_ip.uid, now_s)

    async def _write(self, floating_ip: FloatingIP, seen: Observation) -> None:
        new = floating_ip_status.floating_ip_status(floating_ip, seen, self._now())
        if new == floating_ip.status:
            return
        condition = find(new.conditions, ConditionType.READY)
        if new.phase is not FloatingIPPhase.ACTIVE and not floating_ip.is_deleting and condition:
            log.warning("floating IP is down", floating_ip=str(floating_ip.key), reason=condition.reason)
            self._events.warning(floating_ip, condition.reason, condition.message)
        body = floating_ip_status.body(new)
        written = await self._kubernetes.apply_status(floating_ip, body, FieldManager.AGENT, guard=True)
        self._watches.learn_floating_ip(written)


def _asked(bound: tuple[FloatingIP, ...], router: HostRouter | None) -> tuple[object, ...]:
    """Return all that an answer depends on, and all that is said of it."""
    versions = frozenset((each.uid, each.metadata.resource_version) for each in bound)
    return (versions, router and (router.floating_ips, router.gateway, router.is_enabled, router.keep_unknown))
