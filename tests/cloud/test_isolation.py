"""What a guest cannot do, and what the host's own firewall cannot do to a guest."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from nephos_dev import internet
from nephos_dev.asking import Ask, Guests, eventually, eventually_not, outside
from nephos_dev.cloud import Cloud
from nephos_dev.console import Answer
from nephos_dev.environment import AGENT_METRICS_PORT
from nephos_dev.layout import HostLayout
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

WORLD = f"http://{internet.WORLD[0][0]}/"
METADATA = "http://169.254.169.254/openstack/latest/meta_data.json"
CIDR = "10.78.0.0/24"
PAIR = ("one", "two")
TABLE = "hostile"
FOREIGN = "foreign"
CATALOG = "nephos-catalog"
TENANTS = ("ip", "netns", "exec", "nephos")


@dataclass(frozen=True)
class Cell:
    """Two Servers on two hosts behind a Router, and one of another project with the address of the first."""

    cloud: Cloud
    project: Tenant
    other: Tenant
    guests: Guests
    others: Guests

    def of(self, server: str) -> str:
        """Return a Server's address."""
        return str(self.project.wait_phase(server, "Active")["status"]["addresses"][0]["address"])

    def host_of(self, server: str) -> HostLayout:
        """Return the host that carries a Server."""
        name = self.project.wait_phase(server, "Active")["status"]["host"]
        return next(host for host in self.cloud.hosts if host.name == name)


@pytest.fixture(scope="module")
def cell(cloud: Cloud, project: Tenant, guests: Guests) -> Iterator[Cell]:
    rules = [{"direction": "Ingress", "remoteCIDR": "0.0.0.0/0"}]
    other = Tenant(cloud.cluster, f"{project.name}-b")
    other.create()
    for tenant in (project, other):
        tenant.apply(
            *network_manifests("blue", CIDR),
            manifest("Router", "edge", externalNetwork="public", subnets=["blue-v4"]),
            manifest("SecurityGroup", "open", rules=rules),
        )
    nic = {"network": "blue", "addresses": ["10.78.0.11"]}
    project.apply(
        manifest("ServerGroup", "apart", policy="AntiAffinity"),
        server_manifest("one", "blue", networks=[nic], serverGroup="apart", securityGroups=["open"]),
        server_manifest("two", "blue", serverGroup="apart", securityGroups=["open"]),
    )
    other.apply(server_manifest("three", "blue", networks=[nic], securityGroups=["open"]))
    for name in PAIR:
        project.wait_phase(name, "Active")
    other.wait_phase("three", "Active")
    with Guests(cloud, other.name) as others:
        made = Cell(cloud, project, other, guests, others)
        eventually(guests.ask("one", f"timeout 3 wget -q -O - {WORLD}"), "hello", what="the world")
        eventually(guests.ask("one", f"ping -c 1 -W 2 {made.of('two')}"), what="the other guest")
        yield made
    other.destroy()


def test_a_guest_reaches_no_host_no_agent_and_no_control_plane(cell: Cell) -> None:
    layout, neighbour = cell.cloud.layout, cell.host_of("two")
    targets = [f"ping -c 1 -W 1 {host.address}" for host in cell.cloud.hosts]
    targets += [_fetch(f"http://{host.address}:{AGENT_METRICS_PORT}/metrics") for host in cell.cloud.hosts]
    targets += [f"ping -c 1 -W 1 {layout.gateway}", f"nc -w 1 {layout.gateway} {layout.ports.apiserver} </dev/null"]
    for target in targets:
        eventually(_from_host(cell.cloud, neighbour, target), what=f"{target}: a host may")
        assert cell.guests.run("one", target).status, target
    for nobody in ("169.254.169.254", "10.78.0.1"):
        target = _fetch(f"http://{nobody}:{AGENT_METRICS_PORT}/metrics")
        assert cell.guests.run("one", target).status, target
    for fine in (
        f"ping -c 1 -W 1 {internet.WORLD[0][0]}",
        f"nc -w 1 {internet.WORLD[0][0]} 80 </dev/null",
        _fetch(WORLD),
        _fetch(METADATA),
        "ping -c 1 -W 1 10.78.0.1",
    ):
        eventually(cell.guests.ask("one", fine), what=f"{fine}: what it may reach, by the same means")


def test_guests_of_two_projects_with_one_address_read_each_their_own_metadata(cell: Cell) -> None:
    seen = []
    for guests, server in ((cell.guests, "one"), (cell.others, "three")):
        answer = eventually(guests.ask(server, f"timeout 3 wget -q -O - {METADATA}"), "uuid", what="metadata")
        seen.append(json.loads(answer.output)["name"])
    assert seen == ["one", "three"]


