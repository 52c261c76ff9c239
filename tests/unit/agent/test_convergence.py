"""Whatever happens to the API and to the agent, a host ends up as one whose agent saw only the end of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nephos_agent.audit import audit
from nephos_agent.network.desired import HostContext
from nephos_agent.network.memory import MemoryNetwork
from nephos_agent.path.report import Report
from nephos_api.resources import FloatingIP, Network, Port, Router, SecurityGroup

from .conftest import HOST, World, eventually
from .tenancy import Tenancy, leg, objects_of

STEPS = 40


@dataclass
class Life:
    """A small cloud to which things happen."""

    world: World
    random: Random
    networks: list[Network] = field(default_factory=list)
    routers: list[Router] = field(default_factory=list)
    groups: list[SecurityGroup] = field(default_factory=list)
    ports: dict[str, Port] = field(default_factory=dict)
    floating_ips: dict[str, FloatingIP] = field(default_factory=dict)
    legs: dict[str, set[str]] = field(default_factory=dict)
    """Names of the networks that each router joins."""
    made: int = 0

    async def begin(self) -> None:
        self.make = Tenancy(self.world)
        public = self.make.outside()
        self.networks = [self.make.network(name, number) for number, name in enumerate(("blue", "green", "red"))]
        self.routers = [await self.make.router(name, outside=public) for name in ("first", "second")]
        self.groups = [self.make.group(name) for name in ("web", "db")]
        self.legs = {router.metadata.name: set() for router in self.routers}

    async def step(self) -> None:
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            self._add_port,
            self._add_port,
            self._remove_port,
            self._change_port,
            self._join_or_leave,
            self._join_or_leave,
            self._move_gateway,
            self._bind,
            self._unbind,
            self._change_rules,
            self._disturb_watches,
            self._restart,
        )
        await self.random.choice(steps)()
        for _ in range(self.random.randrange(24)):
            await asyncio.sleep(0)

    async def _add_port(self) -> None:
        self.made += 1
        number = self.random.randrange(len(self.networks))
        name, address = f"port-{self.made}", f"10.{number}.0.{self.made + 10}"
        groups = tuple(group for group in self.groups if self.random.random() < 0.5)
        host = self.random.choice((HOST, "h2"))
        self.ports[name] = self.make.port(name, self.networks[number], address, host=host, groups=groups)

    async def _remove_port(self) -> None:
        if self.ports:
            name = self.random.choice(sorted(self.ports))
            await self.make.delete(self.ports.pop(name))

    async def _change_port(self) -> None:
        if not self.ports:
            return
        port = self.ports[self.random.choice(sorted(self.ports))]
        groups = [group for group in self.groups if self.random.random() < 0.5]
        references = [{"name": it.metadata.name, "namespace": "demo", "uid": it.uid} for it in groups]
        await self.make.change(port, securityGroupReferences=references, enabled=self.random.random() < 0.5)

    async def _join_or_leave(self) -> None:
        router, network = self.random.choice(self.routers), self.random.choice(self.networks)
        self.legs[router.metadata.name] ^= {network.metadata.name}
        joined = [it for it in self.networks if it.metadata.name in self.legs[router.metadata.name]]

        async def say_legs() -> None:
            await self.make.say(router, {"legs": [leg(it) for it in joined]})

        async def list_routers() -> None:
            on = [it for it in self.routers if network.metadata.name in self.legs[it.metadata.name]]
            await self.make.list_routers(network, *on)

        both = [say_legs, list_routers]
        self.random.shuffle(both)
        for each in both:
            await each()

    async def _move_gateway(self) -> None:
        await self.make.say(self.random.choice(self.routers), {"gatewayHost": self.random.choice((HOST, "h2", None))})

    async def _bind(self) -> None:
        if not self.ports:
            return
        self.made += 1
        name = f"fip-{self.made}"
        port = self.ports[self.random.choice(sorted(self.ports))]
        router = self.random.choice(self.routers)
        self.floating_ips[name] = self.make.floating_ip(name, router, port, number=self.made)

    async def _unbind(self) -> None:
        if self.floating_ips:
            name = self.random.choice(sorted(self.floating_ips))
            await self.make.delete(self.floating_ips.pop(name))

    async def _change_rules(self) -> None:
        group, other = self.random.sample(self.groups, 2)
        await self.make.say(group, {"remoteGroups": [{"name": other.metadata.name, "uid": other.uid}]})
        possible: list[dict[str, Any]] = [
            {"direction": "Ingress", "remoteGroup": other.metadata.name},
            {"direction": "Egress", "family": "IPv4", "protocol": "UDP"},
        ]
        await self.make.change(group, rules=[rule for rule in possible if self.random.random() < 0.6])

    async def _disturb_watches(self) -> None:
        self.world.api.expire()
        self.world.api.end_watches()

    async def _restart(self) -> None:
        await self.world.restart()


def carried(network: MemoryNetwork) -> dict[str, Any]:
    """Return what the host carries, by UID."""
    descriptions: dict[str, Any] = {**network.applied, **network.applied_routers}
    return {uid: replace(described, keep_unknown=False) for uid, described in descriptions.items()}


@pytest.mark.parametrize("seed", range(24))
async def test_what_a_host_carries_in_the_end_follows_from_the_end_alone(
    world: World, tmp_path: Path, seed: int
) -> None:
    life = Life(world, Random(seed))  # noqa: S311  # why: repeatable, guards nothing
    await life.begin()
    for _ in range(STEPS):
        await life.step()
    await world.settled()
    newborn = World(tmp_path / "newborn", api=world.api)
    await newborn.start()
    await newborn.settled()

    async def look() -> tuple[dict[str, Any], dict[str, Any]]:
        return carried(world.network), carried(newborn.network)

    try:
        await eventually(look, lambda both: both[0] == both[1])
    finally:
        await newborn.end()
    report = Report(HOST, await world.network.observed())
    assert audit(await objects_of(world.api), report, HostContext(HOST, "192.0.2.1", "nephos", "")) == ()
    for name in life.floating_ips:
        found = await world.get(FloatingIP, name)
        assert found.status.phase == "Active" or found.status.router_uid not in world.network.applied_routers
