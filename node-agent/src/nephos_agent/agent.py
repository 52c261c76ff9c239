"""Wires one host's agent: drivers, watches, queues, and the tasks that run them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from nephos_agent.claims import Claims
from nephos_agent.collector import Collector
from nephos_agent.compute.protocol import ComputeDriver
from nephos_agent.config import Config
from nephos_agent.consoles import Consoles
from nephos_agent.floating_ips import FloatingIPs
from nephos_agent.guests import Guests
from nephos_agent.host.registration import Registration
from nephos_agent.metadata.source import MetadataSource
from nephos_agent.metrics import Metrics
from nephos_agent.network.abilities import Abilities
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.networks import Networks
from nephos_agent.routers import Routers
from nephos_agent.server.admission import Admission
from nephos_agent.server.reconcile import ServerReconciler
from nephos_agent.server.steps import Drivers, StepRunner
from nephos_agent.storage.protocol import StorageDriver
from nephos_agent.sweep import Sweep
from nephos_agent.watches import Listeners, Watches
from nephos_api.errors import TemporaryFault
from nephos_api.kube.events import EventRecorder
from nephos_api.kube.lease import HostLease
from nephos_api.kube.protocol import Kubernetes
from nephos_api.reconcile.queue import Backoff, WorkQueue

log = structlog.get_logger(__name__)
_SERVERS_AT_A_TIME: Final = 16
_NETWORKS_AT_A_TIME: Final = 4
_ROUTERS_AT_A_TIME: Final = 4
_BACKOFF: Final = Backoff(first_s=0.05, most_s=30.0)


async def _no_abilities() -> Abilities:
    return Abilities()


@dataclass(frozen=True)
class Host:
    """The drivers of a host. The network's is made with what its metadata service answers from."""

    compute: ComputeDriver
    storage: StorageDriver
    make_network: Callable[[MetadataSource], NetworkDriver]
    network_abilities: Callable[[], Awaitable[Abilities]] = _no_abilities
    close: Callable[[], Awaitable[None]] | None = None
    """Ends what the drivers share; called last."""


