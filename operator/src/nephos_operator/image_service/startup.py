"""The process: the watch and the loop of the leader, the server for hosts, and the metrics."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import structlog
from aiohttp import web

from nephos_api.kube.client import connect
from nephos_api.kube.events import EventRecorder
from nephos_api.kube.informer import Informer
from nephos_api.kube.lease import LeaderElection
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.metadata import Key
from nephos_api.reconcile.queue import WorkQueue
from nephos_api.resources.image import Image
from nephos_operator import exposition
from nephos_operator.image_service import metrics, server
from nephos_operator.image_service.addresses import AddressPolicy, parse_networks
from nephos_operator.image_service.fetch import Fetcher, Limits
from nephos_operator.image_service.importing import Importer
from nephos_operator.image_service.inspection import Inspector
from nephos_operator.image_service.reconciler import ImageReconciler, is_worth_a_look
from nephos_operator.image_service.store import Store
from nephos_operator.image_service.tls import TlsFiles
from nephos_operator.logs import configure_logs

log = structlog.get_logger(__name__)

COMPONENT: Final = "nephos-image-service"
SWEEP_S: Final = 3600.0


Parts = dict[str, Callable[[], Coroutine[Any, Any, Any]]]
"""What runs side by side, by name."""


@dataclass(frozen=True)
class Options:
    """How this replica is set up."""

    identity: str
    kubeconfig: Path | None
    store: Store
    file_root: Path | None
    listen: tuple[str, int]
    tls: TlsFiles
    policy: AddressPolicy
    limits: Limits
    metrics_listen: tuple[str, int]


@click.command()
@click.option("--replica-name", envvar="NEPHOS_REPLICA_NAME", help="Unique name of this replica; else the host's.")
@click.option("--kubeconfig", envvar="KUBECONFIG", type=click.Path(path_type=Path), help="Else the pod's own account.")
@click.option("--store-dir", envvar="NEPHOS_IMAGE_STORE_DIR", type=click.Path(path_type=Path), required=True)
@click.option("--file-root", envvar="NEPHOS_IMAGE_FILE_ROOT", type=click.Path(path_type=Path), help="For file://.")
@click.option("--listen", envvar="NEPHOS_IMAGE_LISTEN", default="0.0.0.0:8443", show_default=True, help="host:port")
@click.option("--allow-cidrs", envvar="NEPHOS_IMAGE_ALLOW_CIDRS", default="", help="Sources allowed besides public.")
@click.option("--deny-cidrs", envvar="NEPHOS_IMAGE_DENY_CIDRS", default="", help="Public sources that are refused.")
@click.option("--most-gib", envvar="NEPHOS_IMAGE_MOST_GIB", type=int, default=256, show_default=True, help="Of a file.")
@click.option("--tls-ca", envvar="NEPHOS_TLS_CA", type=click.Path(path_type=Path), required=True, help="PEM.")
@click.option("--tls-cert", envvar="NEPHOS_TLS_CERT", type=click.Path(path_type=Path), required=True, help="PEM.")
@click.option("--tls-key", envvar="NEPHOS_TLS_KEY", type=click.Path(path_type=Path), required=True, help="PEM.")
@click.option("--metrics-host", envvar="NEPHOS_METRICS_HOST", default="127.0.0.1", show_default=True)
@click.option("--metrics-port", envvar="NEPHOS_METRICS_PORT", type=int, default=9465, show_default=True)
@click.option("--log-level", envvar="NEPHOS_LOG_LEVEL", default="INFO", show_default=True)
def main(
    replica_name: str | None,
    kubeconfig: Path | None,
    store_dir: Path,
    file_root: Path | None,
    listen: str,
    allow_cidrs: str,
    deny_cidrs: str,
    most_gib: int,
    tls_ca: Path,
    tls_cert: Path,
    tls_key: Path,
    metrics_host: str,
    metrics_port: int,
    log_level: str,
) -> None:
    """Run Nephos' image service: it fetches Images, checks them, and gives them to hosts."""
    configure_logs(log_level)
    host, _, port = listen.rpartition(":")
    options = Options(
        identity=replica_name or socket.gethostname(),
        kubeconfig=kubeconfig,
        store=Store(store_dir.resolve()),
        file_root=file_root,
        listen=(host.strip("[]"), int(port)),
        tls=TlsFiles(tls_ca, tls_cert, tls_key),
        policy=AddressPolicy(allowed=parse_networks(allow_cidrs), denied=parse_networks(deny_cidrs)),
        limits=Limits(size_bytes=most_gib << 30),
        metrics_listen=(metrics_host, metrics_port),
    )
    asyncio.run(run(options))


