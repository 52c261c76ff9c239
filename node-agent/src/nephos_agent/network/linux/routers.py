"""Routers of a Linux host: the kernel's part in its thread, the sender of advertisements through the launcher."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from nephos_agent.launcher.protocol import Launcher
from nephos_agent.network.facts import Dnsmasq
from nephos_agent.network.linux.router_worker import RouterWorker
from nephos_agent.network.linux.units import dnsmasq_unit
from nephos_agent.network.model import HostRouter
from nephos_agent.network.router.names import router_names
from nephos_agent.network.router.plan import RouterPlan
from nephos_agent.network.settings import LinuxSettings

_ANSWER_S: Final = 0.5
"""How long addresses are waited for; one that is there answers within a millisecond."""
_T = TypeVar("_T")


class InKernelThread(Protocol):
    """Runs something in the kernel thread."""

    def __call__(self, work: Callable[[], _T]) -> Awaitable[_T]:
        """Run it; raises ``TemporaryFault`` for what the kernel refuses."""


class Routers:
    """What the driver does for one router at a time; the caller sees to it that calls for one do not overlap."""

    def __init__(self, settings: LinuxSettings, launcher: Launcher, run: InKernelThread) -> None:
        self._settings = settings
        self._launcher = launcher
        self._run = run

    async def apply(self, router: HostRouter, worker: RouterWorker) -> None:
        """See ``NetworkDriver.apply_router``."""
        changes = await self._run(lambda: worker.plan(router))
        started = await self._change(router, changes, worker) if changes else None
        await self._run(lambda: worker.carried_out(router, started))

    async def remove(self, router_uid: str, worker: RouterWorker) -> None:
        """See ``NetworkDriver.remove_router``."""
        await self._launcher.stop(router_names(router_uid, self._settings.namespace_prefix).unit)
        await self._run(lambda: worker.remove(router_uid))

    async def answering(self, router_uid: str, worker: RouterWorker) -> frozenset[str]:
        """See ``NetworkDriver.answering``."""
        probe = await self._run(lambda: worker.probe(router_uid))
        return await probe.answering(_ANSWER_S) if probe else frozenset()

    async def claim(self, router_uid: str, worker: RouterWorker) -> None:
        """See ``NetworkDriver.claim``."""
        await self._run(lambda: worker.claim(router_uid))

    async def _change(self, router: HostRouter, changes: RouterPlan, worker: RouterWorker) -> Dnsmasq | None:
        # A process lives in its namespace: the old one ends before the new one starts.
        if changes.made(Dnsmasq) or changes.gone(Dnsmasq):
            await self._launcher.stop(router_names(router.uid, self._settings.namespace_prefix).unit)
        configuration = await self._run(lambda: worker.carry_out(router, changes))
        netns_dir, description = self._settings.netns_dir, "Router advertisements of a Nephos router"
        started = next(iter(changes.made(Dnsmasq)), None)
        if started:
            await self._launcher.start(dnsmasq_unit(started, netns_dir, str(configuration), description))
        return started
