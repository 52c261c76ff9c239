"""What a port may say by its address pairs, without port security, and switched off."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from contract.group_lab import EVERYTHING_OUT, ICMP, ICMPV6, IN, OUT, V4, V6, Guests
from contract.guest_sockets import connect, datagrams
from contract.network_lab import Host
from contract.waiting import eventually
from nephos_agent.network.filters import guard
from nephos_agent.network.model import (
    AddressPair,
    SecurityRule,
)
from nephos_agent.network.traffic import DropReason
from nephos_api.resources.security_group import Direction

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


async def test_a_port_may_use_the_addresses_that_its_pairs_name(guests: Guests) -> None:
    a = guests.port("a")
    await guests.a.run("ip", "neigh", "replace", "10.10.0.12", "lladdr", guests.b.mac, "dev", "eth0")
    for address in ("10.10.0.100", "10.99.3.4"):
        await guests.a.run("ip", "addr", "add", f"{address}/32", "dev", "eth0")
        await guests.b.run("ip", "route", "replace", address, "dev", "eth0")
        await guests.b.run("ip", "neigh", "replace", address, "lladdr", a.mac, "dev", "eth0")
        assert not await guests.a.pings("10.10.0.12", "-I", address)
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, ICMP, remote_group="allow-all"))
    pairs = (
        AddressPair("10.10.0.100/32", a.mac),
        AddressPair("10.99.0.0/16", a.mac),
        AddressPair("10.99.3.0/24", a.mac),
    )
    await guests.set_port(replace(a, address_pairs=pairs))
    assert await guests.a.pings("10.10.0.12", "-I", "10.10.0.100"), "a single address is a member of the port's groups"
    assert not await guests.a.pings("10.10.0.12", "-I", "10.99.3.4"), "a whole network is not"
    assert await guests.b.pings("10.99.3.4")
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, ICMP, 8))
    await guests.set_port(replace(a, address_pairs=pairs, security_groups=("web",)))
    assert await guests.b.pings("10.99.3.4"), "by a rule that names the question alone"
    await guests.set_port(a)
    assert not await guests.b.pings("10.99.3.4")


async def test_an_address_that_several_ports_may_use_is_where_it_answers_on_whichever_host(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, ICMP), SecurityRule(IN, V6, ICMPV6))
    for uid in ("a", "b"):
        pairs = tuple(AddressPair(address, guests.port(uid).mac) for address in ("10.10.0.100", "fd00:10::100"))
        await guests.set_port(replace(guests.port(uid), address_pairs=pairs))
    for guest in (guests.b, guests.a):
        for address in ("10.10.0.100/32", "fd00:10::100/128"):
            await guest.run("ip", "addr", "add", address, "dev", "eth0", *(("nodad",) if ":" in address else ()))
        await guests.c.run("ip", "neigh", "flush", "all")
        assert await guests.c.pings("10.10.0.100")
        assert await guests.c.pings("fd00:10::100")
        _, neighbours = await guests.c.run("ip", "neigh", "show", "10.10.0.100")
        assert guest.mac in neighbours
        for address in ("10.10.0.100/32", "fd00:10::100/128"):
            await guest.run("ip", "addr", "del", address, "dev", "eth0")


async def test_a_port_without_port_security_is_found_by_any_address_on_whichever_host(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, ICMP), SecurityRule(IN, V6, ICMPV6))
    await guests.set_port(replace(guests.port("a"), security_groups=(), port_security=False))
    for address in ("10.10.0.200", "fd00:10::200"):
        await guests.a.run("ip", "addr", "add", address, "dev", "eth0", *(("nodad",) if ":" in address else ()))
        assert await guests.c.pings(address)
        assert await guests.b.pings(address)


async def test_a_port_may_use_the_macs_that_its_pairs_name(guests: Guests) -> None:
    virtual = "00:00:5e:00:01:07"
    await guests.set_port(replace(guests.port("a"), address_pairs=(AddressPair("10.10.0.100", virtual),)))
    await guests.a.run("ip", "link", "set", "eth0", "address", virtual)
    await guests.a.run("ip", "addr", "add", "10.10.0.100/24", "dev", "eth0")
    await guests.b.run("ip", "neigh", "replace", "10.10.0.100", "lladdr", virtual, "dev", "eth0")
    assert await guests.b.pings("10.10.0.100")


async def test_a_port_without_port_security_says_what_it_wants(guests: Guests) -> None:
    await guests.set_port(replace(guests.port("a"), security_groups=(), port_security=False))
    await guests.a.run("ip", "addr", "add", "10.10.0.77/24", "dev", "eth0")
    await guests.b.run("ip", "neigh", "replace", "10.10.0.77", "lladdr", guests.a.mac, "dev", "eth0")
    assert await guests.b.pings("10.10.0.77")
    assert await guests.b.pings("10.10.0.11")
    await guests.a.run("ip", "link", "set", "eth0", "address", "52:54:00:99:99:99")
    sender = datagrams(guests.a, "10.10.0.11", 4000)
    receiver = datagrams(guests.c, "10.10.0.13", 53)
    assert not await sender.reaches(receiver), "others are still filtered"
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4))
    assert await sender.reaches(receiver)


async def test_nothing_passes_a_port_that_is_switched_off(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4))
    connection = await connect(guests.a, guests.c, "10.10.0.13", 80)
    await guests.set_port(replace(guests.port("c"), is_enabled=False))
    assert not await connection.carries(b"1")
    assert not await connection.carries(b"2", answer=True)
    assert not await guests.c.pings("10.10.0.254")
    await guests.set_port(replace(guests.port("c"), is_enabled=True))
    await eventually(lambda: guests.c.pings("10.10.0.254"))
    await eventually(lambda: connection.carries(b"3"))  # TCP asks again what was lost after up to some seconds


async def test_what_is_dropped_is_counted_by_port_and_reason(guests: Guests) -> None:
    host = guests.lab.one
    await guests.set_rules(SecurityRule(OUT, V4, ICMP, 8))
    assert not await guests.a.pings("10.10.0.13")
    sender, receiver = datagrams(guests.c, "10.10.0.13", 4000), datagrams(guests.a, "10.10.0.11", 5000)
    assert not await sender.reaches(receiver)
    await guests.c.run("ip", "addr", "add", "10.10.0.99/24", "dev", "eth0")
    assert not await guests.c.pings("10.10.0.11", "-I", "10.10.0.99")
    drops = await _drops(host, "c")
    assert drops[IN, DropReason.NOT_ALLOWED] >= 1
    assert drops[OUT, DropReason.NOT_ALLOWED] >= 1
    assert drops[OUT, DropReason.SPOOFED] >= 1
    assert (await _drops(host, "a")).get((OUT, DropReason.NOT_ALLOWED), 0) == 0
    await guests.set_port(replace(guests.port("c"), is_enabled=False))
    assert not await guests.c.pings("10.10.0.11")
    assert max(count for (_, reason), count in (await _drops(host, "c")).items() if reason is DropReason.DISABLED) >= 1


async def test_a_guest_that_begins_flows_without_end_is_slowed_and_keeps_those_it_has(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await connect(guests.c, guests.a, "10.10.0.11", 80)
    host, chains = guests.lab.one, guard.skeleton()
    few = chains.replace("limit rate over 5000/second burst 20000 packets", "limit rate over 1/minute burst 5 packets")
    assert few != chains
    await host.driver.close()
    monkeypatch.setattr(guard, "skeleton", lambda: few)
    host.in_tenants("nft", "flush", "set", "inet", "nephos", "flows")
    await host.start()
    await host.driver.apply(guests.network)
    sender = datagrams(guests.c, "10.10.0.13", 4000)
    receivers = [datagrams(guests.a, "10.10.0.11", number) for number in range(5000, 5010)]
    heard = [receiver for receiver in receivers if await sender.reaches(receiver)]
    assert heard == receivers[:5]
    assert await sender.reaches(receivers[0], b"of a flow that is known")
    assert await connection.carries(b"on")
    assert sum(n for (_, reason), n in (await _drops(host, "c")).items() if reason is DropReason.TOO_MANY_FLOWS) == 5


async def _drops(host: Host, uid: str) -> dict[tuple[Direction, DropReason], int]:
    found = next(each for each in await host.driver.traffic() if each.port_uid == uid)
    return {(direction, reason): count for direction, reason, count in found.drops}
