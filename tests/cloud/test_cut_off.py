"""What changes while a host is cut off, from the API server or from its peers, is made up for once it is back."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from cloud.sound import wait_sound
from nephos_dev import cables
from nephos_dev.asking import Ask, Guests, eventually, eventually_not, outside
from nephos_dev.cloud import Cloud
from nephos_dev.console import Answer
from nephos_dev.layout import HostLayout
from nephos_dev.pings import from_guest, from_outside
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest

PING = {"direction": "Ingress", "protocol": "ICMP", "remoteCIDR": "0.0.0.0/0"}
HTTP = {"direction": "Ingress", "protocol": "TCP", "portMin": 80, "remoteCIDR": "0.0.0.0/0"}
SERVERS = ("anna", "bert", "cleo")
NET0 = {"name": "net0", "network": "blue"}
LOOSE = "10.81.0.99"
BACK_BOUND_S = 60.0
"""For a host that is back to make up for everything: TCP asks again only some seconds after the way is open."""


@dataclass(frozen=True)
class Shire:
    """Three Servers on two hosts behind a Router: two neighbours on the one, a stranger on the other."""

    cloud: Cloud
    project: Tenant
    guests: Guests
    neighbours: tuple[str, str]
    stranger: str
    floating: str

    def of(self, server: str) -> str:
        """Return a Server's address on the network of all three."""
        return str(self._found(server)["status"]["addresses"][0]["address"])

    def host_of(self, server: str) -> HostLayout:
        """Return the host that carries a Server."""
        name = self._found(server)["status"]["host"]
        return next(host for host in self.cloud.hosts if host.name == name)

    def ping(self, source: str, target: str) -> Ask:
        """Return the question whether a guest reaches an address, or another Server."""
        address = self.of(target) if target in SERVERS else target
        return self.guests.ask(source, f"ping -c 1 -W 1 {address}")

    def allow(self, *rules: dict[str, Any]) -> None:
        """Let the group of all Servers have exactly these rules."""
        self.project.patch_spec("securitygroup", "open", {"rules": list(rules)})

    def bind(self, server: str) -> None:
        """Let the floating address stand for a Server."""
        self.project.patch_spec("floatingip", "web", {"server": server})

    def plug(self, server: str, *nics: dict[str, str]) -> None:
        """Let a Server have these NICs beside its first one, and wait until its guest sees them."""
        self.project.patch_spec("server", server, {"networks": [NET0, *nics]})
        names = f"[ $(ls -d /sys/class/net/eth* | wc -l) = {1 + len(nics)} ]"
        eventually(self.guests.ask(server, names), what=f"NICs of {server}")
        if nics:
            eventually(self.guests.ask(server, "ip link set eth1 up && udhcpc -i eth1 -n -q"), "lease", what="a lease")

    def page(self) -> Ask:
        """Return the question what the outside reads at the floating address."""
        return outside(self.cloud.layout, "curl", "-sS", "--max-time", "2", f"http://{self.floating}/")

    def _found(self, server: str) -> dict[str, Any]:
        return self.project.wait_phase(server, "Active")


@pytest.fixture(scope="module")
def shire(cloud: Cloud, project: Tenant, guests: Guests) -> Shire:
    project.apply(
        *network_manifests("blue", "10.80.0.0/24"),
        *network_manifests("green", "10.81.0.0/24"),
        manifest("Router", "edge", externalNetwork="public", subnets=["blue-v4"]),
        manifest("SecurityGroup", "open", rules=[PING, HTTP]),
        manifest("ServerGroup", "apart", policy="SoftAntiAffinity"),
        manifest("Port", "loose", network="green", addresses=[LOOSE], securityGroups=["open"]),
        *(
            server_manifest(name, "blue", networks=[NET0], serverGroup="apart", securityGroups=["open"])
            for name in SERVERS
        ),
        manifest("FloatingIP", "web", externalNetwork="public", server="anna"),
    )
    hosts = {name: project.wait_phase(name, "Active")["status"]["host"] for name in SERVERS}
    (stranger,) = (name for name in SERVERS if list(hosts.values()).count(hosts[name]) == 1)
    one, two = (name for name in SERVERS if name != stranger)
    bound = project.wait_phase("web", "Active", kind="floatingip")
    made = Shire(cloud, project, guests, (one, two), stranger, bound["status"]["address"])
    made.plug(one, {"name": "net1", "network": "green"})
    for source, target in ((one, two), (one, stranger), (stranger, one)):
        eventually(made.ping(source, target), what=f"{source} reaches {target}")
    return made


@pytest.fixture(autouse=True)
def as_at_first(shire: Shire) -> Iterator[None]:
    shire.allow(PING, HTTP)
    shire.bind(shire.neighbours[0])
    shire.project.wait_phase("web", "Active", kind="floatingip")
    eventually(shire.page(), shire.neighbours[0], what="the outside reads the page")
    yield
    shire.plug(shire.stranger)


