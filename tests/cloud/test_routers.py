"""Routers: between networks on the sender's host, to the world by one gateway host, and what moves when it is lost."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from nephos_dev import cables, internet
from nephos_dev.asking import Ask, Guests, eventually, eventually_not, outside
from nephos_dev.cloud import Cloud
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

WORLD = internet.WORLD[0][0]
EVERYBODY = [{"direction": "Ingress", "remoteCIDR": cidr} for cidr in ("0.0.0.0/0", "::/0")]
SUBNETS = ["red-v4", "blue-v4", "red-v6", "blue-v6"]
FAIL_OVER_BOUND_S = 60.0
"""A lost host is found out after 20 s without a Lease; the rest is two busy cores."""


@dataclass(frozen=True)
class Joined:
    """Two networks of both IP versions joined by a Router, with a Server of each, on two hosts."""

    cloud: Cloud
    project: Tenant
    guests: Guests

    @property
    def red(self) -> str:
        """The IPv4 address of the Server `red`."""
        return self.of("red", 4)

    @property
    def blue(self) -> str:
        """The IPv4 address of the Server `blue`."""
        return self.of("blue", 4)

    @property
    def router(self) -> dict[str, Any]:
        """The Router as it is now."""
        return self.project.wait_phase("edge", "Active", kind="router")

    def ask_world(self, server: str) -> Ask:
        """Return the question what that Server reads of the outside's page."""
        return self.guests.ask(server, f"timeout 2 wget -q -O - http://{WORLD}/")

    def of(self, server: str, version: int) -> str:
        """Return a Server's address of that IP version."""
        found = self.project.wait_phase(server, "Active")["status"]["addresses"]
        (address,) = (each["address"] for each in found if (":" in each["address"]) == (version == 6))
        return str(address)

    def expect_world(self, server: str, *, timeout_s: float = 60) -> str:
        """Wait until that Server reads the outside's page; return by which address the outside saw it."""
        asked = self.ask_world(server)
        return eventually(asked, "hello", what=f"{server} reaches the world", timeout_s=timeout_s).output.split()[-1]


@pytest.fixture(scope="module")
def joined(cloud: Cloud, project: Tenant, guests: Guests) -> Joined:
    project.apply(
        *network_manifests("red", "10.73.0.0/24"),
        *network_manifests("blue", "10.74.0.0/24"),
        manifest("Subnet", "red-v6", network="red", cidr="fd00:73::/64"),
        manifest("Subnet", "blue-v6", network="blue", cidr="fd00:74::/64"),
        manifest("Router", "edge", externalNetwork="public", subnets=SUBNETS),
        manifest("SecurityGroup", "open", rules=EVERYBODY),
        manifest("ServerGroup", "apart", policy="AntiAffinity"),
        *(server_manifest(name, name, serverGroup="apart", securityGroups=["open"]) for name in ("red", "blue")),
    )
    made = Joined(cloud, project, guests)
    for name in ("red", "blue"):
        project.wait_phase(name, "Active")
    return made


def test_servers_of_two_networks_on_two_hosts_reach_each_other(joined: Joined) -> None:
    eventually(joined.guests.ask("red", f"ping -c 1 -W 2 {joined.blue}"), what="red reaches blue")
    eventually(joined.guests.ask("blue", f"ping -c 1 -W 2 {joined.red}"), what="blue reaches red")
    wait_for(lambda: _one_hop_between(joined), what="the gateway between red and blue", timeout_s=30)


def test_they_reach_each_other_by_ipv6_too(joined: Joined) -> None:
    for source, target in (("red", "blue"), ("blue", "red")):
        asked = joined.guests.ask(source, f"ping -c 1 -W 2 {joined.of(target, 6)}")
        eventually(asked, "1 packets received", what=f"{source} reaches {target}")


def test_servers_of_two_subnets_of_one_network_reach_each_other_by_the_router(joined: Joined) -> None:
    nic = {"network": "red", "addresses": ["10.79.0.11"]}
    joined.project.apply(
        manifest("Subnet", "red-second", network="red", cidr="10.79.0.0/24"),
        server_manifest("second", "red", networks=[nic], securityGroups=["open"]),
    )
    joined.project.patch_spec("router", "edge", {"subnets": [*SUBNETS, "red-second"]})
    try:
        joined.project.wait_phase("second", "Active")
        for source, target in (("red", "10.79.0.11"), ("second", joined.red), ("second", joined.blue)):
            eventually(joined.guests.ask(source, f"ping -c 1 -W 2 {target}"), what=f"{source} reaches {target}")
        shown = joined.guests.run("second", "ip route")
        assert "default via 10.79.0.1 " in shown.output, shown.output
    finally:
        joined.project.delete("server", "second")
        joined.project.patch_spec("router", "edge", {"subnets": SUBNETS})
        joined.project.delete("subnet", "red-second")


def test_a_router_pings_by_the_gateways_address_of_each_network(joined: Joined) -> None:
    eventually(joined.guests.ask("red", "ping -c 1 -W 2 10.73.0.1"), what="red's own gateway")
    eventually(joined.guests.ask("red", "ping -c 1 -W 2 10.74.0.1"), what="the other network's gateway")


@pytest.mark.parametrize("server", ["red", "blue"])
def test_every_host_reaches_the_world_by_the_routers_address(joined: Joined, server: str) -> None:
    own = {held["address"] for held in joined.router["status"]["external"]["addresses"]}
    assert joined.expect_world(server) in own


