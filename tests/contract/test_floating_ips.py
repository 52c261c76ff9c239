"""What reaches the world and what the world reaches: gateway hosts, floating IPs, provider networks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from contract.guest_sockets import datagrams
from contract.network_lab import PROVIDER_BRIDGE, Guest, Host, Lab, inside, network, port
from contract.router_lab import (
    FAR_AWAY,
    FOREIGN,
    INTERNET,
    PUBLIC,
    PUBLIC_CIDR,
    ROUTER_ADDRESS,
    ROUTER_IPV6,
    Cloud,
    Outside,
    floating,
    foreign_machine,
    gateway,
    outside,
    public_network,
    router,
    running_lab,
)
from contract.waiting import answered, eventually
from nephos_agent.network.linux.abilities import probe
from nephos_agent.network.linux.announce import arp_frame, packet_socket
from nephos_agent.network.memory import MemoryNetwork
from nephos_agent.network.model import (
    HostSecurityGroup,
    PortAddress,
    ProviderSegment,
    RouterGateway,
    SecurityRule,
)
from nephos_agent.network.names import network_names
from nephos_agent.network.protocol import NetworkDriver
from nephos_agent.network.router.names import inner_name, outside_mac, router_names
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.network import SegmentType
from nephos_api.resources.security_group import Direction, IPFamily

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")
A, B, D = "10.10.0.11", "10.20.0.12", "10.20.0.14"
_WAY = RouterGateway(PUBLIC, (f"{ROUTER_ADDRESS}/24",), (INTERNET,), (PUBLIC_CIDR,), True, 7777, "h1", "192.0.2.1")

_HOSTILE = f"""
    table inet firewall {{
        counter forward {{ }}
        counter redirected {{ }}
        counter early {{ }}
        chain early {{
            type filter hook prerouting priority raw;
            ip daddr {PUBLIC_CIDR} tcp dport 22 counter name early drop
            iifname {PROVIDER_BRIDGE} meta nfproto ipv6 drop
        }}
        chain elsewhere {{
            type nat hook prerouting priority dstnat;
            ip daddr {PUBLIC_CIDR} tcp dport 80 counter name redirected dnat ip to 192.0.2.99
        }}
        chain forward {{ type filter hook forward priority filter; policy drop; counter name forward; }}
        chain input {{ type filter hook input priority filter; policy drop; udp dport 4789 accept; }}
    }}
