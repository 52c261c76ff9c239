"""Every list and string of a status has a bound, and nothing that people ask for makes a status that exceeds it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_api.fields import LIST_MOST, SENTENCE_MOST
from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import CATALOG_NAMESPACE
from nephos_api.resources import FloatingIP, Host, Network, Port, Router, Server, Subnet
from nephos_api.resources.network import MOST_SUBNETS
from nephos_operator import router_legs
from nephos_operator.wording import joined, shortened

World = Any
NAME_OF_63 = "n" * 63


async def add_subnets(cloud: World, network: str, count: int) -> list[str]:
    """Make a Network and so many Subnets of it, on which guests make their own address."""
    await cloud.make(Network, network, "demo")
    names = [f"{network}-{number:02}" for number in range(count)]
    for number, name in enumerate(names):
        await cloud.make(Subnet, name, "demo", network=network, cidr=f"fd00:{number:x}::/64")
        cloud.pass_time(1)
    await cloud.settle()
    return names


async def test_a_network_has_so_many_subnets_and_the_next_one_says_why_it_waits(cloud: World) -> None:
    *first, last = await add_subnets(cloud, "red", MOST_SUBNETS + 1)
    assert await cloud.reason(Subnet, last) == "TooManySubnets"
    assert (await cloud.get(Subnet, last)).status.phase == "Error"
    assert "spec.network: Network red has 32 Subnets" in await cloud.message(Subnet, last)
    assert [view.name for view in (await cloud.get(Network, "red")).status.subnets] == first
    await cloud.kube.delete(Subnet, first[0], "demo")
    await cloud.settle()
    assert [view.name for view in (await cloud.get(Network, "red")).status.subnets] == [*first[1:], last]


async def test_two_subnets_that_took_the_last_place_at_once_agree_on_the_older(cloud: World) -> None:
    *first, last = await add_subnets(cloud, "red", MOST_SUBNETS + 1)
    given = (await cloud.get(Subnet, last)).status.to_wire() | {"phase": "Active", "conditions": []}
    given |= {"gateway": "fd00:20::1", "serviceAddress": "fd00:20::2"}
    await cloud.kube.apply_status(await cloud.get(Subnet, last), given, FieldManager.OPERATOR)
    await cloud.settle()
    assert await cloud.reason(Subnet, last) == "TooManySubnets"
    assert [view.name for view in (await cloud.get(Network, "red")).status.subnets] == first


async def test_a_port_has_an_address_on_every_subnet_that_a_network_can_have(cloud: World) -> None:
    await add_subnets(cloud, "red", MOST_SUBNETS)
    await cloud.make(Port, "vip", "demo", network="red")
    server = await cloud.add_server(
        "one", networks=[{"name": f"net{number}", "network": "red"} for number in range(16)]
    )
    assert len((await cloud.get(Port, "vip")).spec.allocations) == MOST_SUBNETS
    assert len((await cloud.get(Port, "one-net15")).spec.allocations) == MOST_SUBNETS
    assert len(server.status.addresses) == 256
    assert server.status.address_list.endswith(", …")


async def test_a_port_that_holds_addresses_of_former_subnets_gets_as_many_as_there_is_room_for(cloud: World) -> None:
    names = await add_subnets(cloud, "red", MOST_SUBNETS)
    await cloud.make(Port, "vip", "demo", network="red")
    await cloud.settle()
    for name in names:
        await cloud.kube.delete(Subnet, name, "demo")
    for number in range(MOST_SUBNETS):
        await cloud.make(Subnet, f"new-{number}", "demo", network="red", cidr=f"fd01:{number:x}::/64")
    await cloud.settle()
    assert len((await cloud.get(Port, "vip")).spec.allocations) == 48


async def test_a_router_names_all_its_subnets_however_long_their_names_are(cloud: World) -> None:
    await cloud.make(Network, "red", "demo")
    names = [f"{NAME_OF_63[:61]}{number:02}" for number in range(32)]
    for number, name in enumerate(names):
        await cloud.make(Subnet, name, "demo", network="red", cidr=f"10.9.{number}.0/24")
    await cloud.settle()
    router = await cloud.add_router(externalNetwork=None, subnets=names)
    assert (len(router.status.legs), router.status.phase) == (32, "Active")
    assert len(router.status.subnet_list) <= LIST_MOST


async def test_a_router_takes_new_legs_as_there_is_room_beside_those_that_stay(
    cloud: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router_legs, "MOST_LEGS", 2)
    await cloud.add_outside()
    await cloud.add_network("red", "10.1.0.0/24")
    await cloud.add_network("green", "10.2.0.0/24")
    await cloud.add_router()
    await cloud.add_server("one")
    await cloud.add_floating_ip(server="one")
    router = await cloud.change(Router, "edge", subnets=["red-v4", "green-v4"])
    assert [leg.subnet for leg in router.status.legs] == ["red-v4", "blue-v4"]
    assert await cloud.reason(Router, "edge") == "TooManyLegs"
    assert "green-v4" in await cloud.message(Router, "edge")
    await cloud.change(FloatingIP, "web", server=None)
    router = await cloud.get(Router, "edge")
    assert [leg.subnet for leg in router.status.legs] == ["red-v4", "green-v4"]


async def test_a_router_that_asks_for_no_addresses_any_more_keeps_one_of_each_ip_version(cloud: World) -> None:
    await cloud.add_outside()
    asked = [f"203.0.113.{number}" for number in range(20, 24)]
    assert len((await cloud.add_router(externalAddresses=asked)).status.external.addresses) == 4
    spec = {"network": "public", "cidr": "2001:db8:113::/64", "dhcp": False}
    await cloud.make(Subnet, "public-v6", CATALOG_NAMESPACE, **spec)
    await cloud.settle()
    router = await cloud.change(Router, "edge", externalAddresses=None)
    assert router.status.external_address_list == "203.0.113.20, 2001:db8:113::2"
    assert (await cloud.add_floating_ip(address="203.0.113.23")).status.address == "203.0.113.23"


@pytest.mark.parametrize(("underlay", "guests"), [(65_535, 9166), (9216, 9166), (1500, 1450), (600, 576)])
async def test_guests_are_told_an_mtu_within_bounds_whatever_the_underlay_carries(
    cloud: World, underlay: int, guests: int
) -> None:
    for name in ("h1", "h2"):
        host = await cloud.get(Host, name)
        await cloud.kube.apply_status(host, host.status.to_wire() | {"underlayMtu": underlay}, FieldManager.AGENT)
    await cloud.settle()
    await cloud.look_again()
    assert (await cloud.get(Network, "blue")).status.mtu == guests


@given(st.lists(st.from_regex(r"\A[a-z0-9:.]{1,63}\Z"), max_size=400))
def test_a_list_for_people_names_the_first_whole_ones(items: list[str]) -> None:
    text = joined(items)
    if text is None:
        assert items == []
        return
    assert len(text) <= LIST_MOST
    shown = text.removesuffix(", …").split(", ")
    assert shown == items[: len(shown)]
    assert text.endswith("…") or shown == items


@given(st.text(max_size=3000))
def test_a_sentence_is_cut_where_a_condition_has_no_room(sentence: str) -> None:
    told = shortened(sentence)
    assert len(told) <= SENTENCE_MOST
    assert told == sentence or (told.endswith("…") and sentence.startswith(told[:-1]))


async def test_servers_are_not_placed_twice_for_want_of_room_in_their_status(cloud: World) -> None:
    await add_subnets(cloud, "red", MOST_SUBNETS)
    await cloud.add_server("one", networks=[{"name": f"net{number}", "network": "red"} for number in range(16)])
    await cloud.agent_activates("one")
    before = len(cloud.kube.writes)
    await cloud.look_again()
    assert len(cloud.kube.writes) == before
    assert (await cloud.get(Server, "one")).status.placement_epoch == 1
