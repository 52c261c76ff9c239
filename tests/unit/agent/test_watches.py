"""The agent's picture of the API: only what its host carries, never older than what is known, never deaf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from nephos_agent.collector import Collector
from nephos_agent.consoles import Consoles
from nephos_agent.metrics import Metrics
from nephos_agent.sweep import Sweep
from nephos_agent.watches import Watches
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.kube.protocol import Listing, Selection, WatchEvent
from nephos_api.metadata import Resource
from nephos_api.resources import Host, Network, Port, Server, ServerAction

from .conftest import HOST, World, eventually

R = TypeVar("R", bound=Resource)
Asked = tuple[str, str | None]
OF_THIS_HOST: set[Asked] = {
    ("Server", f"status.host={HOST}"),
    ("Port", f"spec.host={HOST}"),
    ("ServerAction", f"status.host={HOST}"),
    ("Host", f"metadata.name={HOST}"),
    ("Router", f"status.gatewayHost={HOST}"),
    ("FloatingIP", f"status.host={HOST}"),
}


class Recording(MemoryKubernetes):
    """Keeps what was listed, and what is watched now."""

    def __init__(self) -> None:
        super().__init__()
        self.listed: set[Asked] = set()
        self.watched: list[Asked] = []

    async def list(self, kind: type[R], selection: Selection = Selection()) -> Listing[R]:  # noqa: B008  # why: frozen
        self.listed.add((kind.info.kind, selection.field_selector))
        return await super().list(kind, selection)

    async def watch(self, kind: type[R], selection: Selection, resource_version: str) -> AsyncIterator[WatchEvent[R]]:
        asked = (kind.info.kind, selection.field_selector)
        self.watched.append(asked)
        try:
            async for event in super().watch(kind, selection, resource_version):
                yield event
        finally:
            self.watched.remove(asked)


def watches_of(world: World) -> Watches:
    assert world.agent
    return world.agent.watches


async def test_an_agent_reads_and_watches_only_what_its_host_carries(world: World) -> None:
    await world.end()
    world.api = api = Recording()
    await world.start()
    here, elsewhere = world.add_network("blue"), world.add_network("red")
    for number in range(20):
        far = world.add_server(f"far-{number}")
        await world.place(far, host="h2")
        world.add_port(far, "net0", elsewhere, host="h2")
    await world.active("one", networks=(here,))
    await world.active("two", networks=(here,))
    of_the_network = {("Network", "metadata.name=blue"), ("Port", f"spec.networkUID={here.uid}")}
    assert api.listed == OF_THIS_HOST | of_the_network
    assert sorted(map(str, api.watched)) == sorted(map(str, OF_THIS_HOST | of_the_network))
    assert {server.metadata.name for server in watches_of(world).servers()} == {"one", "two"}

    for name in ("one", "two"):
        await world.api.delete(Server, name, "demo")
        await world.until_phase(name, "Deleting")
        for kind, gone in ((Server, name), (Port, f"{name}-net0")):
            await world.api.delete(kind, gone, "demo")
            await world.api.set_finalizers(await world.get(kind, gone), ())

    async def watched() -> set[Asked]:
        return set(api.watched)

    await eventually(watched, lambda asked: asked == OF_THIS_HOST)


async def test_what_happens_on_other_hosts_wakes_nobody(world: World) -> None:
    await world.active("one", networks=(world.add_network("blue"),))
    await world.settled()
    assert world.agent
    before = world.agent.metrics.registry.get_sample_value(*RECONCILED)
    far = world.add_server("far")
    await world.place(far, host="h2")
    world.add_port(far, "net0", world.add_network("red"), host="h2")
    await world.settled()
    assert world.agent.metrics.registry.get_sample_value(*RECONCILED) == before


RECONCILED: tuple[str, dict[str, str]] = (
    "nephos_agent_reconcile_duration_seconds_count",
    {"kind": "Server", "result": "Done"},
)


def versioned(server: Server, version: int, **status: Any) -> Server:
    body = server.to_wire()
    body["metadata"]["resourceVersion"] = str(version)
    return Server.model_validate(body | {"status": body["status"] | status})


async def test_an_answer_that_comes_late_replaces_nothing_newer(world: World) -> None:
    server = await world.active()
    await world.api.delete(Server, "one", "demo")
    deleting = await world.until_phase("one", "Deleting")
    await world.settled()
    late = versioned(await world.get(Server, "one"), 1)
    watches_of(world).learn_server(late)
    held = watches_of(world).server(server.uid)
    assert held is not None
    assert held.is_deleting
    assert int(held.metadata.resource_version or 0) >= int(deleting.metadata.resource_version or 0)


async def test_an_event_that_comes_late_replaces_nothing_that_we_wrote(world: World) -> None:
    server = await world.active()
    newest = await world.get(Server, "one")
    ours = int(newest.metadata.resource_version or 0) + 20
    watches_of(world).learn_server(versioned(newest, ours, phase="Error"))
    await world.change("one", metadata={"a": "b"})  # an older version than that of the write
    await world.settled()
    held = watches_of(world).server(server.uid)
    assert held is not None
    assert held.status.phase == "Error"
    for number in range(20):
        await world.change("one", metadata={"a": str(number)})
    await eventually(lambda: _metadata(world, server.uid), lambda metadata: metadata == {"a": "19"})


async def _metadata(world: World, uid: str) -> Any:
    held = watches_of(world).server(uid)
    return held.spec.metadata if held else None


async def test_what_is_gone_is_not_brought_back_by_a_late_answer(world: World) -> None:
    server = await world.active()
    action = await world.act(server, "reboot-it", action="Reboot", reboot={"type": "Hard"})
    await world.until(ServerAction, "reboot-it", lambda action: action.status.phase == "Succeeded")
    await world.settled()
    await world.api.delete(ServerAction, "reboot-it", "demo")

    async def actions() -> int:
        return len(watches_of(world).actions_of(server.uid))

    await eventually(actions, lambda count: count == 0)
    watches_of(world).learn_action(action)
    assert watches_of(world).actions_of(server.uid) == ()


async def test_a_fresh_look_does_not_wait_for_a_network_that_is_needed_no_more(world: World) -> None:
    network = world.add_network()
    await world.active(networks=(network,))
    watch = watches_of(world)._fabric.networks[network.uid]
    world.api.set_available(False)
    fresh = asyncio.create_task(watch.resync())
    await asyncio.sleep(0)
    watch.stop()
    async with asyncio.timeout(20):
        await fresh


async def test_a_watch_of_a_network_that_breaks_ends_the_agent_instead_of_going_deaf(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = world.add_network()
    await world.active(networks=(network,))

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(watches_of(world)._fabric.networks[network.uid], "_host_port", broken)
    await world.place(world.add_server("far"), host="h2")
    world.add_port(await world.get(Server, "far"), "net0", network, host="h2")
    assert world.running
    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(20):
            await world.running
    world.running = None


async def test_a_port_that_was_made_again_leaves_nothing_of_the_first_one(world: World) -> None:
    network = world.add_network()
    server = await world.active(networks=(network,))
    await world.api.delete(Port, "one-net0", "demo")
    await world.api.set_finalizers(await world.get(Port, "one-net0"), ())  # torn away by force
    world.add_port(server, "net0", network)
    await world.settled()
    await world.api.delete(Server, "one", "demo")
    await world.until_phase("one", "Deleting")
    await world.api.set_finalizers(await world.get(Server, "one"), ())
    await world.api.delete(Port, "one-net0", "demo")
    await world.api.set_finalizers(await world.get(Port, "one-net0"), ())
    await eventually(world.network.networks, lambda networks: not networks)
    assert watches_of(world).network_uids() == frozenset()


class Stuck:
    """A host whose API is away: fresh lists never come. Counts the looks."""

    def __init__(self) -> None:
        self.watches: Any = self
        self.asked = asyncio.Event()
        self.looked = asyncio.Event()

    async def resync(self) -> None:
        self.asked.set()
        await asyncio.Event().wait()

    async def look_at_everything(self) -> None:
        self.looked.set()


async def test_a_hypervisor_that_comes_back_is_looked_at_while_the_api_is_away(world: World, tmp_path: Path) -> None:
    stuck, consoles = Stuck(), Consoles(tmp_path)
    collector = Collector(
        HOST, world.api, watches_of(world), world.compute, world.storage, consoles, tmp_path / "m", monotonic=float
    )
    sweep = Sweep(stuck, collector, consoles, world.storage, Metrics(), every_s=0.0)
    running = asyncio.create_task(sweep.run())
    async with asyncio.timeout(20):
        await stuck.asked.wait()
        sweep.ask()
        await stuck.looked.wait()
    running.cancel()


async def test_the_agent_owns_nothing_of_what_the_operator_decides(world: World) -> None:
    await world.active(networks=(world.add_network(),))
    owned = {
        (address.plural, path[1])
        for address, entry in world.api._store.entries.items()
        for (manager, subresource), paths in entry.owners.items()
        if manager == "nephos-agent"
        for path in paths
        if len(path) > 1 and address.plural in ("servers", "ports")
    }
    assert {field for _plural, field in owned} <= {
        "phase",
        "phaseTransitions",
        "conditions",
        "observedGeneration",
        "stoppedAtGeneration",
        "placementRefused",
    }
    managers = {write.manager for write in world.api.writes if write.address.plural in ("servers", "ports")}
    assert managers <= {"nephos-agent", "nephos-operator", ""}
    assert (await world.get(Host, HOST)).status.phase is None  # the operator's word
    assert (await world.get(Network, "blue")).status.vni == 100
