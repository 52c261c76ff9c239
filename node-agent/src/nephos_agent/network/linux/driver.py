"""The network driver of a Linux host.

All work on the kernel is done by one thread, in the order of the calls; what outlives the agent (dnsmasq) goes through
the launcher, and what the agent itself answers (metadata, names of the world) through ``GuestServices``.
"""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import structlog

from nephos_agent.launcher.protocol import Launcher
from nephos_agent.network.desired import local_ports
from nephos_agent.network.facts import Dnsmasq, Service
from nephos_agent.network.linux.name_relay import NameRelay
from nephos_agent.network.linux.routers import Routers
from nephos_agent.network.linux.units import dnsmasq_unit
from nephos_agent.network.linux.worker import REFUSALS, Outcome, Worker
from nephos_agent.network.model import HostNetwork, HostRouter
from nephos_agent.network.names import network_names
from nephos_agent.network.observed import Observed
from nephos_agent.network.plan import Plan
from nephos_agent.network.protocol import NetworkListener
from nephos_agent.network.services import GuestServices
from nephos_agent.network.settings import LinuxSettings
from nephos_agent.network.traffic import PortTraffic
from nephos_api.errors import TemporaryFault

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)
_FIRST_SWEEP_S: Final = 20.0
"""By then everything that is needed has been described."""
_ROUND_PAUSE_S: Final = 0.02


