"""TCP across hosts, through a router and through a floating IP, beside the same paths wired by hand; what moves cost.

Guests are namespaces at the end of a veth, which stands for the tap: what is measured is the network's path. Each host
is described as its agent would, so that bridges without guests are judged by nobody.
"""

import asyncio
import json
import re
import statistics
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from bench import precedence
from bench.hand_wired import HandWired, hand_wired
from bench.veth_guests import plug, speak
from contract.network_lab import Host, Lab, network, port
from contract.router_lab import (
    FAR_AWAY,
    Outside,
    floating,
    gateway,
    outside,
    public_network,
    router,
    running_lab,
)
from nephos_agent.network.model import HostNetwork, HostPort, HostRouter, SecurityRule
from nephos_agent.network.names import network_names, tap_name
from nephos_api.resources.security_group import Direction, IPFamily

_PING_INTERVAL_S = 0.005
_FLOATING = "203.0.113.22"
_TCP = 6
_Ends: TypeAlias = tuple[Path, Path, str]
"""Where the client and the server are, and the address that the client calls."""


@dataclass(frozen=True)
class Carried:
    """How one TCP stream went."""

    gigabits: float
    """A second."""
    cpu_s: float
    """Seconds that its two ends and what the kernel did in their names took, a gigabyte."""


@dataclass(frozen=True)
class Throughput:
    """One path: medians of runs in turn."""

    path: str
    nephos: Carried
    by_hand: Carried
    ratio: float
    """Median of each round's own: what else the machine does is the same for all of a round."""
    unfiltered: Carried
    """By hand, and no guest filtered."""
    unfiltered_ratio: float


@dataclass(frozen=True)
class Outage:
    """What a change cost somebody who pinged all the time."""

    what: str
    lost: int
    sent: int
    longest_ms: float
    """The longest time without an answer, less the time between two pings."""


@dataclass(frozen=True)
class _Wired:
    lab: Lab
    internet: Outside
    networks: tuple[HostNetwork, ...]
    guests: dict[str, Path]

    def router(self, gateway_host: Host) -> HostRouter:
        return router(*self.networks, gateway=gateway(gateway_host))

    async def carry(self, described: HostRouter, floating_host: Host | None) -> None:
        """Have both hosts carry the router; first the one that gives the floating IP up, as a move does."""
        hosts = sorted((self.lab.one, self.lab.two), key=lambda host: host is floating_host)
        for host in hosts:
            own = (floating(22, _FIXED[host.name]),) if host is floating_host else ()
            await host.driver.apply_router(replace(described, floating_ips=own))


_FIXED = {"h1": "10.10.0.11", "h2": "10.20.0.12"}


def measure(rounds: int, run_s: int) -> tuple[list[Throughput], list[Outage]]:
    """Measure all paths ``rounds`` times, Nephos and by hand in turn, then the moves."""
    with tempfile.TemporaryDirectory() as folder, hand_wired() as hand:
        return asyncio.run(_measure(Path(folder), hand, rounds, run_s))


async def _measure(folder: Path, hand: HandWired, rounds: int, run_s: int) -> tuple[list[Throughput], list[Outage]]:
    async with running_lab(folder) as lab:
        wired = await _wire(lab)
        throughputs = await asyncio.to_thread(_throughputs, wired, hand, rounds, run_s)
        return throughputs, await _outages(wired)


async def _wire(lab: Lab) -> _Wired:
    internet = outside(lab)
    blue = network(1, port("a", "10.10.0.11", lab.one), port("c", "10.10.0.13", lab.two))
    red = network(2, port("b", "10.20.0.12", lab.two, "subnet-2"), cidr="10.20.0.0/24")
    guests = {}
    for host in (lab.one, lab.two):
        for each in (blue, red, public_network()):
            await host.driver.apply(_on(host, each))
            for local in each.ports:
                if local.host == host.name:
                    guests[local.uid] = _boot(host, each, local)
    wired = _Wired(lab, internet, (blue, red), guests)
    await wired.carry(wired.router(lab.one), lab.two)
    return wired


def _on(host: Host, described: HostNetwork) -> HostNetwork:
    """Return the network as the host's agent describes it: where no guest is, nobody is served."""
    return replace(described, serves_guests=any(each.host == host.name for each in described.ports))


def _boot(host: Host, described: HostNetwork, local: HostPort) -> Path:
    namespace = host.folder / "netns" / f"guest-{local.uid}"
    address = local.addresses[0].address
    plug(namespace, local.mac, host.tenants, network_names(described.uid, "nephos").bridge, tap_name(local.uid))
    speak(namespace, f"{address}/24")
    route = f"ip route add default via {described.subnets[0].gateway}"
    subprocess.run(["nsenter", f"--net={namespace}", *route.split()], check=True)
    return namespace


