"""The second example: two projects with the same addresses, IPv6, remote groups, several NICs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cloud.sound import wait_sound
from nephos_dev import internet
from nephos_dev.asking import Guests, eventually, outside
from nephos_dev.cloud import Cloud
from nephos_dev.layout import WORK_TREE
from nephos_dev.tenant import Tenant

EXAMPLE = WORK_TREE / "examples" / "two-projects.yaml"
WORLD_V4, WORLD_V6 = (address for address, _ in internet.WORLD)
SERVERS = {"shop": ("web", "db", "stranger"), "lab": ("web",)}


@dataclass(frozen=True)
class Both:
    """The two projects, with shells in their guests."""

    cloud: Cloud
    shop: Tenant
    lab: Tenant
    in_shop: Guests
    in_lab: Guests

    def of(self, server: str, nic: str, version: int) -> str:
        """Return the address of a Server of `shop` on one of its NICs."""
        entries = self.shop.wait_phase(server, "Active")["status"]["addresses"]
        (address,) = (e["address"] for e in entries if e["name"] == nic and (":" in e["address"]) == (version == 6))
        return str(address)


@pytest.fixture(scope="module")
def both(cloud: Cloud) -> Iterator[Both]:
    cloud.kubectl("apply", "-f", str(EXAMPLE))
    tenants = {name: Tenant(cloud.cluster, name) for name in SERVERS}
    for name, servers in SERVERS.items():
        for server in servers:
            tenants[name].wait_phase(server, "Active")
    tenants["shop"].wait_phase("web", "Active", kind="floatingip")
    with Guests(cloud, "shop") as in_shop, Guests(cloud, "lab") as in_lab:
        yield Both(cloud, tenants["shop"], tenants["lab"], in_shop, in_lab)
    cloud.kubectl("delete", "-f", str(EXAMPLE), "--ignore-not-found", "--timeout=180s")
    wait_sound(cloud)


def test_the_same_address_in_two_projects_is_two_servers(both: Both) -> None:
    both.in_lab.run("web", "echo lab > /www/index.html")
    shop = both.shop.get("floatingip", "web")
    assert shop is not None
    page = outside(both.cloud.layout, "curl", "-sS", "--max-time", "3", f"http://{shop['status']['address']}/")
    assert eventually(page, what="the shop's page").output == "web"
    seen = set()
    for guests in (both.in_shop, both.in_lab):
        asked = guests.ask("web", f"timeout 5 wget -q -O - http://{WORLD_V4}/")
        seen.add(eventually(asked, "hello", what="the world").output)
    assert len(seen) == 2, "each project has an address of its own in the world"
    eventually(both.in_lab.ask("web", "ping -c 1 -W 1 10.20.0.1"), what="its own gateway")
    assert both.in_lab.run("web", "ping -c 1 -W 1 10.21.0.11").status, "the other project's second network"


def test_only_the_web_tier_reads_the_database(both: Both) -> None:
    database = f"timeout 2 wget -q -O - http://{both.of('db', 'back', 4)}/"
    assert eventually(both.in_shop.ask("web", database), what="a member of group web").output == "db"
    assert both.in_shop.run("stranger", database).status, "no member of it"
    assert both.in_shop.run("db", f"ping -c 1 -W 1 {both.of('web', 'back', 4)}").status, "nothing leaves on its own"


def test_a_guest_with_two_nics_is_on_both_networks(both: Both) -> None:
    for number, nic in enumerate(("front", "back")):
        address = both.of("web", nic, 4)
        eventually(both.in_shop.ask("web", f"ip -4 address show dev eth{number}"), address, what=nic)


def test_ipv6_is_routed_both_ways(both: Both) -> None:
    own = both.of("web", "front", 6)
    eventually(both.in_shop.ask("web", "ip -6 address show dev eth0"), own, what="an address by SLAAC")
    listed = json.loads(both.cloud.kubectl("get", "routers.nephos.cloud", "--all-namespaces", "--output=json"))
    assert internet.learn_routes(both.cloud.layout, listed["items"])
    eventually(outside(both.cloud.layout, "ping", "-c", "1", "-W", "2", own), what="ping from the outside")
    answer = eventually(both.in_shop.ask("web", f"ping6 -c 1 -W 2 {WORLD_V6}"), what="ping to the world")
    assert answer.status == 0
