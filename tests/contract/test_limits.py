"""Limits of a port: real frames, counted by who receives them. Bounds are loose: the machine may be busy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from contract.network_lab import Guest, Lab, network, port
from contract.waiting import eventually
from nephos_agent.network.model import HostNetwork, RateLimit
from nephos_agent.network.names import funnel_name, tap_name
from nephos_agent.network.traffic import DropReason
from nephos_api.resources.security_group import Direction

_SECONDS: Final = 1.5
_SEND: Final = """
import socket, sys, time
address, size, pace, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
out, end, sent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), time.monotonic() + seconds, 0
begin = time.monotonic()
while (now := time.monotonic()) < end:
    if sent > (now - begin) * pace:
        time.sleep(0.002)
        continue
    out.sendto(bytes(size), (address, 9999))
    sent += 1
print(sent)
"""
_RECEIVE: Final = """
import json, socket, sys, time
box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
box.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
box.bind(("", 9999))
box.settimeout(10.0)  # the sender is yet to start
print("ready", flush=True)
packets, size, first, last = 0, 0, None, 0.0
try:
    while True:
        data = box.recv(2000)
        box.settimeout(1.0)
        last = time.monotonic()
        first = first or last
        packets, size = packets + 1, size + len(data)
except TimeoutError:
    print(json.dumps([packets, size, last - (first or last)]))
