"""Guests of one network that reach each other by a router: their packets cross the network's bridge twice."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace

import pytest

from contract.guest_sockets import SILENCE_S, Datagrams, connect, datagrams
from contract.network_lab import ALLOW_ALL, Guest, Lab, network, port
from contract.router_lab import router
from contract.waiting import assert_all_answered
from nephos_agent.network.model import HostNetwork, HostPort, HostSecurityGroup, PortAddress, SecurityRule
from nephos_agent.network.router.names import leg_mac
from nephos_api.resources.network import SubnetView
from nephos_api.resources.security_group import Direction, IPFamily

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")

IN, V4, V6 = Direction.INGRESS, IPFamily.IPV4, IPFamily.IPV6
TCP, UDP, ICMP = 6, 17, 1
SHUT = HostSecurityGroup("shut", frozenset())
ADDRESSES = {
    "a": ("10.10.0.11", "fd00:10::11"),
    "b": ("10.30.0.12", "fd00:30::12"),
    "c": ("10.30.0.13", "fd00:30::13"),
    "d": ("10.10.0.14", "fd00:10::14"),
}


@dataclass
class Guests:
    """``a`` may do everything; ``b`` (host two) and ``c`` are in the other subnet and, as ``d`` beside ``a``, shut."""

    lab: Lab
    network: HostNetwork
    by_name: dict[str, Guest]

    async def apply(self, described: HostNetwork) -> None:
        self.network = described
        for host in (self.lab.one, self.lab.two):
            await host.driver.apply(described)

    async def set_rules(self, *rules: SecurityRule) -> None:
        """Say what the group of those allows that are shut."""
        shut = replace(SHUT, rules=frozenset(rules))
        await self.apply(replace(self.network, security_groups=(ALLOW_ALL, shut)))

    def socket(self, name: str, number: int, family: IPFamily = V4) -> Datagrams:
        return datagrams(self.by_name[name], ADDRESSES[name][family is V6], number)


def _subnet(number: int) -> tuple[SubnetView, ...]:
    four, six = f"10.{number}.0", f"fd00:{number}::"
    return (
        SubnetView(
            name=f"four{number}",
            uid=f"four{number}",
            cidr=f"{four}.0/24",
            gateway=f"{four}.1",
            service_address=f"{four}.254",
            dhcp=False,
        ),
        SubnetView(
            name=f"six{number}",
            uid=f"six{number}",
            cidr=f"{six}/64",
            gateway=f"{six}1",
            service_address=f"{six}ffff",
            dhcp=False,
        ),
    )


def _port(name: str, lab: Lab, group: str) -> HostPort:
    four, six = ADDRESSES[name]
    made = port(name, four, lab.two if name == "b" else lab.one, groups=(group,))
    number = four.split(".")[1]
    return replace(made, addresses=(PortAddress(four, f"four{number}", 24), PortAddress(six, f"six{number}", 64)))


@pytest.fixture
async def guests(router_lab: Lab) -> Guests:
    ports = tuple(_port(name, router_lab, "allow-all" if name == "a" else "shut") for name in ADDRESSES)
    described = replace(network(1, *ports), subnets=(*_subnet(10), *_subnet(30)), security_groups=(ALLOW_ALL, SHUT))
    booted = {}
    for each in ports:
        host = router_lab.two if each.host == "h2" else router_lab.one
        guest = booted[each.uid] = await host.boot(described, each)
        for held in each.addresses:
            is_ipv6 = ":" in held.address
            nodad = ("nodad",) if is_ipv6 else ()
            await guest.run("ip", "addr", "add", f"{held.address}/{held.prefix_length}", "dev", "eth0", *nodad)
            way = f"fd00:{held.subnet_uid[3:]}::1" if is_ipv6 else f"10.{held.subnet_uid[4:]}.0.1"
            await guest.run("ip", "-6" if is_ipv6 else "-4", "route", "add", "default", "via", way)
    for host in (router_lab.one, router_lab.two):
        await host.driver.apply(described)
        await host.driver.apply_router(router(described))
    return Guests(router_lab, described, booted)


@pytest.mark.parametrize("is_open", [False, True], ids=["filtered", "without port security"])
async def test_a_guest_that_may_talk_to_nobody_cannot_help_anybody_to_talk_to_it_by_a_router(
    guests: Guests, is_open: bool
) -> None:
    if is_open:
        first, *others = guests.network.ports
        described = replace(guests.network, ports=(replace(first, port_security=False, security_groups=()), *others))
        await guests.apply(described)
    for family in IPFamily:
        a = guests.socket("a", 5000, family)
        for name in ("b", "c"):
            closed = guests.socket(name, 53, family)
            for message in (b"1", b"2"):
                assert not await a.reaches(closed, message)
                assert not await closed.reaches(a, message)


async def test_nor_by_sending_to_the_router_what_a_neighbour_should_get(guests: Guests) -> None:
    for name, other in (("a", "d"), ("d", "a")):
        mac = leg_mac("router-1", "network-1")
        await guests.by_name[name].run("ip", "neigh", "replace", ADDRESSES[other][0], "lladdr", mac, "dev", "eth0")
    a, closed = guests.socket("a", 5000), guests.socket("d", 53)
    for number in range(3):
        assert not await a.reaches(closed, b"%d" % number)
        assert not await closed.reaches(a, b"back %d" % number)
    await guests.set_rules(SecurityRule(IN, V4, UDP, 53))
    assert await a.reaches(closed, b"allowed")
    assert await closed.reaches(a, b"answered")


async def test_nor_by_sending_to_anybody_else_what_is_addressed_to_it(guests: Guests) -> None:
    a, closed = guests.socket("a", 5000), guests.socket("d", 53)
    neighbour = ADDRESSES["d"][0]
    elsewhere = guests.by_name["b"].mac
    for number, mac in enumerate((elsewhere, guests.by_name["d"].mac, elsewhere, guests.by_name["d"].mac)):
        await guests.by_name["a"].run("ip", "neigh", "replace", neighbour, "lladdr", mac, "dev", "eth0")
        assert not await a.reaches(closed, b"%d" % number)
        assert not await closed.reaches(a, b"back %d" % number)


@pytest.mark.parametrize("family", IPFamily)
async def test_what_a_rule_allows_is_answered_by_the_router_too_and_nothing_else(
    guests: Guests, family: IPFamily
) -> None:
    ask, call = SecurityRule(IN, family, UDP, 53, remote_group="allow-all"), SecurityRule(IN, family, TCP, 80)
    a = guests.socket("a", 5000, family)
    for name in ("b", "c"):
        there = guests.socket(name, 53, family)
        assert not await a.reaches(there)
        await guests.set_rules(ask, call)
        for message in (b"1", b"2"):
            assert await a.reaches(there, message)
            assert await there.reaches(a, message)
        address = ADDRESSES[name][family is V6]
        connection = await connect(guests.by_name["a"], guests.by_name[name], address, 80)
        assert await connection.carries(b"1")
        assert await connection.carries(b"2", answer=True)
        with pytest.raises(TimeoutError):
            await connect(
                guests.by_name[name], guests.by_name["a"], ADDRESSES["a"][family is V6], 80, within_s=SILENCE_S
            )
        await guests.set_rules(call)
        assert not await a.reaches(there, b"cut")
        assert not await there.reaches(a, b"and no answer")
        assert await connection.carries(b"3", answer=True)
        await guests.set_rules()
        assert not await connection.carries(b"4")
        assert not await connection.carries(b"5", answer=True)


async def test_no_answer_is_lost_between_two_ways_over_one_bridge(guests: Guests) -> None:
    await guests.set_rules(SecurityRule(IN, V4, ICMP))
    pings = [guests.by_name["a"].run("ping", "-i0.002", "-c300", ADDRESSES[name][0]) for name in ("b", "c")]
    for _, output in await asyncio.gather(*pings):
        assert_all_answered(output, 300)