"""


# Both drivers


@pytest.fixture(params=["linux", "memory"])
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NetworkDriver]:
    if request.param == "memory":
        twin = MemoryNetwork("h1")
        await twin.start(lambda _uid: None)
        yield twin
        return
    async with running_lab(tmp_path) as lab:
        outside(lab)
        yield lab.one.driver


@pytest.mark.parametrize("gateway_host", ["h1", "h2"])
async def test_floating_ips_answer_while_they_are_described(driver: NetworkDriver, gateway_host: str) -> None:
    blue, there = network(1), public_network()
    way = replace(_WAY, gateway_host=gateway_host)
    described = replace(router(blue, gateway=way), floating_ips=(floating(21, A), floating(22, "10.10.0.12")))
    for each in (blue, there):
        await driver.apply(each)
    await driver.apply_router(described)
    assert await driver.answering("router-1") == {"fip-21", "fip-22"}
    forgotten = replace(described, floating_ips=described.floating_ips[:1])
    await driver.apply_router(forgotten)
    assert await driver.answering("router-1") == {"fip-21"}
    await driver.apply_router(replace(described, is_enabled=False))
    assert await driver.answering("router-1") == frozenset()
    await driver.apply_router(replace(described, floating_ips=()))
    assert await driver.answering("router-1") == frozenset()


async def test_only_a_host_that_needs_the_outside_waits_for_it(driver: NetworkDriver) -> None:
    await driver.apply(network(1))
    await driver.apply_router(router(network(1), gateway=replace(_WAY, gateway_host="h2")))
    with pytest.raises(TemporaryFault, match=PUBLIC):
        await driver.apply_router(router(network(1), gateway=_WAY))


# The Linux driver: real packets


async def test_guests_of_each_host_reach_the_world_by_the_address_of_the_gateway_host(
    cloud: Cloud, internet: Outside
) -> None:
    await cloud.carry(cloud.router(gateway(cloud.lab.one)))
    for guest in cloud.guests.values():
        assert await guest.pings(INTERNET)
        assert await guest.pings(FAR_AWAY)
    assert await internet.pings(ROUTER_ADDRESS)
    assert await _seen_as(cloud, internet, "a") == ROUTER_ADDRESS
    assert await _seen_as(cloud, internet, "b") == ROUTER_ADDRESS


async def test_without_snat_only_floating_ips_reach_the_world(cloud: Cloud, internet: Outside) -> None:
    await cloud.carry(
        cloud.router(gateway(cloud.lab.one, snat=False)),
        {"h1": (floating(21, A),), "h2": (floating(22, B),)},
    )
    for name, reaches in (("a", True), ("b", True), ("c", False), ("d", False)):
        assert await cloud.guests[name].pings(FAR_AWAY) == reaches, name


async def test_a_floating_ip_answers_on_the_host_of_its_server_and_is_what_the_world_sees(
    cloud: Cloud, internet: Outside
) -> None:
    await cloud.carry(cloud.router(gateway(cloud.lab.one)), {"h1": (floating(21, A),), "h2": (floating(22, B),)})
    for host, uid in ((cloud.lab.one, "fip-21"), (cloud.lab.two, "fip-22")):
        assert await host.driver.answering("router-1") == {uid}
    for address in ("203.0.113.21", "203.0.113.22"):
        assert await internet.pings(address)
    assert await _seen_as(cloud, internet, "a") == "203.0.113.21"
    assert await _seen_as(cloud, internet, "b") == "203.0.113.22"
    assert await _seen_as(cloud, internet, "c") == ROUTER_ADDRESS
    await cloud.lab.one.driver._sweep()
    assert await cloud.lab.one.driver.answering("router-1") == {"fip-21"}, "whatever was learnt since"


async def test_of_several_addresses_of_a_port_the_one_that_has_a_floating_ip_is_seen_by_it(
    cloud: Cloud, internet: Outside
) -> None:
    second, stolen = "10.10.0.21", "10.10.0.22"
    first = cloud.blue.ports[0]
    held = (*first.addresses, PortAddress(second, "subnet-1", 24))
    cloud.blue = replace(cloud.blue, ports=(replace(first, addresses=held), *cloud.blue.ports[1:]))
    await cloud.carry(cloud.router(gateway(cloud.lab.two)), {"h1": (floating(21, second),)})
    a = cloud.guests["a"]
    for address in (second, stolen):
        await a.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
    for name, peer in (("b", B), ("c", "10.10.0.13"), ("d", D)):
        assert await cloud.guests[name].pings(A)
        assert await cloud.guests[name].pings(second)
        assert await a.pings(peer, "-I", second)
        assert not await a.pings(peer, "-I", stolen)
    assert await internet.pings("203.0.113.21")
    stranger = Guest(internet.namespace, cloud.lab.one.folder, "")
    cloud.lab.one.guests.append(stranger)
    world = datagrams(stranger, FAR_AWAY, 8000)
    for address, seen in ((second, "203.0.113.21"), (A, ROUTER_ADDRESS)):
        datagrams(a, address, 4000).socket.sendto(b"who is it?", (FAR_AWAY, 8000))
        async with asyncio.timeout(5):
            _, (source, _port) = await asyncio.get_running_loop().sock_recvfrom(world.socket, 64)
        assert source == seen


async def test_a_floating_ip_is_reached_from_inside_too(cloud: Cloud, internet: Outside) -> None:
    await cloud.carry(cloud.router(gateway(cloud.lab.one)), {"h1": (floating(21, A),), "h2": (floating(22, B),)})
    for address in ("203.0.113.21", "203.0.113.22"):
        for name, guest in cloud.guests.items():
            assert await guest.pings(address), (name, address)


async def test_packets_of_full_size_to_a_floating_ip_are_told_what_fits(cloud: Cloud, internet: Outside) -> None:
    await cloud.carry(cloud.router(gateway(cloud.lab.one)), {"h2": (floating(22, B),)})
    _, output = await internet.run("ping", "-c2", "-W1", "-M", "do", "-s", "1470", "203.0.113.22")
    assert "From 203.0.113.22" in output
    assert re.search("mtu ?= ?1450", output), output


async def test_a_floating_ip_moves_to_another_host_at_once(cloud: Cloud, internet: Outside) -> None:
    wide = cloud.router(gateway(cloud.lab.one))
    await cloud.carry(wide, {"h1": (floating(21, A),)})
    assert await internet.pings("203.0.113.21")
    await cloud.carry(wide)
    assert not await internet.pings("203.0.113.21")
    assert await cloud.lab.one.driver.answering("router-1") == frozenset()
    await cloud.carry(wide, {"h2": (floating(21, B),)})
    assert await internet.pings("203.0.113.21"), "what the world remembered was corrected"
    assert await _seen_as(cloud, internet, "b") == "203.0.113.21"
    assert await _seen_as(cloud, internet, "a") == ROUTER_ADDRESS


async def test_a_floating_ip_moves_to_another_fixed_address_and_takes_no_flow_along(
    cloud: Cloud, internet: Outside
) -> None:
    wide = cloud.router(gateway(cloud.lab.two))
    await cloud.carry(wide, {"h1": (floating(21, A),)})
    assert await internet.pings("203.0.113.21")
    flow = ("ping", "-i0.02", "-c500", "-W1", "203.0.113.21")
    ping = asyncio.create_task(internet.run(*flow))
    received = inside(cloud.guests["d"].namespace, _icmp_socket)
    with received:
        await asyncio.sleep(0)
        await cloud.carry(wide, {"h1": (floating(21, D),)})
        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(received, 2048), 5)
    await ping
    assert await _seen_as(cloud, internet, "d") == "203.0.113.21"
    assert await _seen_as(cloud, internet, "a") == ROUTER_ADDRESS


async def test_the_gateway_moves_with_its_address(cloud: Cloud, internet: Outside) -> None:
    await cloud.carry(cloud.router(gateway(cloud.lab.one)))
    assert await cloud.guests["b"].pings(INTERNET)
    for address in (ROUTER_ADDRESS, ROUTER_IPV6):
        assert await internet.pings(address), address
    await cloud.carry(cloud.router(gateway(cloud.lab.two)))
    for address in (ROUTER_ADDRESS, ROUTER_IPV6):
        assert await internet.pings(address), address
    for name, guest in cloud.guests.items():
        assert await guest.pings(FAR_AWAY), name


async def test_a_host_whose_agent_is_lost_gives_up_the_gateways_address_and_keeps_floating_ones(
    cloud: Cloud, internet: Outside
) -> None:
    one, two = cloud.lab.one, cloud.lab.two
    floating_ip = floating(21, A)
    await cloud.carry(cloud.router(gateway(one)), {"h1": (floating_ip,)})
    lost, alive = (outside_mac("router-1", PUBLIC, host.name) for host in (one, two))
    assert await _found_at(internet) == {lost}
    async with _agent_lost(one):
        await two.driver.apply_router(cloud.router(gateway(two)))
        for _ in range(3):
            assert await _found_at(internet) == {alive}
            assert await _seen_as(cloud, internet, "c") == ROUTER_ADDRESS
        await internet.run("ip", "neigh", "flush", "dev", "br-pub")
        there = Outside(one.settings.netns_dir / router_names("router-1", "nephos").namespace)
        await there.run("ip", "neigh", "flush", "dev", inner_name(PUBLIC, is_outside=True))
        assert await internet.pings(floating_ip.address)
        assert await _seen_as(cloud, internet, "a") == floating_ip.address
        _, known = await internet.run("ip", "neigh", "show", ROUTER_ADDRESS)
        assert lost not in known, "a host that gave up the address asks for others as nobody"


async def test_who_has_the_gateways_address_takes_it_back_from_who_announced_it_in_error(
    cloud: Cloud, internet: Outside
) -> None:
    one, two = cloud.lab.one, cloud.lab.two
    await cloud.carry(cloud.router(gateway(one)))
    own, other = (outside_mac("router-1", PUBLIC, host.name) for host in (one, two))
    await two.driver.apply_router(cloud.router(gateway(two)))
    assert await _found_at(internet) == {other}
    await one.driver.claim("router-1")
    assert await _found_at(internet) == {own}
    one.changed.clear()
    await two.driver.claim("router-1")
    await two.driver.apply_router(cloud.router(gateway(one)))
    await one.driver.claim("router-1")
    assert await _found_at(internet) == {own}
    await one.driver._run(one.driver._worker.judge)
    assert not one.changed


async def test_a_gateway_that_hears_itself_goes_on_speaking(cloud: Cloud, internet: Outside) -> None:
    await cloud.carry(cloud.router(gateway(cloud.lab.one)))
    own, other = (outside_mac("router-1", PUBLIC, host.name) for host in (cloud.lab.one, cloud.lab.two))
    for mac, is_speaking in ((own, True), (other, False)):
        echo = arp_frame(1, mac, ROUTER_ADDRESS, "00:00:00:00:00:00", ROUTER_ADDRESS)
        with inside(internet.namespace, lambda: packet_socket("br-pub")) as wire:
            wire.send(echo)
        await internet.run("ip", "neigh", "flush", "dev", "br-pub")
        assert await internet.pings(ROUTER_ADDRESS) == is_speaking


@pytest.mark.parametrize("name", ["c", "d"])
async def test_a_flow_goes_on_when_the_gateway_moves(cloud: Cloud, internet: Outside, name: str) -> None:
    await cloud.carry(cloud.router(gateway(cloud.lab.one)))
    guest = cloud.guests[name]
    assert await guest.pings(FAR_AWAY)
    ping = await guest.start("ping", "-i0.02", FAR_AWAY)
    await cloud.carry(cloud.router(gateway(cloud.lab.two)))
    await asyncio.sleep(1)
    ping.send_signal(signal.SIGINT)
    output = (await ping.communicate())[0].decode()
    (sent,) = re.findall(r"(\d+) packets transmitted", output)
    assert max(answered(output)) > int(sent) - 25, output


async def test_a_server_directly_on_a_providers_network_meets_who_is_there(router_lab: Lab, internet: Outside) -> None:
    ports = tuple(
        replace(port(name, address, host, "subnet-public4"), addresses=(PortAddress(address, "subnet-public4", 24),))
        for name, address, host in (("p", "203.0.113.51", router_lab.one), ("q", "203.0.113.52", router_lab.two))
    )
    there = replace(public_network(), ports=ports)
    guests = []
    for host, each in zip((router_lab.one, router_lab.two), ports, strict=True):
        guests.append(await host.boot(there, each))
        await guests[-1].run("ip", "addr", "add", f"{each.addresses[0].address}/24", "dev", "eth0")
    assert await guests[0].pings(INTERNET)
    assert await guests[0].pings("203.0.113.52")
    assert await internet.pings("203.0.113.52")
    await router_lab.one.driver.close()
    await router_lab.one.start()
    worker = router_lab.one.driver._worker
    assert not await router_lab.one.driver._run(lambda: worker.plan(there))


async def test_members_of_a_group_meet_on_a_providers_network_whatever_their_hosts(
    router_lab: Lab, internet: Outside
) -> None:
    one, two = router_lab.one, router_lab.two
    friends = SecurityRule(Direction.INGRESS, IPFamily.IPV4, remote_group="allow-all")
    shy = HostSecurityGroup("shy", frozenset({friends, SecurityRule(Direction.EGRESS, IPFamily.IPV4, protocol=1)}))
    ports = tuple(
        replace(port(name, address, host, groups=(group,)), addresses=(PortAddress(address, "subnet-public4", 24),))
        for name, address, host, group in (
            ("p", "203.0.113.51", one, "shy"),
            ("q", "203.0.113.52", one, "allow-all"),
            ("r", "203.0.113.53", two, "allow-all"),
        )
    )
    there = replace(public_network(), ports=ports)
    there = replace(there, security_groups=(*there.security_groups, shy))
    guests = [await host.boot(there, each) for host, each in zip((one, one, two), ports, strict=True)]
    for guest, each in zip(guests, ports, strict=True):
        await guest.run("ip", "addr", "add", f"{each.addresses[0].address}/24", "dev", "eth0")
    receiver = datagrams(guests[0], "203.0.113.51", 53)
    for guest, each in zip(guests[1:], ports[1:], strict=True):
        assert await datagrams(guest, each.addresses[0].address, 4000).reaches(receiver)
    stranger = Guest(internet.namespace, one.folder, "")
    one.guests.append(stranger)
    sender = datagrams(stranger, INTERNET, 4000)
    assert not await sender.reaches(receiver)
    allowed = replace(shy, rules=shy.rules | {SecurityRule(Direction.INGRESS, IPFamily.IPV4, 17, 53)})
    await one.driver.apply(replace(there, security_groups=(*there.security_groups[:-1], allowed)))
    assert await sender.reaches(receiver)
    assert await receiver.reaches(sender)
    await one.driver.apply(there)
    assert not await sender.reaches(receiver, b"cut")


async def test_the_service_of_a_providers_network_stays_on_its_host(router_lab: Lab, internet: Outside) -> None:
    there = public_network()
    served = there.subnets[0].model_copy(update={"dhcp": True, "service_address": "203.0.113.2"})
    await router_lab.one.driver.apply(replace(there, subnets=(served, *there.subnets[1:])))
    assert not await internet.pings("203.0.113.2")


async def test_the_hosts_own_firewall_is_never_met(cloud: Cloud, internet: Outside) -> None:
    foreign = foreign_machine(cloud.lab.one)
    assert await foreign.pings(INTERNET)
    for host in (cloud.lab.one, cloud.lab.two):
        _hostile_firewall(host)
    await cloud.carry(cloud.router(gateway(cloud.lab.one)), {"h1": (floating(21, A),), "h2": (floating(22, B),)})
    for guest in cloud.guests.values():
        for address in (A, B, FAR_AWAY, "203.0.113.21", "203.0.113.22"):
            assert await guest.pings(address), (guest, address)
    for address in ("203.0.113.21", "203.0.113.22", ROUTER_ADDRESS, ROUTER_IPV6):
        assert await internet.pings(address), address
        _, output = await internet.run("ping", "-c3", "-i0.2", address)
        assert "DUP" not in output
    for name, address in (("a", "203.0.113.21"), ("b", "203.0.113.22")):
        for tcp_port in (22, 80):
            assert await _takes_calls(internet, cloud.guests[name], address, tcp_port), (address, tcp_port)
    for host in (cloud.lab.one, cloud.lab.two):
        assert "203.0.113.2" not in host.in_host("nft", "list", "ruleset").replace(PUBLIC_CIDR, "")
        assert _met(host) <= {"forward"}, "nothing of the tenants', though the wire floods to foreign ports too"
    assert not await foreign.pings(INTERNET)
    for tcp_port in (22, 80):
        await foreign.run("busybox", "nc", "-w", "1", INTERNET, str(tcp_port))
    assert _met(cloud.lab.one) == {"forward", "redirected", "early"}, "what is not the tenants' meets it"


async def test_the_hosts_own_firewall_is_not_met_by_a_server_directly_on_a_providers_network(
    router_lab: Lab, internet: Outside
) -> None:
    host = router_lab.one
    _hostile_firewall(host)
    address = "203.0.113.51"
    each = replace(port("p", address, host), addresses=(PortAddress(address, "subnet-public4", 24),))
    guest = await host.boot(replace(public_network(), ports=(each,)), each)
    await guest.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
    assert await internet.pings(address)
    for tcp_port in (22, 80):
        assert await _takes_calls(internet, guest, address, tcp_port), tcp_port
    assert not _met(host)


def _hostile_firewall(host: Host) -> None:
    """Have a host drop what it forwards, as Docker does, redirect as kube-proxy does, and drop early and loudly."""
    host.in_host("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1", "net.bridge.bridge-nf-call-ip6tables=1")
    host.in_host("nft", _HOSTILE)


def _met(host: Host) -> set[str]:
    """Return which of the hostile firewall's counters counted."""
    listed = json.loads(host.in_host("nft", "-j", "list", "counters"))["nftables"]
    return {each["counter"]["name"] for each in listed if each.get("counter", {}).get("packets")}


