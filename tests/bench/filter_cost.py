"""What security groups cost: a packet's way through the filters beside a bare bridge, and a changed rule.

Veths stand for guests. Both bridges are measured in turn in one run, and the least of many bursts counts: what else the
machine does only adds to it.
"""

import asyncio
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

from bench import iptables_chains
from bench.packet_sender import Burst
from bench.precedence import ahead
from bench.veth_guests import plug, speak, wait_to_know
from contract.network_lab import Host, inside, network, running_lab
from nephos_agent.network.linux import namespaces, sysctls
from nephos_agent.network.linux.link_reader import GUEST_PORT, PortFlags
from nephos_agent.network.linux.links import Links
from nephos_agent.network.linux.tables import Tables
from nephos_agent.network.model import HostNetwork, HostPort, HostSecurityGroup, PortAddress, SecurityRule
from nephos_agent.network.names import network_names, tap_name
from nephos_api.resources.security_group import Direction, IPFamily

_BURSTS = 100
_FIRST_PACKET_BURSTS = 20
_PORT = 5000
_SENDER, _RECEIVER = "10.10.0.1", "10.10.0.2"
_PLAIN = ("left", "right")
_LOCAL_PORTS = 200
_MEMBERS = 2000
_TCP, _UDP = 6, 17
_T = TypeVar("_T")


@dataclass(frozen=True)
class Cost:
    """Nanoseconds a packet, the sender's own work included."""

    known_ns: float
    """Of a flow that is known."""
    first_ns: float
    """The first one of a flow, and what the kernel does to remember it."""


@dataclass(frozen=True)
class PacketCost:
    """The same packets on three bridges."""

    bare: Cost
    filtered: Cost
    by_chains: Cost
    """iptables, the ports in the middle of all."""


@dataclass(frozen=True)
class ChangeCost:
    """One rule added to a group with many members."""

    enforced_ms: float
    """From the call of the driver to the first packet that passes."""
    elements: int
    transactions: int


def packet_cost(rules: int) -> PacketCost:
    """Return what a packet of an established flow costs on a host with 200 ports whose groups have so many rules."""
    return asyncio.run(_in_lab(lambda host: _packet_cost(host, rules)))


def change_cost() -> ChangeCost:
    """Return what it costs to add a rule to a group with 2,000 members, 200 of them on this host."""
    return asyncio.run(_in_lab(_change_cost))


async def _in_lab(work: Callable[[Host], Awaitable[_T]]) -> _T:
    with tempfile.TemporaryDirectory() as folder:
        async with running_lab(Path(folder)) as lab:
            return await work(lab.one)


async def _packet_cost(host: Host, rules: int) -> PacketCost:
    members = SecurityRule(Direction.INGRESS, IPFamily.IPV4, _UDP, remote_group="group")
    described = _network(host, _LOCAL_PORTS, _LOCAL_PORTS, (*_rules(rules - 1), members))
    await host.driver.apply(described)
    bridge = network_names(described.uid, "nephos").bridge
    taps = (tap_name("port-1"), tap_name("port-2"))
    bare, chained = _bridged(host, "bare", calls_netfilter=False), _bridged(host, "chained", calls_netfilter=True)
    _load_chains(chained, described.security_groups[0])
    with (
        _wired(host, bare, "br0", _PLAIN, PortFlags()) as plain,
        _wired(host, host.tenants, bridge, taps) as filtered,
        _wired(host, chained, "br0", _PLAIN, PortFlags()) as by_chains,
        ahead(),
    ):
        known, first = _bursts((plain, filtered, by_chains))
    return PacketCost(*(Cost(*each) for each in zip(known, first, strict=True)))


def _bursts(sides: Sequence[tuple[socket.socket, socket.socket]]) -> tuple[list[float], list[float]]:
    """Return what a packet of a known flow costs on each side, and the first one of a flow."""
    for sender, receiver in sides:
        _establish(sender, receiver)
    known = [Burst(sender, _RECEIVER, [_PORT]) for sender, _receiver in sides]
    rounds = [[burst.send() for burst in known] for _ in range(_BURSTS)]
    firsts = [
        [Burst(sender, _RECEIVER, range(first, first + 1000)).send() for sender, _receiver in sides]
        for first in range(10_000, 10_000 + 1000 * _FIRST_PACKET_BURSTS, 1000)
    ]
    return [min(times) for times in zip(*rounds, strict=True)], [min(times) for times in zip(*firsts, strict=True)]


def _bridged(host: Host, name: str, *, calls_netfilter: bool) -> Path:
    """Return a namespace with a bridge, whose frames iptables sees or does not."""
    namespace = host.folder / "netns" / name
    namespaces.create(namespace)
    inside(namespace, partial(_make_bridge, calls_netfilter=calls_netfilter))
    return namespace


