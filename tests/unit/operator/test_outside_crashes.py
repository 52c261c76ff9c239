"""Routers and FloatingIPs: no address, VNI, gateway or fixed address has two holders, whatever is asked for, whenever
the operator is killed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nephos_api.metadata import CATALOG_NAMESPACE
from nephos_api.resources import KINDS, FloatingIP, Network, Port, Project, Router, Server
from nephos_operator.claims import held_addresses

from .conftest import World
from .lives import bodies, once, settle

STEPS_OF_A_LIFE = 210
"""Two a write: before it, and after it before its answer."""
CLAIMING: tuple[Any, ...] = (Port, Router, FloatingIP)


async def check(world: World) -> None:
    """Nothing that only one may have is another's too."""
    once([held for kind in CLAIMING for item in await bodies(world, kind) for held in held_addresses(item)])
    routers, networks = await bodies(world, Router), await bodies(world, Network)
    vnis = [network.status.vni for network in networks] + [router.status.transit_vni for router in routers]
    once([vni for vni in vnis if vni is not None])
    once([leg.subnet_uid for router in routers for leg in router.status.legs])
    bound = [item.status for item in await bodies(world, FloatingIP) if item.status.port_uid is not None]
    once([(status.port_uid, status.fixed_address) for status in bound])


async def live(world: World) -> None:
    """Two routed networks, floating addresses that come, move and go, a gateway Host that dies; the Project's end."""
    await world.make(Project, "demo")
    await settle(world, check)
    await world.add_network("blue", "10.0.0.0/24")
    await world.add_network("red", "10.1.0.0/24")
    await world.make(Router, "r0", "demo", externalNetwork="public", subnets=["blue-v4"])
    await world.make(Router, "r1", "demo", externalNetwork="public", subnets=["red-v4"])
    await world.make(Server, "s0", "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    await world.make(Server, "s1", "demo", flavor="tiny", image="tiny", networks=[{"network": "red"}])
    await world.make(FloatingIP, "f0", "demo", externalNetwork="public", server="s0")
    await world.make(FloatingIP, "f1", "demo", externalNetwork="public", server="s1", address="203.0.113.50")
    await settle(world, check)
    assert {item.status.phase for item in await bodies(world, FloatingIP)} == {"Active"}
    assert {item.status.phase for item in await bodies(world, Router)} == {"Active"}
    await world.change(FloatingIP, "f0", server="s1")
    await world.change(FloatingIP, "f1", server="s0")
    world.silent.add("h1")
    world.pass_time(60)
    await settle(world, check)
    assert {item.status.gateway_host for item in await bodies(world, Router)} == {"h2"}
    await world.kube.delete(FloatingIP, "f1", "demo")
    await world.make(FloatingIP, "f2", "demo", externalNetwork="public", address="203.0.113.50")
    await settle(world, check)
    await world.kube.delete(Project, "demo")
    await settle(world, check, rounds=8)
    assert [item.key for kind in KINDS for item in await bodies(world, kind) if item.metadata.namespace == "demo"] == []
    assert await bodies(world, Project) == ()


async def born(world: World, steps_to_live: int) -> None:
    await world.add_catalog()
    for name in ("h1", "h2"):
        await world.add_host(name)
    await world.add_outside()
    world.steps_to_live = steps_to_live


@pytest.mark.parametrize("step", range(1, STEPS_OF_A_LIFE, 5))
async def test_killed_at_any_write_it_converges_and_gives_nothing_twice(world: World, step: int) -> None:
    await born(world, step)
    await live(world)


async def test_the_steps_above_reach_from_the_first_write_of_a_life_to_its_last(world: World) -> None:
    await born(world, 10_000)
    await live(world)
    assert STEPS_OF_A_LIFE - 30 <= 10_000 - world.steps_to_live <= STEPS_OF_A_LIFE


async def test_what_is_decided_side_by_side_has_one_holder(world: World) -> None:
    await born(world, -1)
    await world.add_project()
    for number in range(6):
        await world.make(Network, f"n{number}", "demo")
        await world.make(Router, f"r{number}", "demo", externalNetwork="public")
        await world.make(FloatingIP, f"f{number}", "demo", externalNetwork="public")
        asked = {"address": "203.0.113.50"} if number < 3 else {}
        await world.make(FloatingIP, f"g{number}", "demo", externalNetwork="public", **asked)
    world._watch()
    undecided = list(world._keys)
    world._keys.clear()
    await asyncio.gather(*map(world.reconcile, undecided))
    routers, floating_ips = await bodies(world, Router), await bodies(world, FloatingIP)
    once([held for item in (*routers, *floating_ips) for held in held_addresses(item)])
    vnis = [item.status.transit_vni for item in routers]
    vnis += [item.status.vni for item in await bodies(world, Network) if item.spec.external is None]
    once(vnis)
    assert None not in vnis
    assert sum(bool(held_addresses(item)) for item in (*routers, *floating_ips)) == 16
    await settle(world, check)


ADDRESSES = st.sampled_from([None, *(f"203.0.113.{last}" for last in range(9, 15))])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["router", "floating", "port", "delete", "leg", "bind", "crash", "host", "settle"]),
        st.integers(0, 3),
        ADDRESSES,
    ),
    max_size=25,
)


