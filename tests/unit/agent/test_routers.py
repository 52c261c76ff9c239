"""Routers and floating IPs of a host: what is carried, what is said of it, and that it converges from anywhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nephos_agent import floating_ips
from nephos_agent.network.model import HostFloatingIP, RouterNeighbour
from nephos_api.conditions import ConditionType, find, is_true
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources import FloatingIP, Network, Port, Router, Server

from .conftest import HOST, World, eventually
from .tenancy import Tenancy, leg


@pytest.fixture
def tenancy(world: World) -> Tenancy:
    return Tenancy(world)


async def carries(world: World, networks: set[str], routers: set[str]) -> None:
    """Wait until the host carries exactly these."""

    async def look() -> tuple[set[str], set[str]]:
        return set(await world.network.networks()), set(await world.network.routers())

    await eventually(look, lambda found: found == (networks, routers))
    await world.settled()


async def test_a_host_with_one_leg_of_a_router_carries_all_its_networks(world: World, tenancy: Tenancy) -> None:
    blue, green, red = (tenancy.network(name, number) for number, name in enumerate(("blue", "green", "red")))
    first = await tenancy.router("first", blue, green)
    second = await tenancy.router("second", green, red)
    await tenancy.list_routers(green, first, second)
    far = tenancy.port("far", red, "10.2.0.5", host="h2")
    tenancy.port("here", blue, "10.0.0.5")
    await carries(world, {blue.uid, green.uid, red.uid}, {first.uid, second.uid})
    made = world.network.applied_routers[second.uid]
    assert {each.network_uid: each.address for each in made.legs} == {green.uid: "10.1.0.1", red.uid: "10.2.0.1"}
    assert [(each.network_uid, each.address) for each in made.neighbours] == [(red.uid, "10.2.0.5")]
    assert made.mtus == tuple(sorted((uid, 1450) for uid in (green.uid, red.uid)))
    assert [port.uid for port in world.network.applied[red.uid].ports] == [far.uid]
    assert {uid: each.serves_guests for uid, each in world.network.applied.items()} == {
        blue.uid: True,
        green.uid: False,
        red.uid: False,
    }


async def test_routers_and_their_networks_go_with_the_last_port_that_needs_them(
    world: World, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    blue, green = tenancy.network("blue", 0), tenancy.network("green", 1)
    router = await tenancy.router("first", blue, green)
    port = tenancy.port("here", blue, "10.0.0.5")
    await carries(world, {blue.uid, green.uid}, {router.uid})
    order: list[str] = []
    remove, remove_router = world.network.remove, world.network.remove_router

    async def noted(uid: str) -> None:
        order.append(uid)
        await (remove_router(uid) if uid == router.uid else remove(uid))

    monkeypatch.setattr(world.network, "remove", noted)
    monkeypatch.setattr(world.network, "remove_router", noted)
    await tenancy.delete(port)
    await carries(world, set(), set())
    assert order[0] == router.uid
    assert set(order[1:]) == {blue.uid, green.uid}


async def test_a_network_goes_when_its_router_leaves_it(world: World, tenancy: Tenancy) -> None:
    blue, green = tenancy.network("blue", 0), tenancy.network("green", 1)
    router = await tenancy.router("first", blue, green)
    tenancy.port("here", blue, "10.0.0.5")
    await carries(world, {blue.uid, green.uid}, {router.uid})
    await tenancy.say(router, {"legs": [leg(blue)]})
    await carries(world, {blue.uid}, {router.uid})
    assert len(world.network.applied_routers[router.uid].legs) == 1


async def test_the_outside_is_carried_where_it_is_needed_alone(world: World, tenancy: Tenancy) -> None:
    blue, public = tenancy.network("blue", 0), tenancy.outside()
    router = await tenancy.router("first", blue, outside=public)
    port = tenancy.port("here", blue, "10.0.0.5")
    await carries(world, {blue.uid}, {router.uid})
    gateway = world.network.applied_routers[router.uid].gateway
    assert gateway is not None
    assert (gateway.addresses, gateway.gateway_host, gateway.transit_vni) == ((), "h2", 9000)
    fip = tenancy.floating_ip("web", router, port)
    await carries(world, {blue.uid, public.uid}, {router.uid})
    described = world.network.applied[public.uid]
    assert described.provider is not None
    assert described.vni is None
    await tenancy.say(fip, {"host": "h2"})
    await carries(world, {blue.uid}, {router.uid})


async def test_a_gateway_carries_its_router_without_a_port_and_lets_go_when_it_moves(
    world: World, tenancy: Tenancy
) -> None:
    blue, public = tenancy.network("blue", 0), tenancy.outside()
    router = await tenancy.router("first", blue, outside=public, gateway=HOST)
    tenancy.port("far", blue, "10.0.0.5", host="h2")
    await carries(world, {blue.uid, public.uid}, {router.uid})
    made = world.network.applied_routers[router.uid]
    assert made.gateway is not None
    assert made.gateway.addresses == ("203.0.113.2/24",)
    assert len(made.neighbours) == 1
    await tenancy.say(router, {"gatewayHost": "h2"})
    await carries(world, set(), set())
    await tenancy.say(router, {"gatewayHost": HOST})
    await carries(world, {blue.uid, public.uid}, {router.uid})


@pytest.mark.parametrize("moment", range(0, 30, 2))
async def test_an_agent_that_dies_while_a_gateway_moves_converges(world: World, tenancy: Tenancy, moment: int) -> None:
    blue, green, public = tenancy.network("blue", 0), tenancy.network("green", 1), tenancy.outside()
    router = await tenancy.router("first", blue, green, outside=public, gateway=HOST)
    stays = await tenancy.router("second", outside=public, gateway=HOST)
    for _ in range(moment):
        await asyncio.sleep(0)
    await world.restart()
    await carries(world, {blue.uid, green.uid, public.uid}, {router.uid, stays.uid})
    await tenancy.say(router, {"gatewayHost": "h2"})
    for _ in range(moment):
        await asyncio.sleep(0)
    await world.restart()
    await carries(world, {public.uid}, {stays.uid})


async def test_a_restart_of_the_agent_takes_no_router_away(
    world: World, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    blue, green = tenancy.network("blue", 0), tenancy.network("green", 1)
    router = await tenancy.router("first", blue, green)
    tenancy.port("here", blue, "10.0.0.5")
    await carries(world, {blue.uid, green.uid}, {router.uid})
    removed: list[str] = []

    async def note(uid: str) -> None:
        removed.append(uid)

    monkeypatch.setattr(world.network, "remove", note)
    monkeypatch.setattr(world.network, "remove_router", note)
    await world.restart()
    await world.settled()
    assert removed == []


async def test_while_not_all_that_is_needed_is_known_nothing_goes(world: World, tenancy: Tenancy) -> None:
    blue, green, red = (tenancy.network(name, number) for number, name in enumerate(("blue", "green", "red")))
    router = await tenancy.router("first", blue, green)
    tenancy.port("here", blue, "10.0.0.5")
    other = tenancy.port("other", red, "10.2.0.5")
    await carries(world, {blue.uid, green.uid, red.uid}, {router.uid})
    body = (await world.get(Router, "first")).to_wire()
    await world.end()
    await tenancy.delete(router)  # the API lost it: blue says still that it is there
    await tenancy.delete(other)
    await world.start()
    await world.settled()
    assert await world.network.routers() == {router.uid}
    assert await world.network.networks() == {blue.uid, green.uid, red.uid}
    world.api.seed(Router, body)
    await carries(world, {blue.uid, green.uid}, {router.uid})


async def test_an_api_that_lost_everything_costs_no_router(world: World, tenancy: Tenancy) -> None:
    blue, green = tenancy.network("blue", 0), tenancy.network("green", 1)
    router = await tenancy.router("first", blue, green)
    server = await world.active("one")
    tenancy.port("here", blue, "10.0.0.5", server=server)
    await carries(world, {blue.uid, green.uid}, {router.uid})
    await world.end()
    for address in list(world.api._store.entries):
        body = world.api._store.entries[address].body
        body["metadata"]["finalizers"] = []
        world.api._delete(address, None)
    await world.start()
    await world.settled()
    assert await world.network.routers() == {router.uid}
    assert await world.network.networks() == {blue.uid, green.uid}


async def test_a_change_of_a_router_applies_it_alone(world: World, tenancy: Tenancy) -> None:
    blue, green = tenancy.network("blue", 0), tenancy.network("green", 1)
    router = await tenancy.router("first", blue)
    other = await tenancy.router("second", green)
    for network, address in ((blue, "10.0.0.5"), (green, "10.1.0.5")):
        tenancy.port(f"on-{network.metadata.name}", network, address)
    await carries(world, {blue.uid, green.uid}, {router.uid, other.uid})
    applied = noting(world)
    await tenancy.change(router, routes=[{"destination": "192.168.0.0/16", "nextHop": "10.0.0.9"}])
    await eventually(routes_of(world, router), bool)
    await world.settled()
    assert applied == [router.uid]
    await tenancy.say(router, {"conditions": [], "subnetList": "blue"})
    await world.settled()
    assert applied == [router.uid]


async def test_a_router_knows_which_single_addresses_may_be_used_behind_its_legs(
    world: World, tenancy: Tenancy
) -> None:
    blue = tenancy.network("blue", 0)
    router = await tenancy.router("first", blue)
    port = tenancy.port("here", blue, "10.0.0.5")
    await carries(world, {blue.uid}, {router.uid})
    assert world.network.applied_routers[router.uid].members == frozenset()
    pairs = [{"address": "10.9.0.1"}, {"address": "10.8.0.0/16"}]
    await tenancy.change(port, allowedAddressPairs=pairs)
    await eventually(members_of(world, router), lambda found: found == {(blue.uid, "10.9.0.1/32")})


async def test_a_port_that_comes_is_told_to_its_network_and_its_routers_alone(world: World, tenancy: Tenancy) -> None:
    blue, green = tenancy.network("blue", 0), tenancy.network("green", 1)
    router = await tenancy.router("first", blue)
    other = await tenancy.router("second", green)
    for network, address in ((blue, "10.0.0.5"), (green, "10.1.0.5")):
        tenancy.port(f"on-{network.metadata.name}", network, address)
    await carries(world, {blue.uid, green.uid}, {router.uid, other.uid})
    applied = noting(world)
    far = tenancy.port("far", blue, "10.0.0.6", host="h2")
    await eventually(neighbours_of(world, router), lambda found: "10.0.0.6" in {each.address for each in found})
    await world.settled()
    assert set(applied) == {blue.uid, router.uid}
    applied.clear()
    await tenancy.say(far, {"phase": "Active"})
    await tenancy.change(far, enabled=False)  # of no concern to a router
    await eventually(enabled_of(world, blue, far), lambda enabled: not enabled)
    await world.settled()
    assert applied == [blue.uid]


async def test_a_network_that_somebody_disturbed_is_applied_again_and_a_router_too(
    world: World, tenancy: Tenancy
) -> None:
    blue = tenancy.network("blue", 0)
    router = await tenancy.router("first", blue)
    tenancy.port("here", blue, "10.0.0.5")
    await carries(world, {blue.uid}, {router.uid})
    applied = noting(world)
    for uid in (router.uid, blue.uid):
        world.network.disturb(uid)
        await world.settled()
    assert applied == [router.uid, blue.uid]
    world.network.disturb("")
    await world.settled()
    assert set(applied[2:]) == {router.uid, blue.uid}


class TestFloatingIPs:
    """Active means that it answers."""

    @pytest.fixture
    async def bound(self, world: World, tenancy: Tenancy) -> tuple[Router, Port]:
        blue, public = tenancy.network("blue", 0), tenancy.outside()
        router = await tenancy.router("first", blue, outside=public)
        port = tenancy.port("here", blue, "10.0.0.5")
        await carries(world, {blue.uid}, {router.uid})
        return router, port

    async def test_one_that_answers_is_active_by_one_write(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port]
    ) -> None:
        fip = tenancy.floating_ip("web", *bound)
        found = await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        await world.settled()
        assert world.network.applied_routers[bound[0].uid].floating_ips == (
            HostFloatingIP(fip.uid, "203.0.113.9", "10.0.0.5"),
        )
        assert is_true(found.status.conditions, ConditionType.READY)
        assert found.status.address == "203.0.113.9"
        assert writes(world) == 1
        await world.restart()
        await world.settled()
        assert writes(world) == 1

    async def test_one_that_does_not_answer_is_down_and_says_why_until_it_does(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        impatient(monkeypatch)
        answers = world.network.answering
        silent(world, monkeypatch)
        tenancy.floating_ip("web", *bound)
        found = await world.until(FloatingIP, "web", lambda each: bool(each.status.conditions))
        ready = find(found.status.conditions, ConditionType.READY)
        assert ready is not None
        assert (found.status.phase, ready.status, ready.reason) == ("Down", "False", "NotAnswering")
        monkeypatch.setattr(world.network, "answering", answers)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        assert writes(world) == 2

    async def test_one_that_takes_a_moment_costs_no_other_write(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(floating_ips, "_ASK_AGAIN_S", 0.01)
        answers = world.network.answering
        asked = silent(world, monkeypatch)
        tenancy.floating_ip("web", *bound)
        await eventually(count(asked), lambda number: number >= 3)
        monkeypatch.setattr(world.network, "answering", answers)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        assert writes(world) == 1

    async def test_what_does_not_concern_it_asks_nobody(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tenancy.floating_ip("web", *bound)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        await world.settled()
        asked = silent(world, monkeypatch)
        tenancy.port("far", await world.get(Network, "blue"), "10.0.0.6", host="h2")
        await eventually(neighbours_of(world, bound[0]), lambda found: len(found) == 2)
        await world.settled()
        assert asked == []

    async def test_one_of_a_router_that_is_off_is_down(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port]
    ) -> None:
        router = bound[0]
        tenancy.floating_ip("web", *bound)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        await tenancy.change(router, enabled=False)
        found = await world.until(FloatingIP, "web", lambda each: each.status.phase == "Down")
        ready = find(found.status.conditions, ConditionType.READY)
        assert ready is not None
        assert ready.reason == "RouterDisabled"
        await tenancy.change(router, enabled=True)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")

    @pytest.mark.parametrize(
        ("fault", "phase"),
        [
            (TemporaryFault("the kernel refuses", reason="NetworkFault"), "Down"),
            (PermanentFault("this host has no bridge to public", reason="NoBridge"), "Error"),
        ],
        ids=["temporary", "permanent"],
    )
    async def test_one_whose_router_can_not_be_carried_says_why(
        self,
        world: World,
        tenancy: Tenancy,
        bound: tuple[Router, Port],
        monkeypatch: pytest.MonkeyPatch,
        fault: Exception,
        phase: str,
    ) -> None:
        impatient(monkeypatch)

        async def broken(*_: object) -> None:
            raise fault

        monkeypatch.setattr(world.network, "apply_router", broken)
        tenancy.floating_ip("web", *bound)
        found = await world.until(FloatingIP, "web", lambda each: bool(each.status.conditions))
        ready = find(found.status.conditions, ConditionType.READY)
        assert ready is not None
        assert (found.status.phase, ready.reason) == (phase, getattr(fault, "reason", ""))

    async def test_what_the_operator_took_back_is_silent_until_it_is_handed_over(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port]
    ) -> None:
        fip = tenancy.floating_ip("web", *bound)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        await world.end()
        await tenancy.say(fip, {"phase": "Down", "conditions": [unready("HostDown")]})
        await world.start()
        await world.settled()
        assert (await world.get(FloatingIP, "web")).status.phase == "Down"
        assert writes(world) == 1
        await tenancy.say(fip, {"phase": "Down", "conditions": [unready("Binding")]})
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")

    async def test_one_that_is_deleted_while_its_host_counts_as_lost_is_let_go(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port]
    ) -> None:
        fip = tenancy.floating_ip("web", *bound)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        await tenancy.say(fip, {"phase": "Down", "conditions": [unready("HostDown")]})
        await world.api.delete(FloatingIP, "web", "demo")
        await world.until(FloatingIP, "web", lambda each: is_true(each.status.conditions, ConditionType.RELEASED))

    async def test_one_that_is_deleted_is_let_go_first(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port]
    ) -> None:
        tenancy.floating_ip("web", *bound)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        await world.api.delete(FloatingIP, "web", "demo")
        gone = await world.until(
            FloatingIP, "web", lambda each: is_true(each.status.conditions, ConditionType.RELEASED)
        )
        assert gone.status.phase == "Down"
        assert world.network.applied_routers[bound[0].uid].floating_ips == ()

    @pytest.mark.parametrize("is_port_known", [True, False])
    async def test_beside_a_domain_that_the_api_forgot_only_one_that_does_not_answer_any_more_is_let_go(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port], is_port_known: bool
    ) -> None:
        router, port = bound
        server = await world.active("one")
        tenancy.floating_ip("web", *bound)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        await forget(world, server)
        if not is_port_known:
            other = tenancy.port("other", await world.get(Network, "blue"), "10.0.0.6")
            await eventually(lambda: known(world, router), lambda found: other.spec.allocations[0].address in found)
            await tenancy.delete(port)
            await eventually(lambda: known(world, router), lambda found: "10.0.0.5" not in found)
        await world.api.delete(FloatingIP, "web", "demo")
        found = await world.until(FloatingIP, "web", lambda each: says(each, "Deleting"))
        await world.settled()
        found = await world.get(FloatingIP, "web")
        assert is_true(found.status.conditions, ConditionType.RELEASED) == is_port_known
        await world.compute.destroy(server.uid)
        await world.compute.undefine(server.uid)
        await world.until(FloatingIP, "web", lambda each: is_true(each.status.conditions, ConditionType.RELEASED))

    async def test_one_that_is_deleted_is_let_go_where_its_router_never_was(
        self, world: World, tenancy: Tenancy
    ) -> None:
        blue, public = tenancy.network("blue", 0), tenancy.outside()
        router = await tenancy.router("first", blue, outside=public)
        port = tenancy.port("far", blue, "10.0.0.5", host="h2")
        tenancy.floating_ip("web", router, port)
        await world.api.delete(FloatingIP, "web", "demo")
        await world.until(FloatingIP, "web", lambda each: is_true(each.status.conditions, ConditionType.RELEASED))

    async def test_one_that_moves_to_another_router_or_address_follows(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port]
    ) -> None:
        fip = tenancy.floating_ip("web", *bound)
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        green = tenancy.network("green", 1)
        other = await tenancy.router("second", green, outside=await public_of(world))
        port = tenancy.port("there", green, "10.1.0.5")
        await tenancy.say(fip, {"fixedAddress": "10.1.0.5", "portUID": port.uid, "routerUID": other.uid})
        await eventually(floating_ips_of(world, other), lambda found: [each.uid for each in found] == [fip.uid])
        await eventually(floating_ips_of(world, bound[0]), lambda found: found == ())

    @pytest.mark.parametrize("moment", range(0, 24, 2))
    async def test_an_agent_that_dies_at_any_moment_of_a_binding_converges(
        self, world: World, tenancy: Tenancy, bound: tuple[Router, Port], moment: int
    ) -> None:
        tenancy.floating_ip("web", *bound)
        for _ in range(moment):
            await asyncio.sleep(0)
        await world.restart()
        await world.until(FloatingIP, "web", lambda each: each.status.phase == "Active")
        await world.settled()
        assert writes(world) == 1


def noting(world: World) -> list[str]:
    """Have noted which networks and routers are applied from now on."""
    applied: list[str] = []
    network: Any = world.network
    for name in ("apply", "apply_router"):
        call = getattr(network, name)

        async def note(described: Any, _call: Any = call) -> None:
            applied.append(described.uid)
            await _call(described)

        setattr(network, name, note)
    return applied


def silent(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have no floating IP answer; returns who was asked."""
    asked: list[str] = []

    async def nobody(router_uid: str) -> frozenset[str]:
        asked.append(router_uid)
        return frozenset()

    monkeypatch.setattr(world.network, "answering", nobody)
    return asked


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floating_ips, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(floating_ips, "_ASK_AGAIN_S", 0.01)
    monkeypatch.setattr(floating_ips, "_ASK_LATER_S", 0.02)


