"""A whole agent on a host in memory, with the API in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from nephos_agent.agent import Agent, Host
from nephos_agent.compute.memory import MemoryCompute
from nephos_agent.compute.protocol import Domain
from nephos_agent.config import Config
from nephos_agent.network.abilities import Abilities
from nephos_agent.network.memory import MemoryNetwork
from nephos_agent.storage.memory import MemoryStorage
from nephos_api.identity import mac_address, port_name
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import CLEANUP_FINALIZER, Resource
from nephos_api.resources import Host as HostResource
from nephos_api.resources import Network, Port, Server, ServerAction

R = TypeVar("R", bound=Resource)
T = TypeVar("T")
HOST = "h1"
CLOUD = "6b1f0a52-6a3f-4a52-9a5e-7a1f2f0c1d11"
SHA = "ab" * 32
FLAVOR = {"name": "tiny", "vcpus": 1, "memoryMiB": 128, "diskGiB": 1}
IMAGE = {
    "name": "tiny",
    "namespace": "nephos-catalog",
    "uid": "7d6b0d8e-3f3a-4a34-8d6a-3f1f6d1b3a55",
    "sha256": SHA,
    "format": "qcow2",
    "sizeBytes": 1 << 20,
    "virtualSizeBytes": 1 << 28,
}


async def eventually(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Look until it is so; a test sees what a user would see, who gets no event either."""
    async with asyncio.timeout(20):
        while not holds(found := await look()):  # noqa: ASYNC110  # why: nothing tells an onlooker
            await asyncio.sleep(0.005)
    return found


