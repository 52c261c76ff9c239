"""Agents with real kernels below them and an API in memory above: what the API says comes true, and what is is said."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contract import router_lab
from contract.network_lab import PHYSICAL_NETWORK, PROVIDER_BRIDGE, Host, Lab
from contract.router_lab import Outside, Silent
from contract.waiting import eventually
from nephos_agent.agent import Agent
from nephos_agent.agent import Host as Drivers
from nephos_agent.audit import audit
from nephos_agent.compute.memory import MemoryCompute
from nephos_agent.config import Config
from nephos_agent.network.desired import HostContext
from nephos_agent.network.linux.driver import LinuxNetwork
from nephos_agent.network.linux.name_relay import NameRelay
from nephos_agent.path.report import Report
from nephos_agent.storage.memory import MemoryStorage
from nephos_api.conditions import is_true
from nephos_api.errors import TemporaryFault
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.resources import FloatingIP, Network, Port, Router
from unit.agent.tenancy import Tenancy, objects_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")
GATEWAY = "203.0.113.2"
"""The router's own address outside."""
FLOATING = "203.0.113.9"


@dataclass
class Region:
    """Two hosts with an agent each, one API, and the internet."""

    lab: Lab
    outside: Outside
    folder: Path
    api: MemoryKubernetes = field(default_factory=MemoryKubernetes)
    agents: dict[str, tuple[Agent, asyncio.Task[None]]] = field(default_factory=dict)
    services: dict[str, Silent] = field(default_factory=dict)

    async def start(self, host: Host) -> None:
        """Start the host's agent; its driver finds what the kernel has."""
        state = self.folder / f"agent-{host.name}"
        config = Config(
            "lab",
            host.name,
            host.address,
            state_dir=state,
            run_dir=state,
            provider_bridges={PHYSICAL_NETWORK: PROVIDER_BRIDGE},
        )
        services = self.services[host.name] = Silent()
        driver = LinuxNetwork(host.settings, host.launcher, services, NameRelay(("127.0.0.1",), 53))
        drivers = Drivers(MemoryCompute(vcpus=4, memory_mib=4096), MemoryStorage(), lambda _source: driver)
        agent = Agent(config, self.api, drivers)
        self.agents[host.name] = (agent, asyncio.create_task(agent.run()))

    async def kill(self, host: Host) -> None:
        _, running = self.agents.pop(host.name)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        services = self.services.pop(host.name)
        for network_uid in tuple(services.listeners):
            await services.leave(network_uid)

    async def restart(self, host: Host) -> None:
        await self.kill(host)
        await self.start(host)

    async def until_phase(self, name: str, phase: str, host: str) -> FloatingIP:
        found: list[FloatingIP] = []

        async def look() -> bool:
            floating_ip = await self.api.get(FloatingIP, name, "demo")
            assert floating_ip is not None
            found[:] = [floating_ip]
            return (floating_ip.status.phase, floating_ip.status.host) == (phase, host)

        await eventually(look, timeout_s=15)
        return found[0]

    async def converged(self) -> None:
        """Wait until the kernels of the hosts have all that the objects demand, and nothing else."""
        for host in (self.lab.one, self.lab.two):
            found: list[str] = []

            async def is_as_demanded(host: Host = host, found: list[str] = found) -> bool:
                found[:] = await self.differences(host)
                return not found

            with suppress(TimeoutError):
                await eventually(is_as_demanded)
            assert not found

    async def differences(self, host: Host) -> tuple[str, ...]:
        agent, _ = self.agents[host.name]
        try:
            found = Report(host.name, await agent.network.observed())
        except TemporaryFault as fault:
            return (fault.message,)
        context = HostContext(host.name, host.address, host.settings.namespace_prefix, str(host.settings.run_dir))
        return audit(await objects_of(self.api), found, context)

    async def mac_of(self, address: str) -> str | None:
        """Return who answers for the address, as the internet knows by now."""
        await self.outside.pings(address)
        _, said = await self.outside.run("ip", "-4", "neigh", "show", address)
        words = said.split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else None


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[Region]:
    async with router_lab.running_lab(tmp_path) as lab:
        for host in (lab.one, lab.two):
            await host.driver.close()  # an agent starts and ends its own
            del host.driver
        made = Region(lab, router_lab.outside(lab), tmp_path)
        for host in (lab.one, lab.two):
            await made.start(host)
        try:
            yield made
        finally:
            for host in (lab.one, lab.two):
                await made.kill(host)