async def _takes_calls(caller: Outside, guest: Guest, address: str, tcp_port: int) -> bool:
    """Tell whether a TCP connection from outside to the address arrives in the guest."""
    loop = asyncio.get_running_loop()
    with inside(guest.namespace, partial(_listener, "0.0.0.0", tcp_port)) as listener:
        call = asyncio.create_task(caller.run("busybox", "nc", "-w", "2", address, str(tcp_port)))
        try:
            connection, _ = await asyncio.wait_for(loop.sock_accept(listener), 2)
            connection.close()
        except TimeoutError:
            return False
        finally:
            await call
    return True


async def test_a_port_that_is_new_on_the_providers_bridge_meets_tenants_at_once(
    cloud: Cloud, internet: Outside
) -> None:
    wide, floats = cloud.router(gateway(cloud.lab.one)), {"h1": (floating(21, A),), "h2": (floating(22, B),)}
    await cloud.carry(wide, floats)
    foreign = foreign_machine(cloud.lab.one)
    for is_known in (False, True):
        for address in ("203.0.113.21", "203.0.113.22", ROUTER_ADDRESS, INTERNET):
            _, output = await foreign.run("ping", "-c3", "-i0.2", "-W1", address)
            assert " 0% packet loss" in output, (is_known, output)
            assert "DUP" not in output, (is_known, output)
        assert await cloud.guests["a"].pings(FOREIGN)
        await cloud.lab.one.driver._sweep()
        assert (PUBLIC in cloud.lab.one.changed) != is_known
        cloud.lab.one.changed.clear()
        await cloud.carry(wide, floats)