@dataclass
class World:
    """The API and one host, and an agent that can be started and ended."""

    state_dir: Path
    api: MemoryKubernetes = field(default_factory=MemoryKubernetes)
    compute: MemoryCompute = field(default_factory=lambda: MemoryCompute(vcpus=4, memory_mib=4096))
    network: MemoryNetwork = field(default_factory=lambda: MemoryNetwork(HOST))
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    patience_s: float = 60.0
    """How long a guest may take to shut down or to reboot."""
    provider_bridges: dict[str, str] = field(default_factory=dict)
    abilities: Abilities = field(default_factory=Abilities)
    agent: Agent | None = None
    running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        config = Config(
            CLOUD,
            HOST,
            "192.0.2.11",
            state_dir=self.state_dir,
            run_dir=self.state_dir,
            shutdown_timeout_s=self.patience_s,
            reboot_timeout_s=self.patience_s,
            provider_bridges=self.provider_bridges,
        )

        async def network_abilities() -> Abilities:
            return self.abilities

        host = Host(self.compute, self.storage, lambda _source: self.network, network_abilities)
        self.agent = Agent(config, self.api, host)
        self.running = asyncio.create_task(self.agent.run())

    async def end(self) -> None:
        """End the agent as a kill does: at whatever it is."""
        if self.running:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
            self.running = None

    async def restart(self) -> None:
        await self.end()
        await self.start()

    def add_network(self, name: str = "blue") -> Network:
        return self.api.seed(
            Network,
            {
                "metadata": {"name": name, "namespace": "demo"},
                "spec": {},
                "status": {"vni": 100, "mtu": 1450, "dnsDomain": "blue.demo.nephos.internal", "phase": "Active"},
            },
        )

    def add_server(self, name: str = "one", *, networks: tuple[Network, ...] = (), **spec: Any) -> Server:
        """Make a Server that the operator has placed on this host, its Ports first."""
        body = {
            "metadata": {"name": name, "namespace": "demo", "finalizers": [CLEANUP_FINALIZER]},
            "spec": {
                "flavor": "tiny",
                "image": "tiny",
                "networks": [
                    {"name": f"net{number}", "network": network.metadata.name}
                    for number, network in enumerate(networks)
                ],
            }
            | spec,
        }
        server = self.api.seed(Server, body)
        for number, network in enumerate(networks):
            self.add_port(server, f"net{number}", network, number)
        return server

    def add_port(self, server: Server, nic: str, network: Network, number: int = 0, *, host: str = HOST) -> Port:
        return self.api.seed(
            Port,
            {
                "metadata": {
                    "name": port_name(server.metadata.name, nic),
                    "namespace": "demo",
                    "finalizers": [CLEANUP_FINALIZER],
                },
                "spec": {
                    "network": network.metadata.name,
                    "networkUID": network.uid,
                    "macAddress": mac_address(server.uid, nic),
                    "allocations": [
                        {"subnet": "s", "subnetUID": "s-uid", "address": f"10.0.{number}.5", "prefixLength": 24}
                    ],
                    "server": server.metadata.name,
                    "serverUID": server.uid,
                    "serverInterface": nic,
                    "host": host,
                    "hostAddress": "192.0.2.11" if host == HOST else "192.0.2.12",
                },
            },
        )

    async def place(self, server: Server, *, epoch: int = 1, host: str = HOST, flavor: Any = None) -> Server:
        """Do the operator's one status apply."""
        newest = await self.get(Server, server.metadata.name)
        status = {
            "phase": "Build",
            "host": host,
            "placementEpoch": epoch,
            "flavor": flavor or FLAVOR,
            "image": IMAGE,
            "phaseTransitions": {"Build": "2026-01-01T00:00:00.000000Z"},
            "conditions": [
                {
                    "type": kind,
                    "status": status,
                    "reason": "Building",
                    "lastTransitionTime": "2026-01-01T00:00:00.000000Z",
                }
                for kind, status in (("Ready", "False"), ("Reconciling", "True"))
            ],
        }
        return await self.api.apply_status(newest, status, FieldManager.OPERATOR)

    async def act(self, server: Server, name: str, **spec: Any) -> ServerAction:
        """Make a ServerAction that the operator has handed to this host."""
        return self.api.seed(
            ServerAction,
            {
                "metadata": {"name": name, "namespace": "demo"},
                "spec": {"server": server.metadata.name} | spec,
                "status": {"phase": "Pending", "host": HOST, "serverUID": server.uid},
            },
        )

    async def change(self, name: str, **spec: Any) -> None:
        """Change a Server's spec as a user does."""
        path = f"/apis/nephos.cloud/v1alpha1/namespaces/demo/servers/{name}"
        await self.api.raw("PATCH", path, body={"spec": spec})

    async def get(self, kind: type[R], name: str) -> R:
        found = await self.api.get(kind, name, None if kind is HostResource else "demo")
        assert found is not None
        return found

    async def until(self, kind: type[R], name: str, holds: Callable[[R], bool]) -> R:
        """Wait until the object is so."""
        namespace = None if kind is HostResource else "demo"
        found = await eventually(
            lambda: self.api.get(kind, name, namespace), lambda found: found is not None and holds(found)
        )
        assert found is not None
        return found

    async def until_phase(self, name: str, phase: str) -> Server:
        return await self.until(Server, name, lambda server: server.status.phase == phase)

    async def until_domain(self, uid: str, holds: Callable[[Domain | None], bool]) -> Domain | None:
        return await eventually(lambda: self.compute.domain(uid), holds)

    @property
    def is_idle(self) -> bool:
        assert self.agent
        return all(queue.is_idle for queue in (self.agent.servers, self.agent.networks, self.agent.routers))

    async def settled(self) -> None:
        """Wait until the agent has nothing left to do."""
        quiet = 0
        async with asyncio.timeout(20):
            while quiet < 5:
                await asyncio.sleep(0.002)
                quiet = quiet + 1 if self.is_idle else 0

    async def refused(self) -> None:
        """Wait until a Server's reconciliation met a fault, so that it is going to be tried again."""
        assert self.agent
        async with asyncio.timeout(20):
            while not self.agent.servers._failures:  # noqa: ASYNC110  # why: one turn of the loop, not a time
                await asyncio.sleep(0)

    async def active(self, name: str = "one", **spec: Any) -> Server:
        """Make a Server and wait until it runs and the agent is at rest."""
        server = await self.place(self.add_server(name, **spec))
        await self.until_phase(name, "Active")
        await self.settled()
        return server


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.start()
    yield world
    await world.end()