class Agent:
    """The agent of one host. ``run`` ends when it is cancelled, and leaves everything running."""

    def __init__(self, config: Config, kubernetes: Kubernetes, host: Host, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.compute, self._storage, self._close = host.compute, host.storage, host.close
        self._domains_known = False
        self._complete = asyncio.Event()
        self.watches = Watches(kubernetes, config.host_name, self._listeners())
        guests = Guests(self.watches)
        self.network = host.make_network(guests)
        self._events = EventRecorder(kubernetes, "nephos-agent", config.host_name)
        networks = Networks(self.network, self.watches, self._may_remove_networks, lambda uid: routers.vacate(uid))
        self._floating_ips = FloatingIPs(self.network, self.watches, kubernetes, self._events, now=_now)
        routers = Routers(
            config.host_name, self.network, self.watches, networks, self._floating_ips, self._may_remove_networks
        )
        consoles = Consoles(config.state_dir / "consoles")
        drivers = Drivers(
            self.compute, self.network, self._storage, networks, self.watches, consoles, guests.config_drive_files
        )
        self._admission = Admission(self.watches, lambda: self._registration.size, lambda: self._registration.changed())
        self._registration = Registration(
            config,
            kubernetes,
            self.watches,
            self.compute,
            self._storage,
            self._admission.allocated,
            host.network_abilities,
        )
        steps = StepRunner(drivers, config.cloud_id, self.metrics.observe_step)
        server_reconciler = ServerReconciler(
            config, kubernetes, drivers, steps, self._admission, self._events, now=_now
        )
        self.servers: WorkQueue[str] = WorkQueue(
            server_reconciler.reconcile,
            workers=_SERVERS_AT_A_TIME,
            backoff=_BACKOFF,
            observe=lambda _key, result, took_s: self.metrics.observe_reconcile("Server", result, took_s),
        )
        self.networks: WorkQueue[str] = WorkQueue(
            networks.reconcile,
            workers=_NETWORKS_AT_A_TIME,
            backoff=_BACKOFF,
            observe=lambda _key, result, took_s: self.metrics.observe_reconcile("Network", result, took_s),
        )
        self.routers: WorkQueue[str] = WorkQueue(
            routers.reconcile,
            workers=_ROUTERS_AT_A_TIME,
            backoff=_BACKOFF,
            observe=lambda _key, result, took_s: self.metrics.observe_reconcile("Router", result, took_s),
        )
        collector = Collector(
            config.host_name,
            kubernetes,
            self.watches,
            self.compute,
            self._storage,
            consoles,
            config.state_dir / "missed.json",
            monotonic=time.monotonic,
        )
        self._sweep = Sweep(self, collector, consoles, self._storage, self.metrics, every_s=config.sweep_every_s)
        self._lease = HostLease(kubernetes, config.host_name)
        self._claims = Claims(self.network, lambda: self._lease.age_s)

    async def run(self) -> None:
        """Learn what runs here and what the API says, then keep the one as the other until cancelled."""
        self.metrics.lease_age.set_function(lambda: self._lease.age_s or 0.0)
        await self._storage.start()
        await self.network.start(self._network_changed)
        await self.compute.start(self._domain_changed)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lease.run())
                tasks.create_task(self._events.run())
                tasks.create_task(self.watches.run())
                await self.watches.synced()
                tasks.create_task(self._registration.run())
                await self.look_at_everything()
                tasks.create_task(self.servers.run())
                tasks.create_task(self.networks.run())
                tasks.create_task(self.routers.run())
                tasks.create_task(self._sweep.run())
                tasks.create_task(self._claims.run())
                tasks.create_task(self._remove_when_complete())
                log.info("agent runs", servers=len(self.watches.servers()))
        finally:
            await self.network.close()
            await self.compute.close()
            if self._close:
                await self._close()

    async def look_at_everything(self) -> None:
        """Have each Server, each network and each router of this host looked at."""
        try:
            domains = await self.compute.domains()
        except TemporaryFault as fault:
            log.warning("the hypervisor does not answer; what runs here is not known yet", error=fault.message)
        else:
            self._admission.note_domains(domains)
            self._domains_known = True
        for server in self.watches.servers():
            self.servers.add(server.uid)
        self._floating_ips.ask_again()
        for network_uid in self.watches.network_uids() | await self.network.networks():
            self.networks.add(network_uid)
        routers = self.watches.router_uids() | self.watches.routers_with_floating_ips()
        for router_uid in routers | await self.network.routers():
            self.routers.add(router_uid)

    def _listeners(self) -> Listeners:
        return Listeners(
            on_server=lambda uid: self.servers.add(uid),
            on_network=lambda uid: self.networks.add(uid),
            on_router=lambda uid: self.routers.add(uid),
            on_complete=lambda: self._complete.set(),
            on_host=lambda: self._registration.changed(),
            is_present=lambda uid: uid in self._admission.present(),
        )

    def _may_remove_networks(self) -> bool:
        """Tell whether each domain here is a Server of the API: an API without memory must not cut off a guest."""
        placed = {server.uid for server in self.watches.servers()}
        return self._domains_known and self._admission.present() <= placed

    def _domain_changed(self, server_uid: str) -> None:
        if server_uid:
            self.servers.notice(server_uid)
        else:
            self._sweep.ask()

    async def _remove_when_complete(self) -> None:
        """Look at what the host carries and needs no more, each time when it is known what that is."""
        while True:
            await self._complete.wait()
            self._complete.clear()
            for router_uid in await self.network.routers() - self.watches.router_uids():
                self.routers.add(router_uid)
            for network_uid in await self.network.networks() - self.watches.network_uids():
                self.networks.add(network_uid)

    def _network_changed(self, uid: str) -> None:
        """Have the network or router looked at; the driver says only that it is one of them, or that it may be any."""
        networks, routers = self.watches.network_uids(), self.watches.router_uids()
        self._floating_ips.ask_again()
        for router_uid in routers & {uid} if uid else routers:
            self.routers.add(router_uid)
        for network_uid in {uid} - routers if uid else networks:
            self.networks.add(network_uid)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
