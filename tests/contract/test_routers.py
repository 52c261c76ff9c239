"""What every network driver does with routers, and what the Linux one does to packets between two hosts."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from contract.guest_sockets import datagrams
from contract.network_lab import Guest, Host, Lab, inside, network, port
from contract.router_lab import (
    FAR_AWAY,
    INTERNET,
    INTERNET_IPV6,
    PUBLIC,
    ROUTER_ADDRESS,
    ROUTER_IPV6,
    Cloud,
    Outside,
    build_cloud,
    floating,
    gateway,
    public_network,
    router,
    running_lab,
)
from contract.waiting import assert_all_answered, eventually
from nephos_agent.launcher.protocol import Unit
from nephos_agent.network.linux import namespaces
from nephos_agent.network.linux.announce import packet_socket
from nephos_agent.network.linux.router_kernel import RouterKernel
from nephos_agent.network.memory import MemoryNetwork
from nephos_agent.network.model import (
    AddressPair,
    GroupMember,
    HostNetwork,
    HostSecurityGroup,
    PortAddress,
    SecurityRule,
)
from nephos_agent.network.names import network_names
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.network.router.names import inner_name, leg_mac, leg_name, router_names
from nephos_api.errors import TemporaryFault
from nephos_api.resources.network import HostRoute, IPv6Mode, SubnetView
from nephos_api.resources.security_group import Direction, IPFamily

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


# Both drivers


@pytest.fixture(params=["linux", "memory"])
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NetworkDriver]:
    if request.param == "memory":
        twin = MemoryNetwork("h1")
        await twin.start(lambda _uid: None)
        yield twin
        return
    async with running_lab(tmp_path) as lab:
        yield lab.one.driver


async def test_routers_are_listed_until_they_are_removed(driver: NetworkDriver) -> None:
    for number in (1, 2):
        await driver.apply(network(number, cidr=f"10.{number}.0.0/24"))
        await driver.apply_router(router(network(number, cidr=f"10.{number}.0.0/24"), uid=f"router-{number}"))
    assert await driver.routers() == {"router-1", "router-2"}
    assert await driver.networks() == {"network-1", "network-2"}
    for _ in range(2):
        await driver.remove_router("router-1")
    assert await driver.routers() == {"router-2"}


async def test_a_router_waits_for_its_networks(driver: NetworkDriver) -> None:
    with pytest.raises(TemporaryFault, match="network-1"):
        await driver.apply_router(router(network(1)))
    await driver.apply(network(1))
    for _ in range(3):
        await driver.apply_router(router(network(1)))
    assert await driver.routers() == {"router-1"}
    assert await driver.answering("router-1") == frozenset()
    assert await driver.answering("router-2") == frozenset()


# The Linux driver: real packets


async def test_a_router_joins_networks_on_one_host_and_across_hosts(cloud: Cloud) -> None:
    a, b = cloud.guests["a"], cloud.guests["b"]
    assert not await a.pings("10.20.0.14")
    await cloud.carry(cloud.router())
    for address in ("10.20.0.14", "10.20.0.12", "10.10.0.1", "10.20.0.1"):
        assert await a.pings(address)
    for address in ("10.10.0.11", "10.10.0.13"):
        assert await b.pings(address)


async def test_a_router_is_a_hop_and_says_so(cloud: Cloud) -> None:
    await cloud.carry(cloud.router())
    _, output = await cloud.guests["a"].run("ping", "-c1", "-W1", "-t1", "10.20.0.12")
    assert "From 10.10.0.1" in output
    assert "Time to live exceeded" in output
    _, output = await cloud.guests["a"].run("ping", "-c1", "-W1", "10.20.0.12")
    assert "ttl=63" in output


async def test_a_router_says_which_size_fits_a_network_of_smaller_frames(router_lab: Lab) -> None:
    cloud = await build_cloud(router_lab, red_mtu=1300)
    await cloud.carry(cloud.router())
    _, output = await cloud.guests["a"].run("ping", "-c1", "-W1", "-M", "do", "-s", "1400", "10.20.0.12")
    assert "mtu = 1300" in output or "mtu=1300" in output, output
    assert await cloud.guests["a"].pings("10.20.0.12", "-M", "do", "-s", str(1300 - 28))


async def test_a_gateway_has_one_mac_on_every_host_and_its_arp_stays_there(cloud: Cloud) -> None:
    await cloud.carry(cloud.router())
    tunnel = network_names("network-1", "nephos").vxlan
    with inside(cloud.lab.one.tenants, lambda: packet_socket(tunnel)) as watcher:
        for name in ("a", "c"):
            guest = cloud.guests[name]
            await guest.run("ip", "neigh", "flush", "all")
            assert await guest.pings("10.10.0.1")
            _, neighbours = await guest.run("ip", "neigh", "show", "10.10.0.1")
            assert leg_mac("router-1", "network-1") in neighbours
        with pytest.raises(BlockingIOError):
            watcher.recv(2048)


async def test_two_subnets_of_one_network_are_two_addresses_of_one_leg(router_lab: Lab) -> None:
    host = router_lab.one
    first, second = port("a", "10.10.0.11", host), port("e", "10.30.0.11", host, "subnet-3")
    both = network(1, first, second)
    more = SubnetView(
        name="more", uid="subnet-3", cidr="10.30.0.0/24", gateway="10.30.0.1", service_address="10.30.0.254"
    )
    both = replace(both, subnets=(*both.subnets, more))
    a = await host.boot(both, first)
    e = await host.boot(both, second)
    await host.driver.apply_router(router(both))
    await a.dhcp()
    await e.dhcp()
    assert await a.pings("10.30.0.11")
    assert await e.pings("10.10.0.11")


async def test_a_disabled_router_forwards_nothing_until_it_is_enabled(cloud: Cloud) -> None:
    await cloud.carry(replace(cloud.router(), is_enabled=False))
    assert not await cloud.guests["a"].pings("10.20.0.14")
    await cloud.carry(cloud.router())
    assert await cloud.guests["a"].pings("10.20.0.14")


@pytest.mark.parametrize("family", IPFamily)
async def test_who_sends_to_addresses_that_nobody_has_fills_no_table_of_the_host(
    router_lab: Lab, family: IPFamily
) -> None:
    is_ipv6 = family is IPFamily.IPV6
    one, two = (_one_port_network(number, router_lab.one, "allow-all", is_ipv6=is_ipv6) for number in (1, 2))
    for each in (one, two):
        await router_lab.one.driver.apply(each)
    guest = await _boot_with_address(router_lab.one, one)
    await router_lab.one.driver.apply_router(router(one, two))
    assert await guest.pings(str(two.subnets[0].gateway))
    sender = datagrams(guest, one.ports[0].addresses[0].address, 4000).socket
    prefix = two.ports[0].addresses[0].address.removesuffix("11")
    for number in range(20, 60):
        sender.sendto(b"is anybody there?", (f"{prefix}{number}", 53))
    given_up = "ip", "-6" if is_ipv6 else "-4", "neigh", "show", "nud", "failed"

    async def is_over() -> bool:
        return _in_router(router_lab, *given_up).count(prefix) == 40

    await eventually(is_over, timeout_s=2.5)  # the kernel's own way takes 3 s


async def test_a_port_that_joins_later_is_reached_by_the_router_and_one_that_left_is_not_known(cloud: Cloud) -> None:
    await cloud.carry(cloud.router())
    e = port("e", "10.20.0.15", cloud.lab.two, "subnet-2")
    before, cloud.red = cloud.red, replace(cloud.red, ports=(*cloud.red.ports, e))
    guest = await cloud.lab.two.boot(cloud.red, e)
    await cloud.carry(cloud.router())
    await guest.dhcp()
    assert await cloud.guests["a"].pings("10.20.0.15")
    cloud.red = before
    await cloud.carry(cloud.router())
    assert "10.20.0.15" not in _in_router(cloud.lab, "ip", "neigh")


async def test_an_api_that_forgot_takes_nothing_from_a_router(cloud: Cloud, internet: Outside) -> None:
    whole = cloud.router(gateway(cloud.lab.one))
    await cloud.carry(whole, {"h1": (floating(21, "10.10.0.11"),)})
    bare = replace(cloud.router(), neighbours=frozenset(), legs=cloud.router().legs[:1], keep_unknown=True)
    for host in (cloud.lab.one, cloud.lab.two):
        await host.driver.apply_router(bare)
    assert await cloud.guests["a"].pings("10.20.0.12")
    assert await cloud.guests["b"].pings(FAR_AWAY)
    assert await internet.pings("203.0.113.21")


async def test_an_extra_route_leads_by_a_next_hop_outside_from_every_host(cloud: Cloud, internet: Outside) -> None:
    way = replace(gateway(cloud.lab.one), next_hops=())
    await cloud.carry(cloud.router(way))
    for name in ("a", "b"):
        assert not await cloud.guests[name].pings(FAR_AWAY)
    await cloud.carry(replace(cloud.router(way), routes=(HostRoute(destination="198.51.100.0/24", next_hop=INTERNET),)))
    for name in ("a", "b"):
        assert await cloud.guests[name].pings(FAR_AWAY)


async def test_networks_with_the_same_addresses_behind_two_routers_never_meet(cloud: Cloud, internet: Outside) -> None:
    lab = cloud.lab
    await cloud.carry(cloud.router(gateway(lab.one)))
    other = network(3, port("x", "10.10.0.11", lab.one, "subnet-3"), port("y", "10.10.0.99", lab.two, "subnet-3"))
    other_way = replace(gateway(lab.two), addresses=("203.0.113.11/24",), transit_vni=7778)
    guests = {}
    for host, each in ((lab.one, other.ports[0]), (lab.two, other.ports[1])):
        guests[each.uid] = await host.boot(other, each)
        await host.driver.apply_router(router(other, uid="router-2", gateway=other_way))
        await guests[each.uid].dhcp()
    for guest in (*cloud.guests.values(), *guests.values()):
        assert await guest.pings(INTERNET)
    assert await guests["x"].pings("10.10.0.99")
    assert not await guests["x"].pings("10.20.0.12")
    assert not await cloud.guests["a"].pings("10.10.0.99")


async def test_ipv6_is_routed_and_the_router_says_that_it_is_one(router_lab: Lab, internet: Outside) -> None:
    hosts = (router_lab.one, router_lab.two)
    networks = []
    for number, host in enumerate(hosts, start=1):
        cidr = f"fd00:{number}::"
        subnet = SubnetView(
            name="six",
            uid=f"subnet-{number}",
            cidr=f"{cidr}/64",
            gateway=f"{cidr}1",
            service_address=f"{cidr}ffff",
            ipv6_mode=IPv6Mode.DHCPV6_STATEFUL,
        )
        local = replace(
            port(f"v{number}", f"{cidr}11", host), addresses=(PortAddress(f"{cidr}11", f"subnet-{number}", 64),)
        )
        networks.append(replace(network(number, local), subnets=(subnet,)))
    both = router(*networks, gateway=gateway(router_lab.one))
    guests = []
    for host in hosts:
        for each in (*networks, public_network()):
            await host.driver.apply(each)
        await host.driver.apply_router(both)
    for number, host in enumerate(hosts, start=1):
        guest = await host.boot(networks[number - 1], networks[number - 1].ports[0])
        await guest.run("ip", "addr", "add", f"fd00:{number}::11/64", "dev", "eth0", "nodad")
        guests.append(guest)
    for guest in guests:
        await eventually(partial(_has_default_route, guest), timeout_s=15)
    for number, guest in enumerate(guests, start=1):
        assert await guest.pings(f"fd00:{3 - number}::11")
        assert await guest.pings(INTERNET_IPV6)
        assert await internet.pings(f"fd00:{number}::11")
    before = dict(router_lab.one.launcher.processes)
    await router_lab.one.driver.close()
    await router_lab.one.start()
    worker = router_lab.one.driver._worker.routers
    assert not await router_lab.one.driver._run(lambda: worker.plan(both))
    await router_lab.one.driver.apply_router(both)
    assert router_lab.one.launcher.processes == before, "who advertises goes on"


async def test_a_sender_of_advertisements_that_could_not_be_started_is_started_by_the_next(
    router_lab: Lab, internet: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = router_lab.one

    async def refuse(_unit: Unit) -> None:
        raise TemporaryFault("nobody starts anything")

    subnet = SubnetView(
        name="six", uid="subnet-1", cidr="fd00:1::/64", gateway="fd00:1::1", service_address="fd00:1::ffff"
    )
    six = replace(network(1, port("v1", "10.10.0.11", host)), subnets=(subnet,))
    described = router(six, gateway=gateway(host))
    for each in (six, public_network()):
        await host.driver.apply(each)
    with monkeypatch.context() as patch:
        patch.setattr(host.launcher, "start", refuse)
        with pytest.raises(TemporaryFault):
            await host.driver.apply_router(described)
    await host.driver.apply_router(described)
    _, process = host.launcher.processes[router_names(described.uid, "nephos").unit]
    assert process.poll() is None


@pytest.mark.parametrize("ending", ["removed", "disabled", "off this network"])
async def test_guests_do_not_go_on_sending_ipv6_to_a_router_that_is_none_any_more(router_lab: Lab, ending: str) -> None:
    host = router_lab.one
    one, two = (_one_port_network(number, host, "allow-all", is_ipv6=True) for number in (1, 2))
    for each in (one, two):
        await host.driver.apply(each)
    guests = [await host.boot(each, each.ports[0]) for each in (one, two)]
    both = router(one, two)
    await host.driver.apply_router(both)
    for guest in guests:
        await eventually(partial(_has_default_route, guest), timeout_s=15)
    match ending:
        case "removed":
            await host.driver.remove_router(both.uid)
        case "disabled":
            await host.driver.apply_router(replace(both, is_enabled=False))
        case _:
            await host.driver.apply_router(router(two))

    async def is_told() -> bool:
        return not await _has_default_route(guests[0])

    await eventually(is_told)
    assert await _has_default_route(guests[1]) == (ending == "off this network")


@pytest.mark.parametrize("family", IPFamily)
async def test_nobody_outside_passes_for_somebody_inside_or_for_a_dhcp_server(
    router_lab: Lab, internet: Outside, family: IPFamily
) -> None:
    is_ipv6 = family is IPFamily.IPV6
    host = router_lab.one
    shy = HostSecurityGroup("shy", frozenset({SecurityRule(Direction.INGRESS, family, remote_group="friends")}))
    target = _one_port_network(1, host, "shy", is_ipv6=is_ipv6)
    friend = _one_port_network(2, host, "allow-all", is_ipv6=is_ipv6)
    target_address, friend_address = (each.ports[0].addresses[0].address for each in (target, friend))
    target = replace(target, security_groups=(shy,), routed_members=(GroupMember(friend_address, ("friends",)),))
    for each in (target, friend, public_network()):
        await host.driver.apply(each)
    shy_guest, friendly_guest = [await _boot_with_address(host, each) for each in (target, friend)]
    await host.driver.apply_router(router(target, friend, gateway=gateway(host)))
    world = INTERNET_IPV6 if is_ipv6 else INTERNET
    await eventually(lambda: friendly_guest.pings(world))
    await internet.run("ip", "route", "add", "10.0.0.0/8", "via", ROUTER_ADDRESS)
    await internet.run("ip", "addr", "add", friend_address, "dev", "lo")
    assert await internet.pings(ROUTER_IPV6 if is_ipv6 else ROUTER_ADDRESS)
    receiver = datagrams(shy_guest, target_address, 53)
    assert await datagrams(friendly_guest, friend_address, 4000).reaches(receiver)
    stranger = Guest(internet.namespace, host.folder, "")
    host.guests.append(stranger)
    assert not await datagrams(stranger, friend_address, 4000).reaches(receiver)
    server, client = (547, 546) if is_ipv6 else (67, 68)
    assert not await datagrams(stranger, world, server).reaches(datagrams(shy_guest, target_address, client))


@pytest.mark.parametrize("family", IPFamily)
async def test_nobody_passes_for_somebody_who_is_behind_another_leg_or_a_route_inside_or_uses_a_pair(
    router_lab: Lab, internet: Outside, family: IPFamily
) -> None:
    is_ipv6 = family is IPFamily.IPV6
    host = router_lab.one
    far, virtual = ("fd00:99::5", "fd00:77::7") if is_ipv6 else ("10.99.0.5", "10.77.0.7")
    shy = HostSecurityGroup("shy", frozenset({SecurityRule(Direction.INGRESS, family, remote_group="friends")}))
    target, friend, liar = (
        _one_port_network(number, host, group, is_ipv6=is_ipv6)
        for number, group in ((1, "shy"), (2, "allow-all"), (3, "allow-all"))
    )
    target_address, friend_address = (each.ports[0].addresses[0].address for each in (target, friend))
    members = tuple(GroupMember(address, ("friends",)) for address in (friend_address, far, virtual))
    target = replace(target, security_groups=(shy,), routed_members=members)
    pairs = tuple(AddressPair(address, friend.ports[0].mac) for address in (far, virtual))
    friendly = replace(friend.ports[0], address_pairs=pairs)
    friend = replace(friend, ports=(friendly,))
    liar = replace(liar, ports=(replace(liar.ports[0], port_security=False, security_groups=()),))
    for each in (target, friend, liar, public_network()):
        await host.driver.apply(each)
    guests = [await _boot_with_address(host, each) for each in (target, friend, liar)]
    way = HostRoute(destination="fd00:99::/64" if is_ipv6 else "10.99.0.0/16", next_hop=friend_address)
    joined = router(target, friend, liar, gateway=gateway(host))
    shared = frozenset({(friend.uid, f"{virtual}/{128 if is_ipv6 else 32}")})
    await host.driver.apply_router(replace(joined, routes=(way,), members=shared))
    await eventually(lambda: guests[1].pings(INTERNET_IPV6 if is_ipv6 else INTERNET))
    await internet.run("ip", "route", "add", "10.0.0.0/8", "via", ROUTER_ADDRESS)
    stranger = Guest(internet.namespace, host.folder, "")
    host.guests.append(stranger)
    for guest in (guests[1], guests[2], stranger):
        for address in {friend_address, far, virtual} - ({friend_address} if guest is guests[1] else set()):
            await guest.run("ip", "addr", "add", address, "dev", "lo")
    receiver = datagrams(guests[0], target_address, 53)
    for address in (friend_address, far, virtual):
        assert await datagrams(guests[1], address, 4000).reaches(receiver)
        assert not await datagrams(guests[2], address, 4000).reaches(receiver, b"by another leg")
        assert not await datagrams(stranger, address, 4000).reaches(receiver, b"from outside")


async def test_nobody_outside_passes_for_a_member_by_a_floating_ip(router_lab: Lab, internet: Outside) -> None:
    host, virtual = router_lab.one, "10.77.0.7"
    shy = HostSecurityGroup(
        "shy", frozenset({SecurityRule(Direction.INGRESS, IPFamily.IPV4, 17, 53, remote_group="friends")})
    )
    target, friend = (
        _one_port_network(number, host, group, is_ipv6=False) for number, group in ((1, "shy"), (2, "allow-all"))
    )
    friend_address, target_address = (each.ports[0].addresses[0].address for each in (friend, target))
    members = tuple(GroupMember(address, ("friends",)) for address in (friend_address, virtual))
    target = replace(target, security_groups=(shy,), routed_members=members)
    pair = AddressPair(virtual, friend.ports[0].mac)
    friend = replace(friend, ports=(replace(friend.ports[0], address_pairs=(pair,)),))
    for each in (target, friend, public_network()):
        await host.driver.apply(each)
    guests = [await _boot_with_address(host, each) for each in (target, friend)]
    await guests[1].run("ip", "addr", "add", virtual, "dev", "lo")
    joined = router(target, friend, gateway=gateway(host))
    shared, door = frozenset({(friend.uid, f"{virtual}/32")}), floating(21, target_address)
    await host.driver.apply_router(replace(joined, members=shared, floating_ips=(door,)))
    await eventually(lambda: guests[1].pings(INTERNET))
    stranger = Guest(internet.namespace, host.folder, "")
    host.guests.append(stranger)
    receiver = datagrams(guests[0], target_address, 53)
    for address in (friend_address, virtual):
        assert await datagrams(guests[1], address, 4000).reaches(receiver)
        await internet.run("ip", "addr", "add", address, "dev", "lo")
        datagrams(stranger, address, 4001).socket.sendto(b"by the floating IP", (door.address, 53))
        assert not await receiver.hears(b"by the floating IP"), address
    open_to_all = replace(shy, rules=frozenset({SecurityRule(Direction.INGRESS, IPFamily.IPV4, 17, 53)}))
    await host.driver.apply(replace(target, security_groups=(open_to_all,)))
    datagrams(stranger, INTERNET, 4001).socket.sendto(b"by the floating IP", (door.address, 53))
    assert await receiver.hears(b"by the floating IP")


def _one_port_network(number: int, host: Host, group: str, *, is_ipv6: bool) -> HostNetwork:
    base, length = (f"fd00:{number}::", 64) if is_ipv6 else (f"10.{number}0.0.", 24)
    cidr = f"{base}/{length}" if is_ipv6 else f"{base}0/{length}"
    subnet = SubnetView(
        name="sub", uid=f"subnet-{number}", cidr=cidr, gateway=f"{base}1", service_address=f"{base}99", dhcp=False
    )
    only = replace(
        port(f"p{number}", f"{base}11", host, groups=(group,)),
        addresses=(PortAddress(f"{base}11", subnet.uid, length),),
    )
    return replace(network(number, only), subnets=(subnet,))


async def _boot_with_address(host: Host, described: HostNetwork) -> Guest:
    held, subnet = described.ports[0].addresses[0], described.subnets[0]
    guest = await host.boot(described, described.ports[0])
    family = "-6" if ":" in held.address else "-4"
    nodad = ("nodad",) if family == "-6" else ()
    await guest.run("ip", "addr", "add", f"{held.address}/{held.prefix_length}", "dev", "eth0", *nodad)
    await guest.run("ip", family, "route", "add", "default", "via", str(subnet.gateway))
    return guest


async def _has_default_route(guest: Guest) -> bool:
    _, routes = await guest.run("ip", "-6", "route")
    return "default via fe80::" in routes


async def test_a_restart_of_the_driver_loses_no_packet_and_changes_nothing(cloud: Cloud, internet: Outside) -> None:
    wide, lab = cloud.router(gateway(cloud.lab.two)), cloud.lab
    floating_ips = {"h1": (floating(21, "10.10.0.11"),)}
    await cloud.carry(wide, floating_ips)
    pings = [
        asyncio.create_task(cloud.guests["a"].run("ping", "-i0.01", "-c200", "10.20.0.12")),
        asyncio.create_task(cloud.guests["d"].run("ping", "-i0.01", "-c200", INTERNET)),
        asyncio.create_task(internet.run("ping", "-i0.01", "-c200", "203.0.113.21")),
    ]
    await asyncio.sleep(0)
    before = _in_router(lab, "ip", "-o", "link"), _in_router(lab, "nft", "list", "ruleset")
    await lab.one.driver.close()
    await lab.one.start()
    described = replace(wide, floating_ips=floating_ips["h1"])
    routers = lab.one.driver._worker.routers
    assert not await lab.one.driver._run(lambda: routers.plan(described))
    await cloud.carry(wide, floating_ips)
    assert (_in_router(lab, "ip", "-o", "link"), _in_router(lab, "nft", "list", "ruleset")) == before
    for ping in pings:
        _, output = await ping
        assert_all_answered(output, 200)


@pytest.mark.parametrize("is_restarted", [True, False])
async def test_a_router_whose_driver_died_before_it_claimed_the_namespace_is_finished_by_the_next(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, is_restarted: bool
) -> None:
    host = cloud.lab.one
    with monkeypatch.context() as patch:
        patch.setattr(RouterKernel, "prepare", _dying_unclaimed)
        with pytest.raises(TemporaryFault, match="killed"):
            await host.driver.apply_router(cloud.router())
    if is_restarted:
        await host.driver.close()
        await host.start()
    await cloud.carry(cloud.router())
    assert await host.driver.routers() == {"router-1"}
    assert await cloud.guests["a"].pings("10.20.0.12")
    await host.driver.remove_router("router-1")
    assert not list((host.folder / "netns").glob("nephos-r*"))


def _dying_unclaimed(routers: RouterKernel, router_uid: str) -> None:
    namespaces.create(routers.path(router_uid))
    raise OSError("killed")


@pytest.mark.parametrize(
    "sabotage",
    [
        ("ip", "link", "del", "{leg}"),
        ("ip", "link", "set", "{leg}", "down"),
        ("ip", "link", "set", "{leg}", "nomaster"),
        ("ip", "link", "del", "{bridge}"),
        ("nft", "delete", "table", "bridge", "nephos"),
    ],
    ids=lambda words: " ".join(words),
)
async def test_what_somebody_breaks_of_a_router_is_told_and_repaired(cloud: Cloud, sabotage: tuple[str, ...]) -> None:
    await cloud.carry(cloud.router())
    names = {
        "leg": leg_name("router-1", "network-1", is_outside=False),
        "bridge": network_names("network-1", "nephos").bridge,
    }
    cloud.lab.one.in_tenants(*(word.format(**names) for word in sabotage))
    await eventually(partial(_is_told, cloud.lab))
    await cloud.carry(cloud.router())
    await eventually(lambda: cloud.guests["a"].pings("10.20.0.12"))


@pytest.mark.parametrize(
    "sabotage",
    [
        ("ip", "link", "set", "{leg}", "down"),
        ("ip", "addr", "flush", "dev", "{leg}"),
        ("ip", "route", "del", "default"),
        ("nft", "delete", "table", "ip", "nephos"),
        ("nft", "flush", "chain", "ip", "nephos", "translate"),
        ("sysctl", "-w", "net.ipv4.ip_forward=0"),
    ],
    ids=lambda words: " ".join(words),
)
async def test_what_somebody_breaks_inside_of_a_router_is_told_and_repaired(
    cloud: Cloud, internet: Outside, sabotage: tuple[str, ...]
) -> None:
    wide = cloud.router(gateway(cloud.lab.one))
    await cloud.carry(wide)
    _in_router(cloud.lab, *(word.format(leg=inner_name("network-1", is_outside=False)) for word in sabotage))
    await eventually(partial(_is_told, cloud.lab))
    await cloud.carry(wide)
    for address in ("10.20.0.12", FAR_AWAY):
        await eventually(partial(cloud.guests["a"].pings, address))


async def test_the_drivers_own_changes_are_told_nobody(cloud: Cloud, internet: Outside) -> None:
    wide = cloud.router(gateway(cloud.lab.one))
    await cloud.carry(wide)
    await cloud.carry(wide, {"h1": (floating(21, "10.10.0.11"),)})
    await cloud.carry(cloud.router(gateway(cloud.lab.two)))
    await cloud.carry(replace(cloud.router(), is_enabled=False))
    assert not await cloud.guests["a"].pings("10.20.0.14")
    assert cloud.lab.one.changed == []


async def test_removal_of_a_router_leaves_nothing(cloud: Cloud, internet: Outside) -> None:
    host = cloud.lab.one
    await cloud.carry(cloud.router(gateway(host)), {"h1": (floating(21, "10.10.0.11"),)})
    await host.driver.remove_router("router-1")
    assert await host.driver.routers() == frozenset()
    assert not list((host.folder / "netns").glob("nephos-r*"))
    assert not [name for name in host.tenant_links() if name.startswith(("nrl", "nrx"))]
    assert "nrl" not in host.in_tenants("nft", "list", "map", "bridge", "nephos", "role")
    await host.driver.remove(PUBLIC)
    assert not [name for name in host.links() if name.startswith("nuh")]
    assert not await cloud.guests["a"].pings("10.20.0.14")


async def _is_told(lab: Lab) -> bool:
    return bool({"", "router-1"} & set(lab.one.changed))


def _in_router(lab: Lab, *command: str) -> str:
    """Run a command in the router's namespace on host one."""
    path = lab.one.folder / "netns" / router_names("router-1", "nephos").namespace
    return subprocess.run(["nsenter", f"--net={path}", *command], check=True, capture_output=True, text=True).stdout
