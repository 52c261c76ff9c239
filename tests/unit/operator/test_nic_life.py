"""Whatever people do with Ports and NICs, in any order: a Port is one Server's at a time, and ends where it should."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nephos_api.interfaces import is_used
from nephos_api.resources import Port, Server

from .conftest import World

PORTS = ("p0", "p1")
SERVERS = ("s0", "s1", "s2")
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(("attach", "detach")), st.sampled_from(SERVERS), st.sampled_from(PORTS)),
    st.tuples(st.sampled_from(("add", "take away", "delete", "make")), st.sampled_from(SERVERS), st.none()),
    st.tuples(st.sampled_from(("unplug", "restart", "kill")), st.none(), st.none()),
)


def nic(port: str) -> dict[str, str]:
    return {"name": f"n{port}", "network": "blue", "port": port}


OWN = {"name": "own", "network": "blue"}


async def there(world: World, kind: Any) -> dict[str, Any]:
    return {item.metadata.name: item for item in (await world.kube.list(kind)).items}


async def change_networks(world: World, name: str, entry: dict[str, str], *, add: bool) -> None:
    server = (await there(world, Server)).get(name)
    if server is None:
        return
    kept = [old.to_wire() for old in server.spec.networks if old.name != entry["name"]]
    await world.patch(Server, name, networks=[*kept, entry] if add else kept)


async def agents_act(world: World) -> None:
    """Unplug what no Server lists any more, and let go of Servers that are being deleted."""
    servers = {server.uid: server for server in (await there(world, Server)).values()}
    for server in servers.values():
        if server.is_deleting and server.status.host:
            await world.agent_releases(server.metadata.name)
    for name, port in (await there(world, Port)).items():
        server = servers.get(port.spec.server_uid or "")
        if server is not None and port.spec.host and not server.is_deleting and not is_used(port, server):
            await world.agent_unplugs(name)


async def do(world: World, operation: str, server: str | None, port: str | None) -> None:
    match operation:
        case "attach" | "detach":
            await change_networks(world, str(server), nic(str(port)), add=operation == "attach")
        case "add" | "take away":
            await change_networks(world, str(server), OWN, add=operation == "add")
        case "make" if server not in await there(world, Server):
            await world.add_server(str(server), networks=[])
        case "delete":
            await world.kube.delete(Server, str(server), "demo")
        case "unplug":
            await agents_act(world)
        case "restart":
            world.restart()
        case "kill":
            world.steps_to_live = 3
    await world.settle()


async def check(world: World) -> None:
    servers = {server.uid: server for server in (await there(world, Server)).values()}
    addresses = []
    for port in (await there(world, Port)).values():
        addresses += [held.address for held in port.spec.allocations]
        bound = [port.spec.server, port.spec.server_uid, port.spec.server_interface, port.spec.host]
        assert all(bound) or not any(bound), bound
        server = servers.get(port.spec.server_uid or "")
        assert server is not None or not any(bound) or port.is_deleting
        assert server is None or server.status.host == port.spec.host
    assert len(addresses) == len(set(addresses))


async def live(steps: list[tuple[str, str | None, str | None]]) -> None:
    world = World()
    await world.add_catalog()
    await world.add_host("h1")
    await world.add_project()
    await world.add_network()
    for name in PORTS:
        await world.make(Port, name, "demo", network="blue")
    for name in SERVERS:
        await world.add_server(name, networks=[])
    for step in steps:
        await do(world, *step)
        await check(world)
    world.steps_to_live = -1
    for name in SERVERS:
        await world.kube.delete(Server, name, "demo")
    for _ in range(4):
        world.pass_time(60)
        await world.look_again()
        await agents_act(world)
    await check(world)
    ports = await there(world, Port)
    assert set(ports) == set(PORTS)
    assert await there(world, Server) == {}
    assert {world.ready(port).reason for port in ports.values()} == {"Unbound"}
    assert world.context.promised_ports == {}
    (subnet,) = world.store.subnets
    assert world.addresses.count(subnet.uid) == len(PORTS)


@settings(max_examples=40, deadline=None)
@given(st.lists(OPERATIONS, max_size=12))
def test_a_port_is_one_servers_at_a_time_and_ends_where_it_should(
    steps: list[tuple[str, str | None, str | None]],
) -> None:
    asyncio.run(live(steps))