async def test_a_providers_bridge_that_judges_its_ports_is_asked_first(cloud: Cloud, internet: Outside) -> None:
    host, wide = cloud.lab.one, cloud.router(gateway(cloud.lab.one))
    await cloud.carry(wide)
    spanning_tree = ("ip", "link", "set", "dev", PROVIDER_BRIDGE, "type", "bridge", "forward_delay", "200", "stp_state")
    for state, is_asked_first in (("1", True), ("0", False)):
        host.in_host(*spanning_tree, state)
        await host.driver._sweep()
        assert PUBLIC in host.changed
        await cloud.carry(wide)
        host.changed.clear()
        tables = host.in_host("nft", "list", "table", "netdev", network_names(PUBLIC, "nephos").uplink_outer)
        assert tables.count("hook ingress") == (2 if is_asked_first else 3), "the uplink, the bridge, and its port"
        await eventually(partial(cloud.guests["a"].pings, FAR_AWAY), 30)


async def test_a_host_with_an_address_on_the_providers_bridge_meets_floating_ips_too(
    cloud: Cloud, internet: Outside
) -> None:
    cloud.lab.one.in_host("ip", "addr", "add", "203.0.113.2/24", "dev", PROVIDER_BRIDGE)
    await cloud.carry(cloud.router(gateway(cloud.lab.one)), {"h1": (floating(21, A),), "h2": (floating(22, B),)})
    for address in ("203.0.113.21", "203.0.113.22", INTERNET):
        output = await asyncio.to_thread(cloud.lab.one.in_host, "ping", "-c2", "-i0.2", "-W1", address)
        assert " 0% packet loss" in output, output
        assert "DUP" not in output, output
    assert await cloud.guests["b"].pings("203.0.113.2")


