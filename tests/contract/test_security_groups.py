"""Security groups, by real packets of guests on two hosts."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import replace

import pytest

from contract.group_lab import ESP, EVERYTHING_OUT, GRE, ICMP, ICMPV6, IN, OUT, SCTP, TCP, UDP, V4, V6, Guests
from contract.guest_sockets import SILENCE_S, connect, datagrams, hears_bytes
from contract.network_lab import Guest, Lab, inside, network, port
from contract.waiting import eventually
from nephos_agent.network.addresses import link_local
from nephos_agent.network.model import (
    AddressPair,
    GroupMember,
    SecurityRule,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


async def test_nothing_comes_in_that_no_rule_allows_and_answers_always_do(guests: Guests) -> None:
    here = datagrams(guests.a, "10.10.0.11", 5000)
    for guest, address in ((guests.b, "10.10.0.12"), (guests.c, "10.10.0.13")):
        assert not await guests.a.pings(address)
        assert await guest.pings("10.10.0.11")
        there = datagrams(guest, address, 5000)
        assert not await here.reaches(there, b"unasked")
        assert await there.reaches(here, b"question")
        assert await here.reaches(there, b"answer")
        await connect(guest, guests.a, "10.10.0.11", 80)
        with pytest.raises(TimeoutError):
            await connect(guests.a, guest, address, 80, within_s=SILENCE_S)


@pytest.mark.parametrize(
    ("rule", "passes", "is_refused"),
    [
        (SecurityRule(IN, V4, UDP, 53), 53, 54),
        (SecurityRule(IN, V4, UDP, 50, 60), 60, 61),
        (SecurityRule(IN, V4, UDP, 53, 53, "10.10.0.8/29"), 53, 54),
        (SecurityRule(IN, V4, UDP), 9, None),
        (SecurityRule(IN, V4), 9, None),
        (SecurityRule(IN, V4, UDP, 53, 53, "10.10.0.16/28"), None, 53),
        (SecurityRule(IN, V6, UDP), None, 53),
        (SecurityRule(IN, V4, TCP), None, 53),
        (SecurityRule(IN, V4, UDP, 53, remote_group="allow-all"), 53, 54),
        (SecurityRule(IN, V4, remote_group="web"), None, 53),
    ],
    ids=repr,
)
async def test_what_comes_in_is_what_a_rule_says(
    guests: Guests, rule: SecurityRule, passes: int | None, is_refused: int | None
) -> None:
    await guests.set_rules(*EVERYTHING_OUT, rule)
    sender = datagrams(guests.a, "10.10.0.11", 4000)
    for guest, address in ((guests.b, "10.10.0.12"), (guests.c, "10.10.0.13")):
        for number, expected in ((passes, True), (is_refused, False)):
            if number is not None:
                receiver = datagrams(guest, address, number)
                assert await sender.reaches(receiver) == expected


async def test_what_goes_out_is_what_a_rule_says(guests: Guests) -> None:
    await guests.set_rules(
        SecurityRule(OUT, V4, UDP, 53, 53, "10.10.0.11/32"), SecurityRule(OUT, V4, ICMP, 8, remote_group="allow-all")
    )
    receivers = {number: datagrams(guests.a, "10.10.0.11", number) for number in (53, 54)}
    for guest, address, other in ((guests.b, "10.10.0.12", "10.10.0.13"), (guests.c, "10.10.0.13", "10.10.0.12")):
        sender = datagrams(guest, address, 4000)
        assert await sender.reaches(receivers[53])
        assert not await sender.reaches(receivers[54])
        assert await guest.pings("10.10.0.11")
        assert not await guest.pings(other)


async def test_a_type_of_icmp_is_allowed_by_itself(guests: Guests) -> None:
    await guests.set_rules(SecurityRule(IN, V4, ICMP, 13))
    assert not await guests.a.pings("10.10.0.12")
    await guests.set_rules(SecurityRule(IN, V4, ICMP, 8, 0))
    assert await guests.a.pings("10.10.0.12")


async def test_other_protocols_are_known_by_their_numbers(guests: Guests) -> None:
    await guests.set_rules(SecurityRule(IN, V4, SCTP, 7000), SecurityRule(IN, V4, GRE))
    for protocol, packet, expected in (
        (GRE, bytes(12), True),
        (SCTP, struct.pack("!HH8x", 4000, 7000), True),
        (SCTP, struct.pack("!HH8x", 4000, 7001), False),
        (ESP, bytes(12), False),
    ):
        sender, receiver = (_raw(guest, protocol) for guest in (guests.a, guests.b))
        sender.sendto(packet, ("10.10.0.12", 0))
        assert await hears_bytes(receiver, 20 + len(packet)) == expected, protocol


def _raw(guest: Guest, protocol: int) -> socket.socket:
    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
        made.setblocking(False)
        return made

    guest.sockets.append(inside(guest.namespace, make))
    return guest.sockets[-1]


async def test_ipv6_is_filtered_as_ipv4_is(guests: Guests) -> None:
    sender = datagrams(guests.a, "fd00:10::11", 4000)
    receiver = datagrams(guests.b, "fd00:10::12", 53)
    assert not await sender.reaches(receiver)
    assert not await guests.a.pings("fd00:10::12")
    assert await guests.b.pings("fd00:10::11"), "neighbour discovery passes, and what was asked for comes in"
    await guests.set_rules(
        *EVERYTHING_OUT,
        SecurityRule(IN, V6, UDP, 53, 53, "fd00:10::/64"),
        SecurityRule(IN, V6, ICMPV6, 128, remote_group="allow-all"),
    )
    assert await sender.reaches(receiver)
    assert await guests.a.pings("fd00:10::12")
    await eventually(lambda: guests.a.pings(f"{link_local(guests.b.mac)}%eth0"))
    await connect(guests.b, guests.a, "fd00:10::11", 80)
    with pytest.raises(TimeoutError):
        await connect(guests.a, guests.b, "fd00:10::12", 80, within_s=SILENCE_S)


async def test_members_of_a_group_come_and_go(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, ICMP, remote_group="web"))
    assert await guests.c.pings("10.10.0.12")
    assert await guests.b.pings("10.10.0.13")
    assert not await guests.a.pings("10.10.0.12")
    await guests.set_port(replace(guests.port("a"), security_groups=("allow-all", "web")))
    assert await guests.a.pings("10.10.0.12")
    await guests.set_port(replace(guests.port("a"), security_groups=("allow-all",)))
    assert not await guests.a.pings("10.10.0.12")


async def test_two_ports_that_claim_one_address_keep_nobody_else_from_being_filtered(guests: Guests) -> None:
    claim = replace(guests.port("b"), uid="d", mac="52:54:00:00:00:dd", security_groups=("allow-all",))
    await guests.apply(replace(guests.network, ports=(*guests.network.ports, claim)))
    for host in (guests.lab.one, guests.lab.two):
        await host.driver._sweep()
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, ICMP))
    assert await guests.a.pings("10.10.0.13")
    await guests.apply(replace(guests.network, ports=guests.network.ports[:-1]))
    assert await guests.a.pings("10.10.0.13")


async def test_a_member_behind_a_router_is_known_by_its_address(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, UDP, remote_group="far"))
    pair = (AddressPair("10.20.0.5", guests.port("a").mac),)
    await guests.set_port(replace(guests.port("a"), address_pairs=pair))
    await guests.a.run("ip", "addr", "add", "10.20.0.5/32", "dev", "eth0")
    sender, receiver = datagrams(guests.a, "10.20.0.5", 4000), datagrams(guests.b, "10.10.0.12", 53)
    assert not await sender.reaches(receiver)
    await guests.apply(replace(guests.network, routed_members=(GroupMember("10.20.0.5", ("far", "x")),)))
    assert not await sender.reaches(receiver), "an address that a port here may use is of that port's groups"
    await guests.set_port(replace(guests.port("a"), security_groups=(), port_security=False, address_pairs=()))
    assert await sender.reaches(receiver)


async def test_a_port_without_any_group_gets_addresses_and_metadata_and_nothing_else(lab: Lab) -> None:
    described = network(1, port("a", "10.10.0.11", lab.one, groups=()), port("b", "10.10.0.12", lab.one))
    a = await lab.one.boot(described, described.ports[0])
    b = await lab.one.boot(described, described.ports[1])
    assert (await a.dhcp())["ip"] == "10.10.0.11"
    await b.dhcp()
    code, _ = await a.run("curl", "-sf", "-m2", "http://169.254.169.254/openstack")
    assert code == 0
    assert "10.10.0.12" in await a.resolve("b", "10.10.0.254")
    assert not await a.pings("10.10.0.12")
    assert not await b.pings("10.10.0.11")


async def test_only_the_group_of_dhcpv6_servers_is_asked_without_a_rule(guests: Guests) -> None:
    await guests.set_rules()
    receiver = datagrams(guests.a, "fd00:10::11", 547)
    assert not await datagrams(guests.c, "fd00:10::13", 546).reaches(receiver)
    await guests.set_rules(*EVERYTHING_OUT)
    assert await datagrams(guests.c, "fd00:10::13", 545).reaches(receiver)
