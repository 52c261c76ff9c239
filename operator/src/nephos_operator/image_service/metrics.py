"""What the image service tells Prometheus."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from nephos_api.resources.image import Image, ImagePhase


class Metrics:
    """The image service's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._fetched = Counter("nephos_image_fetched_bytes_total", "Bytes from sources", registry=self.registry)
        self._served = Counter("nephos_image_served_bytes_total", "Bytes to hosts", registry=self.registry)
        self._imports = Histogram(
            "nephos_image_import_duration_seconds",
            "Time for one try to import an image",
            ("result",),
            buckets=(0.1, 0.5, 2, 10, 60, 300, 1800, 7200),
            registry=self.registry,
        )

    def count_fetched(self, size_bytes: int) -> None:
        """Count bytes that came from a source."""
        self._fetched.inc(size_bytes)

    def count_served(self, size_bytes: int) -> None:
        """Count bytes that went to a host."""
        self._served.inc(size_bytes)

    def observe_import(self, result: str, duration_s: float) -> None:
        """Count one try to import an image; the result is Active or the reason of its failure."""
        self._imports.labels(result).observe(duration_s)

    def watch(self, images: Iterable[Image], *, is_leading: Callable[[], bool]) -> None:
        """Tell of the election and of the images by phase, each time Prometheus asks."""
        Gauge("nephos_leader", "1 on the replica that acts", registry=self.registry).set_function(is_leading)
        self.registry.register(_Phases(images))


class _Phases(Collector):
    """How many images there are in each phase."""

    def __init__(self, images: Iterable[Image]) -> None:
        self._images = images

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        tally = Tally(image.status.phase for image in self._images)
        gauge = GaugeMetricFamily("nephos_images", "Images by phase", labels=("phase",))
        for phase in ImagePhase:
            gauge.add_metric((phase.value,), tally[phase])
        yield gauge