def _throughputs(wired: _Wired, hand: HandWired, rounds: int, run_s: int) -> list[Throughput]:
    guests, internet = wired.guests, wired.internet.namespace
    return [
        _throughput(path, nephos, by_hand, hand, rounds, run_s)
        for path, nephos, by_hand in (
            ("across hosts", (guests["a"], guests["c"], "10.10.0.13"), (hand.a, hand.c, hand.address_c)),
            ("through a router", (guests["a"], guests["b"], "10.20.0.12"), (hand.a, hand.b, hand.address_b)),
            ("through a floating IP", (internet, guests["b"], _FLOATING), (hand.internet, hand.b, hand.floating)),
        )
    ]


def _throughput(path: str, nephos: _Ends, by_hand: _Ends, hand: HandWired, rounds: int, run_s: int) -> Throughput:
    ours, theirs, bare = [], [], []
    for _ in range(rounds):
        ours.append(_carry(nephos, run_s))
        hand.guard(guarded=True)
        theirs.append(_carry(by_hand, run_s))
        hand.guard(guarded=False)
        bare.append(_carry(by_hand, run_s))
    return Throughput(path, _medians(ours), _medians(theirs), _ratio(ours, theirs), _medians(bare), _ratio(ours, bare))


def _medians(runs: list[Carried]) -> Carried:
    return Carried(statistics.median(run.gigabits for run in runs), statistics.median(run.cpu_s for run in runs))


def _ratio(runs: list[Carried], others: list[Carried]) -> float:
    return statistics.median(run.gigabits / other.gigabits for run, other in zip(runs, others, strict=True))


def _carry(ends: _Ends, run_s: int) -> Carried:
    """Have one TCP stream run, before whatever else the machine does: both ends are scheduled in real time."""
    client, server, address = ends
    listener = subprocess.Popen(
        [*precedence.COMMAND, "nsenter", f"--net={server}", "iperf3", "-s", "-1", "--forceflush"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listener.stdout is not None
    while "Server listening" not in listener.stdout.readline():
        pass
    command = [*precedence.COMMAND, "nsenter", f"--net={client}", "iperf3", "-J", "-c", address, "-t", str(run_s)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=run_s + 20)
    listener.communicate(timeout=10)
    end = json.loads(done.stdout)["end"]
    received, shares = end["sum_received"], end["cpu_utilization_percent"]
    busy_s = (shares["host_total"] + shares["remote_total"]) / 100 * received["seconds"]
    return Carried(received["bits_per_second"] / 1e9, busy_s / (received["bytes"] / 1e9))


async def _outages(wired: _Wired) -> list[Outage]:
    one, two = wired.lab.one, wired.lab.two

    async def move_floating_ip() -> None:
        await wired.carry(wired.router(one), one)

    async def move_gateway() -> None:
        await wired.carry(wired.router(two), one)

    async def change_rules() -> None:
        blue = wired.networks[0]
        for described in (_with_one_rule_more(blue), blue):
            for host in (one, two):
                await host.driver.apply(_on(host, described))

    return [
        await _outage("a rule comes and goes beside a flow", wired.guests["a"], "10.10.0.13", change_rules),
        await _outage("a floating IP moves to another host", wired.internet.namespace, _FLOATING, move_floating_ip),
        await _outage("the gateway moves to another host", wired.guests["c"], FAR_AWAY, move_gateway),
    ]


def _with_one_rule_more(described: HostNetwork) -> HostNetwork:
    rule = SecurityRule(Direction.INGRESS, IPFamily.IPV4, _TCP, 8080)
    groups = tuple(replace(group, rules=group.rules | {rule}) for group in described.security_groups)
    return replace(described, security_groups=groups)


async def _outage(what: str, client: Path, address: str, move: Callable[[], Awaitable[None]]) -> Outage:
    ping = await asyncio.create_subprocess_exec(
        "nsenter",
        f"--net={client}",
        "ping",
        f"-i{_PING_INTERVAL_S}",
        "-c400",
        "-D",
        "-W1",
        address,
        stdout=asyncio.subprocess.PIPE,
    )
    assert ping.stdout is not None
    lines = [(await ping.stdout.readline()).decode() for _ in range(20)]
    await move()
    lines += (await ping.stdout.read()).decode().splitlines()
    times = [float(match[1]) for line in lines if (match := re.match(r"\[([\d.]+)\] .*time=", line))]
    if len(times) < 2:
        raise RuntimeError(f"{what}: {address} answered {len(times)} times")
    gap = max(after - before for before, after in pairwise(times))
    return Outage(what, 400 - len(times), 400, max(0.0, gap - _PING_INTERVAL_S) * 1000)