"""


@dataclass
class Measured:
    """What came of what was sent."""

    sent: int
    packets: int
    kilobits_per_second: float


@dataclass
class Path:
    """Guest ``a`` on host one sends to guest ``b`` on host two."""

    lab: Lab
    network: HostNetwork
    a: Guest
    b: Guest

    async def limit(self, uid: str, **limits: Any) -> HostNetwork:
        """Describe the network anew, with limits of one port."""
        ports = tuple(replace(it, **limits) if it.uid == uid else it for it in self.network.ports)
        self.network = replace(self.network, ports=ports)
        for host in (self.lab.one, self.lab.two):
            await host.driver.apply(self.network)
        return self.network

    async def send(self, *, size: int, packets_per_second: int) -> Measured:
        """Send for a while and count what comes."""
        receiver = await self.b.start("python3", "-c", _RECEIVE)
        assert receiver.stdout
        assert await receiver.stdout.readline() == b"ready\n"
        arguments = ("10.10.0.12", str(size), str(packets_per_second), str(_SECONDS))
        _, sent = await self.a.run("python3", "-c", _SEND, *arguments)
        packets, received, seconds = json.loads(await asyncio.wait_for(receiver.stdout.readline(), 20))
        await receiver.wait()
        return Measured(int(sent), packets, received * 8 / 1000 / max(seconds, 0.001))

    async def arrives(self, holds: Callable[[Measured], bool], *, size: int, packets_per_second: int) -> None:
        """Send until what comes is right, three times at most: a busy machine may be what held it up."""
        for _ in range(3):
            found = await self.send(size=size, packets_per_second=packets_per_second)
            if holds(found):
                return
        raise AssertionError(found)

    def tap(self) -> str:
        return tap_name("a")


@pytest.fixture
async def path(router_lab: Lab) -> Path:
    lab = router_lab
    both = network(1, port("a", "10.10.0.11", lab.one), port("b", "10.10.0.12", lab.two))
    a = await lab.one.boot(both, both.ports[0])
    b = await lab.two.boot(both, both.ports[1])
    await a.dhcp()
    await b.dhcp()
    return Path(lab, both, a, b)


@pytest.mark.parametrize(("uid", "direction"), [("a", "egress"), ("b", "ingress")])
async def test_a_guest_sends_and_gets_no_more_than_its_bandwidth(path: Path, uid: str, direction: str) -> None:
    await path.limit(uid, **{direction: RateLimit(kilobits_per_second=2_000)})
    await path.arrives(lambda it: it.kilobits_per_second < 2_600, size=1000, packets_per_second=1000)
    await path.limit(uid, **{direction: RateLimit(kilobits_per_second=5_000)})
    await path.arrives(lambda it: 2_600 < it.kilobits_per_second < 6_500, size=1000, packets_per_second=1000)
    await path.limit(uid, **{direction: RateLimit()})
    await path.arrives(_all_came, size=1000, packets_per_second=500)


@pytest.mark.parametrize(("uid", "direction"), [("a", "egress"), ("b", "ingress")])
@pytest.mark.parametrize("port_security", [True, False])
async def test_a_guest_sends_and_gets_no_more_packets_than_its_limit(
    path: Path, uid: str, direction: str, port_security: bool
) -> None:
    groups = {} if port_security else {"security_groups": ()}
    limits: dict[str, Any] = {direction: RateLimit(packets_per_second=100), "port_security": port_security, **groups}
    await path.limit(uid, **limits)
    await path.arrives(lambda it: 0 < it.packets < 100 * _SECONDS * 1.5, size=100, packets_per_second=1000)
    await path.limit(uid, **{direction: RateLimit()})
    await path.arrives(_all_came, size=100, packets_per_second=500)


async def test_the_other_direction_is_not_limited(path: Path) -> None:
    await path.limit("b", egress=RateLimit(kilobits_per_second=64, packets_per_second=10))
    await path.arrives(_all_came, size=1000, packets_per_second=300)


async def test_limits_hold_over_a_restart_of_the_driver_which_changes_nothing(path: Path) -> None:
    both = RateLimit(kilobits_per_second=2_000, packets_per_second=1_000)
    described = await path.limit("a", egress=both, ingress=both)
    host = path.lab.one
    await host.driver.close()
    await host.start()
    worker = host.driver._worker
    assert not await host.driver._run(lambda: worker.plan(described))
    await path.arrives(lambda it: it.kilobits_per_second < 2_600, size=1000, packets_per_second=1000)


async def test_a_funnel_that_somebody_deletes_comes_back(path: Path) -> None:
    described = await path.limit("a", egress=RateLimit(kilobits_per_second=2_000))
    host = path.lab.one
    host.changed.clear()
    host.in_tenants("ip", "link", "del", funnel_name("a"))
    await eventually(lambda: _any(host.changed))
    await host.driver.apply(described)
    assert await path.a.pings("10.10.0.12")
    await path.arrives(lambda it: it.kilobits_per_second < 2_600, size=1000, packets_per_second=1000)


async def test_a_limit_that_goes_leaves_nothing_and_so_does_a_port(path: Path) -> None:
    host, limit = path.lab.one, RateLimit(kilobits_per_second=2_000, packets_per_second=100)
    for _ in range(2):
        await path.limit("a", egress=limit, ingress=limit)
        assert funnel_name("a") in host.tenant_links()
        await path.limit("a", egress=RateLimit(), ingress=RateLimit())
        assert funnel_name("a") not in host.tenant_links()
        assert not set(host.in_tenants("tc", "qdisc", "show", "dev", path.tap()).split()) & {"tbf", "ingress"}
        assert path.tap() not in host.in_tenants("nft", "list", "set", "bridge", "nephos", "limit_egress")
    assert host.changed == []
    await path.limit("a", egress=limit, ingress=limit)
    await host.driver.unplug("a")
    assert funnel_name("a") not in host.tenant_links()
    for name in ("limit_egress", "limit_ingress", "drops_limited"):
        assert path.tap() not in host.in_tenants("nft", "list", "set", "bridge", "nephos", name)


async def test_what_passes_a_port_and_what_is_dropped_of_it_is_counted(path: Path) -> None:
    await path.limit("a", egress=RateLimit(kilobits_per_second=3_000, packets_per_second=100))
    found = await path.send(size=1000, packets_per_second=600)
    (one,) = await path.lab.one.driver.traffic()
    assert one.port_uid == "a"
    assert one.egress.packets >= found.sent
    assert one.egress.size_bytes > found.sent * 1000
    drops = {(direction, reason): packets for direction, reason, packets in one.drops}
    assert drops[Direction.EGRESS, DropReason.PACKET_LIMIT] > 0
    assert drops[Direction.EGRESS, DropReason.BANDWIDTH_LIMIT] > 0
    assert drops[Direction.EGRESS, DropReason.SPOOFED] == 0
    (two,) = await path.lab.two.driver.traffic()
    assert two.ingress.packets >= found.packets


def _all_came(found: Measured) -> bool:
    return found.packets > max(200, found.sent * 0.9)


async def _any(changed: list[str]) -> bool:
    return bool(changed)
