"""What is outside of the two hosts: an "internet" that both reach by a provider's bridge; and routers to it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from contract.network_lab import PHYSICAL_NETWORK, PROVIDER_BRIDGE, Guest, Host, Lab, build, network, port
from nephos_agent.network.linux import namespaces
from nephos_agent.network.model import (
    HostFloatingIP,
    HostNetwork,
    HostRouter,
    ProviderSegment,
    RouterGateway,
    RouterLeg,
    RouterNeighbour,
)
from nephos_api.resources.network import SubnetView

PUBLIC = "public"
PUBLIC_CIDR = "203.0.113.0/24"
INTERNET = "203.0.113.1"
INTERNET_IPV6 = "2001:db8:113::1"
ROUTER_ADDRESS = "203.0.113.10"
ROUTER_IPV6 = "2001:db8:113::10"
FOREIGN = "203.0.113.200"
FAR_AWAY = "198.51.100.7"
"""Behind the internet's own router."""
EXTERNAL_MTU = 1500


@dataclass
class Silent:
    """Services that listen and say nothing."""

    listeners: dict[str, Sequence[socket.socket]] = field(default_factory=dict)

    def is_serving(self, network_uid: str) -> bool:
        return network_uid in self.listeners

    async def serve(self, network_uid: str, listeners: Sequence[socket.socket]) -> None:
        await self.leave(network_uid)
        self.listeners[network_uid] = listeners

    def describe(self, network_uid: str, ports: Mapping[str, str]) -> None:
        pass

    async def leave(self, network_uid: str) -> None:
        for listener in self.listeners.pop(network_uid, ()):
            listener.close()


@asynccontextmanager
async def running_lab(folder: Path) -> AsyncIterator[Lab]:
    """Two hosts, until the block ends."""
    made: list[Silent] = []

    def services() -> Silent:
        made.append(Silent())
        return made[-1]

    lab = await build(folder, services)
    try:
        yield lab
    finally:
        for each in made:
            for network_uid in tuple(each.listeners):
                await each.leave(network_uid)
        await lab.close()