async def make(world: World, what: str, number: int, address: str | None) -> None:
    """Make a Router, a FloatingIP, or a Port on the external Network, unless there is one of that name."""
    subnets = (["blue-v4"], ["red-v4"], ["blue-v4", "red-v4"], [])[number]
    kind: Any = {"router": Router, "floating": FloatingIP, "port": Port}[what]
    specs: dict[str, dict[str, Any]] = {
        "router": {"externalNetwork": "public", "subnets": subnets, "externalAddresses": [address]},
        "floating": {"externalNetwork": "public", "server": f"s{number % 2}", "address": address},
        "port": {"network": "public", "addresses": [address]},
    }
    spec = {name: value for name, value in specs[what].items() if value not in (None, [None])}
    namespace = CATALOG_NAMESPACE if kind is Port else "demo"
    if await world.gone(kind, f"{what}{number}", namespace):
        await world.make(kind, f"{what}{number}", namespace, **spec)


async def change(world: World, what: str, number: int, *, is_on: bool) -> None:
    """Change or delete what is there."""
    is_router = what == "leg" or (what == "delete" and not is_on)
    kind: Any = Router if is_router else FloatingIP
    name = f"{'router' if is_router else 'floating'}{number}"
    if await world.gone(kind, name):
        return
    if what == "delete":
        await world.kube.delete(kind, name, "demo")
    elif what == "leg":
        await world.change(kind, name, subnets=["red-v4"] if is_on else [])
    else:
        await world.change(kind, name, server="s1" if is_on else None)


async def step(world: World, what: str, number: int, address: str | None) -> None:
    """Do one thing that people do, or one that befalls the operator or a host."""
    match what:
        case "router" | "floating" | "port":
            await make(world, what, number, address)
        case "delete" | "leg" | "bind":
            await change(world, what, number, is_on=address is not None)
        case "crash":
            world.steps_to_live = number + 1
        case "host":
            world.silent = {"h1"} if address else set()
            world.pass_time(30)
            await world.look_again()
        case "settle":
            await settle(world, check, rounds=2)


async def play(steps: list[tuple[str, int, str | None]]) -> None:
    world = World()
    await born(world, -1)
    await world.add_project()
    await world.add_network("blue", "10.0.0.0/24")
    await world.add_network("red", "10.1.0.0/24")
    for number, network in enumerate(("blue", "red")):
        await world.add_server(f"s{number}", networks=[{"network": network}])
    for what, number, address in steps:
        await step(world, what, number, address)
        await world.settle()
        await check(world)
    world.silent = set()
    await settle(world, check)


@given(STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_asked_for_in_whatever_order_nothing_has_two_holders(
    steps: list[tuple[str, int, str | None]],
) -> None:
    asyncio.run(play(steps))
