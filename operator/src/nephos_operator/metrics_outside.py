"""What the operator tells Prometheus of the way to the world: addresses left, gateway Hosts, floating addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nephos_api.resources.floating_ip import FloatingIPPhase
from nephos_operator.addressing import AddressBook, pools
from nephos_operator.store import Store


class Outside(Collector):
    """External Subnets, Routers and FloatingIPs, each time Prometheus asks."""

    def __init__(self, store: Store, addresses: AddressBook) -> None:
        self._store = store
        self._addresses = addresses

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        yield from self._pools()
        yield from self._gateways()
        silent = GaugeMetricFamily(
            "nephos_floating_ips_silent",
            "Floating addresses that a host should answer for and does not",
            labels=("host",),
        )
        hosts = Counter(
            found.status.host
            for found in self._store.floating_ips
            if found.status.host is not None and found.status.phase is not FloatingIPPhase.ACTIVE
        )
        for host in self._store.hosts:
            silent.add_metric((host.metadata.name,), hosts[host.metadata.name])
        yield silent

    def _pools(self) -> Iterator[GaugeMetricFamily]:
        labels = ("namespace", "subnet")
        size = GaugeMetricFamily(
            "nephos_external_pool_addresses", "Addresses of an external Subnet's pools", labels=labels
        )
        used = GaugeMetricFamily(
            "nephos_external_addresses_used", "Addresses of an external Subnet in use", labels=labels
        )
        for network in self._store.networks:
            if network.spec.external is None:
                continue
            for subnet in self._store.subnets.by("network", (network.metadata.namespace, network.metadata.name)):
                named = (subnet.metadata.namespace or "", subnet.metadata.name)
                size.add_metric(named, sum(span.last - span.first + 1 for span in pools(subnet.spec)))
                used.add_metric(named, self._addresses.count(subnet.uid))
        yield from (size, used)

    def _gateways(self) -> Iterator[GaugeMetricFamily]:
        carried = GaugeMetricFamily(
            "nephos_gateway_routers", "Routers whose own addresses a host carries", labels=("host",)
        )
        for host in self._store.hosts:
            carried.add_metric((host.metadata.name,), self._store.routers.count("gateway_host", host.metadata.name))
        yield carried
        yield GaugeMetricFamily(
            "nephos_routers_without_gateway",
            "Routers that want an outside and have no gateway host",
            value=self._store.routers.count("without_gateway", True),
        )

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Say nothing before the store is filled."""
        return ()