@dataclass
class Outside:
    """A namespace on the provider bridges of both hosts."""

    namespace: Path

    async def run(self, *command: str, timeout_s: float = 15) -> tuple[int, str]:
        """Run a command there; return its exit code and output."""
        process = await asyncio.create_subprocess_exec(
            "nsenter",
            f"--net={self.namespace}",
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
        return process.returncode or 0, output.decode()

    async def pings(self, address: str, *options: str) -> bool:
        """Tell whether one ping is answered within a second."""
        code, _ = await self.run("ping", "-c1", "-W1", *options, address)
        return code == 0


def outside(lab: Lab) -> Outside:
    """Make the internet, and a provider bridge on each host."""
    internet = lab.one.folder / "netns" / "internet"
    namespaces.create(internet)
    _in(internet, "ip link set lo up", "ip link add br-pub type bridge", "ip link set br-pub up")
    for host in (lab.one, lab.two):
        end = f"pub-{host.name}"
        _in(host.namespace, f"ip link add {PROVIDER_BRIDGE} type bridge", f"ip link set {PROVIDER_BRIDGE} up")
        _in(host.namespace, "ip link add eth1 type veth peer name " + end)
        subprocess.run(
            ["nsenter", f"--net={host.namespace}", "ip", "link", "set", end, "netns", str(internet)], check=True
        )
        _in(host.namespace, f"ip link set eth1 master {PROVIDER_BRIDGE} up")
        _in(internet, f"ip link set {end} master br-pub up")
    _in(
        internet,
        f"ip addr add {INTERNET}/24 dev br-pub",
        f"ip -6 addr add {INTERNET_IPV6}/64 dev br-pub nodad",
        f"ip addr add {FAR_AWAY}/32 dev lo",
        f"ip -6 route add fd00::/16 via {ROUTER_IPV6}",
    )
    return Outside(internet)


def foreign_machine(host: Host) -> Outside:
    """Make a machine that is none of the cloud's, on another port of the host's provider bridge."""
    machine = host.folder / "netns" / "foreign"
    namespaces.create(machine)
    _in(host.namespace, "ip link add foreign0 type veth peer name foreign1")
    subprocess.run(
        ["nsenter", f"--net={host.namespace}", "ip", "link", "set", "foreign1", "netns", str(machine)], check=True
    )
    _in(host.namespace, f"ip link set foreign0 master {PROVIDER_BRIDGE} up")
    _in(machine, f"ip addr add {FOREIGN}/24 dev foreign1", "ip link set foreign1 up")
    return Outside(machine)


def public_network() -> HostNetwork:
    """Return the external network."""
    subnets = (
        SubnetView(name="public4", uid="subnet-public4", cidr=PUBLIC_CIDR, gateway=INTERNET, dhcp=False),
        SubnetView(name="public6", uid="subnet-public6", cidr="2001:db8:113::/64", gateway=INTERNET_IPV6, dhcp=False),
    )
    return replace(
        network(900, mtu=EXTERNAL_MTU, uid=PUBLIC),
        vni=None,
        subnets=subnets,
        provider=ProviderSegment(PHYSICAL_NETWORK),
    )


def router(*networks: HostNetwork, uid: str = "router-1", gateway: RouterGateway | None = None) -> HostRouter:
    """Return a router that joins all subnets of the networks, with the gateway's address on each."""
    legs = tuple(
        RouterLeg(each.uid, subnet.uid, subnet.cidr, subnet.gateway, subnet.ipv6_mode)
        for each in networks
        for subnet in each.subnets
        if subnet.gateway
    )
    neighbours = frozenset(
        RouterNeighbour(each.uid, address.address, port.mac)
        for each in networks
        for port in each.ports
        for address in port.addresses
    )
    mtus = {each.uid: each.mtu for each in networks} | ({gateway.network_uid: EXTERNAL_MTU} if gateway else {})
    return HostRouter(uid, uid, "lab", legs, tuple(sorted(mtus.items())), neighbours, gateway=gateway)


def gateway(host: Host, *, snat: bool = True) -> RouterGateway:
    """Return the way out by that host."""
    return RouterGateway(
        PUBLIC,
        (f"{ROUTER_ADDRESS}/24", f"{ROUTER_IPV6}/64"),
        (INTERNET, INTERNET_IPV6),
        (PUBLIC_CIDR, "2001:db8:113::/64"),
        snat,
        7777,
        host.name,
        host.address,
    )


def floating(number: int, fixed: str) -> HostFloatingIP:
    """Return a floating IP of 203.0.113.0/24."""
    return HostFloatingIP(f"fip-{number}", f"203.0.113.{number}", fixed)


@dataclass
class Cloud:
    """Guests ``a`` and ``c`` of network blue, on host one and two; ``d`` and ``b`` of network red, on one and two."""

    lab: Lab
    blue: HostNetwork
    red: HostNetwork
    guests: dict[str, Guest]
    public: HostNetwork = field(default_factory=public_network)

    def router(self, gateway: RouterGateway | None = None) -> HostRouter:
        """Return the router that joins both networks."""
        return router(self.blue, self.red, gateway=gateway)

    async def carry(
        self, router: HostRouter, floating_ips: Mapping[str, tuple[HostFloatingIP, ...]] | None = None
    ) -> None:
        """Have both hosts carry the router, as agents do: networks first, each with its own floating IPs."""
        for host in (self.lab.one, self.lab.two):
            for each in (self.blue, self.red, *((self.public,) if router.gateway else ())):
                await host.driver.apply(each)
            own = (floating_ips or {}).get(host.name, ())
            await host.driver.apply_router(replace(router, floating_ips=own))


async def build_cloud(lab: Lab, *, red_mtu: int = 1450) -> Cloud:
    """Make two networks and boot their guests."""
    blue = network(1, port("a", "10.10.0.11", lab.one), port("c", "10.10.0.13", lab.two))
    red = network(
        2,
        port("b", "10.20.0.12", lab.two, "subnet-2"),
        port("d", "10.20.0.14", lab.one, "subnet-2"),
        mtu=red_mtu,
        cidr="10.20.0.0/24",
    )
    guests = {}
    for host in (lab.one, lab.two):
        for each in (blue, red):
            await host.driver.apply(each)
            for local in each.ports:
                if local.host == host.name:
                    guests[local.uid] = await host.boot(each, local)
                    await guests[local.uid].dhcp()
    return Cloud(lab, blue, red, guests)


def _in(namespace: Path, *commands: str) -> None:
    for command in commands:
        subprocess.run(["nsenter", f"--net={namespace}", *command.split()], check=True, capture_output=True)
