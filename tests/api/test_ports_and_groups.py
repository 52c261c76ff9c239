"""Ports of people's own, NICs that come and go, and security groups: a real API server and operator, hosts in memory.

What only a real API server does is who owns which field, and what an apply takes away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nephos_dev.cloud import Cloud, Plan
from nephos_dev.layout import name_for_tests
from nephos_dev.progress import FailureError
from nephos_dev.scale import prepare, simulated_hosts
from nephos_dev.tenant import Manifest, Tenant, manifest, reason_is, server_manifest

BLUE = {"name": "net0", "network": "net-0"}
VIP = {"name": "net1", "network": "net-0", "port": "vip"}
MAC = "52:54:00:12:34:56"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    cloud = Cloud(name_for_tests("ports"))
    cloud.up(Plan(hosts=0, operators=1, image_service=False, agents=False, catalog=False))
    with simulated_hosts(cloud, 2):
        yield cloud
    cloud.down()


@pytest.fixture(scope="module")
def tenant(cloud: Cloud) -> Tenant:
    tenant = Tenant(cloud.cluster, "ports")
    prepare(cloud, tenant, networks=2)
    return tenant


def wait_spec(tenant: Tenant, name: str, lack: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """Wait until the Port's spec lacks nothing."""
    return tenant.wait("port", name, lambda found: lack(found["spec"]))


def names_groups(*names: str) -> Callable[[dict[str, Any]], str]:
    def lack(spec: dict[str, Any]) -> str:
        held = [reference["name"] for reference in spec.get("securityGroupReferences", [])]
        return "" if held == [*names] else f"it has {held}"

    return lack


def is_of(server: str | None) -> Callable[[dict[str, Any]], str]:
    def lack(spec: dict[str, Any]) -> str:
        fields = {name: spec.get(name) for name in ("server", "serverUID", "serverInterface", "host", "hostAddress")}
        bound = all(fields.values()) if server else not any(fields.values())
        return "" if bound and spec.get("server") == server else f"it is {fields}"

    return lack


def has_addresses(count: int) -> Callable[[dict[str, Any]], str]:
    def lack(found: dict[str, Any]) -> str:
        held = found["status"].get("addresses", [])
        return "" if len(held) == count else f"it has {held}"

    return lack


def is_active(found: dict[str, Any]) -> str:
    phase = found.get("status", {}).get("phase")
    return "" if phase == "Active" else f"its phase is {phase}"


def server(name: str, *networks: dict[str, Any], **spec: Any) -> Manifest:
    return server_manifest(name, "net-0", networks=[*networks], **spec)


@pytest.mark.timeout(180)
def test_a_port_is_moved_between_running_servers_and_outlives_both(tenant: Tenant) -> None:
    mine = {"macAddress": MAC, "addresses": ["10.0.0.50"], "allowedAddressPairs": [{"address": "10.0.0.100"}]}
    tenant.apply(manifest("Port", "vip", network="net-0", **mine))
    made = tenant.wait("port", "vip", reason_is("Unbound"))
    tenant.apply(server("one", BLUE, VIP), server("two", BLUE))
    for name in ("one", "two"):
        tenant.wait_phase(name, "Active")
    wait_spec(tenant, "vip", is_of("one"))
    tenant.expect_refused("Port ports/vip is in use by Server ports/one", server("two", BLUE, VIP))
    tenant.patch_spec("server", "one", {"networks": [BLUE]})
    tenant.apply_once_heard(server("two", BLUE, VIP))
    wait_spec(tenant, "vip", is_of("two"))
    tenant.wait("port", "vip", is_active)
    held = tenant.wait("server", "two", has_addresses(2))["status"]["addresses"]
    assert (held[-1]["address"], held[-1]["mac"]) == ("10.0.0.50", MAC)
    tenant.delete("server", "one", "two")
    wait_spec(tenant, "vip", is_of(None))
    kept = tenant.wait("port", "vip", reason_is("Unbound"))
    assert kept["spec"] == made["spec"]
    tenant.delete("port", "vip")


@pytest.mark.timeout(180)
def test_a_nic_comes_and_goes_while_the_server_runs(tenant: Tenant) -> None:
    tenant.apply(server("hot", BLUE))
    tenant.wait_phase("hot", "Active")
    tenant.patch_spec("server", "hot", {"networks": [BLUE, {"name": "net1", "network": "net-1"}]})
    tenant.wait("port", "hot-net1", is_active)
    tenant.wait("server", "hot", has_addresses(2))
    with pytest.raises(FailureError, match=r"spec\.networks: network, addresses and port of an entry can't be changed"):
        tenant.patch_spec("server", "hot", {"networks": [BLUE, {"name": "net1", "network": "net-0"}]})
    tenant.patch_spec("server", "hot", {"networks": [BLUE]})
    tenant.wait("server", "hot", has_addresses(1))
    tenant.wait_gone("port", "hot-net1")
    tenant.delete("server", "hot")


@pytest.mark.timeout(180)
def test_groups_reach_the_ports_of_running_servers(tenant: Tenant) -> None:
    tenant.wait("sg", "default", reason_is("Ready"))
    tenant.apply(manifest("SecurityGroup", "web"), server("shielded", BLUE))
    tenant.wait_phase("shielded", "Active")
    port = wait_spec(tenant, "shielded-net0", names_groups("default"))
    assert "securityGroups" not in port["spec"]
    for groups in (["default", "web"], [], None, ["web"]):
        tenant.patch_spec("server", "shielded", {"securityGroups": groups})
        wait_spec(tenant, "shielded-net0", names_groups(*(["default"] if groups is None else groups)))
    tenant.delete("sg", "web", wait=False)
    tenant.wait("sg", "web", reason_is("InUse"))
    tenant.patch_spec("server", "shielded", {"securityGroups": None})
    tenant.wait_gone("sg", "web")
    tenant.delete("server", "shielded")


@pytest.mark.timeout(60)
def test_a_default_group_that_is_deleted_comes_again(tenant: Tenant) -> None:
    before = tenant.wait("sg", "default", reason_is("Ready"))
    tenant.delete("sg", "default", wait=False)

    def lack(found: dict[str, Any]) -> str:
        return "" if found["metadata"]["uid"] != before["metadata"]["uid"] else "it is the old one"

    tenant.wait("sg", "default", lack)