async def forget(world: World, server: Server) -> None:
    """Have the API lose a Server whose domain runs on."""
    (address,) = (
        each for each in world.api._store.entries if each.name == server.metadata.name and each.plural == "servers"
    )
    world.api._store.entries[address].body["metadata"]["finalizers"] = []
    world.api._delete(address, None)


async def known(world: World, router: Router) -> frozenset[str]:
    """Return the addresses behind the router's legs that the host knows the ports of."""
    return world.network.applied_routers[router.uid].known_addresses()


def says(floating_ip: FloatingIP, reason: str) -> bool:
    return any(condition.reason == reason for condition in floating_ip.status.conditions)


def unready(reason: str) -> dict[str, Any]:
    """Return the operator's Ready condition of one that it speaks of."""
    moment = "2026-01-01T00:00:00Z"
    return {"type": "Ready", "status": "False", "reason": reason, "message": "", "lastTransitionTime": moment}


def writes(world: World) -> int:
    """Return how often the agent wrote the status of a floating IP."""
    return sum(write.address.plural == "floatingips" and write.manager == "nephos-agent" for write in world.api.writes)


def count(asked: list[str]) -> Any:
    async def look() -> int:
        return len(asked)

    return look


def routes_of(world: World, router: Router) -> Any:
    async def look() -> tuple[Any, ...]:
        return world.network.applied_routers[router.uid].routes

    return look


def members_of(world: World, router: Router) -> Any:
    async def look() -> frozenset[tuple[str, str]]:
        return world.network.applied_routers[router.uid].members

    return look


def neighbours_of(world: World, router: Router) -> Any:
    async def look() -> frozenset[RouterNeighbour]:
        return world.network.applied_routers[router.uid].neighbours

    return look


def floating_ips_of(world: World, router: Router) -> Any:
    async def look() -> tuple[HostFloatingIP, ...] | None:
        found = world.network.applied_routers.get(router.uid)
        return found.floating_ips if found else ()

    return look


def enabled_of(world: World, network: Network, port: Port) -> Any:
    async def look() -> bool:
        ports = {each.uid: each for each in world.network.applied[network.uid].ports}
        return ports[port.uid].is_enabled

    return look


async def public_of(world: World) -> Network:
    found = await world.api.get(Network, "public", "nephos-catalog")
    assert found is not None
    return found
