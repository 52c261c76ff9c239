from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import generate_latest

from nephos_api.resources import Network, Port, Server
from nephos_operator.engine import Engine
from nephos_operator.exposition import application
from nephos_operator.metrics import Metrics

World = Any


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110  # why: the engine tells nobody when it is done
            await asyncio.sleep(0.01)
    assert await holds(), what


@asynccontextmanager
async def leading(world: World) -> AsyncIterator[Engine]:
    """An engine that leads, with watches that feed its store."""
    engine = Engine(world.context, world.kube, Metrics(), sweep_s=600)

    async def watch() -> None:
        while True:
            world._watch()
            await asyncio.sleep(0.005)

    tasks = [asyncio.create_task(watch()), asyncio.create_task(engine.lead())]
    try:
        yield engine
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_leader_acts_on_what_it_finds_and_on_what_comes(cloud: World) -> None:
    await cloud.make(Server, "found", "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    async with leading(cloud):

        async def placed(name: str) -> bool:
            return (await cloud.get(Server, name)).status.host is not None

        await until(lambda: placed("found"), "what was there is placed")
        await cloud.make(Server, "comes", "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
        await until(lambda: placed("comes"), "what comes is placed")


async def test_one_that_does_not_lead_follows_and_does_nothing(cloud: World) -> None:
    engine = Engine(cloud.context, cloud.kube, Metrics(), sweep_s=600)
    before = len(cloud.kube.writes)
    await cloud.make(Network, "red", "demo")
    cloud._watch()
    assert cloud.store.networks.get("red", "demo") is not None
    assert engine.queue_length == 0
    assert [write.verb for write in cloud.kube.writes[before:]] == ["create"]


async def test_a_new_leader_forgets_what_it_only_intended_in_an_earlier_life(cloud: World) -> None:
    subnet = cloud.store.subnets.get("blue-v4", "demo")
    cloud.addresses.reserve_next(subnet, cloud.store.ports.key("never-made", "demo"))
    cloud.context.refusals["uid"] = frozenset({"h1"})
    async with leading(cloud) as engine:

        async def is_idle() -> bool:
            return engine._queue is not None and engine._queue.is_idle

        await until(is_idle, "the leader has looked at everything")
        assert cloud.addresses.count(subnet.uid) == 0
        assert cloud.context.refusals == {}


async def test_a_former_leader_holds_nothing_that_it_only_intended(cloud: World) -> None:
    subnet = cloud.store.subnets.get("blue-v4", "demo")
    async with leading(cloud) as engine:

        async def is_idle() -> bool:
            return engine._queue is not None and engine._queue.is_idle

        await until(is_idle, "the leader has looked at everything")
        cloud.addresses.reserve_next(subnet, cloud.store.ports.key("never-made", "demo"))
    assert cloud.addresses.count(subnet.uid) == 0


async def test_the_metrics_tell_quota_hosts_queue_and_lead(cloud: World) -> None:
    await cloud.add_server("one")
    metrics = Metrics()
    metrics.watch(cloud.store, cloud.ledger, queue_length=lambda: 3, is_leading=lambda: True)
    metrics.count_write("create", "Port")
    metrics.count_placement("placed")
    text = generate_latest(metrics.registry).decode()
    for line in (
        'nephos_quota_used{project="demo",resource="instances"} 1.0',
        'nephos_quota_limit{project="demo",resource="cores"} 20.0',
        'nephos_quota_used{project="demo",resource="ports"} 1.0',
        'nephos_host_capacity{host="h1",resource="vcpus"} 32.0',
        'nephos_host_up{host="h1"} 1.0',
        'nephos_objects{kind="Server"} 1.0',
        'nephos_api_writes_total{kind="Port",verb="create"} 1.0',
        'nephos_placement_attempts_total{result="placed"} 1.0',
        "nephos_queue_length 3.0",
        "nephos_leader 1.0",
    ):
        assert line in text
    paths = {resource.canonical for resource in application(metrics.registry, lambda: True).router.resources()}
    assert paths == {"/metrics", "/healthz", "/readyz"}


async def test_many_servers_at_once_are_all_placed_with_one_address_each(cloud: World) -> None:
    await cloud.kube.raw(
        "PATCH", "/apis/nephos.cloud/v1alpha1/projects/demo", body={"spec": {"quota": {"instances": 40, "cores": 40}}}
    )
    for number in range(16):
        await cloud.make(Server, f"s{number}", "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    async with leading(cloud):

        async def all_placed() -> bool:
            return len([server for server in cloud.store.servers if server.status.host]) == 16

        await until(all_placed, "all are placed")
    ports = [port for port in cloud.store.ports if isinstance(port, Port)]
    addresses = [allocation.address for port in ports for allocation in port.spec.allocations]
    assert len(set(addresses)) == len(addresses) == 16
