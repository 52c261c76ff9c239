"""NICs that come and go while their Server runs, and limits of a Port that change meanwhile."""

import re
from typing import Any

import pytest

from nephos_dev.asking import Ask, Guests, eventually, eventually_not
from nephos_dev.console import Answer
from nephos_dev.tenant import Tenant, conditions, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

NET0 = {"name": "net0", "network": "blue"}
NET1 = {"name": "net1", "network": "green"}
LOAD_KB = 200
UNLIMITED_S = 0.8
"""For the load without a limit, which takes 1 s and more with one."""
EXTRA = {"name": "extra", "network": "green", "port": "loose"}


@pytest.fixture(scope="module")
def project(project: Tenant) -> Tenant:
    """Two guests apart on one network, and another network that nobody uses yet."""
    project.apply(
        *network_manifests("blue", "10.70.0.0/24"),
        *network_manifests("green", "10.71.0.0/24"),
        manifest("SecurityGroup", "open", rules=[{"direction": "Ingress"}, {"direction": "Egress"}]),
        manifest("ServerGroup", "apart", policy="AntiAffinity"),
        manifest("Port", "loose", network="green", addresses=["10.71.0.99"], securityGroups=["open"]),
        *(
            server_manifest(name, "blue", networks=[NET0], serverGroup="apart", securityGroups=["open"])
            for name in ("a", "b")
        ),
    )
    for name in ("a", "b"):
        project.wait_phase(name, "Active")
    return project


def phase_of(project: Tenant, port: str) -> tuple[str | None, str | None]:
    found: dict[str, Any] = project.get("port", port) or {}
    return found.get("status", {}).get("phase"), found.get("spec", {}).get("server")


def wait_bound(project: Tenant, port: str, server: str | None, phase: str) -> None:
    def probe() -> None:
        if (found := phase_of(project, port)) != (phase, server):
            raise NotYet(str(found))

    wait_for(probe, what=f"Port {port} {phase} at {server}", timeout_s=60)


def list_nics(project: Tenant, server: str, *nics: dict[str, str]) -> None:
    project.patch_spec("server", server, {"networks": list(nics)})


def test_a_running_guest_gets_a_nic_and_talks_by_it_and_loses_it_again(project: Tenant, guests: Guests) -> None:
    for name in ("a", "b"):
        list_nics(project, name, NET0, NET1)
    for name in ("a", "b"):
        wait_bound(project, f"{name}-net1", name, "Active")
        eventually(guests.ask(name, "ip link show dev eth1"), "eth1", what=f"{name} sees its new NIC")
        eventually(guests.ask(name, "ip link set eth1 up && udhcpc -i eth1 -n -q"), "lease", what=f"{name}'s lease")
    there = (project.get("port", "b-net1") or {})["spec"]["allocations"][0]["address"]
    eventually(guests.ask("a", f"ping -c 1 -W 1 {there}"), "1 packets received", what=f"b answers at {there}")
    for name in ("a", "b"):
        list_nics(project, name, NET0)
    for name in ("a", "b"):
        eventually_not(guests.ask(name, "ip link show dev eth1"), what=f"{name} let go of its NIC")
        project.wait_gone("port", f"{name}-net1")


def test_a_port_outlives_its_nic_and_moves_to_another_server(project: Tenant, guests: Guests) -> None:
    list_nics(project, "a", NET0, EXTRA)
    wait_bound(project, "loose", "a", "Active")
    eventually(guests.ask("a", "udhcpc -i eth1 -n -q"), "10.71.0.99", what="a leases the Port's address")
    list_nics(project, "a", NET0)
    wait_bound(project, "loose", None, "Down")
    list_nics(project, "b", NET0, EXTRA)
    wait_bound(project, "loose", "b", "Active")
    eventually(guests.ask("b", "udhcpc -i eth1 -n -q"), "10.71.0.99", what="b leases the Port's address")
    list_nics(project, "b", NET0)
    wait_bound(project, "loose", None, "Down")


