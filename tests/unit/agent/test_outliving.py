"""Guests outlive the agent, and what the agent can't see it does not call gone."""

from __future__ import annotations

import asyncio

import pytest

from nephos_api.conditions import is_true
from nephos_api.resources import Port, Server

from .conftest import World

TOUCHING = {
    "compute": (
        "define",
        "start_paused",
        "resume",
        "request_shutdown",
        "request_reboot",
        "reset",
        "destroy",
        "undefine",
    ),
    "network": ("create_tap", "unplug", "remove"),
    "storage": ("ensure_disk", "ensure_config_drive", "delete", "trash"),
}


def forbid_touching(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have every call noted that changes a guest, its disk or its ports."""
    touched: list[str] = []
    for part, names in TOUCHING.items():
        for name in names:

            async def note(*_: object, _call: str = f"{part}.{name}") -> None:
                touched.append(_call)

            monkeypatch.setattr(getattr(world, part), name, note)
    return touched


async def test_a_restart_of_the_agent_leaves_what_runs_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    network = world.add_network()
    await world.active("one", networks=(network,))
    off = await world.active("two", networks=(network,))
    world.compute.guest_powers_off(off.uid)
    await world.until_phase("two", "Shutoff")
    await world.settled()
    touched = forbid_touching(world, monkeypatch)
    before = len(world.api.writes)
    await world.restart()
    await world.settled()
    assert touched == []
    assert [write for write in world.api.writes[before:] if write.address.plural in ("servers", "ports")] == []


async def test_an_agent_that_starts_without_its_hypervisor_concludes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = world.add_network()
    await world.active("one", networks=(network,))
    await world.end()
    world.compute.lose_connection()
    touched = forbid_touching(world, monkeypatch)
    await world.start()
    await world.settled()
    assert (await world.get(Server, "one")).status.phase == "Active"
    assert (await world.get(Port, "one-net0")).status.phase == "Active"
    assert await world.network.networks() == {network.uid}
    assert touched == []
    monkeypatch.undo()
    world.compute.regain_connection()
    await world.settled()
    assert (await world.get(Server, "one")).status.phase == "Active"


@pytest.mark.parametrize("moment", range(1, 16))
async def test_an_agent_that_dies_at_any_moment_of_a_deletion_leaves_nothing(world: World, moment: int) -> None:
    server = await world.active(networks=(world.add_network(),))
    await world.api.delete(Server, "one", "demo")
    for _ in range(moment):
        await asyncio.sleep(0)
    await world.restart()
    gone = await world.until(Server, "one", lambda server: is_true(server.status.conditions, "Released"))
    assert gone.status.phase == "Deleting"
    assert await world.compute.domain(server.uid) is None
    assert await world.storage.disks() == ()
    assert await world.network.plugged() == frozenset()
