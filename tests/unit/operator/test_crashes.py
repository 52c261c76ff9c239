"""The operator is killed before and after each single write of a cloud's life; nothing is lost, nothing given twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from nephos_api.conditions import ConditionType, is_true
from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import KINDS, Network, Port, Project, Server

World = Any
STEPS_OF_A_LIFE = 160
"""Two a write: before it, and after it before its answer."""


async def bodies(world: World, kind: Any) -> tuple[Any, ...]:
    items: tuple[Any, ...] = (await world.kube.list(kind)).items
    return items


async def check(world: World) -> None:
    """No address, VNI or capacity is given twice."""
    ports = await bodies(world, Port)
    addresses = Counter((a.subnet_uid, a.address) for port in ports for a in port.spec.allocations)
    assert all(count == 1 for count in addresses.values()), addresses
    vnis = Counter(network.status.vni for network in await bodies(world, Network) if network.status.vni)
    assert all(count == 1 for count in vnis.values()), vnis
    hosts = Counter(server.status.host for server in await bodies(world, Server) if server.status.host)
    assert all(count <= 2 for count in hosts.values()), hosts


async def agents_act(world: World) -> None:
    """Every agent builds what was placed and lets go of what is being deleted."""
    for server in await bodies(world, Server):
        if server.status.host is None:
            continue
        if server.is_deleting:
            if not is_true(server.status.conditions, ConditionType.RELEASED):
                await world.agent_releases(server.metadata.name)
        elif server.status.phase == "Build":
            await world.kube.apply_status(server, {"phase": "Active", "conditions": []}, FieldManager.AGENT)


async def settle(world: World) -> None:
    for _ in range(4):
        await world.settle()
        await check(world)
        await agents_act(world)
        await world.look_again()
    await check(world)


async def live(world: World) -> None:
    """Make a project with networks and servers, delete one server, then everything."""
    await world.make(Project, "demo")
    await settle(world)
    await world.add_network("blue")
    await world.add_network("red")
    for number in range(4):
        network = "red" if number % 2 else "blue"
        nics = [{"network": network}, {"name": "net1", "network": "blue"}]
        await world.make(Server, f"s{number}", "demo", flavor="tiny", image="tiny", networks=nics)
    await settle(world)
    assert {server.status.phase for server in await bodies(world, Server)} == {"Active"}
    assert len(await bodies(world, Port)) == 8
    await world.kube.delete(Server, "s0", "demo")
    await settle(world)
    assert len(await bodies(world, Server)) == 3
    await world.kube.delete(Project, "demo")
    await settle(world)
    await settle(world)
    namespaced = [kind for kind in KINDS if kind.info.namespaced]
    left = [item.key for kind in namespaced for item in await bodies(world, kind) if item.metadata.namespace == "demo"]
    assert left == []
    assert await bodies(world, Project) == ()


async def born(world: World, steps_to_live: int) -> None:
    await world.add_catalog()
    for name in ("h1", "h2"):
        await world.add_host(name, memoryMiB=512 + 2 * 128)
    world.steps_to_live = steps_to_live


@pytest.mark.parametrize("step", range(1, STEPS_OF_A_LIFE, 5))
async def test_killed_at_any_write_it_converges_and_gives_nothing_twice(world: World, step: int) -> None:
    await born(world, step)
    await live(world)


async def test_the_steps_above_reach_from_the_first_write_of_a_life_to_its_last(world: World) -> None:
    await born(world, 10_000)
    await live(world)
    assert STEPS_OF_A_LIFE - 20 <= 10_000 - world.steps_to_live <= STEPS_OF_A_LIFE