def _load_chains(namespace: Path, group: HostSecurityGroup) -> None:
    half = _LOCAL_PORTS // 2 - 1
    others = [f"port-{number}" for number in range(half)]
    devices = [*others, *_PLAIN, *(f"far-{number}" for number in range(half))]
    measured = [
        iptables_chains.Port(device, _mac(number), f"10.10.0.{number}") for number, device in enumerate(_PLAIN, start=1)
    ]
    ordered = sorted(group.rules, key=lambda rule: (rule.protocol or 0, rule.port_min or 0))
    ingress = [rule for rule in ordered if rule.direction is Direction.INGRESS]
    iptables_chains.load(namespace, devices, measured, ingress)


async def _change_cost(host: Host) -> ChangeCost:
    described = _network(host, _LOCAL_PORTS, _MEMBERS, _rules(100))
    await host.driver.apply(described)
    commits: list[str] = []
    commit = Tables._commit

    def counted(tables: Tables, commands: str) -> None:
        commits.append(commands)
        commit(tables, commands)

    taps = (tap_name("port-1"), tap_name("port-2"))
    bridge = network_names(described.uid, "nephos").bridge
    with _wired(host, host.tenants, bridge, taps) as (sender, receiver):
        sender.sendto(b"refused", (_RECEIVER, _PORT))
        rule = SecurityRule(Direction.INGRESS, IPFamily.IPV4, _UDP, _PORT)
        changed = _network(host, _LOCAL_PORTS, _MEMBERS, (*_rules(100), rule))
        with patch.object(Tables, "_commit", counted):
            started = time.perf_counter()
            await host.driver.apply(changed)
            sender.sendto(b"allowed", (_RECEIVER, _PORT))
            heard = receiver.recv(64)
            took = time.perf_counter() - started
    if heard != b"allowed":
        raise AssertionError(f"{heard!r} passed before a rule allowed it")
    return ChangeCost(1000 * took, sum(each.count('"concat"') for each in commits), len(commits))


def _rules(count: int) -> tuple[SecurityRule, ...]:
    """Return so many rules: what goes out, members of the group, and ports, half of them for one network alone."""
    fixed = (
        SecurityRule(Direction.EGRESS, IPFamily.IPV4),
        SecurityRule(Direction.INGRESS, IPFamily.IPV4, remote_group="group", protocol=_TCP),
    )
    return fixed + tuple(
        SecurityRule(
            Direction.INGRESS,
            IPFamily.IPV4,
            _TCP,
            1000 + number,
            1000 + number,
            f"10.{number % 200}.0.0/16" if number % 2 else None,
        )
        for number in range(count - len(fixed))
    )


def _network(host: Host, local: int, ports: int, rules: tuple[SecurityRule, ...]) -> HostNetwork:
    members = tuple(
        HostPort(
            uid=f"port-{number}",
            name=f"port-{number}",
            mac=_mac(number),
            addresses=(PortAddress(f"10.10.{number >> 8}.{number & 255}", "subnet-1", 16),),
            server_uid=None,
            server_name=None,
            host=host.name if number <= local else "elsewhere",
            host_address=host.address if number <= local else f"192.0.2.{10 + number % 20}",
            security_groups=("group",),
        )
        for number in range(1, ports + 1)
    )
    described = network(1, *members, cidr="10.10.0.0/16")
    return replace(described, security_groups=(HostSecurityGroup("group", frozenset(rules)),))


def _mac(number: int) -> str:
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


def _make_bridge(*, calls_netfilter: bool) -> None:
    calls = str(int(calls_netfilter))
    sysctls.make_so({"net/bridge/bridge-nf-call-iptables": calls, "net/ipv6/conf/all/disable_ipv6": "1"})
    with Links() as links:
        links.add("br0", "bridge", "", 1500)
        made = links.get("br0")
        assert made is not None
        links.set(made.index, state="up")


@contextmanager
def _wired(
    host: Host, namespace: Path, bridge: str, devices: tuple[str, str], flags: PortFlags = GUEST_PORT
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Make two veths on the bridge with a namespace behind each; yield a UDP socket in each."""
    made: list[socket.socket] = []
    for number, device in enumerate(devices, start=1):
        guest = host.folder / "netns" / f"{namespace.name}-{number}"
        plug(guest, _mac(number), namespace, bridge, device, flags)
        speak(guest, f"10.10.0.{number}/16")
        made.append(inside(guest, partial(_open, number)))
    try:
        made[0].sendto(b"to nobody's port", (_RECEIVER, _PORT + 1))
        wait_to_know(host.folder / "netns" / f"{namespace.name}-1", _RECEIVER)
        yield made[0], made[1]
    finally:
        for each in made:
            each.close()


def _open(number: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(5)
    made.bind((f"10.10.0.{number}", _PORT))
    return made


def _establish(sender: socket.socket, receiver: socket.socket) -> None:
    """Have both sides say something."""
    sender.sendto(b"question", (_RECEIVER, _PORT))
    receiver.recv(64)
    receiver.sendto(b"answer", (_SENDER, _PORT))
    sender.recv(64)
