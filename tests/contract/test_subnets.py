"""What guests are told of their subnets, by a real dnsmasq: addresses, routes, resolvers, time servers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import IPv6Address, ip_network
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from contract import dhcpv6_client as dhcpv6
from contract import network_lab as lab_module
from contract.network_lab import Guest, Lab, inside, port
from contract.waiting import eventually
from nephos_agent.network.model import HostNetwork, HostPort, PortAddress
from nephos_agent.network.names import network_names
from nephos_api.identity import interface_id
from nephos_api.resources.network import HostRoute, IPv6Mode, SubnetView

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


class NoServices:
    """Metadata is another test's."""

    def __init__(self) -> None:
        self.served: set[str] = set()

    def is_serving(self, network_uid: str) -> bool:
        return network_uid in self.served

    async def serve(self, network_uid: str, listeners: Sequence[socket]) -> None:
        self.served.add(network_uid)
        for listener in listeners:
            listener.close()

    def describe(self, network_uid: str, ports: Mapping[str, str]) -> None:
        pass

    async def leave(self, network_uid: str) -> None:
        pass


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    built = await lab_module.build(tmp_path, NoServices)
    try:
        yield built
    finally:
        await built.close()


V4 = SubnetView(name="v4", uid="v4", cidr="10.10.0.0/24", gateway="10.10.0.1", service_address="10.10.0.254")
SLAAC = SubnetView(
    name="slaac", uid="slaac", cidr="fd00:1::/64", service_address="fd00:1::ffff", ipv6_mode=IPv6Mode.SLAAC
)
STATELESS = SLAAC.model_copy(update={"ipv6_mode": IPv6Mode.DHCPV6_STATELESS})
STATEFUL = SLAAC.model_copy(update={"ipv6_mode": IPv6Mode.DHCPV6_STATEFUL})
OPTIONS = {
    "dns_servers": ("9.9.9.9", "2620:fe::fe", "2620:fe::9"),
    "ntp_servers": ("10.10.0.123", "fd00:1::123"),
    "search_domains": ("example.org", "a.example.org"),
}


def described(*subnets: SubnetView) -> HostNetwork:
    plain = lab_module.network(1)
    return replace(plain, subnets=subnets)


def own_address(subnet: SubnetView, mac: str) -> str:
    return str(IPv6Address(int(ip_network(subnet.cidr).network_address) | interface_id(mac)))


async def boot(lab: Lab, network: HostNetwork, *addresses: tuple[str, str]) -> tuple[Guest, HostNetwork]:
    """Start guest ``a`` with these addresses, each with its subnet; an address may be "own"."""
    plain = port("a", "", lab.one)
    own = {subnet.uid: own_address(subnet, plain.mac) for subnet in network.subnets if ":" in subnet.cidr}
    held = tuple(PortAddress(own[uid] if address == "own" else address, uid, 64) for address, uid in addresses)
    known: HostPort = replace(plain, addresses=held)
    network = replace(network, ports=(known,))
    return await lab.one.boot(network, known), network


async def ipv6(guest: Guest, scope: str = "global") -> list[str]:
    """Return the guest's addresses that it has checked to be its own."""
    _, output = await guest.run("ip", "-j", "-6", "addr", "show", "dev", "eth0", "scope", scope, "-tentative")
    found: list[dict[str, Any]] = json.loads(output)
    return [info["local"] for link in found for info in link.get("addr_info", ()) if "local" in info]


async def has_only(guest: Guest, *addresses: str) -> bool:
    return await ipv6(guest) == list(addresses)


async def test_a_guest_makes_the_address_that_its_port_has_and_takes_nobody_for_its_router(lab: Lab) -> None:
    guest, network = await boot(lab, described(SLAAC), ("own", "slaac"))
    await eventually(lambda: has_only(guest, network.ports[0].addresses[0].address))
    assert await guest.pings("fd00:1::ffff")
    _, routes = await guest.run("ip", "-6", "route")
    assert "default" not in routes
    answer = await guest.resolve("a.net1.lab.nephos.internal", "fd00:1::ffff")
    assert network.ports[0].addresses[0].address in answer


async def test_guests_on_two_hosts_reach_each_other_by_the_addresses_that_they_made(lab: Lab) -> None:
    a, b = port("a", "", lab.one), port("b", "", lab.two)
    a, b = (replace(p, addresses=(PortAddress(own_address(SLAAC, p.mac), "slaac", 64),)) for p in (a, b))
    network = replace(described(SLAAC), ports=(a, b))
    one, two = await lab.one.boot(network, a), await lab.two.boot(network, b)
    for guest, known in ((one, a), (two, b)):
        await eventually(partial(has_only, guest, known.addresses[0].address))
    await eventually(lambda: one.pings(b.addresses[0].address))
    assert await two.pings(a.addresses[0].address)