@pytest.mark.parametrize(
    "sabotage",
    [
        ("nft", "delete", "table", "netdev", "{uplink}"),
        ("nft", "delete", "table", "bridge", "{uplink}"),
        ("ip", "link", "set", "{uplink}", "nomaster"),
        ("ip", "link", "set", "{uplink}", "down"),
        ("ip", "link", "set", PROVIDER_BRIDGE, "promisc", "off"),
    ],
    ids=lambda words: " ".join(words),
)
async def test_a_sweep_repairs_what_somebody_breaks_of_an_uplink(
    cloud: Cloud, internet: Outside, sabotage: tuple[str, ...]
) -> None:
    wide = cloud.router(gateway(cloud.lab.one))
    await cloud.carry(wide)
    uplink = network_names(PUBLIC, "nephos").uplink_outer
    cloud.lab.one.in_host(*(word.format(uplink=uplink) for word in sabotage))
    await cloud.lab.one.driver._sweep()
    assert PUBLIC in cloud.lab.one.changed
    await cloud.carry(wide)
    await eventually(lambda: cloud.guests["a"].pings(FAR_AWAY))
    await eventually(lambda: internet.pings(ROUTER_ADDRESS))


async def test_a_providers_bridge_takes_in_everything_until_its_last_uplink_goes(
    router_lab: Lab, internet: Outside
) -> None:
    host = router_lab.one
    networks = (public_network(), replace(public_network(), uid="public-2", name="public-2"))
    for each in networks:
        await host.driver.apply(each)
    for each in networks:
        assert _is_promiscuous(host)
        await host.driver.remove(each.uid)
    assert not _is_promiscuous(host)


