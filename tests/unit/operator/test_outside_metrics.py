from __future__ import annotations

from typing import Any

from nephos_api.metadata import CATALOG_NAMESPACE
from nephos_api.resources import Host
from nephos_operator.metrics_outside import Outside

World = Any


def sample(cloud: World, metric: str, **labels: str) -> float:
    """Return the value of the gauge with these labels."""
    (found,) = [
        sample.value
        for family in Outside(cloud.store, cloud.addresses).collect()
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    ]
    return float(found)


async def test_addresses_left_gateways_and_silent_addresses_are_told(cloud: World) -> None:
    await cloud.add_outside()
    await cloud.add_router()
    server = await cloud.add_server("one")
    await cloud.add_floating_ip(server="one")
    pool = {"namespace": CATALOG_NAMESPACE, "subnet": "public-v4"}
    assert sample(cloud, "nephos_external_pool_addresses", **pool) == 191
    assert sample(cloud, "nephos_external_addresses_used", **pool) == 2
    assert [sample(cloud, "nephos_gateway_routers", host=name) for name in ("h1", "h2")] == [1, 0]
    assert sample(cloud, "nephos_floating_ips_silent", host=server.status.host) == 1
    await cloud.agent_answers("web")
    assert sample(cloud, "nephos_floating_ips_silent", host=server.status.host) == 0
    assert sample(cloud, "nephos_routers_without_gateway") == 0
    for name in ("h1", "h2"):
        await cloud.change(Host, name, outOfService=True)
    assert sample(cloud, "nephos_routers_without_gateway") == 1