@dataclass
class Tenant:
    """A network with a Port on each host, and a router to the outside."""

    make: Tenancy
    blue: Network
    public: Network
    router: Router
    ports: dict[str, Port]

    async def move_gateway(self, host: Host) -> None:
        await self.make.say(self.router, {"gatewayHost": host.name, "gatewayHostAddress": host.address})


@pytest.fixture
async def tenant(region: Region) -> Tenant:
    make = Tenancy(region)
    blue, public = make.network("blue", 7), make.outside(physical_network=PHYSICAL_NETWORK)
    router = await make.router("first", blue, outside=public, gateway=None)
    ports = {
        host.name: make.port(f"on-{host.name}", blue, f"10.7.0.{number}", host=host.name, hostAddress=host.address)
        for number, host in enumerate((region.lab.one, region.lab.two), start=11)
    }
    made = Tenant(make, blue, public, router, ports)
    await made.move_gateway(region.lab.one)
    return made


async def test_a_floating_ip_is_active_when_the_kernel_answers_and_goes_on_when_it_moves(
    region: Region, tenant: Tenant
) -> None:
    one, two = region.lab.one, region.lab.two
    fip = tenant.make.floating_ip("web", tenant.router, tenant.ports["h1"], host="h1")
    await region.until_phase("web", "Active", "h1")
    before = await region.mac_of(FLOATING)
    assert before is not None
    port = tenant.ports["h2"]
    moved = {"host": "h2", "fixedAddress": "10.7.0.12", "portUID": port.uid, "phase": "Down"}
    await tenant.make.say(fip, moved)
    await region.until_phase("web", "Active", "h2")

    async def answers_elsewhere() -> bool:
        return await region.mac_of(FLOATING) not in (None, before)

    await eventually(answers_elsewhere)
    for host in (one, two):
        await region.restart(host)
    await region.until_phase("web", "Active", "h2")
    await region.converged()
    await region.api.delete(FloatingIP, "web", "demo")

    async def released() -> bool:
        found = await region.api.get(FloatingIP, "web", "demo")
        return found is not None and is_true(found.status.conditions, "Released")

    await eventually(released, timeout_s=10)
    await region.outside.run("ip", "neigh", "flush", "all")
    assert await region.mac_of(FLOATING) is None
    await region.converged()


async def test_a_gateway_moves_with_its_address_whoever_is_killed_meanwhile(region: Region, tenant: Tenant) -> None:
    one, two = region.lab.one, region.lab.two

    async def answers() -> bool:
        return await region.outside.pings(GATEWAY)

    await eventually(answers, timeout_s=15)
    before = await region.mac_of(GATEWAY)
    await region.kill(two)
    await tenant.move_gateway(two)
    await region.restart(one)
    await region.start(two)

    async def answers_elsewhere() -> bool:
        return await region.mac_of(GATEWAY) not in (None, before) and await answers()

    await eventually(answers_elsewhere, timeout_s=15)
    await region.converged()


async def test_when_nothing_is_needed_any_more_nothing_is_left(region: Region, tenant: Tenant) -> None:
    one, two = region.lab.one, region.lab.two
    fip = tenant.make.floating_ip("web", tenant.router, tenant.ports["h1"], host="h1")
    await region.until_phase("web", "Active", "h1")
    await region.kill(two)
    await tenant.make.say(fip, {"host": None})
    await tenant.make.say(tenant.router, {"gatewayHost": None, "legs": [], "external": None})
    await tenant.make.list_routers(tenant.blue)
    for port in tenant.ports.values():
        await tenant.make.delete(port)
    await region.start(two)
    for host in (one, two):

        async def is_empty(host: Host = host) -> bool:
            agent, _ = region.agents[host.name]
            with suppress(TemporaryFault):  # it has just been started
                return not await agent.network.networks() and not await agent.network.routers()
            return False

        await eventually(is_empty, timeout_s=15)
        assert host.tenant_links() <= {"lo"}
        names = {name.name for name in (host.folder / "netns").iterdir()}
        assert names <= {"nephos", host.name, "internet"}