async def test_a_stateful_subnet_leases_the_ports_address_and_the_guest_makes_none(lab: Lab) -> None:
    subnet = STATEFUL.model_copy(update=OPTIONS)
    guest, network = await boot(lab, described(subnet), ("fd00:1::11", "slaac"))
    answer = await leased(guest)
    assert answer.address == "fd00:1::11"
    assert answer.addresses(dhcpv6.DNS_SERVERS) == ["2620:fe::fe", "2620:fe::9"]
    assert answer.names(dhcpv6.SEARCH_DOMAINS) == ["example.org", "a.example.org"]
    assert answer.addresses(dhcpv6.SNTP_SERVERS) == ["fd00:1::123"]
    assert await ipv6(guest) == []
    assert (await leased(guest)).address == network.ports[0].addresses[0].address


async def test_a_stateless_subnet_tells_options_and_leases_nothing(lab: Lab) -> None:
    subnet = STATELESS.model_copy(update=OPTIONS)
    guest, network = await boot(lab, described(subnet), ("own", "slaac"))
    await eventually(lambda: has_only(guest, network.ports[0].addresses[0].address))
    answer = await asyncio.to_thread(inside, guest.namespace, lambda: dhcpv6.inform(guest.mac))
    assert answer is not None
    assert answer.addresses(dhcpv6.DNS_SERVERS) == ["2620:fe::fe", "2620:fe::9"]
    assert answer.names(dhcpv6.SEARCH_DOMAINS) == ["example.org", "a.example.org"]
    assert answer.addresses(dhcpv6.SNTP_SERVERS) == ["fd00:1::123"]
    assert int.from_bytes(answer.options[dhcpv6.REFRESH_TIME]) == 1800
    assert (await leased(guest)).address is None


async def speaks(guest: Guest) -> bool:
    return bool(await ipv6(guest, "link"))


async def leased(guest: Guest) -> dhcpv6.Answer:
    await eventually(lambda: speaks(guest))
    answer = await asyncio.to_thread(inside, guest.namespace, lambda: dhcpv6.lease(guest.mac))
    assert answer is not None
    return answer


async def test_a_lease_says_all_that_the_subnet_says(lab: Lab) -> None:
    routes = (HostRoute(destination="10.20.0.0/16", next_hop="10.10.0.2"),)
    subnet = V4.model_copy(update=OPTIONS | {"host_routes": routes})
    guest, _ = await boot(lab, described(subnet), ("10.10.0.11", "v4"))
    lease = await guest.dhcp()
    assert lease["ip"] == "10.10.0.11"
    assert lease["staticroutes"].endswith("10.20.0.0/16 10.10.0.2")
    assert (lease["dns"], lease["ntpsrv"]) == ("9.9.9.9", "10.10.0.123")
    assert lease["search"] == "example.org a.example.org"
    assert (lease["lease"], lease["domain"]) == ("86400", "net1.lab.nephos.internal")


async def test_a_guest_hears_at_its_next_renewal_what_was_changed(lab: Lab) -> None:
    guest, network = await boot(lab, described(V4), ("10.10.0.11", "v4"))
    assert (await guest.dhcp())["dns"] == "10.10.0.254"
    changed = V4.model_copy(update={"dns_servers": ("9.9.9.9",), "gateway": None})
    await lab.one.driver.apply(replace(network, subnets=(changed,)))
    lease = await guest.dhcp()
    assert lease["dns"] == "9.9.9.9"
    assert "0.0.0.0/0" not in lease["staticroutes"]


async def test_each_port_is_leased_the_address_of_its_own_subnet_where_a_network_has_several(lab: Lab) -> None:
    second = SubnetView(
        name="more", uid="more", cidr="10.11.0.0/16", gateway="10.11.0.1", service_address="10.11.255.254"
    )
    guest, _ = await boot(lab, described(V4, second), ("10.11.0.9", "more"))
    lease = await guest.dhcp()
    assert (lease["ip"], lease["mask"], lease["router"]) == ("10.11.0.9", "16", "10.11.0.1")
    assert lease["dns"] == "10.11.255.254"


async def test_without_dhcp_nothing_is_leased_and_names_are_answered(lab: Lab) -> None:
    silent = V4.model_copy(update={"dhcp": False})
    guest, network = await boot(lab, described(silent), ("10.10.0.11", "v4"))
    asked = ("busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-t", "2", "-T", "1", "-s", "/bin/true")
    code, output = await guest.run(*asked)
    assert code != 0, output
    await guest.run("ip", "addr", "add", "10.10.0.11/24", "dev", "eth0")
    await eventually(lambda: answers(guest, "10.10.0.254"))
    await lab.one.driver.apply(replace(network, subnets=(V4,)))
    assert (await guest.dhcp())["ip"] == "10.10.0.11"


async def answers(guest: Guest, server: str) -> bool:
    return "10.10.0.11" in await guest.resolve("a.net1.lab.nephos.internal", server)


async def test_no_process_runs_where_nothing_of_ours_answers(lab: Lab) -> None:
    unit = network_names("network-1", "nephos").unit
    outside = V4.model_copy(update={"dhcp": False, "service_address": None})
    _, network = await boot(lab, described(outside), ("10.10.0.11", "v4"))
    assert unit not in lab.one.launcher.processes
    await lab.one.driver.apply(replace(network, subnets=(V4,)))
    assert unit in lab.one.launcher.processes
    await lab.one.driver.apply(network)
    assert unit not in lab.one.launcher.processes