def test_a_header_that_names_another_server_changes_nothing(cell: Cell) -> None:
    other = cell.project.wait_phase("two", "Active")["metadata"]["uid"]
    headers = " ".join(
        f"--header '{line}'" for line in (f"X-Instance-ID: {other}", f"X-Forwarded-For: {cell.of('two')}")
    )
    answer = eventually(cell.guests.ask("one", f"timeout 3 wget -q {headers} -O - {METADATA}"), "uuid", what="metadata")
    assert json.loads(answer.output)["name"] == "one"


def test_projects_with_the_same_addresses_never_meet(cell: Cell) -> None:
    eventually(cell.others.ask("three", f"ping -c 1 -W 2 {internet.WORLD[0][0]}"), what="the world")
    eventually(cell.others.ask("three", "ping -c 1 -W 2 10.78.0.1"), what="its own gateway")
    assert cell.others.run("three", f"ping -c 2 -W 1 {cell.of('two')}").status, "an address that only the other has"
    eventually(cell.guests.ask("one", f"ping -c 1 -W 2 {cell.of('two')}"), what="what only its own network has")


def test_projects_meet_on_a_network_that_the_catalog_shares_with_them(cell: Cell) -> None:
    place = {"namespace": CATALOG}
    network = manifest("Network", "meeting", shared=True, projects=[cell.project.name, cell.other.name])
    subnet = manifest("Subnet", "meeting-v4", network="meeting", cidr="10.88.0.0/24")
    cell.cloud.cluster.apply_objects(
        *({**each, "metadata": {**each["metadata"], **place}} for each in (network, subnet))
    )
    there = cell.other.wait_phase("three", "Active")["status"]["host"]
    far = next(name for name in PAIR if cell.host_of(name).name != there)
    sides = ((cell.project, cell.guests, far), (cell.other, cell.others, "three"))
    alone = {tenant.name: (tenant.get("server", name) or {})["spec"]["networks"] for tenant, _, name in sides}
    try:
        for tenant, _, name in sides:
            tenant.patch_spec(
                "server", name, {"networks": [*alone[tenant.name], {"name": "shared", "network": "meeting"}]}
            )
        addresses = [_address_of(tenant, f"{name}-shared") for tenant, _, name in sides]
        for (_, guests, name), target in zip(sides, reversed(addresses), strict=True):
            eventually(
                guests.ask(name, f"ping -c 1 -W 2 {target}"), what=f"{name} reaches the other project at {target}"
            )
    finally:
        for tenant, _, name in sides:
            tenant.patch_spec("server", name, {"networks": alone[tenant.name]})
            tenant.wait_gone("port", f"{name}-shared")
        for kind, name in (("subnet", "meeting-v4"), ("network", "meeting")):
            cell.cloud.kubectl("delete", kind, name, f"--namespace={CATALOG}", "--timeout=60s")


def _address_of(tenant: Tenant, port: str) -> str:
    """Return the Port's address once its Server has it."""
    found = tenant.wait("port", port, lambda each: "" if each.get("status", {}).get("phase") == "Active" else str(each))
    return str(found["spec"]["allocations"][0]["address"])


def test_a_host_firewall_that_drops_and_redirects_everything_touches_no_guest(cell: Cell) -> None:
    cell.project.apply(manifest("FloatingIP", "door", externalNetwork="public", server="one"))
    door = cell.project.wait_phase("door", "Active", kind="floatingip")["status"]["address"]
    gateway = internet.GATEWAYS[0][0]
    with ExitStack() as stack:
        foreign = [stack.enter_context(_foreign_machine(cell.cloud, host)) for host in cell.cloud.hosts]
        for run in foreign:
            eventually(run("ping", "-c1", "-W1", gateway), what="by the provider's bridge, before there is a firewall")
            eventually(run("curl", "-sSm2", f"http://{gateway}/"), what="a page, by the same way")
        stack.enter_context(_hostile_firewall(cell))
        eventually(outside(cell.cloud.layout, "ping", "-c1", "-W1", door), what="a floating address from outside")
        eventually(outside(cell.cloud.layout, "curl", "-sSm3", f"http://{door}/"), "one", what="the page there")
        for source, target in (PAIR, PAIR[::-1]):
            eventually(cell.guests.ask(source, f"ping -c 2 -W 2 {cell.of(target)}"), what=f"{target} answers")
            page = cell.guests.ask(source, f"timeout 3 wget -q -O - http://{cell.of(target)}/")
            eventually(page, target, what="a page that kube-proxy's kind of rule sends elsewhere")
            world = cell.guests.ask(source, f"timeout 3 wget -q -O - {WORLD}")
            eventually(world, what="the world, by the provider's bridge in the host's own namespace")
        eventually(cell.guests.ask("one", f"timeout 3 wget -q -O - {METADATA}"), what="metadata")
        for run in foreign:
            assert run("ping", "-c1", "-W1", gateway)().status, "what is not the tenants' is dropped"
            assert run("curl", "-sSm2", f"http://{gateway}/")().status