def test_a_port_outlives_its_server_and_the_next_one_has_its_addresses(project: Tenant, guests: Guests) -> None:
    def boot(name: str) -> None:
        project.apply(server_manifest(name, "green", networks=[EXTRA], securityGroups=["open"]))
        project.wait_phase(name, "Active")
        wait_bound(project, "loose", name, "Active")

    before = project.get("port", "loose") or {}
    for name in ("first", "next"):
        boot(name)
        if name == "next":
            eventually(guests.ask(name, "ip -4 address show dev eth0"), "10.71.0.99", what="the Port's address")
            mac = guests.run(name, "cat /sys/class/net/eth0/address").output
            assert mac == (project.get("port", "loose") or {})["spec"]["macAddress"]
        project.delete("server", name)
        wait_bound(project, "loose", None, "Down")
    assert (project.get("port", "loose") or {})["metadata"]["uid"] == before["metadata"]["uid"]


def test_limits_of_both_directions_hold_and_change_while_the_guest_runs(project: Tenant, guests: Guests) -> None:
    for name in ("a", "b"):
        assert guests.run(name, f"dd if=/dev/zero of=/www/load bs=1000 count={LOAD_KB}").status == 0
    incoming = fetching(project, guests, "a", "b")
    outgoing = fetching(project, guests, "b", "a")
    for fetch in (incoming, outgoing):
        eventually(takes(fetch, most_s=UNLIMITED_S), what="the load without a limit")
    for ingress, egress in ((1600, 800), (800, 1600)):
        limits = {"ingress": {"kilobitsPerSecond": ingress}, "egress": {"kilobitsPerSecond": egress}}
        project.patch_spec("port", "a-net0", {"qos": limits})
        for fetch, kilobits in ((incoming, ingress), (outgoing, egress)):
            due_s = LOAD_KB * 8 / kilobits
            eventually(takes(fetch, least_s=due_s * 0.7, most_s=due_s * 1.3), what=f"the load at {kilobits} kbit/s")
    project.patch_spec("port", "a-net0", {"qos": None})
    for fetch in (incoming, outgoing):
        eventually(takes(fetch, most_s=UNLIMITED_S), what="the load without a limit again")


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_a_guest_gets_and_sends_no_more_packets_than_its_limit(project: Tenant, guests: Guests, direction: str) -> None:
    ping = guests.ask("b", f"ping -c 60 -i 0.01 -W 1 {address_of(project, 'a')}")

    def counting(least: int, most: int) -> Ask:
        def ask() -> Answer:
            output = ping().output
            counts = [int(count) for count in re.findall(r"(\d+) packets received", output)]
            return Answer(status=int(not any(least <= count <= most for count in counts)), output=output)

        return ask

    eventually(counting(60, 60), what="all come without a limit")
    project.patch_spec("port", "a-net0", {"qos": {direction: {"packetsPerSecond": 10}}})
    eventually(counting(1, 40), what="few come with one")
    project.patch_spec("port", "a-net0", {"qos": None})
    eventually(counting(60, 60), what="all come without it again")


def address_of(project: Tenant, server: str) -> str:
    return str((project.get("port", f"{server}-net0") or {})["spec"]["allocations"][0]["address"])


def fetching(project: Tenant, guests: Guests, fetcher: str, source: str) -> Ask:
    """Return the question how long a guest takes to fetch the load from another, by its own clock."""
    fetch = f"wget -q -O /dev/null http://{address_of(project, source)}/load"
    clock = "cut -d ' ' -f 1 /proc/uptime"
    return guests.ask(fetcher, f"{clock}; timeout 10 {fetch} && {clock}")


def takes(fetch: Ask, *, least_s: float = 0, most_s: float) -> Ask:
    """Return the question whether fetching takes that long."""

    def ask() -> Answer:
        answer = fetch()
        if answer.status:
            return answer
        begun, ended = map(float, answer.output.split())
        is_right = least_s <= ended - begun <= most_s
        return Answer(status=int(not is_right), output=f"{ended - begun:.2f} s, not {least_s:g} to {most_s:g} s")

    return ask


def test_a_subnet_whose_addresses_are_in_use_says_by_whom_and_goes_once_they_are_free(project: Tenant) -> None:
    project.delete("subnet", "green-v4", wait=False)
    project.wait("subnet", "green-v4", lambda found: "" if "Port" in str(conditions(found)) else str(found["status"]))
    assert "loose" in str(conditions(project.get("subnet", "green-v4") or {}))
    project.delete("port", "loose")
    project.wait_gone("subnet", "green-v4")