def _is_promiscuous(host: Host) -> bool:
    return "PROMISC" in host.in_host("ip", "link", "show", PROVIDER_BRIDGE)


async def test_an_uplink_that_somebody_takes_down_outside_is_told(cloud: Cloud, internet: Outside) -> None:
    wide = cloud.router(gateway(cloud.lab.one))
    await cloud.carry(wide)
    cloud.lab.one.in_host("ip", "link", "set", network_names(PUBLIC, "nephos").uplink_outer, "down")
    await eventually(partial(_is_told, cloud.lab.one, PUBLIC))
    await cloud.carry(wide)
    await eventually(lambda: cloud.guests["a"].pings(FAR_AWAY))


async def _is_told(host: Host, network_uid: str) -> bool:
    return network_uid in host.changed


async def test_a_network_that_the_host_does_not_reach_is_refused_with_a_sentence(router_lab: Lab) -> None:
    elsewhere = replace(public_network(), provider=ProviderSegment("physnet9"))
    with pytest.raises(PermanentFault, match="h1 does not reach physical network physnet9"):
        await router_lab.one.driver.apply(elsewhere)


async def test_a_tagged_network_is_carried_or_refused_with_a_sentence(router_lab: Lab, internet: Outside) -> None:
    tagged = replace(public_network(), provider=ProviderSegment("physnet1", SegmentType.VLAN, 42))
    if inside(router_lab.one.namespace, lambda: probe(router_lab.one.address)).has_vlan:
        await router_lab.one.driver.apply(tagged)
        assert PUBLIC in await router_lab.one.driver.networks()
        return
    with pytest.raises(PermanentFault, match=r"VLAN 42 .* no 802\.1Q"):
        await router_lab.one.driver.apply(tagged)


