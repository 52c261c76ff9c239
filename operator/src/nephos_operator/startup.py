"""The process: kopf's watches, the election, the loop of the leader, the webhook and the metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import kopf
import structlog
from aiohttp import web

from nephos_api.kube.client import connect
from nephos_api.kube.events import EventRecorder
from nephos_api.kube.lease import ElectionTimes, LeaderElection
from nephos_api.kube.protocol import Kubernetes
from nephos_operator import admission, exposition, metrics, triggers
from nephos_operator.addressing import AddressBook
from nephos_operator.context import Context, follow
from nephos_operator.engine import Engine
from nephos_operator.heartbeats import Heartbeats, lease_informer
from nephos_operator.ledger import Ledger
from nephos_operator.logs import configure_logs
from nephos_operator.metrics_outside import Outside
from nephos_operator.store import Store
from nephos_operator.writes import LeaderWrites

log = structlog.get_logger(__name__)

COMPONENT: Final = "nephos-operator"
TIMES: Final = ElectionTimes(duration_s=15, stop_after_s=12.0, retry_every_s=2.0)
"""A dead leader is replaced within 17 s; one whose API server is slow goes on for as long as that is safe."""


@dataclass(frozen=True)
class Options:
    """How this replica is set up."""

    identity: str
    kubeconfig: Path | None
    metrics_host: str
    metrics_port: int
    webhook_host: str
    webhook_port: int
    webhook_certificate: Path | None
    webhook_key: Path | None
    sweep_s: float


@click.command()
@click.option("--replica-name", envvar="NEPHOS_REPLICA_NAME", required=True, help="Unique name of this replica.")
@click.option("--kubeconfig", envvar="KUBECONFIG", type=click.Path(path_type=Path), help="Else the pod's own account.")
@click.option("--metrics-host", envvar="NEPHOS_METRICS_HOST", default="127.0.0.1", show_default=True)
@click.option("--metrics-port", envvar="NEPHOS_METRICS_PORT", type=int, default=9464, show_default=True)
@click.option("--webhook-host", envvar="NEPHOS_WEBHOOK_HOST", default="127.0.0.1", show_default=True)
@click.option("--webhook-port", envvar="NEPHOS_WEBHOOK_PORT", type=int, default=9443, show_default=True)
@click.option("--webhook-cert", envvar="NEPHOS_WEBHOOK_CERT", type=click.Path(path_type=Path), help="PEM.")
@click.option("--webhook-key", envvar="NEPHOS_WEBHOOK_KEY", type=click.Path(path_type=Path), help="PEM.")
@click.option("--sweep-seconds", envvar="NEPHOS_SWEEP_SECONDS", type=float, default=600.0, show_default=True)
@click.option("--log-level", envvar="NEPHOS_LOG_LEVEL", default="INFO", show_default=True)
def main(
    replica_name: str,
    kubeconfig: Path | None,
    metrics_host: str,
    metrics_port: int,
    webhook_host: str,
    webhook_port: int,
    webhook_cert: Path | None,
    webhook_key: Path | None,
    sweep_seconds: float,
    log_level: str,
) -> None:
    """Run Nephos' operator: it places Servers, gives addresses, and cleans up after what is deleted."""
    configure_logs(log_level)
    options = Options(
        identity=replica_name,
        kubeconfig=kubeconfig,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        webhook_host=webhook_host,
        webhook_port=webhook_port,
        webhook_certificate=webhook_cert,
        webhook_key=webhook_key,
        sweep_s=sweep_seconds,
    )
    asyncio.run(run(options))


async def run(options: Options) -> None:
    """Run until a signal ends kopf, or something essential fails."""
    async with connect(options.kubeconfig, user_agent="nephos-operator") as kube:
        await Process(options, kube).run()


class Process:
    """Everything that one replica is made of, put together."""

    def __init__(self, options: Options, kube: Kubernetes) -> None:
        self._options = options
        self._kube = kube
        self._store, ledger, addresses = Store(), Ledger(), AddressBook()
        follow(self._store, ledger, addresses)
        self._heartbeats = Heartbeats(time.monotonic)
        self._election = LeaderElection(kube, COMPONENT, options.identity, times=TIMES)
        self._metrics = metrics.Metrics()
        self._events = EventRecorder(kube, COMPONENT, options.identity)
        writes = LeaderWrites(kube, self._store, lambda: self._election.left_s, self._metrics.count_write)
        self._context = Context(
            writes,
            self._store,
            ledger,
            addresses,
            self._events,
            self._heartbeats,
            count_placement=self._metrics.count_placement,
        )
        self._engine = Engine(self._context, kube, self._metrics, sweep_s=options.sweep_s)
        self._metrics.watch(
            self._store,
            ledger,
            queue_length=lambda: self._engine.queue_length,
            is_leading=lambda: self._election.is_leader,
        )
        self._metrics.registry.register(Outside(self._store, addresses))

    async def run(self) -> None:
        """Run all parts; the first that ends ends all."""
        kopf_ready = asyncio.Event()
        stop = asyncio.Event()
        parts = {
            "kopf": self._kopf(kopf_ready, stop),
            "election": self._elect(kopf_ready),
            "heartbeats": lease_informer(self._kube, self._heartbeats).run(),
            "sweep": self._engine.sweep_forever(),
            "events": self._events.run(),
            "metrics": self._serve_metrics(kopf_ready),
        }
        tasks = {asyncio.create_task(part, name=name) for name, part in parts.items()}
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        for task in rest:
            if task.get_name() != "kopf":
                task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for task in done:
            if not task.cancelled() and (error := task.exception()):
                raise error

    def _kopf(self, ready: asyncio.Event, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
        registry = kopf.OperatorRegistry()
        settings = kopf.OperatorSettings()
        triggers.configure(settings)
        triggers.register(registry, self._store)
        if self._options.webhook_certificate and self._options.webhook_key:
            admission.register(registry, self._store, self._context.addresses, self._metrics)
            settings.admission.managed = None
            settings.admission.server = kopf.WebhookServer(
                addr=self._options.webhook_host,
                port=self._options.webhook_port,
                certfile=self._options.webhook_certificate,
                pkeyfile=self._options.webhook_key,
            )
        return kopf.operator(
            registry=registry,
            settings=settings,
            standalone=True,
            clusterwide=True,
            ready_flag=ready,
            stop_flag=stop,
        )

    async def _elect(self, kopf_ready: asyncio.Event) -> None:
        await kopf_ready.wait()
        while True:
            await self._election.run(self._engine.lead)

    async def _serve_metrics(self, kopf_ready: asyncio.Event) -> None:
        runner = web.AppRunner(exposition.application(self._metrics.registry, kopf_ready.is_set))
        await runner.setup()
        try:
            await web.TCPSite(runner, self._options.metrics_host, self._options.metrics_port).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()
