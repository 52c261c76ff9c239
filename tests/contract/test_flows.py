"""Flows that security groups allowed: what cuts them, and what does not."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import replace

import pytest

from contract.group_lab import EVERYTHING_OUT, ICMP, IN, TCP, UDP, V4, Guests, boot, dual_stack
from contract.guest_sockets import connect, datagrams
from contract.network_lab import Host, inside, network, port
from contract.waiting import eventually
from nephos_agent.network.filters.cutting import Flow
from nephos_agent.network.linux.conntrack import FlowTable
from nephos_agent.network.model import (
    SecurityRule,
)
from nephos_agent.network.names import network_names

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


async def test_a_rule_that_goes_cuts_its_flows_and_no_others(guests: Guests) -> None:
    ssh, web = SecurityRule(IN, V4, TCP, 22), SecurityRule(IN, V4, TCP, 80)
    chat = SecurityRule(IN, V4, UDP, 5000)
    await guests.set_rules(*EVERYTHING_OUT, ssh, web, chat)
    here = datagrams(guests.a, "10.10.0.11", 4000)
    for guest, address in ((guests.b, "10.10.0.12"), (guests.c, "10.10.0.13")):
        cut = await connect(guests.a, guest, address, 22)
        kept = await connect(guests.a, guest, address, 80)
        own = await connect(guest, guests.a, "10.10.0.11", 443)
        there = datagrams(guest, address, 5000)
        assert await here.reaches(there)
        assert await there.reaches(here)
        await guests.set_rules(*EVERYTHING_OUT, web)
        for connection in (kept, own):
            assert await connection.carries(b"1")
            assert await connection.carries(b"2", answer=True)
        assert not await cut.carries(b"more")
        assert not await cut.carries(b"still there?", answer=True), "answers of a cut flow do not revive it"
        assert not await here.reaches(there, b"again")
        assert not await there.reaches(here, b"and back")
        await guests.set_rules(*EVERYTHING_OUT, ssh, web, chat)
        assert await here.reaches(there, b"allowed again")
        assert await there.reaches(here, b"and answered")


@pytest.mark.parametrize("name", ["b", "c"])
async def test_an_error_that_passes_by_itself_does_not_bring_back_the_flow_that_it_is_about(
    guests: Guests, name: str
) -> None:
    ssh, pings = SecurityRule(IN, V4, TCP, 22), SecurityRule(IN, V4, ICMP)
    await guests.set_rules(*EVERYTHING_OUT, ssh, pings)
    server, address = {"b": (guests.b, "10.10.0.12"), "c": (guests.c, "10.10.0.13")}[name]
    connection = await connect(guests.a, server, address, 22)
    assert await connection.carries(b"1")
    await guests.set_rules(*EVERYTHING_OUT, pings)
    ends = socket.inet_aton(address) + socket.inet_aton("10.10.0.11")
    quoted = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, TCP, 0) + ends
    quoted += struct.pack("!HHI", 22, connection.client.getsockname()[1], 1)
    assert await guests.a.pings(address)
    for _ in range(2):
        assert not await connection.carries(b"2")
        with inside(guests.a.namespace, _icmp) as raw:
            raw.sendto(_unreachable(quoted), (address, 0))
    assert not await connection.carries(b"3")
    assert not await connection.carries(b"4", answer=True)


def _icmp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def _unreachable(quoted: bytes) -> bytes:
    """Return an ICMP message that says of a packet that nobody listens at its port."""
    words = struct.unpack(f"!{len(quoted) // 2}H", quoted)
    total = 0x0303 + sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHI", 3, 3, ~total & 0xFFFF, 0) + quoted


async def test_a_port_that_leaves_a_group_loses_what_the_group_allowed(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, TCP, remote_group="allow-all"))
    connection = await connect(guests.a, guests.b, "10.10.0.12", 80)
    assert await connection.carries(b"1")
    await guests.set_port(replace(guests.port("b"), security_groups=()))
    assert not await connection.carries(b"2")
    await guests.set_port(replace(guests.port("b"), security_groups=("web",)))
    await eventually(lambda: connection.carries(b"3"))  # TCP asks again what was lost after up to some seconds
    await guests.set_port(replace(guests.port("a"), security_groups=("allow-all", "web")))
    assert await connection.carries(b"4"), "it still is in the group that the rule names"


async def test_flows_of_a_port_that_is_gone_are_gone(guests: Guests) -> None:
    host, zone = guests.lab.one, _zone(guests.lab.one)
    assert await guests.c.pings("10.10.0.11")
    assert await guests.b.pings("10.10.0.11")
    assert {flow.source for flow in _flows(host, zone)} >= {"10.10.0.12", "10.10.0.13"}
    guests.c.unplug()
    await host.driver.unplug("c")
    await guests.apply(replace(guests.network, ports=guests.network.ports[:2]))
    sources = {flow.source for flow in _flows(host, zone)}
    assert "10.10.0.13" not in sources
    assert "10.10.0.12" in sources


@pytest.mark.parametrize("interlude", ["sweep", "restart", "nothing"])
async def test_a_port_inherits_no_flow_of_the_one_that_had_its_address(guests: Guests, interlude: str) -> None:
    host, peer = guests.lab.one, datagrams(guests.a, "10.10.0.11", 5000)
    former = datagrams(guests.c, "10.10.0.13", 5000)
    assert await former.reaches(peer)
    assert await peer.reaches(former)
    successor = dual_stack("d", 13, host, "web")
    described = replace(guests.network, ports=(*guests.network.ports[:2], successor))
    guests.c.unplug()
    if interlude == "sweep":
        await host.driver._sweep()
    if interlude == "restart":
        await host.driver.close()
        await host.start()
    if interlude != "nothing":
        await host.driver.apply(replace(described, ports=described.ports[:2]))
    d = await boot(host, described, "d")
    await guests.a.run("ip", "neigh", "flush", "all")
    there = datagrams(d, "10.10.0.13", 5000)
    assert not await peer.reaches(there)
    assert await there.reaches(peer)
    assert await peer.reaches(there, b"answer")


async def test_an_api_that_forgot_the_guests_of_a_host_silences_none_of_them(guests: Guests) -> None:
    forgotten = tuple(port for port in guests.network.ports if port.host == "h2")
    described = replace(guests.network, ports=forgotten, serves_guests=False, keep_unknown=True)
    await guests.lab.one.driver.apply(described)
    assert await guests.c.pings("10.10.0.11")
    assert await guests.b.pings("10.10.0.11")
    assert not await guests.a.pings("10.10.0.13")


async def test_flows_of_a_network_that_is_gone_are_gone(guests: Guests) -> None:
    host, zone = guests.lab.one, _zone(guests.lab.one)
    assert await guests.c.pings("10.10.0.11")
    assert _flows(host, zone)
    await host.driver.remove("network-1")
    assert not _flows(host, zone)


async def test_flows_of_networks_with_the_same_addresses_never_meet(guests: Guests) -> None:
    lab = guests.lab
    other = replace(
        network(2, port("x", "10.10.0.11", lab.one, groups=()), port("y", "10.10.0.13", lab.one, groups=())),
        security_groups=(),
    )
    x, y = await boot(lab.one, other, "x"), await boot(lab.one, other, "y")
    there = datagrams(guests.c, "10.10.0.13", 5000)
    here = datagrams(guests.a, "10.10.0.11", 5000)
    assert await there.reaches(here)
    assert await here.reaches(there)
    asked, asking = datagrams(y, "10.10.0.13", 5000), datagrams(x, "10.10.0.11", 5000)
    assert not await asking.reaches(asked), "the same flow is allowed in the other network, and only there"
    assert not await asked.reaches(asking)


async def test_a_restart_of_the_driver_keeps_flows_and_numbers(guests: Guests) -> None:
    connection = await connect(guests.b, guests.a, "10.10.0.11", 80)
    host = guests.lab.one
    before = host.in_tenants("nft", "list", "maps", "inet")
    await host.driver.close()
    assert await connection.carries(b"while nobody looks")
    await host.start()
    await host.driver.apply(guests.network)
    assert await connection.carries(b"and after")
    assert await connection.carries(b"both ways", answer=True)
    assert host.in_tenants("nft", "list", "maps", "inet") == before
    worker = host.driver._worker
    assert not await host.driver._run(lambda: worker.plan(guests.network))


async def test_a_rule_that_went_while_the_driver_was_away_cuts_its_flows(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, TCP, 22))
    connection = await connect(guests.a, guests.b, "10.10.0.12", 22)
    await guests.lab.two.driver.close()
    await guests.lab.two.start()
    await guests.set_rules(*EVERYTHING_OUT)
    assert not await connection.carries(b"more")


def _zone(host: Host) -> int:
    numbers = host.driver._worker._kernel.tables._numbering.networks
    return numbers.number(network_names("network-1", "nephos").bridge)


def _flows(host: Host, zone: int) -> list[Flow]:
    def read() -> list[Flow]:
        table = FlowTable()
        try:
            return [tracked.flow for tracked in table.flows(zone)]
        finally:
            table.close()

    return inside(host.tenants, read)
