"""Two hosts and their guests, in network namespaces: an underlay between them, a driver on each."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from nephos_agent.launcher.protocol import Unit
from nephos_agent.metadata.server import MetadataServer
from nephos_agent.metadata.source import Guest as MetadataGuest
from nephos_agent.network.linux import namespaces
from nephos_agent.network.linux.driver import LinuxNetwork
from nephos_agent.network.linux.links import Links
from nephos_agent.network.linux.name_relay import NameRelay
from nephos_agent.network.linux.taps import create_tap, open_tap
from nephos_agent.network.model import HostNetwork, HostPort, HostSecurityGroup, PortAddress, SecurityRule
from nephos_agent.network.services import GuestServices
from nephos_agent.network.settings import LinuxSettings
from nephos_api.identity import mac_address
from nephos_api.metadata import Metadata
from nephos_api.resources.network import SubnetView
from nephos_api.resources.security_group import Direction, IPFamily
from nephos_api.resources.server import Server, ServerSpec

T = TypeVar("T")
ALLOW_ALL = HostSecurityGroup(
    "allow-all", frozenset(SecurityRule(direction, family) for direction in Direction for family in IPFamily)
)
PHYSICAL_NETWORK = "physnet1"
PROVIDER_BRIDGE = "br-ex"
_FRAME_BYTES = 65_600
_DHCP_SCRIPT = """#!/bin/sh
env > {folder}/$1.env
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
set -- $staticroutes
while [ $# -ge 2 ]; do ip route add "$1" via "$2" dev "$interface"; shift 2; done
"""


@dataclass
class ChildLauncher:
    """A launcher whose units are children of the test."""

    processes: dict[str, tuple[Unit, subprocess.Popen[bytes]]] = field(default_factory=dict)

    async def start(self, unit: Unit) -> None:
        running = self.processes.get(unit.name)
        if running and running[0] == unit and running[1].poll() is None:
            return
        await self.stop(unit.name)
        self.processes[unit.name] = (unit, await asyncio.to_thread(_start, unit))

    async def stop(self, name: str) -> None:
        running = self.processes.pop(name, None)
        if running:
            running[1].terminate()
            await asyncio.to_thread(running[1].wait)

    async def signal(self, name: str, signal_number: int) -> None:
        os.kill(self.processes[name][1].pid, signal_number)

    async def units(self) -> frozenset[str]:
        return frozenset(self.processes)

    async def stop_all(self) -> None:
        for name in tuple(self.processes):
            await self.stop(name)


def _start(unit: Unit) -> subprocess.Popen[bytes]:
    return subprocess.Popen(unit.argv, stderr=subprocess.DEVNULL)


@dataclass
class Guest:
    """A guest's kernel in a namespace. Its NIC is wired to the tap as QEMU would: by a process that has it open."""

    namespace: Path
    folder: Path
    mac: str
    wires: list[int] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    """Closed with the lab."""

    def plug_in(self, host_namespace: Path, tap: str, mtu: int) -> None:
        """Open the tap (in the host's namespace) and pass frames between it and the guest's NIC."""
        namespaces.create(self.namespace)
        outer = inside(host_namespace, lambda: open_tap(tap))
        inner = inside(self.namespace, lambda: self._make_nic(mtu))
        loop = asyncio.get_running_loop()
        loop.add_reader(outer, _copy, outer, inner)
        loop.add_reader(inner, _copy, inner, outer)
        self.wires = [outer, inner]

    def _make_nic(self, mtu: int) -> int:
        create_tap("eth0")
        descriptor = open_tap("eth0")
        with Links() as links:
            nic = links.get("eth0")
            assert nic is not None
            links.set(1, state="up")
            links.set(nic.index, address=self.mac, mtu=mtu, state="up")
        return descriptor

    def unplug(self) -> None:
        """Do as QEMU when it dies."""
        for descriptor in self.wires:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        self.wires = []

    async def run(self, *command: str, timeout_s: float = 10) -> tuple[int, str]:
        """Run a command in the guest; return its exit code and output."""
        process = await self.start(*command)
        output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
        return process.returncode or 0, output.decode()

    async def start(self, *command: str) -> asyncio.subprocess.Process:
        """Start a command in the guest."""
        return await asyncio.create_subprocess_exec(
            "nsenter",
            f"--net={self.namespace}",
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def pings(self, address: str, *options: str) -> bool:
        """Tell whether one ping is answered within a second."""
        code, _ = await self.run("ping", "-c1", "-W1", *options, address)
        return code == 0

    async def dhcp(self) -> dict[str, str]:
        """Take a lease and configure it; return what the server said."""
        script = self.folder / "dhcp.sh"
        script.write_text(_DHCP_SCRIPT.format(folder=self.folder))
        script.chmod(0o755)
        options = ("-O", "mtu", "-O", "search", "-O", "staticroutes")
        code, output = await self.run(
            "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "5", "-T", "1", "-s", str(script), *options
        )
        assert code == 0, output
        lines = (self.folder / "bound.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    async def resolve(self, name: str, server: str) -> str:
        """Ask the server for a name; return nslookup's output."""
        _, output = await self.run("busybox", "nslookup", name, server)
        return output


@dataclass
class Host:
    """A host: a namespace on the underlay, a driver, a launcher."""

    name: str
    address: str
    folder: Path
    services: GuestServices
    launcher: ChildLauncher = field(default_factory=ChildLauncher)
    changed: list[str] = field(default_factory=list)
    guests: list[Guest] = field(default_factory=list)
    resolver_port: int = 53

    @property
    def namespace(self) -> Path:
        return self.folder / "netns" / self.name

    @property
    def tenants(self) -> Path:
        return self.folder / "netns" / "nephos"

    @property
    def settings(self) -> LinuxSettings:
        return LinuxSettings(
            cloud_id="lab",
            host=self.name,
            underlay_address=self.address,
            run_dir=self.folder / "run",
            netns_dir=self.folder / "netns",
            host_namespace=self.namespace,
            provider_bridges={PHYSICAL_NETWORK: PROVIDER_BRIDGE},
        )

    async def start(self) -> None:
        self.driver = LinuxNetwork(
            self.settings, self.launcher, self.services, NameRelay(("127.0.0.1",), self.resolver_port)
        )
        await self.driver.start(self.changed.append)

    def guest(self, port: HostPort) -> Guest:
        folder = self.folder / "guests" / port.uid
        folder.mkdir(parents=True, exist_ok=True)
        guest = Guest(self.folder / "netns" / f"guest-{port.uid}", folder, port.mac)
        self.guests.append(guest)
        return guest

    async def boot(self, network: HostNetwork, port: HostPort) -> Guest:
        """Start a guest as the agent does: tap, QEMU, apply."""
        tap = await self.driver.create_tap(port.uid, port.mac, network.mtu)
        guest = self.guest(port)
        guest.plug_in(self.namespace, tap, network.mtu)
        await self.driver.apply(network)
        assert port.uid in await self.driver.plugged()
        return guest

    def tenant_links(self) -> frozenset[str]:
        return inside(self.tenants, _names_of_links)

    def links(self) -> frozenset[str]:
        return inside(self.namespace, _names_of_links)

    def in_tenants(self, *command: str) -> str:
        return subprocess.run(
            ["nsenter", f"--net={self.tenants}", *command], check=True, capture_output=True, text=True
        ).stdout

    def in_host(self, *command: str) -> str:
        return subprocess.run(
            ["nsenter", f"--net={self.namespace}", *command], check=True, capture_output=True, text=True
        ).stdout


@dataclass
class Lab:
    """Two hosts with a cable between them."""

    one: Host
    two: Host

    async def close(self) -> None:
        for host in (self.one, self.two):
            for guest in host.guests:
                guest.unplug()
                for opened in guest.sockets:
                    opened.close()
            with contextlib.suppress(AttributeError):
                await host.driver.close()
            await host.launcher.stop_all()
            folder = host.folder / "netns"
            for name in folder.iterdir():
                namespaces.delete(name)
            libc = ctypes.CDLL(None)
            while libc.umount2(os.fsencode(folder), 2) == 0:
                pass


@dataclass
class OneServer:
    """A source that knows a server for every port."""

    asked: list[str] = field(default_factory=list)

    def guest(self, port_uid: str) -> MetadataGuest | None:
        self.asked.append(port_uid)
        metadata = Metadata(name=port_uid, namespace="lab", uid=f"server-{port_uid}")
        return MetadataGuest(Server(metadata=metadata, spec=ServerSpec(flavor="tiny", image="tiny")), (), "az1")


@asynccontextmanager
async def running_lab(folder: Path) -> AsyncIterator[Lab]:
    """Make two hosts whose drivers run and whose guests have metadata; take them down again."""
    servers: list[MetadataServer] = []

    def services() -> MetadataServer:
        servers.append(MetadataServer(OneServer()))
        return servers[-1]

    built = await build(folder, services)
    try:
        yield built
    finally:
        for server in servers:
            await server.close()
        await built.close()


async def build(folder: Path, services: Callable[[], GuestServices]) -> Lab:
    """Make two hosts; the drivers run."""
    hosts = [Host(f"h{number}", f"192.0.2.{number}", folder / f"h{number}", services()) for number in (1, 2)]
    for host in hosts:
        namespaces.create(host.namespace)
    descriptor = os.open(hosts[1].namespace, os.O_RDONLY)
    inside(hosts[0].namespace, lambda: _cable(descriptor))
    os.close(descriptor)
    for host in hosts:
        inside(host.namespace, partial(_address, host.address))
        await host.start()
    return Lab(*hosts)


def network(number: int, *ports: HostPort, mtu: int = 1450, cidr: str = "10.10.0.0/24", uid: str = "") -> HostNetwork:
    """Return a network with one subnet, and with a group that allows everything."""
    base = cidr.rsplit(".", 1)[0]
    subnet = SubnetView(
        name="sub", uid=f"subnet-{number}", cidr=cidr, gateway=f"{base}.1", service_address=f"{base}.254"
    )
    name = f"net{number}"
    return HostNetwork(
        uid or f"network-{number}",
        name,
        "lab",
        1000 + number,
        mtu,
        f"{name}.lab.nephos.internal",
        (subnet,),
        ports,
        security_groups=(ALLOW_ALL,),
    )


def port(
    uid: str, address: str, host: Host, subnet: str = "subnet-1", groups: tuple[str, ...] = (ALLOW_ALL.uid,)
) -> HostPort:
    """Return a port of a server of the same name, which may do everything unless told otherwise."""
    addresses = (PortAddress(address, subnet, 24),)
    return HostPort(
        uid,
        f"{uid}-net0",
        mac_address(uid, "net0"),
        addresses,
        f"server-{uid}",
        uid,
        host.name,
        host.address,
        security_groups=groups,
    )


@dataclass
class Pair:
    """Guest ``a`` on host one and guest ``b`` on host two, of one network."""

    lab: Lab
    network: HostNetwork
    a: Guest
    b: Guest


async def boot_pair(lab: Lab) -> Pair:
    """Start both guests, and let them take their leases."""
    both = network(1, port("a", "10.10.0.11", lab.one), port("b", "10.10.0.12", lab.two))
    a = await lab.one.boot(both, both.ports[0])
    b = await lab.two.boot(both, both.ports[1])
    await a.dhcp()
    await b.dhcp()
    return Pair(lab, both, a, b)


async def resolves(guest: Guest, name: str, address: str) -> bool:
    """Tell whether the service of network 1 knows the name by the address."""
    return address in await guest.resolve(f"{name}.net1.lab.nephos.internal", "10.10.0.254")


def _cable(other_end: int) -> None:
    with Links() as links:
        links.add("eth0", "veth", "", 1500, peer={"ifname": "eth0", "mtu": 1500, "net_ns_fd": other_end})


def _address(address: str) -> None:
    with Links() as links:
        nic = links.get("eth0")
        assert nic is not None
        links.set(1, state="up")
        links.set(nic.index, state="up")
        links.add_address(nic.index, f"{address}/24")


def _names_of_links() -> frozenset[str]:
    with Links() as links:
        return frozenset(link.name for link in links.all())


def inside(namespace: Path, work: Callable[[], T]) -> T:
    """Do something in the namespace, in a thread of its own: a namespace belongs to a thread."""

    def enter_and_work() -> T:
        namespaces.enter(namespace)
        return work()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(enter_and_work).result()


def _copy(source: int, target: int) -> None:
    with contextlib.suppress(BlockingIOError, OSError):
        os.write(target, os.read(source, _FRAME_BYTES))
