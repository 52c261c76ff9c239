"""The loop of the one that leads: changes in, keys through the queue, one reconciler a kind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from nephos_api.errors import NephosError
from nephos_api.kube.protocol import Kubernetes
from nephos_api.metadata import Key
from nephos_api.reconcile.queue import WorkQueue
from nephos_api.reconcile.result import Done, Result
from nephos_operator import routing
from nephos_operator.context import Context
from nephos_operator.metrics import Metrics
from nephos_operator.reconcilers import (
    floating_ip,
    host,
    network,
    port,
    project,
    router,
    security_group,
    server,
    server_action,
    simple,
    subnet,
)
from nephos_operator.store import Change
from nephos_operator.sweep import sweep

log = structlog.get_logger(__name__)

Reconciler = Callable[[Key, Context], Awaitable[Result]]

RECONCILERS: Final[Mapping[str, Reconciler]] = {
    "Project": project.reconcile,
    "Flavor": simple.reconcile_flavor,
    "Host": host.reconcile,
    "KeyPair": simple.reconcile_key_pair,
    "ServerGroup": simple.reconcile_server_group,
    "Network": network.reconcile,
    "Subnet": subnet.reconcile,
    "SecurityGroup": security_group.reconcile,
    "Router": router.reconcile,
    "FloatingIP": floating_ip.reconcile,
    "Port": port.reconcile,
    "Server": server.reconcile,
    "ServerAction": server_action.reconcile,
}

WORKERS: Final = 16
"""Keys under work at a time: enough to keep the API server busy, few enough to leave it to others too."""
HEARTBEAT_CHECK_S: Final = 2.0


class Engine:
    """Acts while its replica leads; before that it only follows."""

    def __init__(self, context: Context, reader: Kubernetes, metrics: Metrics, *, sweep_s: float) -> None:
        self._context = context
        self._reader = reader
        self._metrics = metrics
        self._sweep_s = sweep_s
        self._queue: WorkQueue[Key] | None = None
        context.store.subscribe(self._route)

    @property
    def queue_length(self) -> int:
        """Return how many keys wait."""
        return len(self._queue) if self._queue else 0

    async def lead(self) -> None:
        """List everything, then reconcile until cancelled."""
        self._context.forget_undertakings()
        self._context.heartbeats.be_patient()
        await self._sweep_until_done()
        queue = WorkQueue(self._reconcile, workers=WORKERS, observe=self._metrics.observe_reconcile)
        self._queue = queue
        try:
            self._add_all()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(queue.run())
                tasks.create_task(self._check_heartbeats())
        finally:
            self._queue = None
            self._context.forget_undertakings()  # the webhook would refuse what another leader gives

    async def sweep_forever(self) -> None:
        """Compare the store with a fresh list once in a while: a watch may have missed a deletion."""
        while True:
            await asyncio.sleep(self._sweep_s)
            try:
                await sweep(self._reader, self._context.store)
            except NephosError as error:
                log.warning("sweep failed", error=str(error))
                continue
            self._add_all()

    async def _sweep_until_done(self) -> None:
        delay_s = 0.5
        while True:
            try:
                await sweep(self._reader, self._context.store)
            except NephosError as error:
                log.warning("can't list everything yet", error=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 5.0)
            else:
                return

    async def _check_heartbeats(self) -> None:
        """Have Hosts looked at whose Lease tells something else than their phase: one timer for all."""
        while True:
            for found in self._context.store.hosts:
                if host.is_due(found, self._context):
                    self._add(found.key)
            await asyncio.sleep(HEARTBEAT_CHECK_S)

    def _add_all(self) -> None:
        for kind in RECONCILERS:
            for resource in self._context.store.tables[kind]:
                self._add(resource.key)

    def _add(self, key: Key, delay_s: float = 0.0) -> None:
        if self._queue is None or key.kind not in RECONCILERS:
            return
        if delay_s:
            self._queue.add_after(key, delay_s)
        else:
            self._queue.add(key)

    def _route(self, change: Change) -> None:
        if self._queue is None:
            return
        if routing.hosts_changed(change):
            self._context.refusals.clear()
            self._wake_busy(len(self._context.busy))
        elif routing.leaves_build(change):
            self._wake_busy(1)
        for key, delay_s in routing.wakes(change, self._context.store):
            self._add(key, delay_s)

    def _wake_busy(self, count: int) -> None:
        for key in list(self._context.busy)[:count]:
            self._add(key)

    async def _reconcile(self, key: Key) -> Result:
        reconciler = RECONCILERS.get(key.kind)
        if reconciler is None:
            return Done()
        started = time.monotonic()
        result = await reconciler(key, self._context)
        log.debug("reconciled", key=str(key), result=result, seconds=round(time.monotonic() - started, 4))
        return result
