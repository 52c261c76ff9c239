"""What lives of a cloud have in common in which the operator is killed: agents that act, and a look after each turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any

from nephos_api.conditions import ConditionType, is_true
from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import FloatingIP, Server

from .conftest import World

Look = Callable[[World], Awaitable[None]]


async def bodies(world: World, kind: Any) -> tuple[Any, ...]:
    items: tuple[Any, ...] = (await world.kube.list(kind)).items
    return items


def once(claims: Iterable[Hashable]) -> None:
    """Nothing is claimed twice."""
    counted = Counter(claims)
    assert all(count == 1 for count in counted.values()), counted


async def agents_act(world: World) -> None:
    """Every agent builds what was placed, answers for what is bound, and lets go of what is being deleted."""
    for server in await bodies(world, Server):
        if server.status.host is None:
            continue
        if server.is_deleting:
            if not is_true(server.status.conditions, ConditionType.RELEASED):
                await world.agent_releases(server.metadata.name)
        elif server.status.phase == "Build":
            await world.agent_activates(server.metadata.name)
    for floating_ip in await bodies(world, FloatingIP):
        if floating_ip.status.host is None:
            continue
        released = floating_ip.is_deleting
        conditions = [world.condition("Released" if released else "Ready", "True")]
        status = {"phase": "Down" if released else "Active", "conditions": conditions}
        await world.kube.apply_status(floating_ip, status, FieldManager.AGENT)


async def settle(world: World, check: Look, *, rounds: int = 4) -> None:
    """Let operator and agents take turns, some time apart, and check what holds after each."""
    for _ in range(rounds):
        await world.settle()
        await check(world)
        await agents_act(world)
        world.pass_time(2)
        await world.look_again()
    await check(world)


async def unchecked(world: World) -> None:
    """Nothing that holds all the time is looked at."""