class LinuxNetwork:
    """``NetworkDriver`` on bridges, VXLAN, nftables and dnsmasq."""

    def __init__(
        self, settings: LinuxSettings, launcher: Launcher, services: GuestServices, relay: NameRelay | None = None
    ) -> None:
        self._settings = settings
        self._launcher = launcher
        self._services = services
        self._relay = relay or NameRelay(settings.resolvers)
        self._routers = Routers(settings, launcher, self._run)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unread: set[str] = set()
        """Networks whose dnsmasq is yet to be told that files of its went or changed."""
        self._started: Worker | None = None
        self._is_closing = False
        self._listener: NetworkListener = lambda _uid: None

    async def start(self, listener: NetworkListener) -> None:
        """See ``NetworkDriver.start``."""
        units = await self._launcher.units()
        self._listener = listener
        self._started = await self._run(lambda: Worker(self._settings, units))
        self._watch()
        self._spawn(self._sweep_for_ever())

    async def close(self) -> None:
        """See ``NetworkDriver.close``."""
        self._is_closing = True
        if self._started:
            asyncio.get_running_loop().remove_reader(self._started.events)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._relay.close()
        if self._started:
            await self._run(self._started.close)
        self._thread.shutdown()

    async def create_tap(self, port_uid: str, mac: str, mtu: int) -> str:
        """See ``NetworkDriver.create_tap``."""
        return await self._run(lambda: self._worker.create_tap(port_uid, mac, mtu))

    async def apply(self, network: HostNetwork) -> None:
        """See ``NetworkDriver.apply``."""
        async with self._locks[network.uid]:
            await self._refresh_if_stale(network.uid)
            changes = await self._run(lambda: self._worker.plan(network))
            is_due = bool(changes) or network.uid in self._unread
            outcome = await self._change(network.uid, changes) if is_due else None
            dnsmasq = outcome.dnsmasq if outcome else None
            await self._run(lambda: self._worker.carried_out(network.uid, dnsmasq))
            self._services.describe(network.uid, local_ports(network, self._settings.host))
            if not self._services.is_serving(network.uid):
                sockets = await self._run(lambda: self._worker.sockets(network.uid))
                await self._services.serve(network.uid, sockets.metadata)
                await self._relay.serve(network.uid, sockets.names_udp, sockets.names_tcp)

    async def plugged(self) -> frozenset[str]:
        """See ``NetworkDriver.plugged``."""
        return self._worker.plugged

    async def traffic(self) -> tuple[PortTraffic, ...]:
        """See ``NetworkDriver.traffic``."""
        return await self._run(lambda: self._worker.traffic())

    async def unplug(self, port_uid: str) -> None:
        """See ``NetworkDriver.unplug``."""
        await self._run(lambda: self._worker.unplug(port_uid))

    async def networks(self) -> frozenset[str]:
        """See ``NetworkDriver.networks``."""
        return self._worker.networks

    async def remove(self, network_uid: str) -> None:
        """See ``NetworkDriver.remove``."""
        async with self._locks[network_uid]:
            await self._refresh_if_stale(network_uid)
            await self._leave(network_uid)
            changes = await self._run(lambda: self._worker.plan_removal(network_uid))
            await self._launcher.stop(network_names(network_uid, self._settings.namespace_prefix).unit)
            await self._run(lambda: self._worker.carry_out(changes))
            await self._run(lambda: self._worker.forget_network(network_uid))
            self._unread.discard(network_uid)
        self._locks.pop(network_uid, None)

    async def observed(self) -> Observed:
        """See ``NetworkDriver.observed``."""
        units = await self._launcher.units()
        return await self._run(lambda: self._worker.observed(units))

    async def apply_router(self, router: HostRouter) -> None:
        """See ``NetworkDriver.apply_router``."""
        async with self._locks[router.uid]:
            await self._refresh_if_stale(router.uid)
            await self._routers.apply(router, self._worker.routers)

    async def routers(self) -> frozenset[str]:
        """See ``NetworkDriver.routers``."""
        return self._worker.routers.uids

    async def remove_router(self, router_uid: str) -> None:
        """See ``NetworkDriver.remove_router``."""
        async with self._locks[router_uid]:
            await self._refresh_if_stale(router_uid)
            await self._routers.remove(router_uid, self._worker.routers)
        self._locks.pop(router_uid, None)

    async def answering(self, router_uid: str) -> frozenset[str]:
        """See ``NetworkDriver.answering``."""
        return await self._routers.answering(router_uid, self._worker.routers)

    async def claim(self, router_uid: str) -> None:
        """See ``NetworkDriver.claim``."""
        await self._routers.claim(router_uid, self._worker.routers)

    @property
    def _worker(self) -> Worker:
        if self._started is None:
            raise TemporaryFault("the network driver is not started", reason="NotStarted")
        return self._started

    async def _leave(self, network_uid: str) -> None:
        await self._services.leave(network_uid)
        self._relay.leave(network_uid)

    async def _change(self, network_uid: str, changes: Plan) -> Outcome:
        unit = network_names(network_uid, self._settings.namespace_prefix).unit
        if any(change.kind is Dnsmasq for change in changes.removals):
            await self._launcher.stop(unit)
        has_service = any(change.kind is Service for change in changes.additions)
        # First: what follows may fail, and the former namespace is gone.
        if has_service and await self._run(lambda: self._worker.makes_service(changes)):
            await self._leave(network_uid)
        outcome = await self._run(lambda: self._worker.carry_out(changes))
        if outcome.must_reread:
            self._unread.add(network_uid)
        if outcome.dnsmasq:
            netns_dir, description = self._settings.netns_dir, "DHCP and DNS of a Nephos network"
            await self._launcher.start(dnsmasq_unit(outcome.dnsmasq, netns_dir, outcome.configuration, description))
        elif network_uid in self._unread and unit in await self._launcher.units():
            await self._launcher.signal(unit, signal.SIGHUP)
        self._unread.discard(network_uid)
        return outcome

    async def _refresh_if_stale(self, uid: str) -> None:
        """Learn everything anew where that is needed, and tell of what is otherwise beside what is looked at now."""
        if self._worker.is_stale:
            units = await self._launcher.units()
            for other in await self._run(lambda: self._worker.refresh_if_stale(units)) - {uid}:
                self._listener(other)

    async def _run(self, work: Callable[[], _T]) -> _T:
        """Run in the kernel thread. Raises ``TemporaryFault`` for what the kernel refuses."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except REFUSALS as error:
            raise TemporaryFault(f"network: {error}", reason="NetworkFault") from error

    def _watch(self) -> None:
        asyncio.get_running_loop().add_reader(self._worker.events, self._read_events)

    def _read_events(self) -> None:
        """Have the kernel thread read them, which makes changes there too; until it has, nobody need say so again."""
        asyncio.get_running_loop().remove_reader(self._worker.events)
        self._spawn(self._report())

    async def _report(self) -> None:
        """Have what was said judged; tell of what somebody else changed, which is everything where that is unknown."""
        disturbed = frozenset({""})
        async with _logged("judge events"):
            disturbed = await self._run(self._worker.judge)
        for uid in disturbed:
            _log.info("network or router to be looked at again", uid=uid or "all")
            self._listener(uid)
        # What comes in a moment is judged in one go: a guest may have the kernel say thousands of things a second.
        await asyncio.sleep(_ROUND_PAUSE_S)
        if not self._is_closing:
            self._watch()

    async def _sweep_for_ever(self) -> None:
        """Sweep soon after the start, for what an agent that was killed left half removed, then once in a while."""
        interval_s = self._settings.sweep_interval_s
        pause_s = min(_FIRST_SWEEP_S, interval_s)
        while True:
            await asyncio.sleep(pause_s)
            pause_s = interval_s
            async with _logged("sweep"):
                await self._sweep()

    async def _sweep(self) -> None:
        units = await self._launcher.units()
        for uid in await self._run(lambda: self._worker.sweep(units)):
            self._listener(uid)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@asynccontextmanager
async def _logged(step: str) -> AsyncIterator[None]:
    try:
        yield
    except TemporaryFault as fault:
        _log.warning("network step failed", step=step, error=fault.message)
    except Exception:  # noqa: BLE001  # why: whatever it was, the next event is heard and the next sweep is made
        _log.exception("network step failed", step=step)