def test_without_snat_the_world_sees_a_servers_own_address(joined: Joined) -> None:
    (own,) = (held["address"] for held in joined.router["status"]["external"]["addresses"] if "." in held["address"])
    way = ("10.73.0.0/24", "via", own)
    assert outside(joined.cloud.layout, "ip", "route", "add", *way)().status == 0
    joined.project.patch_spec("router", "edge", {"snat": False})
    try:
        asked = joined.guests.ask("red", f"timeout 2 wget -q -O - http://{WORLD}/")
        eventually(asked, joined.red, what="the world, untranslated", timeout_s=15)
        joined.project.patch_spec("router", "edge", {"snat": True})
        eventually(asked, own, what="the world, translated again", timeout_s=15)
    finally:
        joined.project.patch_spec("router", "edge", {"snat": True})
        outside(joined.cloud.layout, "ip", "route", "del", *way)()


def test_a_router_that_is_disabled_forwards_nothing_until_it_is_enabled(joined: Joined) -> None:
    ping = joined.guests.ask("red", f"ping -c 1 -W 1 {joined.blue}")
    eventually(ping, what="red reaches blue")
    joined.project.patch_spec("router", "edge", {"enabled": False})
    eventually_not(ping, what="a router that is disabled", timeout_s=15)
    joined.project.patch_spec("router", "edge", {"enabled": True})
    eventually(ping, what="a router that is enabled again", timeout_s=15)


def test_a_network_that_is_taken_away_is_cut_off_and_comes_back(joined: Joined) -> None:
    ping = joined.guests.ask("red", f"ping -c 1 -W 1 {joined.blue}")
    eventually(ping, what="red reaches blue")
    joined.project.patch_spec("router", "edge", {"subnets": ["red-v4"]})
    eventually_not(ping, what="a network that the router does not join", timeout_s=15)
    joined.expect_world("red")
    joined.project.patch_spec("router", "edge", {"subnets": SUBNETS})
    eventually(ping, what="red reaches blue again", timeout_s=15)


def test_extra_routes_lead_by_a_guest(joined: Joined) -> None:
    far = "192.0.2.1"
    assert joined.guests.run("blue", f"ip address add {far}/32 dev lo").status == 0
    joined.project.patch_spec("port", "blue-net0", {"allowedAddressPairs": [{"address": far}]})
    joined.project.patch_spec("router", "edge", {"routes": [{"destination": f"{far}/32", "nextHop": joined.blue}]})
    try:
        eventually(joined.guests.ask("red", f"ping -c 1 -W 2 {far}"), what="an address behind a guest", timeout_s=15)
    finally:
        joined.project.patch_spec("router", "edge", {"routes": []})


def test_the_gateway_moves_off_a_host_that_is_drained_and_its_address_with_it(joined: Joined) -> None:
    before = joined.router["status"]
    seen = joined.expect_world("red")
    _set_host(joined.cloud, before["gatewayHost"], enabled=False)
    try:
        moved = wait_for(lambda: _moved(joined, before), what="another gateway host", timeout_s=FAIL_OVER_BOUND_S)
        assert moved["external"]["addresses"] == before["external"]["addresses"]
        for server in ("red", "blue"):
            assert joined.expect_world(server, timeout_s=FAIL_OVER_BOUND_S) == seen
    finally:
        _set_host(joined.cloud, before["gatewayHost"], enabled=True)


@pytest.mark.parametrize("cut_off", ["from everything", "from the API server alone"])
def test_the_gateway_moves_off_a_host_that_is_lost(joined: Joined, cut_off: str) -> None:
    before = joined.router["status"]
    seen = joined.expect_world("red")
    survivor = next(
        name
        for name in ("red", "blue")
        if joined.project.wait_phase(name, "Active")["status"]["host"] != before["gatewayHost"]
    )
    # Longer than a guest stalls, shorter than the outside would go on asking the wrong host.
    patient = joined.guests.ask(survivor, f"timeout 10 wget -q -O - http://{WORLD}/")
    with _cut(joined.cloud, before["gatewayHost"], cut_off):
        wait_for(lambda: _moved(joined, before), what="another gateway host", timeout_s=FAIL_OVER_BOUND_S)
        assert joined.expect_world(survivor, timeout_s=FAIL_OVER_BOUND_S) == seen
        for _ in range(5):
            internet.execute(joined.cloud.layout, "ip", "neigh", "flush", "dev", "wire")
            assert patient().status == 0, "the outside asked anew who has the address"
    for server in ("red", "blue"):
        assert joined.expect_world(server, timeout_s=FAIL_OVER_BOUND_S) == seen


def _one_hop_between(joined: Joined) -> None:
    traced = joined.guests.run("red", f"traceroute -n -q 1 -w 2 -m 4 {joined.blue}").output
    hops = re.findall(r"^ *\d+ +(\S+)", traced, re.MULTILINE)
    if hops != ["10.73.0.1", joined.blue]:
        raise NotYet(traced)


def _moved(joined: Joined, before: dict[str, Any]) -> dict[str, Any]:
    status: dict[str, Any] = joined.router["status"]
    if status.get("gatewayHost") in {None, before["gatewayHost"]}:
        raise NotYet(f"the gateway is on {status.get('gatewayHost')}")
    return status


def _set_host(cloud: Cloud, name: str, *, enabled: bool) -> None:
    cloud.kubectl("patch", "host", name, "--type=merge", f"--patch={json.dumps({'spec': {'enabled': enabled}})}")


@contextmanager
def _cut(cloud: Cloud, name: str, cut_off: str) -> Iterator[None]:
    """Lose a host, and find it again."""
    host, layout = next(host for host in cloud.hosts if host.name == name), cloud.layout
    with cables.pulled(layout, host) if cut_off == "from everything" else cables.severed(host, layout.gateway):
        yield
    cloud.kubectl("wait", f"host/{name}", "--for=jsonpath={.status.phase}=Up", "--timeout=60s")