@asynccontextmanager
async def _agent_lost(host: Host) -> AsyncIterator[None]:
    await host.driver.close()
    try:
        yield
    finally:
        await host.start()


async def _found_at(internet: Outside) -> set[str]:
    """Return the MACs at which the internet finds the router's addresses, asking anew."""
    await internet.run("ip", "neigh", "flush", "dev", "br-pub")
    macs = set()
    for address in (ROUTER_ADDRESS, ROUTER_IPV6):
        assert await internet.pings(address), address
        _, found = await internet.run("ip", "neigh", "show", address, "dev", "br-pub")
        macs.add(found.split("lladdr ")[1].split()[0])
    return macs


async def _seen_as(cloud: Cloud, internet: Outside, name: str) -> str:
    """Return the address under which the internet sees a guest."""
    loop = asyncio.get_running_loop()
    with inside(internet.namespace, _listener) as listener:
        call = asyncio.create_task(cloud.guests[name].run("busybox", "nc", "-w", "3", FAR_AWAY, "8000"))
        connection, (address, _port) = await asyncio.wait_for(loop.sock_accept(listener), 5)
        connection.close()
        await call
    return str(address)


def _listener(address: str = FAR_AWAY, tcp_port: int = 8000) -> socket.socket:
    listener = socket.create_server((address, tcp_port))
    listener.setblocking(False)
    return listener


def _icmp_socket() -> socket.socket:
    received = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    received.setblocking(False)
    return received
