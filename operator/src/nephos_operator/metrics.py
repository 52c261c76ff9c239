"""What the operator tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Result
from nephos_operator import quota
from nephos_operator.ledger import Ledger
from nephos_operator.placement.snapshot import HostViews
from nephos_operator.store import Store


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._reconciles = Histogram(
            "nephos_reconcile_duration_seconds",
            "Time for one look at one object",
            ("kind", "result"),
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0),
            registry=self.registry,
        )
        self._writes = Counter(
            "nephos_api_writes_total", "Writes to the API server", ("verb", "kind"), registry=self.registry
        )
        self._placements = Counter(
            "nephos_placement_attempts_total", "Decisions of placement", ("result",), registry=self.registry
        )
        self._admissions = Counter(
            "nephos_admission_reviews_total", "Answers of the webhook", ("kind", "result"), registry=self.registry
        )

    def observe_reconcile(self, key: Key, result: Result, duration_s: float) -> None:
        """Count one look at one object."""
        self._reconciles.labels(key.kind, type(result).__name__.lower()).observe(duration_s)

    def count_write(self, verb: str, kind: str) -> None:
        """Count one write to the API server."""
        self._writes.labels(verb, kind).inc()

    def count_placement(self, result: str) -> None:
        """Count one decision of placement."""
        self._placements.labels(result).inc()

    def count_admission(self, kind: str, *, is_refused: bool) -> None:
        """Count one answer of the webhook."""
        self._admissions.labels(kind, "refused" if is_refused else "allowed").inc()

    def watch(
        self, store: Store, ledger: Ledger, *, queue_length: Callable[[], int], is_leading: Callable[[], bool]
    ) -> None:
        """Tell of the queue, the election, and what projects use, each time Prometheus asks."""
        Gauge("nephos_queue_length", "Keys that wait", registry=self.registry).set_function(queue_length)
        Gauge("nephos_leader", "1 on the replica that acts", registry=self.registry).set_function(is_leading)
        self.registry.register(_Usage(store, ledger))


class _Usage(Collector):
    """What projects and hosts have, use and may use, and how many objects of each kind there are."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._views = HostViews(ledger)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        labels = ("project", "resource")
        used = GaugeMetricFamily("nephos_quota_used", "What a project has", labels=labels)
        limit = GaugeMetricFamily("nephos_quota_limit", "What a project may have; -1: no limit", labels=labels)
        for project in self._store.projects:
            name = project.metadata.name
            for resource, amount in quota.usage(name, self._store).items():
                used.add_metric((name, resource), amount)
                limit.add_metric((name, resource), getattr(project.spec.quota, resource))
        yield used
        yield limit
        objects = GaugeMetricFamily("nephos_objects", "Objects of each kind", labels=("kind",))
        for kind, table in self._store.tables.items():
            objects.add_metric((kind,), len(table))
        yield objects
        yield from self._hosts()

    def _hosts(self) -> Iterator[GaugeMetricFamily]:
        labels = ("host", "resource")
        capacity = GaugeMetricFamily("nephos_host_capacity", "What a host may promise", labels=labels)
        promised = GaugeMetricFamily("nephos_host_promised", "What was promised on a host", labels=labels)
        up = GaugeMetricFamily("nephos_host_up", "1 while the host's agent renews its Lease", labels=("host",))
        for found in self._views.of(self._store.hosts):
            up.add_metric((found.name,), float(found.is_up))
            for resource, inventory in (("vcpus", found.vcpus), ("memory_mib", found.memory), ("disk_gib", found.disk)):
                capacity.add_metric((found.name, resource), inventory.capacity)
                promised.add_metric((found.name, resource), getattr(found.used, resource))
            promised.add_metric((found.name, "servers"), found.used.servers)
        yield from (capacity, promised, up)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Say nothing before the store is filled."""
        return ()
