"""NICs that come and go while their Server runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nephos_agent.compute.protocol import Domain, DomainSpec, DomainState, Nic
from nephos_agent.guests import Guests
from nephos_agent.network.names import tap_name
from nephos_agent.server.nics import PortState, nics, port_state
from nephos_api.conditions import find, is_true_of
from nephos_api.resources import Network, Port, Server

from .conftest import World

NET0 = {"name": "net0", "network": "blue"}
NET1 = {"name": "net1", "network": "green"}


async def add_nic(world: World, server: Server, green: Network) -> Port:
    """Do as user and operator do: the Server lists one NIC more, then its Port is bound here."""
    await world.change("one", networks=[NET0, NET1])
    return world.add_port(server, "net1", green, 1)


async def two_nics(world: World) -> tuple[Server, Port]:
    server = await world.active(networks=(world.add_network("blue"),))
    port = await add_nic(world, server, world.add_network("green"))
    await world.until(Port, "one-net1", lambda port: port.status.phase == "Active")
    await world.settled()
    return server, port


def links(domain: Domain | None) -> dict[str, bool]:
    assert domain is not None
    return {nic.tap: nic.is_linked for nic in domain.nics}


def reason(port: Port) -> str | None:
    condition = find(port.status.conditions, "Ready")
    return condition.reason if condition else None


def is_released(port: Port) -> bool:
    return is_true_of(port.status.conditions, "Released", port.metadata.generation)


async def test_a_running_server_gets_a_nic_when_one_more_is_listed(world: World) -> None:
    server, port = await two_nics(world)
    domain = await world.compute.domain(server.uid)
    assert domain is not None
    assert domain.state is DomainState.RUNNING
    assert links(domain)[tap_name(port.uid)]
    assert port.uid in await world.network.plugged()
    assert (await world.get(Server, "one")).status.phase == "Active"


async def test_a_nic_that_comes_has_no_link_before_it_is_filtered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await world.active(networks=(world.add_network("blue"),))
    resume, seen = world.compute.resume, []

    async def note(server_uid: str) -> None:
        found = links(await world.compute.domain(server_uid))
        seen.append((found, await world.network.plugged()))
        await resume(server_uid)

    monkeypatch.setattr(world.compute, "resume", note)
    port = await add_nic(world, server, world.add_network("green"))
    await world.until(Port, "one-net1", lambda port: port.status.phase == "Active")
    ((found, plugged),) = seen
    assert found[tap_name(port.uid)] is False
    assert port.uid in plugged


async def test_a_nic_that_is_listed_no_more_is_unplugged_and_its_port_released(world: World) -> None:
    server, port = await two_nics(world)
    await world.change("one", networks=[NET0])
    released = await world.until(Port, "one-net1", is_released)
    assert released.status.phase == "Down"
    assert tap_name(port.uid) not in links(await world.compute.domain(server.uid))
    assert port.uid not in await world.network.plugged()
    assert (await world.get(Port, "one-net0")).status.phase == "Active"


async def test_a_released_port_that_goes_is_forgotten_with_its_network(world: World) -> None:
    _, port = await two_nics(world)
    await world.change("one", networks=[NET0])
    await world.until(Port, "one-net1", is_released)
    await world.api.delete(Port, "one-net1", "demo")
    await world.api.set_finalizers(await world.get(Port, "one-net1"), ())
    await world.settled()
    assert world.agent
    assert world.agent.watches.port(port.uid) is None
    assert port.spec.network_uid not in await world.network.networks()


async def test_a_guest_that_keeps_a_nic_is_waited_for_and_the_port_says_so(world: World) -> None:
    server, port = await two_nics(world)
    world.compute.guests_obey = False
    await world.change("one", networks=[NET0])
    await world.until(Port, "one-net1", lambda port: reason(port) == "Unplugging")
    assert links(await world.compute.domain(server.uid))[tap_name(port.uid)] is False
    world.compute.guest_lets_go(server.uid)
    await world.until(Port, "one-net1", is_released)


async def test_a_guest_that_keeps_a_nic_is_not_asked_all_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await two_nics(world)
    world.compute.guests_obey = False
    define, asked = world.compute.define, []

    async def count(spec: DomainSpec) -> None:
        asked.append(spec)
        await define(spec)

    monkeypatch.setattr(world.compute, "define", count)
    await world.change("one", networks=[NET0])
    await world.until(Port, "one-net1", lambda port: reason(port) == "Unplugging")
    await world.settled()
    assert len(asked) == 1


async def test_a_nic_that_is_listed_again_is_plugged_again(world: World) -> None:
    _, port = await two_nics(world)
    await world.change("one", networks=[NET0])
    await world.until(Port, "one-net1", is_released)
    await world.change("one", networks=[NET0, NET1])
    again = await world.until(Port, "one-net1", lambda port: port.status.phase == "Active")
    assert not is_released(again)
    assert port.uid in await world.network.plugged()


async def test_a_server_that_is_off_lets_go_of_a_port_at_once(world: World) -> None:
    server, _ = await two_nics(world)
    world.compute.guest_powers_off(server.uid)
    await world.until_phase("one", "Shutoff")
    await world.change("one", state="Shutoff", networks=[NET0])
    await world.until(Port, "one-net1", is_released)


async def test_a_port_that_is_given_away_is_plugged_into_its_next_server(world: World) -> None:
    blue = world.add_network("blue")
    first = await world.active("first", networks=(blue,))
    second = await world.active("second", networks=(blue,))
    port = world.add_port(first, "net1", blue, 7)
    entry = {"name": "net1", "network": "blue", "port": "first-net1"}
    await world.change("first", networks=[NET0, entry])
    await world.until(Port, "first-net1", lambda port: port.status.phase == "Active")
    await world.change("first", networks=[NET0])
    await world.until(Port, "first-net1", is_released)
    await patch_port(world, "first-net1", server="second", serverUID=second.uid)
    await world.change("second", networks=[NET0, entry])
    await world.until(Port, "first-net1", lambda port: port.status.phase == "Active" and not is_released(port))
    assert tap_name(port.uid) in links(await world.compute.domain(second.uid))
    assert tap_name(port.uid) not in links(await world.compute.domain(first.uid))


async def patch_port(world: World, name: str, **spec: Any) -> None:
    path = f"/apis/nephos.cloud/v1alpha1/namespaces/demo/ports/{name}"
    await world.api.raw("PATCH", path, body={"spec": spec})


async def test_a_guest_has_its_metadata_while_a_nic_of_its_server_is_yet_to_come(world: World) -> None:
    _, port = await two_nics(world)
    await world.change("one", networks=[NET0, NET1, {"name": "net2", "network": "missing"}])
    await world.settled()
    assert world.agent
    guest = Guests(world.agent.watches).guest(port.uid)
    assert guest is not None
    assert [nic.port.metadata.name for nic in guest.nics] == ["one-net0", "one-net1"]


async def test_what_is_said_twice_is_done_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = await two_nics(world)
    calls: list[str] = []

    async def note(*_: object) -> None:
        calls.append("define")

    monkeypatch.setattr(world.compute, "define", note)
    before = len(world.api.writes)
    assert world.agent
    for _ in range(2):
        world.agent.servers.add(server.uid)
        await world.settled()
    assert calls == []
    assert [write for write in world.api.writes[before:] if write.address.plural in ("servers", "ports")] == []


@pytest.mark.parametrize("moment", range(1, 20))
async def test_an_agent_that_dies_while_it_plugs_converges(world: World, moment: int) -> None:
    server = await world.active(networks=(world.add_network("blue"),))
    port = await add_nic(world, server, world.add_network("green"))
    for _ in range(moment):
        await asyncio.sleep(0)
    await world.restart()
    await world.until(Port, "one-net1", lambda port: port.status.phase == "Active")
    assert links(await world.compute.domain(server.uid))[tap_name(port.uid)]
    assert port.uid in await world.network.plugged()


@pytest.mark.parametrize("moment", range(1, 20))
async def test_an_agent_that_dies_while_it_unplugs_converges(world: World, moment: int) -> None:
    server, port = await two_nics(world)
    await world.change("one", networks=[NET0])
    for _ in range(moment):
        await asyncio.sleep(0)
    await world.restart()
    await world.until(Port, "one-net1", is_released)
    assert list(links(await world.compute.domain(server.uid)).values()) == [True]
    assert port.uid not in await world.network.plugged()


async def test_a_port_that_the_api_forgot_while_the_agent_was_away_costs_no_nic(world: World) -> None:
    server, port = await two_nics(world)
    await world.end()
    await world.api.delete(Port, "one-net1", "demo")
    await world.api.set_finalizers(await world.get(Port, "one-net1"), ())
    await world.start()
    await world.settled()
    assert links(await world.compute.domain(server.uid))[tap_name(port.uid)]


async def test_a_port_that_was_made_anew_takes_the_place_of_the_first(world: World) -> None:
    server, port = await two_nics(world)
    await world.api.delete(Port, "one-net1", "demo")
    await world.api.set_finalizers(await world.get(Port, "one-net1"), ())
    green = await world.get(Network, "green")
    again = world.add_port(server, "net1", green, 1)
    await world.until(Port, "one-net1", lambda port: port.status.phase == "Active")
    assert tap_name(again.uid) in links(await world.compute.domain(server.uid))
    assert tap_name(port.uid) not in links(await world.compute.domain(server.uid))


# The decisions themselves.


def server(*networks: dict[str, str]) -> Server:
    return Server.model_validate(
        {"metadata": {"name": "one", "uid": "s"}, "spec": {"flavor": "f", "image": "i", "networks": list(networks)}}
    )


def port(name: str, network: str, *, of: str = "s", nic: str = "net0") -> Port:
    spec = {"network": network, "server": "one", "serverUID": of, "serverInterface": nic, "host": "h1"}
    return Port.model_validate({"metadata": {"name": name, "uid": f"uid-{name}", "generation": 1}, "spec": spec})


@pytest.mark.parametrize(
    ("entries", "port_of", "listed", "missing", "leaving"),
    [
        ([NET0], port("one-net0", "blue"), ["one-net0"], [], []),
        ([], port("one-net0", "blue"), [], [], ["one-net0"]),
        ([NET0], port("one-net0", "blue", of="another"), [], ["one-net0"], []),
        ([NET0], port("one-net0", "blue", nic="net1"), [], ["one-net0"], ["one-net0"]),
        ([NET0 | {"port": "mine"}], port("mine", "blue"), ["mine"], [], []),
        ([NET0 | {"port": "mine"}], port("one-net0", "blue"), [], ["mine"], ["one-net0"]),
    ],
)
def test_the_servers_list_says_which_ports_are_its_nics(
    entries: list[dict[str, str]], port_of: Port, listed: list[str], missing: list[str], leaving: list[str]
) -> None:
    found = nics(server(*entries), {port_of.metadata.name: port_of})
    assert [it.metadata.name for it in found.listed] == listed
    assert list(found.missing) == missing
    assert [it.metadata.name for it in found.leaving] == leaving


ONE = port("one-net0", "blue")
LINKED, CUT = (Nic(tap_name(ONE.uid), "52:54:00:00:00:01", 1450, is_linked) for is_linked in (True, False))


def domain(*found: Nic, state: DomainState = DomainState.RUNNING) -> Domain:
    return Domain("s", "demo.one.s", "demo", "one", state, None, "hash", 1, 1, 128, nics=found)


@pytest.mark.parametrize(
    ("here", "leaving", "plugged", "state"),
    [
        (domain(LINKED), False, True, PortState.PLUGGED),
        (domain(LINKED), False, False, PortState.WAITING),
        (domain(CUT), False, True, PortState.WAITING),
        (domain(), False, False, PortState.WAITING),
        (None, False, False, PortState.OFF),
        (domain(state=DomainState.SHUTOFF), False, False, PortState.OFF),
        (domain(CUT), True, True, PortState.LEAVING),
        (domain(), True, True, PortState.RELEASED),
        (None, True, False, PortState.RELEASED),
    ],
)
def test_where_a_port_stands(here: Domain | None, leaving: bool, plugged: bool, state: PortState) -> None:
    assert port_state(ONE, here, leaving=leaving, plugged={ONE.uid} if plugged else set()) is state
