"""Security groups, by real packets of guests on two hosts."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from dataclasses import dataclass, replace

import pytest

from contract.guest_sockets import SILENCE_S, connect, datagrams
from contract.network_lab import Guest, Host, Lab, eventually, inside, network, port
from nephos_agent.network.addresses import link_local
from nephos_agent.network.filters import guard
from nephos_agent.network.filters.cutting import Flow
from nephos_agent.network.linux import kernel as linux_kernel
from nephos_agent.network.linux.conntrack import FlowTable
from nephos_agent.network.linux.tables import Tables
from nephos_agent.network.model import (
    AddressPair,
    GroupMember,
    HostNetwork,
    HostPort,
    HostSecurityGroup,
    PortAddress,
    SecurityRule,
)
from nephos_agent.network.names import network_names
from nephos_agent.network.traffic import DropReason
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.security_group import Direction, IPFamily

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")

IN, OUT = Direction.INGRESS, Direction.EGRESS
V4, V6 = IPFamily.IPV4, IPFamily.IPV6
TCP, UDP, ICMP, ICMPV6, GRE, ESP, SCTP = 6, 17, 1, 58, 47, 50, 132
EVERYTHING_OUT = (SecurityRule(OUT, V4), SecurityRule(OUT, V6))


def group(uid: str, *rules: SecurityRule) -> HostSecurityGroup:
    return HostSecurityGroup(uid, frozenset(rules))


def with_groups(described: HostNetwork, *groups: HostSecurityGroup) -> HostNetwork:
    return replace(described, security_groups=(*network(1).security_groups, *groups))


@dataclass
class Guests:
    """Guests on one network: ``a`` and ``c`` on host one, ``b`` on host two; ``b`` has the group ``web``."""

    lab: Lab
    network: HostNetwork
    a: Guest
    b: Guest
    c: Guest

    async def apply(self, described: HostNetwork) -> None:
        self.network = described
        for host in (self.lab.one, self.lab.two):
            await host.driver.apply(described)

    async def set_rules(self, *rules: SecurityRule) -> None:
        await self.apply(with_groups(self.network, group("web", *rules)))

    async def set_port(self, changed: HostPort) -> None:
        ports = tuple(changed if port.uid == changed.uid else port for port in self.network.ports)
        await self.apply(replace(self.network, ports=ports))

    def port(self, uid: str) -> HostPort:
        return next(port for port in self.network.ports if port.uid == uid)


async def boot(host: Host, described: HostNetwork, uid: str) -> Guest:
    """Start a guest that has its addresses already."""
    its = next(port for port in described.ports if port.uid == uid)
    guest = await host.boot(described, its)
    for held in its.addresses:
        await guest.run("ip", "addr", "add", f"{held.address}/{held.prefix_length}", "dev", "eth0", *_nodad(held))
    return guest


def _nodad(held: PortAddress) -> tuple[str, ...]:
    return ("nodad",) if ":" in held.address else ()


def dual_stack(uid: str, number: int, host: Host, *groups: str) -> HostPort:
    made = port(uid, f"10.10.0.{number}", host, groups=groups)
    return replace(made, addresses=(*made.addresses, PortAddress(f"fd00:10::{number}", "subnet-6", 64)))


@pytest.fixture
async def guests(lab: Lab) -> Guests:
    described = with_groups(
        network(
            1,
            dual_stack("a", 11, lab.one, "allow-all"),
            dual_stack("b", 12, lab.two, "web"),
            dual_stack("c", 13, lab.one, "web"),
        ),
        group("web", *EVERYTHING_OUT),
    )
    a = await boot(lab.one, described, "a")
    b = await boot(lab.two, described, "b")
    c = await boot(lab.one, described, "c")
    return Guests(lab, described, a, b, c)


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
            await connect(guests.a, guest, address, 80)


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
        assert await _hears_bytes(receiver, 20 + len(packet)) == expected, protocol


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
        await connect(guests.a, guests.b, "fd00:10::12", 80)


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


async def test_a_port_that_leaves_a_group_loses_what_the_group_allowed(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, TCP, remote_group="allow-all"))
    connection = await connect(guests.a, guests.b, "10.10.0.12", 80)
    assert await connection.carries(b"1")
    await guests.set_port(replace(guests.port("b"), security_groups=()))
    assert not await connection.carries(b"2")
    await guests.set_port(replace(guests.port("b"), security_groups=("web",)))
    assert await connection.carries(b"3")
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


async def test_a_network_that_is_gone_leaves_no_element(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, TCP, 22, remote_group="web"), SecurityRule(IN, V6))
    await guests.set_port(replace(guests.port("a"), address_pairs=(AddressPair("10.99.0.0/16", guests.a.mac),)))
    host = guests.lab.one
    for uid, guest in (("a", guests.a), ("c", guests.c)):
        guest.unplug()
        await host.driver.unplug(uid)
    await host.driver.remove("network-1")
    assert host.driver._worker._kernel.tables.read_elements() == frozenset()


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


async def test_one_rule_more_is_one_transaction_of_one_element(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[str] = []
    commit = Tables._commit

    def recording(tables: Tables, commands: str) -> None:
        commits.append(commands)
        commit(tables, commands)

    monkeypatch.setattr(Tables, "_commit", recording)
    await guests.lab.two.driver.apply(
        with_groups(guests.network, group("web", *EVERYTHING_OUT, SecurityRule(IN, V4, TCP, 22)))
    )
    assert len(commits) == 1
    assert commits[0].count("concat") == 1


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


@pytest.mark.parametrize(
    "older",
    [
        "set bridge nephos port_mac { type ifname; }",
        "set bridge nephos pair_ipv4 { type ifname . ether_addr . ipv4_addr; }",
        "map bridge nephos port_mac { type ifname : mark; }",
        "set bridge nephos role { type ifname; }",
        "map inet nephos member_ipv4 { type ipv4_addr : mark; }",
        "chain bridge nephos incoming { type filter hook prerouting priority 7; }",
        "chain bridge nephos incoming",
        "chain bridge nephos from_port { type filter hook input priority 7; }",
    ],
)
async def test_filters_that_an_older_agent_made_otherwise_are_made_anew(lab: Lab, older: str) -> None:
    await lab.one.driver.close()
    for family in guard.FAMILIES:
        lab.one.in_tenants("nft", f"delete table {family} nephos; add table {family} nephos")
    lab.one.in_tenants("nft", f"add {older}")
    await lab.one.start()
    await lab.one.driver._sweep()
    assert "type ifname . ether_addr" in lab.one.in_tenants("nft", "list", "set", "bridge", "nephos", "port_mac")


async def test_filters_stay_where_the_kernel_refuses_to_load_them_for_another_reason(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = guests.lab.one
    before = host.in_tenants("nft", "list", "maps", "inet")
    answers = iter(["add set inet nephos port_mac { flags unknown; }", guard.skeleton()])
    with monkeypatch.context() as patch:
        patch.setattr(guard, "skeleton", lambda: next(answers))
        with pytest.raises(TemporaryFault):
            await host.driver._sweep()
        assert host.in_tenants("nft", "list", "maps", "inet") == before
        await host.driver._sweep()
    assert host.changed == []
    assert await guests.c.pings("10.10.0.11")


async def test_a_rule_that_went_while_the_driver_was_away_cuts_its_flows(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, TCP, 22))
    connection = await connect(guests.a, guests.b, "10.10.0.12", 22)
    await guests.lab.two.driver.close()
    await guests.lab.two.start()
    await guests.set_rules(*EVERYTHING_OUT)
    assert not await connection.carries(b"more")


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
    assert await connection.carries(b"3")


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


async def _drops(host: Host, uid: str) -> dict[tuple[Direction, DropReason], int]:
    found = next(each for each in await host.driver.traffic() if each.port_uid == uid)
    return {(direction, reason): count for direction, reason, count in found.drops}


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


async def test_where_bridged_packets_are_kept_from_the_filters_nothing_passes_and_the_sweep_repairs_it(
    guests: Guests,
) -> None:
    host = guests.lab.two
    assert await guests.b.pings("10.10.0.11")
    bridge = network_names(guests.network.uid, "nephos").bridge
    host.in_tenants("ip", "link", "set", bridge, "type", "bridge", "nf_call_iptables", "0", "nf_call_ip6tables", "0")
    assert not await guests.b.pings("10.10.0.11")
    assert not await guests.a.pings("10.10.0.12")
    assert not await guests.a.pings("fd00:10::12")
    host.changed.clear()
    await host.driver._sweep()
    assert host.changed == [guests.network.uid]
    await host.driver.apply(guests.network)
    assert await guests.b.pings("10.10.0.11")
    assert not await guests.a.pings("10.10.0.12")


async def test_a_kernel_that_shows_no_bridged_packets_to_the_filters_is_refused(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.one.driver.close()
    with monkeypatch.context() as patch:
        patch.setattr(linux_kernel, "_BRIDGE_SYSCTLS", "/proc/sys/net/nothing")
        with pytest.raises(PermanentFault, match="modprobe br_netfilter"):
            await lab.one.start()
    await lab.one.start()


@pytest.mark.parametrize(
    "sabotage",
    [
        ("nft", "delete", "table", "inet", "nephos"),
        ("nft", "flush", "set", "inet", "nephos", "egress_ipv4"),
        ("nft", "flush", "map", "inet", "nephos", "device_zone"),
        ("nft", "flush", "map", "bridge", "nephos", "device_mark"),
        ("nft", "flush", "chain", "inet", "nephos", "to_port"),
    ],
    ids=" ".join,
)
async def test_rules_that_somebody_breaks_are_told_and_repaired(guests: Guests, sabotage: tuple[str, ...]) -> None:
    host = guests.lab.two
    host.changed.clear()
    host.in_tenants(*sabotage)

    async def told() -> bool:
        return bool(host.changed)

    await eventually(told)
    await host.driver.apply(guests.network)
    assert await guests.b.pings("10.10.0.11")
    assert not await guests.a.pings("10.10.0.12")


@pytest.mark.parametrize(
    ("family", "source", "target"), [(V4, "10.10.0.11", "10.10.0.12"), (V6, "fd00:10::11", "fd00:10::12")]
)
async def test_fragments_are_judged_as_the_packet_that_they_are_of(
    guests: Guests, family: IPFamily, source: str, target: str
) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, family, UDP, 53))
    sender = datagrams(guests.a, source, 4000)
    for number, expected in ((53, True), (54, False)):
        receiver = datagrams(guests.b, target, number)
        sender.socket.sendto(b"x" * 4000, receiver.socket.getsockname())
        assert await _hears_bytes(receiver.socket, 4000) == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("3c 00", "3a 00 01 04 00 00 00 00 | 86 00 00 00 00 00 07 08 00 00 00 00 00 00 00 00"),
        ("3c 00", "3a 00 01 04 00 00 00 00 | 89 00 00 00 00 00 00 00 {stranger} {stranger}"),
        ("3c 00", "3a 00 01 04 00 00 00 00 | 88 00 00 00 60 00 00 00 {stranger}"),
        ("3a 00", "88 00 00 00 60 00 00 00 | {stranger}"),
        ("3c 00", "11 00 01 04 00 00 00 00 | 02 23 02 22 00 10 00 00 07 00 00 00 00 00 00 00"),
    ],
    ids=["router advertisement", "redirect", "neighbour advertisement", "cut advertisement", "DHCPv6 server"],
)
async def test_what_no_guest_may_say_it_may_not_say_in_fragments_either(
    guests: Guests, first: str, second: str
) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V6))
    parts = second.format(stranger=socket.inet_pton(socket.AF_INET6, "fd00:10::1").hex()).split("|")
    fine = "0f a0 00 35 00 10 00 00", "66 69 6e 65 00 00 00 00"
    speaker, hearer = (inside(guest.namespace, _frames) for guest in (guests.a, guests.c))
    guests.a.sockets += [speaker, hearer]
    header = bytes.fromhex(first)[:1]
    for number, (kind, said) in enumerate(((header, parts), (b"\x11", fine)), start=1):
        for frame in _in_fragments(guests, kind, *map(bytes.fromhex, said), number=number):
            speaker.send(frame)
    heard = [await _next_from(hearer, guests.a.mac)]
    while b"fine" not in heard[-1]:
        heard.append(await _next_from(hearer, guests.a.mac))
    assert not [frame.hex() for frame in heard if bytes.fromhex(parts[1]) in frame]


def _frames() -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
    opened.bind(("eth0", 0x86DD))
    opened.setblocking(False)
    return opened


def _in_fragments(guests: Guests, kind: bytes, first: bytes, second: bytes, *, number: int) -> list[bytes]:
    """Return frames from a to c: what begins with a header of that kind, cut in two."""
    macs = b"".join(bytes.fromhex(guest.mac.replace(":", "")) for guest in (guests.c, guests.a))
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, each) for each in ("fd00:10::11", "fd00:10::13"))
    frames = []
    for part, offset, more in ((first, 0, 1), (second, len(first), 0)):
        fragment = kind + b"\0" + struct.pack("!HI", offset | more, number) + part
        frames.append(macs + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(fragment), 44, 255) + addresses + fragment)
    return frames


async def _next_from(hearer: socket.socket, mac: str) -> bytes:
    async with asyncio.timeout(5):
        while True:
            frame = await asyncio.get_running_loop().sock_recv(hearer, 2048)
            if frame[6:12] == bytes.fromhex(mac.replace(":", "")):
                return frame


async def test_only_the_group_of_dhcpv6_servers_is_asked_without_a_rule(guests: Guests) -> None:
    await guests.set_rules()
    receiver = datagrams(guests.a, "fd00:10::11", 547)
    assert not await datagrams(guests.c, "fd00:10::13", 546).reaches(receiver)
    await guests.set_rules(*EVERYTHING_OUT)
    assert await datagrams(guests.c, "fd00:10::13", 545).reaches(receiver)


async def _hears_bytes(receiver: socket.socket, size: int) -> bool:
    try:
        async with asyncio.timeout(SILENCE_S):
            return len(await asyncio.get_running_loop().sock_recv(receiver, 65_536)) == size
    except TimeoutError:
        return False
