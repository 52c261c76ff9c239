"""NICs that come and go while their Server runs, and limits of a Port that change meanwhile."""

from typing import Any

import pytest

from nephos_agent.network.names import tap_name
from nephos_dev.asking import Guests, eventually, eventually_not
from nephos_dev.cloud import Cloud
from nephos_dev.console import Answer
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

NET0 = {"name": "net0", "network": "blue"}
NET1 = {"name": "net1", "network": "green"}
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


def wait_gone(project: Tenant, port: str) -> None:
    def probe() -> None:
        if project.get("port", port) is not None:
            raise NotYet("it is still there")

    wait_for(probe, what=f"Port {port} is gone", timeout_s=60)


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
        wait_gone(project, f"{name}-net1")


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


def test_limits_of_a_port_change_while_its_guest_runs(cloud: Cloud, project: Tenant) -> None:
    found = project.get("port", "a-net0")
    assert found is not None
    (host,) = (each for each in cloud.hosts if each.name == found["spec"]["host"])
    tap = tap_name(found["metadata"]["uid"])

    def queue() -> Answer:
        done = cloud.execute(host, "ip", "netns", "exec", "nephos", "tc", "qdisc", "show", "dev", tap)
        return Answer(status=done.returncode, output=done.stdout)

    for kilobits, shown in ((2000, "rate 2Mbit"), (3000, "rate 3Mbit")):
        project.patch_spec("port", "a-net0", {"qos": {"ingress": {"kilobitsPerSecond": kilobits}}})
        eventually(queue, shown, what=f"{tap} is kept to {kilobits} kbit/s")
    project.patch_spec("port", "a-net0", {"qos": None})
    eventually(lambda: Answer(status=int("tbf" in queue().output), output=""), what=f"{tap} is free again")