async def run(options: Options) -> None:
    """Run until SIGTERM or SIGINT, or until something essential fails."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await asyncio.to_thread(options.store.prepare)
    async with connect(options.kubeconfig, user_agent=COMPONENT) as kubernetes:
        inspector = await Inspector.detect()
        await first_ends(Process(options, kubernetes, inspector).parts() | {"signal": stop.wait})


async def first_ends(parts: Parts) -> None:
    """Run all; when one ends, end the others, and raise what it raised."""
    tasks = {asyncio.create_task(part(), name=name) for name, part in parts.items()}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class Process:
    """Everything that one replica is made of, put together."""

    def __init__(self, options: Options, kubernetes: Kubernetes, inspector: Inspector) -> None:
        self._options = options
        self._metrics = metrics.Metrics()
        self._election = LeaderElection(kubernetes, COMPONENT, options.identity)
        self._images = Informer(Image, Selection(), kubernetes, self._on_event)
        self._events = EventRecorder(kubernetes, COMPONENT, options.identity)
        self._importer = Importer(
            options.store, Fetcher(options.policy, options.limits), inspector, options.file_root, self._metrics
        )
        self._reconciler = ImageReconciler(
            kubernetes,
            self._images,
            self._importer,
            self._events,
            is_leading=lambda: self._election.left_s > 0,
            wake=self._wake,
        )
        self._queue: WorkQueue[Key] | None = None
        self._metrics.watch(self._images, is_leading=lambda: self._election.is_leader)

    def parts(self) -> Parts:
        """Return what runs side by side; each part goes on until it is cancelled."""
        return {
            "images": self._images.run,
            "election": self._elect,
            "events": self._events.run,
            "server": self._serve_hosts,
            "metrics": self._serve_metrics,
        }

    def _on_event(self, old: Image | None, new: Image | None) -> None:
        seen = new or old
        if seen and is_worth_a_look(old, new):
            self._wake(seen.key)

    def _wake(self, key: Key) -> None:
        if self._queue is not None:
            self._queue.add(key)

    async def _elect(self) -> None:
        await self._images.synced.wait()
        while True:
            await self._election.run(self._lead)

    async def _lead(self) -> None:
        """Reconcile while leading; what was fetched so far stays for whoever leads next."""
        self._reconciler.begin()
        self._queue = WorkQueue(self._reconciler.reconcile)
        try:
            await first_ends({"queue": self._queue.run, "sweep": self._sweep})
        finally:
            self._queue = None
            await self._importer.close()

    async def _sweep(self) -> None:
        while True:
            await self._images.resync()
            await self._reconciler.sweep()
            await asyncio.sleep(SWEEP_S)

    async def _serve_hosts(self) -> None:
        context = await asyncio.to_thread(self._options.tls.server_context)
        await serve(server.application(self._options.store, self._metrics), self._options.listen, context)

    async def _serve_metrics(self) -> None:
        await serve(
            exposition.application(self._metrics.registry, self._images.synced.is_set), self._options.metrics_listen
        )


async def serve(app: web.Application, listen: tuple[str, int], context: ssl.SSLContext | None = None) -> None:
    """Serve until cancelled."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    # Cut off half-way, the start would leave its socket open and known to nobody.
    starting = asyncio.create_task(web.TCPSite(runner, *listen, ssl_context=context).start())
    try:
        await asyncio.shield(starting)
        await asyncio.Event().wait()
    finally:
        await asyncio.gather(starting, return_exceptions=True)
        await runner.cleanup()
