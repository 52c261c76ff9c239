"""What every network driver does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from contract.network_lab import Host, OneServer, inside, network, port, running_lab
from contract.waiting import eventually
from nephos_agent.metadata.server import MetadataServer
from nephos_agent.network.desired import HostContext, facts
from nephos_agent.network.facts import Dnsmasq
from nephos_agent.network.linux.taps import open_tap as linux_open_tap
from nephos_agent.network.memory import MemoryNetwork
from nephos_agent.network.model import HostPort
from nephos_agent.network.names import tap_name
from nephos_agent.network.protocol import NetworkDriver

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


@dataclass
class World:
    """A driver, and a way to open a tap as QEMU does."""

    driver: NetworkDriver
    host: str
    address: str
    changed: list[str]
    open_tap: Callable[[str], Callable[[], None]]
    """Opens the port's tap; the result closes it."""

    def port(self, uid: str, address: str) -> HostPort:
        return replace(
            port(uid, address, Host(self.host, self.address, Path(), MetadataServer(OneServer()))), host=self.host
        )


@pytest.fixture(params=["linux", "memory"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        twin = MemoryNetwork("h1", taps_open_by_themselves=False)
        changed: list[str] = []
        await twin.start(changed.append)

        def open_in_memory(port_uid: str) -> Callable[[], None]:
            twin.open_tap(port_uid)
            return lambda: twin.close_tap(port_uid)

        yield World(twin, "h1", "192.0.2.1", changed, open_in_memory)
        await twin.close()
        return
    async with running_lab(tmp_path) as lab:

        def open_in_kernel(port_uid: str) -> Callable[[], None]:
            descriptor = inside(lab.one.namespace, lambda: linux_open_tap(tap_name(port_uid)))
            return lambda: os.close(descriptor)

        yield World(lab.one.driver, "h1", "192.0.2.1", lab.one.changed, open_in_kernel)


async def test_a_tap_is_bridged_once_a_process_has_it_open_and_not_before(world: World) -> None:
    a = world.port("a", "10.10.0.11")
    name = await world.driver.create_tap(a.uid, a.mac, 1450)
    assert name == tap_name(a.uid)
    await world.driver.apply(network(1, a))
    assert await world.driver.plugged() == frozenset()
    close = world.open_tap(a.uid)
    await world.driver.apply(network(1, a))
    assert await world.driver.plugged() == {a.uid}
    close()


async def test_every_call_may_be_repeated(world: World) -> None:
    a = world.port("a", "10.10.0.11")
    await world.driver.create_tap(a.uid, a.mac, 1450)
    await world.driver.create_tap(a.uid, a.mac, 1450)
    close = world.open_tap(a.uid)
    for _ in range(3):
        await world.driver.apply(network(1, a))
        assert await world.driver.create_tap(a.uid, a.mac, 1450) == tap_name(a.uid)
    assert await world.driver.plugged() == {a.uid}
    close()
    for _ in range(2):
        await world.driver.unplug(a.uid)
        await world.driver.remove("network-1")
    assert await world.driver.plugged() == frozenset()
    assert await world.driver.networks() == frozenset()


async def test_a_port_that_is_not_described_any_more_is_unplugged_and_comes_back_when_it_is(world: World) -> None:
    a, b = world.port("a", "10.10.0.11"), world.port("b", "10.10.0.12")
    closers = []
    for each in (a, b):
        await world.driver.create_tap(each.uid, each.mac, 1450)
        closers.append(world.open_tap(each.uid))
    await world.driver.apply(network(1, a, b))
    await world.driver.apply(network(1, b))
    assert await world.driver.plugged() == {b.uid}
    await world.driver.apply(network(1, a, b))
    assert await world.driver.plugged() == {a.uid, b.uid}
    for close in closers:
        close()


async def test_a_port_that_the_api_forgot_stays_plugged_while_it_is_said_to_be_kept(world: World) -> None:
    a = world.port("a", "10.10.0.11")
    await world.driver.create_tap(a.uid, a.mac, 1450)
    close = world.open_tap(a.uid)
    await world.driver.apply(network(1, a))
    await world.driver.apply(replace(network(1), keep_unknown=True))
    assert await world.driver.plugged() == {a.uid}
    await world.driver.apply(network(1))
    assert await world.driver.plugged() == frozenset()
    close()


async def test_a_tap_whose_qemu_died_is_not_plugged_and_is_made_afresh_for_the_next_start(world: World) -> None:
    a = world.port("a", "10.10.0.11")
    await world.driver.create_tap(a.uid, a.mac, 1450)
    close = world.open_tap(a.uid)
    await world.driver.apply(network(1, a))
    close()
    await eventually(lambda: _is(world.changed, ["network-1"]))
    assert await world.driver.plugged() == frozenset()
    await world.driver.create_tap(a.uid, a.mac, 1450)
    close = world.open_tap(a.uid)
    await world.driver.apply(network(1, a))
    assert await world.driver.plugged() == {a.uid}
    close()


async def test_every_plugged_port_tells_what_passed_it(world: World) -> None:
    described = network(1, world.port("a", "10.10.0.11"), world.port("b", "10.10.0.12"))
    await world.driver.create_tap("a", described.ports[0].mac, 1450)
    close = world.open_tap("a")
    await world.driver.apply(described)
    assert [traffic.port_uid for traffic in await world.driver.traffic()] == ["a"]
    close()


async def test_what_a_driver_observes_is_what_the_network_needs(world: World) -> None:
    described = network(1, world.port("a", "10.10.0.11"), world.port("b", "10.10.0.12"))
    await world.driver.create_tap("a", described.ports[0].mac, 1450)
    close = world.open_tap("a")
    await world.driver.apply(described)
    needed = facts(described, HostContext("h1", "192.0.2.1", "nephos", ""), frozenset({tap_name("a")}))
    seen = await world.driver.observed()
    assert {it for it in needed if not isinstance(it, Dnsmasq)} <= seen.networks
    assert seen.routers == {}
    close()


async def test_networks_are_listed_until_they_are_removed(world: World) -> None:
    await world.driver.apply(network(1))
    await world.driver.apply(network(2))
    assert await world.driver.networks() == {"network-1", "network-2"}
    await world.driver.remove("network-1")
    assert await world.driver.networks() == {"network-2"}


async def _is(changed: list[str], expected: list[str]) -> bool:
    return changed == expected