@pytest.mark.parametrize("family", ["bridge", "inet"])
def test_filters_that_somebody_deletes_come_back_at_once(cell: Cell, family: str) -> None:
    host = cell.host_of("one")
    assert cell.cloud.execute(host, *TENANTS, "nft", "delete", "table", family, "nephos").returncode == 0

    def back() -> None:
        if cell.cloud.execute(host, *TENANTS, "nft", "list", "table", family, "nephos").returncode:
            raise NotYet("the table is not there")

    wait_for(back, what=f"table {family} nephos", timeout_s=15)
    other = "10.78.0.200"
    assert cell.guests.run("one", f"ip address add {other}/24 dev eth0").status == 0
    try:
        eventually_not(
            cell.guests.ask("one", f"ping -c 1 -W 1 -I {other} {cell.of('two')}"),
            what="an address that is not its own",
            timeout_s=15,
        )
        eventually(cell.guests.ask("one", f"ping -c 1 -W 2 {cell.of('two')}"), what="its own address")
    finally:
        cell.guests.run("one", f"ip address del {other}/24 dev eth0")


def _from_host(cloud: Cloud, host: HostLayout, command: str) -> Ask:
    """Return the question that runs a guest's command on a host, where busybox has the same tools."""
    own = command.replace("wget", "busybox wget").replace("nc -w", "busybox nc -w")

    def ask() -> Answer:
        done = cloud.execute(host, "sh", "-c", own)
        return Answer(status=done.returncode, output=done.stdout + done.stderr)

    return ask


def _fetch(url: str) -> str:
    return f"timeout 1 wget -q -O - {url}"


@contextmanager
def _foreign_machine(cloud: Cloud, host: HostLayout) -> Iterator[Callable[..., Ask]]:
    """Have a machine that is none of the cloud's on a host's provider bridge; give what asks it."""
    address = f"203.0.113.{240 + cloud.hosts.index(host)}"
    try:
        for command in (
            f"ip netns add {FOREIGN}",
            f"ip link add foreign0 type veth peer name eth0 netns {FOREIGN}",
            f"ip link set foreign0 master {internet.PROVIDER_BRIDGE} up",
            f"ip -n {FOREIGN} address add {address}/24 dev eth0",
            f"ip -n {FOREIGN} link set eth0 up",
        ):
            done = cloud.execute(host, *command.split())
            assert done.returncode == 0, done.stderr
        yield lambda *command: _in_foreign(cloud, host, *command)
    finally:
        cloud.execute(host, "ip", "netns", "delete", FOREIGN)


def _in_foreign(cloud: Cloud, host: HostLayout, *command: str) -> Ask:
    def ask() -> Answer:
        done = cloud.execute(host, "ip", "netns", "exec", FOREIGN, *command)
        return Answer(status=done.returncode, output=done.stdout + done.stderr)

    return ask


@contextmanager
def _hostile_firewall(cell: Cell) -> Iterator[None]:
    """Have both hosts drop what they forward, as Docker does, redirect, as kube-proxy does, and drop early."""
    public = "203.0.113.0/24"
    ruleset = f"""
        table inet {TABLE} {{
            chain early {{ type filter hook prerouting priority raw; ip daddr {public} icmp type echo-request drop; }}
            chain forward {{ type filter hook forward priority 0; policy drop; }}
            chain elsewhere {{
                type nat hook prerouting priority -100;
                ip daddr {{ {CIDR}, {public}, 169.254.169.254 }} tcp dport 80 dnat ip to 192.0.2.99
            }}
        }}
    """
    for host in cell.cloud.hosts:
        for command in (("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"), ("nft", ruleset)):
            done = cell.cloud.execute(host, *command)
            assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        for host in cell.cloud.hosts:
            cell.cloud.execute(host, "nft", "delete", "table", "inet", TABLE)