def test_what_a_host_could_not_hear_from_the_api_server_it_makes_up_for(shire: Shire) -> None:
    one, two = shire.neighbours
    with _flow(shire, shire.stranger, one) as flows:
        with cables.severed(shire.host_of(one), shire.cloud.layout.gateway):
            shire.allow(HTTP)
            shire.bind(shire.stranger)
            shire.plug(shire.stranger, {"name": "extra", "network": "green", "port": "loose"})
            eventually_not(shire.ping(one, shire.stranger), what="a host that hears of the rule heeds it")
            eventually(flows, what="the other host can't have heard of it")
            eventually(shire.ping(two, one), what="neighbours go on")
        eventually_not(flows, what="the flow that no rule allows is cut", timeout_s=BACK_BOUND_S)
    eventually_not(shire.ping(two, one), what="neighbours, whom no rule allows", timeout_s=BACK_BOUND_S)
    page = f"timeout 2 wget -q -O - http://{shire.of(one)}/"
    eventually(shire.guests.ask(two, page), one, what="what is still allowed")
    _expect_floating_at(shire, shire.stranger)
    page = f"timeout 2 wget -q -O - http://{LOOSE}/"
    eventually(shire.guests.ask(one, page), shire.stranger, what="the NIC that came meanwhile", timeout_s=BACK_BOUND_S)
    wait_sound(shire.cloud)


def test_a_host_without_its_peers_lets_neighbours_talk_and_finds_all_as_it_is_now(shire: Shire) -> None:
    one, two = shire.neighbours
    shire.plug(shire.stranger, {"name": "extra", "network": "green", "port": "loose"})
    shire.allow(HTTP)
    eventually_not(shire.ping(shire.stranger, one), what="no rule allows it", timeout_s=BACK_BOUND_S)
    with cables.severed(shire.host_of(one), shire.host_of(shire.stranger).address):
        shire.allow(PING, HTTP)
        shire.bind(shire.stranger)
        shire.plug(shire.stranger)
        eventually(shire.ping(two, one), what="neighbours talk, by the rules of now", timeout_s=BACK_BOUND_S)
        assert shire.ping(one, shire.stranger)().status, "their host is cut off"
    eventually(shire.ping(shire.stranger, one), what="the stranger reaches them", timeout_s=BACK_BOUND_S)
    eventually(shire.ping(one, shire.stranger), what="they reach the stranger", timeout_s=BACK_BOUND_S)
    _expect_floating_at(shire, shire.stranger)
    wait_sound(shire.cloud)


def test_agents_that_are_killed_and_start_again_lose_no_packet_of_flows_that_are_there(shire: Shire) -> None:
    one, _ = shire.neighbours
    with (
        from_outside(shire.cloud.layout, shire.floating, every_s=0.05) as outside_in,
        from_guest(shire.guests.console(shire.stranger), shire.of(one), every_s=0.05) as between,
    ):
        killed = {host.name: shire.cloud.kill(f"{host.name}/agent") for host in shire.cloud.hosts}
        for name, pid in killed.items():
            shire.cloud.wait_restarted(f"{name}/agent", killed=pid)
        # Agents that carry out a change have read what is there and compared it before.
        shire.plug(shire.stranger, {"name": "extra", "network": "green", "port": "loose"})
        wait_sound(shire.cloud)
    assert (outside_in.lost, between.lost) == (0, 0)


@contextmanager
def _flow(shire: Shire, source: str, target: str) -> Iterator[Ask]:
    """Have a guest ping another for as long as this lasts; yields the question whether answers still come."""
    shire.guests.run(source, f"ping -i 0.5 {shire.of(target)} > /tmp/flow 2>&1 & echo $! > /tmp/flow.pid")
    yield shire.guests.ask(source, "a=$(wc -l < /tmp/flow); sleep 2; [ $(wc -l < /tmp/flow) -gt $a ]")
    shire.guests.run(source, "kill $(cat /tmp/flow.pid)")


def _expect_floating_at(shire: Shire, server: str) -> None:
    """Wait until the outside reaches that Server at the floating address, and no other host answers for it."""
    eventually(shire.page(), server, what=f"{shire.floating} leads to {server}", timeout_s=BACK_BOUND_S)
    shire.project.wait_phase("web", "Active", kind="floatingip")
    asked = outside(shire.cloud.layout, "busybox", "arping", "-b", "-I", "wire", "-c", "2", "-w", "2", shire.floating)

    def alone() -> Answer:
        answer = asked()
        owners = set(re.findall(r"\[([0-9a-f:]{17})\]", answer.output.lower()))
        return Answer(status=int(len(owners) != 1), output=answer.output)

    eventually(alone, what=f"one host answers for {shire.floating}", timeout_s=BACK_BOUND_S)
