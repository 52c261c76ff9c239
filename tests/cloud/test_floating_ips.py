"""Floating IPs, as the outside and the project's own guests see them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from nephos_dev import internet, ssh
from nephos_dev.asking import Guests, eventually, eventually_not, outside
from nephos_dev.cloud import Cloud
from nephos_dev.tenant import Tenant, conditions, manifest, network_manifests, server_manifest

WORLD = f"http://{internet.WORLD[0][0]}/"
EVERYBODY = "0.0.0.0/0"
MOVE_TIMEOUT_S = 15.0
SERVERS = ("one", "two")
DOUBLE = ("10.70.0.50", "10.70.0.51")
"""Both of the Server `two`."""


@dataclass(frozen=True)
class Edge:
    """Two Servers on two hosts behind a Router, the first one with a floating address."""

    cloud: Cloud
    project: Tenant
    guests: Guests
    address: str

    def bind(self, name: str = "web", **target: str | None) -> None:
        """Let a FloatingIP stand for somebody else, or for nobody."""
        unbound: dict[str, str | None] = {"server": None, "port": None, "fixedAddress": None}
        self.project.patch_spec("floatingip", name, unbound | target)

    def page(self, address: str) -> str:
        """Return what the outside reads at that address, once it answers."""
        asked = outside(self.cloud.layout, "curl", "-sS", "--max-time", "2", f"http://{address}/")
        return eventually(asked, what=f"http from the outside to {address}").output.strip()

    def expect_page(self, address: str, server: str) -> None:
        """Wait until the outside reaches that Server at the address."""
        asked = outside(self.cloud.layout, "curl", "-sS", "--max-time", "1", f"http://{address}/")
        eventually(asked, server, what=f"{address} leads to {server}", timeout_s=MOVE_TIMEOUT_S)


@pytest.fixture(scope="module")
def edge(cloud: Cloud, project: Tenant, guests: Guests) -> Edge:
    rules = [
        {"direction": "Ingress", "protocol": "ICMP", "remoteCIDR": EVERYBODY},
        {"direction": "Ingress", "protocol": "TCP", "remoteCIDR": EVERYBODY},
    ]
    common = {"serverGroup": "apart", "keyPairs": ["ops"], "securityGroups": ["open"]}
    project.apply(
        manifest("KeyPair", "ops", publicKey=ssh.ensure_key(cloud.layout)),
        *network_manifests("blue", "10.70.0.0/24"),
        manifest("Router", "edge", externalNetwork="public", subnets=["blue-v4"]),
        manifest("SecurityGroup", "open", rules=rules),
        manifest("ServerGroup", "apart", policy="AntiAffinity"),
        manifest("Port", "double", network="blue", addresses=list(DOUBLE), securityGroups=["open"]),
        server_manifest("one", "blue", **common),
        server_manifest("two", "blue", **common, networks=[{"network": "blue", "port": "double"}]),
        manifest("FloatingIP", "web", externalNetwork="public", server="one"),
    )
    for name in SERVERS:
        project.wait_phase(name, "Active")
    bound = project.wait_phase("web", "Active", kind="floatingip")
    return Edge(cloud, project, guests, bound["status"]["address"])


@pytest.fixture(autouse=True)
def first_server_is_bound(edge: Edge) -> Iterator[None]:
    yield
    edge.bind(server="one")
    edge.project.wait_phase("web", "Active", kind="floatingip")
    edge.expect_page(edge.address, "one")


def test_a_server_answers_ping_http_and_ssh_at_its_floating_ip(edge: Edge) -> None:
    layout = edge.cloud.layout
    eventually(outside(layout, "ping", "-c", "1", "-W", "1", edge.address), what="ping from the outside")
    assert edge.page(edge.address) == "one"
    login = outside(layout, *ssh.command(layout, edge.address, "hostname"))
    assert eventually(login, what="ssh from the outside").output == "one"


def test_the_address_is_shown_at_the_server_and_the_server_at_the_address(edge: Edge) -> None:
    columns = edge.project.cluster.kubectl("get", "server", "one", f"--namespace={edge.project.name}")
    assert edge.address in columns
    columns = edge.project.cluster.kubectl("get", "floatingip", "web", f"--namespace={edge.project.name}")
    assert "one" in columns
    assert "Active" in columns


def test_the_world_sees_a_server_by_its_floating_ip_and_others_by_the_router(edge: Edge) -> None:
    router = edge.project.wait_phase("edge", "Active", kind="router")
    own = [held["address"] for held in router["status"]["external"]["addresses"]]
    for server, seen in (("one", [edge.address]), ("two", own)):
        answer = eventually(
            edge.guests.ask(server, f"timeout 5 wget -q -O - {WORLD}"), "hello", what=f"{server} gets out"
        )
        assert answer.output.split()[-1] in seen


def test_an_active_address_answers_the_first_ping(edge: Edge) -> None:
    eventually(edge.guests.ask("two", "ip -4 address show dev eth0"), DOUBLE[0], what="the guest is up")
    edge.project.apply(manifest("FloatingIP", "second", externalNetwork="public", server="two"))
    try:
        found = edge.project.wait_phase("second", "Active", kind="floatingip")
        answer = outside(edge.cloud.layout, "ping", "-c", "1", "-W", "10", found["status"]["address"])()
        assert answer.status == 0, answer.output
    finally:
        edge.project.delete("floatingip", "second")


def test_rebinding_moves_the_address_to_a_server_on_another_host(edge: Edge) -> None:
    edge.expect_page(edge.address, "one")
    edge.bind(server="two")
    edge.expect_page(edge.address, "two")
    moved = edge.project.wait_phase("web", "Active", kind="floatingip")
    assert moved["status"]["address"] == edge.address


def test_an_address_that_is_unbound_is_kept_and_answers_nobody(edge: Edge) -> None:
    edge.bind()
    held = edge.project.wait_phase("web", "Down", kind="floatingip")
    assert held["status"]["address"] == edge.address
    ping = outside(edge.cloud.layout, "ping", "-c", "1", "-W", "1", edge.address)
    eventually_not(ping, what="ping to an address without a Server", timeout_s=MOVE_TIMEOUT_S)


def test_it_stands_for_a_port_too_and_for_one_of_its_addresses(edge: Edge) -> None:
    first, second = DOUBLE
    edge.bind(port="double")
    edge.expect_page(edge.address, "two")
    assert edge.project.wait_phase("web", "Active", kind="floatingip")["status"]["fixedAddress"] == first
    edge.bind(port="double", fixedAddress=second)
    bound = edge.project.wait_phase("web", "Active", kind="floatingip")
    assert bound["status"]["fixedAddress"] == second
    page = outside(edge.cloud.layout, "curl", "-sS", "--max-time", "1", f"http://{edge.address}/")
    eventually_not(page, what="an address that the guest does not have yet", timeout_s=MOVE_TIMEOUT_S)
    assert edge.guests.run("two", f"ip address add {second}/24 dev eth0").status == 0
    edge.expect_page(edge.address, "two")
    for address in DOUBLE:
        eventually(edge.guests.ask("one", f"ping -c 1 -W 2 {address}"), what="a Port's addresses are all its own")


@pytest.mark.parametrize("server", SERVERS)
def test_guests_reach_it_from_inside_the_server_itself_included(edge: Edge, server: str) -> None:
    asked = edge.guests.ask(server, f"timeout 3 wget -q -O - http://{edge.address}/")
    assert eventually(asked, what=f"{server} reads the page at {edge.address}").output == "one"


def test_an_address_that_is_asked_for_is_given_and_to_nobody_else(edge: Edge) -> None:
    wanted = "203.0.113.77"
    edge.project.apply(manifest("FloatingIP", "chosen", externalNetwork="public", address=wanted))
    try:
        edge.project.wait_phase("chosen", "Down", kind="floatingip")
        late = manifest("FloatingIP", "late", externalNetwork="public", address=wanted)
        edge.project.expect_refused(f"{wanted} is in use", late)
    finally:
        edge.project.delete("floatingip", "chosen")


def test_a_server_behind_no_router_is_waited_for_with_a_sentence(edge: Edge) -> None:
    edge.project.apply(
        *network_manifests("island", "10.71.0.0/24"),
        manifest("Port", "lonely", network="island"),
        manifest("FloatingIP", "waits", externalNetwork="public", port="lonely"),
    )
    try:
        edge.project.wait("floatingip", "waits", lambda found: _unless(found, "Router"))
    finally:
        edge.project.delete("floatingip", "waits")
        edge.project.delete("port", "lonely")


def test_a_network_whose_address_is_in_use_stays_at_its_router_which_says_for_whom(edge: Edge) -> None:
    edge.project.patch_spec("router", "edge", {"subnets": []})
    try:
        edge.project.wait("router", "edge", lambda found: _unless(found, f"held by FloatingIP {edge.project.name}/web"))
        edge.expect_page(edge.address, "one")
        edge.bind()
        edge.project.wait("router", "edge", lambda found: "its leg is there" if found["status"].get("legs") else "")
        eventually_not(edge.guests.ask("two", f"timeout 2 wget -q -O - {WORLD}"), what="the world, without a Router")
    finally:
        edge.project.patch_spec("router", "edge", {"subnets": ["blue-v4"]})


def _unless(found: dict[str, Any], sentence: str) -> str:
    told = str(conditions(found))
    return "" if sentence in told else f"it says {told}"
