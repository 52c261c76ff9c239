"""What the agent measures, for Prometheus."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from nephos_agent.compute.protocol import ComputeDriver, Domain, DomainState, DomainStats
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.network.traffic import PortTraffic
from nephos_agent.server.plan import Step
from nephos_api.errors import TemporaryFault
from nephos_api.reconcile.result import Result
from nephos_api.resources.port import Port
from nephos_api.resources.security_group import Direction

_STEP_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
_LABELS: Final = ["namespace", "server", "uid"]
_PORT_LABELS: Final = ["namespace", "server", "port", "direction"]
_CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The agent's own metrics; one registry an agent, so that many can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._steps = Histogram(
            "nephos_agent_step_duration_seconds",
            "Duration of the steps that bring a Server to its state",
            ["step"],
            buckets=_STEP_BUCKETS_S,
            registry=self.registry,
        )
        self._reconciles = Histogram(
            "nephos_agent_reconcile_duration_seconds",
            "Duration of reconciles, by kind and result",
            ["kind", "result"],
            buckets=_STEP_BUCKETS_S,
            registry=self.registry,
        )
        self.lease_age = Gauge(
            "nephos_agent_lease_age_seconds", "Time since the Host's Lease was renewed", registry=self.registry
        )
        self.orphans = Gauge(
            "nephos_agent_orphans",
            "Servers with something here that the API does not place here",
            registry=self.registry,
        )
        self.collection_stopped = Gauge(
            "nephos_agent_collection_stopped",
            "1 while orphans are not collected because the API looks wrong",
            registry=self.registry,
        )
        self.sweep_failures = Counter(
            "nephos_agent_sweep_failures_total", "Sweeps that could not be finished", registry=self.registry
        )

    def observe_step(self, step: Step, duration_s: float) -> None:
        """Count a step."""
        self._steps.labels(step.value).observe(duration_s)

    def observe_reconcile(self, kind: str, result: Result, duration_s: float) -> None:
        """Count a reconcile."""
        self._reconciles.labels(kind, type(result).__name__).observe(duration_s)


class Exposition:
    """Answers a scrape; what runs on the host is asked for then, in one call to the hypervisor each."""

    def __init__(
        self,
        metrics: Metrics,
        compute: ComputeDriver,
        network: NetworkDriver,
        port: Callable[[str], Port | None],
    ) -> None:
        """``port`` returns the Port of this host that has the UID."""
        self._metrics = metrics
        self._compute = compute
        self._network = network
        self._port = port

    async def render(self) -> bytes:
        """Return all metrics; without those of the domains while the hypervisor is away, and likewise of the ports."""
        snapshot = CollectorRegistry()
        for metrics in (await self._domains(), await self._ports()):
            snapshot.register(_Snapshot(metrics))
        return generate_latest(self._metrics.registry) + generate_latest(snapshot)

    async def _domains(self) -> list[Metric]:
        try:
            found = domain_metrics(await self._compute.domains())
            return [*found, *usage_metrics(await self._compute.stats()), _up(1)]
        except TemporaryFault:
            return [_up(0)]

    async def _ports(self) -> list[Metric]:
        try:
            plugged, traffic = await self._network.plugged(), await self._network.traffic()
        except TemporaryFault:
            return []
        return [_ports(len(plugged)), *traffic_metrics(traffic, self._port)]


class _Snapshot:
    """Metrics that were computed before."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


def domain_metrics(domains: Iterable[Domain]) -> list[Metric]:
    """Return how many domains are in each state."""
    counts = Count(domain.state for domain in domains)
    family = GaugeMetricFamily("nephos_agent_domains", "Domains of this cloud on the host", labels=["state"])
    for state in DomainState:
        family.add_metric([state.value], counts[state])
    return [family]


def usage_metrics(stats: Iterable[DomainStats]) -> list[Metric]:
    """Return what each running Server has used."""
    cpu = CounterMetricFamily("nephos_server_cpu_seconds", "CPU time that the Server used", labels=_LABELS)
    memory = GaugeMetricFamily("nephos_server_memory_bytes", "Memory that it holds on the host", labels=_LABELS)
    balloon = GaugeMetricFamily("nephos_server_balloon_bytes", "Memory that the guest is given", labels=_LABELS)
    read = CounterMetricFamily("nephos_server_block_read_bytes", "Bytes read from its disks", labels=_LABELS)
    written = CounterMetricFamily("nephos_server_block_written_bytes", "Bytes written to its disks", labels=_LABELS)
    for one in stats:
        labels = [one.namespace, one.server_name, one.server_uid]
        cpu.add_metric(labels, one.cpu_seconds)
        memory.add_metric(labels, one.memory_bytes)
        balloon.add_metric(labels, one.balloon_bytes)
        read.add_metric(labels, one.block_read_bytes)
        written.add_metric(labels, one.block_write_bytes)
    return [cpu, memory, balloon, read, written]


def traffic_metrics(traffic: Iterable[PortTraffic], port: Callable[[str], Port | None]) -> list[Metric]:
    """Return what passed each Port and what was dropped of it; those that the API does not know have no name."""
    size = CounterMetricFamily("nephos_port_bytes_total", "Bytes that passed the Port", labels=_PORT_LABELS)
    packets = CounterMetricFamily("nephos_port_packets_total", "Packets that passed the Port", labels=_PORT_LABELS)
    dropped = CounterMetricFamily(
        "nephos_port_dropped_packets_total", "Packets of the Port that were dropped", labels=[*_PORT_LABELS, "reason"]
    )
    for one in traffic:
        known = port(one.port_uid)
        if known is None:
            continue
        labels = [known.metadata.namespace or "", known.spec.server or "", known.metadata.name]
        for direction, passed in ((Direction.INGRESS, one.ingress), (Direction.EGRESS, one.egress)):
            size.add_metric([*labels, direction.value], passed.size_bytes)
            packets.add_metric([*labels, direction.value], passed.packets)
        for direction, reason, count in one.drops:
            dropped.add_metric([*labels, direction.value, reason.value], count)
    return [size, packets, dropped]


def _ports(plugged: int) -> Metric:
    return GaugeMetricFamily("nephos_agent_ports", "Ports that are filtered and bridged", value=plugged)


def _up(value: int) -> Metric:
    return GaugeMetricFamily("nephos_agent_hypervisor_up", "1 while the hypervisor answers", value=value)


async def serve(exposition: Exposition, host: str, port: int) -> web.AppRunner:
    """Serve /metrics and /healthz; the caller cleans the runner up."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=await exposition.render(), headers={"Content-Type": _CONTENT_TYPE})

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    application = web.Application()
    application.add_routes([web.get("/metrics", metrics), web.get("/healthz", health)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
