"""The operator is killed before and after each single write of a cloud's life; nothing is lost, nothing given twice."""

from __future__ import annotations

from collections import Counter

import pytest

from nephos_api.resources import KINDS, Network, Port, Project, Server

from .conftest import World
from .lives import bodies, once, settle

STEPS_OF_A_LIFE = 160
"""Two a write: before it, and after it before its answer."""


async def check(world: World) -> None:
    """No address, VNI or capacity is given twice."""
    ports = await bodies(world, Port)
    once((held.subnet_uid, held.address) for port in ports for held in port.spec.allocations)
    once(network.status.vni for network in await bodies(world, Network) if network.status.vni)
    hosts = Counter(server.status.host for server in await bodies(world, Server) if server.status.host)
    assert all(count <= 2 for count in hosts.values()), hosts


async def live(world: World) -> None:
    """Make a project with networks and servers, delete one server, then everything."""
    await world.make(Project, "demo")
    await settle(world, check)
    await world.add_network("blue")
    await world.add_network("red")
    for number in range(4):
        network = "red" if number % 2 else "blue"
        nics = [{"network": network}, {"name": "net1", "network": "blue"}]
        await world.make(Server, f"s{number}", "demo", flavor="tiny", image="tiny", networks=nics)
    await settle(world, check)
    assert {server.status.phase for server in await bodies(world, Server)} == {"Active"}
    assert len(await bodies(world, Port)) == 8
    await world.kube.delete(Server, "s0", "demo")
    await settle(world, check)
    assert len(await bodies(world, Server)) == 3
    await world.kube.delete(Project, "demo")
    await settle(world, check)
    await settle(world, check)
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
