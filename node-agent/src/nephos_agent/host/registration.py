"""Makes this host's Host and keeps its status true: one write when something changed, at most one in five seconds."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from nephos_agent.compute.protocol import ComputeDriver, ComputeFacts
from nephos_agent.config import Config
from nephos_agent.host import description
from nephos_agent.network.abilities import Abilities
from nephos_agent.storage.protocol import StorageDriver
from nephos_agent.watches import Watches
from nephos_api.errors import Conflict, NephosError
from nephos_api.kube.protocol import FieldManager, Kubernetes
from nephos_api.reconcile.queue import Backoff
from nephos_api.resources.host import Host, Resources

log = structlog.get_logger(__name__)
_CPU_INFO: Final = Path("/proc/cpuinfo")
_RETRY: Final = Backoff(first_s=0.2, most_s=30.0)
_AT_MOST_EVERY_S: Final = 5.0


class Registration:
    """Says what the host has; ``changed()`` has it look again."""

    def __init__(
        self,
        config: Config,
        kubernetes: Kubernetes,
        watches: Watches,
        compute: ComputeDriver,
        storage: StorageDriver,
        allocated: Callable[[], Resources],
        network_abilities: Callable[[], Awaitable[Abilities]],
    ) -> None:
        self._config = config
        self._kubernetes = kubernetes
        self._watches = watches
        self._compute = compute
        self._storage = storage
        self._allocated = allocated
        self._network_abilities = network_abilities
        self._abilities = Abilities()
        self._facts: ComputeFacts | None = None
        self._size: Resources | None = None
        self._changed = asyncio.Event()

    @property
    def size(self) -> Resources | None:
        """The host's capacity; None until the hypervisor has said what it is."""
        return self._size

    def changed(self) -> None:
        """Something that the Host's status speaks of may have changed."""
        self._changed.set()

    async def learn(self) -> None:
        """Ask the hypervisor, the disk and the kernel what is there. Raises TemporaryFault while they do not answer."""
        facts = await self._compute.facts()
        self._abilities = await self._network_abilities()
        self._facts = facts
        self._size = description.capacity(facts, await self._storage.capacity_gib(), self._config.limits)

    async def run(self) -> None:
        """Register and keep the status true until cancelled."""
        failures = 0
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._report()
            except NephosError as error:
                failures += 1
                log.warning("host not registered", error=str(error))
                self._changed.set()
                await asyncio.sleep(_RETRY.delay_s(failures))
            else:
                failures = 0
                await asyncio.sleep(_AT_MOST_EVERY_S)

    async def _report(self) -> None:
        if self._facts is None:
            await self.learn()
        facts, size = self._facts, self._size
        host = self._watches.host or await self._create()
        if facts is None or size is None:
            return
        new = description.host_status(
            host.status,
            self._config,
            facts,
            self._abilities,
            size=size,
            allocated=self._allocated(),
            kernel_version=platform.release(),
            cpu_flags=await asyncio.to_thread(_cpu_flags),
        )
        if new != host.status:
            await self._kubernetes.apply_status(host, description.body(new), FieldManager.AGENT)

    async def _create(self) -> Host:
        name = self._config.host_name
        try:
            return await self._kubernetes.create(Host, {"metadata": {"name": name}, "spec": {}})
        except Conflict:
            found = await self._kubernetes.get(Host, name)
            if found is None:
                raise
            return found


def _cpu_flags() -> frozenset[str]:
    for line in _CPU_INFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
