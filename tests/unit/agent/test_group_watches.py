"""Security groups of a host's Ports: which are watched, whom a change reaches, and what is not taken away in haste."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import pytest

from nephos_agent.network.model import GroupMember, HostNetwork
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.kube.protocol import Listing, Selection
from nephos_api.metadata import Resource
from nephos_api.resources import Network, Port, SecurityGroup

from .conftest import HOST, World, eventually
from .tenancy import Tenancy
from .test_routers import noting
from .test_watches import Recording

R = TypeVar("R", bound=Resource)
WEB = {"direction": "Ingress", "family": "IPv4", "protocol": "TCP", "portMin": 80}
SSH = {"direction": "Ingress", "family": "IPv4", "protocol": "TCP", "portMin": 22}


@pytest.fixture
def tenancy(world: World) -> Tenancy:
    return Tenancy(world)


async def until_applied(world: World, network: Network, holds: Any) -> HostNetwork:
    async def look() -> HostNetwork | None:
        return world.network.applied.get(network.uid)

    found = await eventually(look, lambda each: each is not None and holds(each))
    await world.settled()
    assert found is not None
    return found


def ports_allowed(described: HostNetwork) -> set[int | None]:
    return {rule.port_min for group in described.security_groups for rule in group.rules}


async def test_the_groups_of_ports_here_are_watched_and_no_others(world: World) -> None:
    await world.end()
    world.api = api = Recording()
    await world.start()
    tenancy = Tenancy(world)
    blue = tenancy.network("blue", 0)
    web, ssh, far = (tenancy.group(name, rule) for name, rule in (("web", WEB), ("ssh", SSH), ("far", SSH)))
    here = tenancy.port("here", blue, "10.0.0.5", groups=(web, ssh))
    tenancy.port("far", blue, "10.0.0.6", host="h2", groups=(far,))
    found = await until_applied(world, blue, lambda each: len(each.ports) == 2)
    assert ports_allowed(found) == {80, 22}
    assert {name for kind, name in api.watched if kind == "SecurityGroup"} == {"metadata.name=web", "metadata.name=ssh"}
    assert {port.name: port.security_groups for port in found.ports}["far"] == (far.uid,)

    references = [{"name": "web", "namespace": "demo", "uid": web.uid}]
    await tenancy.change(here, securityGroupReferences=references)
    found = await until_applied(world, blue, lambda each: ports_allowed(each) == {80})
    assert {name for kind, name in api.watched if kind == "SecurityGroup"} == {"metadata.name=web"}


async def test_a_change_of_a_group_is_applied_to_networks_with_a_port_that_has_it(
    world: World, tenancy: Tenancy
) -> None:
    blue, green = tenancy.network("blue", 0), tenancy.network("green", 1)
    web, ssh = tenancy.group("web", WEB), tenancy.group("ssh", SSH)
    tenancy.port("on-blue", blue, "10.0.0.5", groups=(web,))
    tenancy.port("on-green", green, "10.1.0.5", groups=(ssh,))
    for network in (blue, green):
        await until_applied(world, network, lambda each: each.security_groups)
    applied = noting(world)
    await tenancy.change(web, rules=[WEB, SSH])
    await until_applied(world, blue, lambda each: ports_allowed(each) == {80, 22})
    assert applied == [blue.uid]
    await tenancy.change(web, description="for people")
    await world.settled()
    assert applied == [blue.uid]


async def test_members_behind_routers_are_known_to_rules_that_name_their_group(world: World, tenancy: Tenancy) -> None:
    blue, green, red = (tenancy.network(name, number) for number, name in enumerate(("blue", "green", "red")))
    first, second = await tenancy.router("first", blue, green), await tenancy.router("second", green, red)
    await tenancy.list_routers(green, first, second)
    db, web = tenancy.group("db"), tenancy.group("web", WEB)
    uses = tenancy.group("uses", {"direction": "Ingress", "remoteGroup": "db"}, remote=(db,))
    tenancy.port("here", blue, "10.0.0.5", groups=(uses,))
    tenancy.port("no-member", green, "10.1.0.5", host="h2", groups=(web,))
    member = tenancy.port("member", red, "10.2.0.5", host="h2", groups=(db, web))
    expected = (GroupMember("10.2.0.5", tuple(sorted((db.uid, web.uid)))),)
    await until_applied(world, blue, lambda each: each.routed_members == expected)
    applied = noting(world)
    tenancy.port("another", green, "10.1.0.6", host="h2", groups=(web,))
    await until_applied(world, green, lambda each: len(each.ports) == 2)
    assert blue.uid not in applied
    await tenancy.delete(member)
    await until_applied(world, blue, lambda each: each.routed_members == ())


async def test_a_group_that_is_not_there_takes_nothing_away(world: World, tenancy: Tenancy) -> None:
    blue = tenancy.network("blue", 0)
    web = tenancy.group("web", WEB)
    tenancy.port("here", blue, "10.0.0.5", groups=(web,))
    await until_applied(world, blue, lambda each: ports_allowed(each) == {80})
    await tenancy.delete(web)  # the API lost it: the Port names it still
    world.network.disturb(blue.uid)
    await world.settled()
    assert ports_allowed(world.network.applied[blue.uid]) == {80}
    await world.restart()
    await until_applied(world, blue, lambda each: each.keep_unknown)


async def test_a_port_is_filtered_as_its_network_says_from_whichever_watch_it_comes(
    world: World, tenancy: Tenancy
) -> None:
    blue = tenancy.network("blue", 0, portSecurity=False)
    tenancy.port("here", blue, "10.0.0.5")
    tenancy.port("checked", blue, "10.0.0.6", portSecurity=True)
    found = await until_applied(world, blue, lambda each: len(each.ports) == 2)
    assert {port.name: port.port_security for port in found.ports} == {"here": False, "checked": True}
    await tenancy.change(blue, portSecurity=True)
    await until_applied(world, blue, lambda each: all(port.port_security for port in each.ports))


async def test_ports_of_every_project_on_a_network_of_the_catalog_are_seen(world: World, tenancy: Tenancy) -> None:
    shared = tenancy.network("shared", 7, namespace="nephos-catalog", shared=True)
    tenancy.port("here", shared, "10.7.0.5", namespace="demo")
    tenancy.port("there", shared, "10.7.0.6", namespace="other", host="h2")
    found = await until_applied(world, shared, lambda each: len(each.ports) == 2)
    assert {port.host for port in found.ports} == {HOST, "h2"}


async def test_a_port_that_is_switched_off_is_down_while_its_guest_runs(world: World, tenancy: Tenancy) -> None:
    network = world.add_network()
    await world.active("one", networks=(network,))
    port = await world.until(Port, "one-net0", lambda each: each.status.phase == "Active")
    await tenancy.change(port, enabled=False)
    down = await world.until(Port, "one-net0", lambda each: each.status.phase == "Down")
    assert [(each.reason, each.message) for each in down.status.conditions if each.type == "Ready"] == [
        ("Disabled", "Nothing passes while spec.enabled is false.")
    ]
    await until_applied(world, network, lambda each: not each.ports[0].is_enabled)
    await tenancy.change(port, enabled=True)
    await world.until(Port, "one-net0", lambda each: each.status.phase == "Active")


async def test_a_group_that_comes_late_is_waited_for(world: World, tenancy: Tenancy) -> None:
    blue = tenancy.network("blue", 0)
    web = tenancy.group("web", WEB)
    body = web.to_wire()
    await tenancy.delete(web)
    tenancy.port("here", blue, "10.0.0.5", groups=(web,))
    await until_applied(world, blue, lambda each: each.keep_unknown)
    world.api.seed(SecurityGroup, body)
    found = await until_applied(world, blue, lambda each: ports_allowed(each) == {80})
    assert not found.keep_unknown


class Held(MemoryKubernetes):
    """An API whose lists of one object's kind come late."""

    def __init__(self) -> None:
        super().__init__()
        self.held = "metadata.name=public"
        self.released = asyncio.Event()

    async def list(self, kind: type[R], selection: Selection = Selection()) -> Listing[R]:  # noqa: B008  # why: frozen
        if selection.field_selector == self.held:
            await self.released.wait()
        return await super().list(kind, selection)


async def test_a_network_that_waits_for_what_is_behind_a_router_is_not_forgotten(world: World) -> None:
    await world.end()
    world.api = api = Held()
    await world.start()
    tenancy = Tenancy(world)
    blue, public = tenancy.network("blue", 0), tenancy.outside()
    router = await tenancy.router("first", blue, outside=public)
    web = tenancy.group("web", WEB)
    uses = tenancy.group("uses", {"direction": "Ingress", "remoteGroup": "web"}, remote=(web,))
    port = tenancy.port("here", blue, "10.0.0.5", groups=(uses,))
    await until_applied(world, blue, lambda each: each.security_groups)
    tenancy.floating_ip("web", router, port)  # now the host needs the outside, and the API does not show it yet
    await tenancy.change(uses, rules=[WEB])
    await tenancy.change(uses, rules=[SSH, {"direction": "Ingress", "remoteGroup": "web"}])
    await world.settled()
    api.released.set()
    await until_applied(world, blue, lambda each: 22 in ports_allowed(each))
