"""Two replicas of the operator on a real API server: one acts, nothing is given twice, whatever happens to it."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from nephos_dev.cloud import Cloud, Plan
from nephos_dev.layout import name_for_tests
from nephos_dev.scale import prepare, simulated_hosts
from nephos_dev.tenant import Tenant, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

REPLICAS = ("operator-1", "operator-2")
HOSTS = 4


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    cloud = Cloud(name_for_tests("pair"))
    cloud.up(Plan(hosts=0, operators=2, image_service=False, agents=False, catalog=False))
    with simulated_hosts(cloud, HOSTS):
        yield cloud
    cloud.down()


@pytest.fixture(scope="module")
def tenant(cloud: Cloud) -> Tenant:
    tenant = Tenant(cloud.cluster, "pair")
    prepare(cloud, tenant, networks=2)
    return tenant


def holder(cloud: Cloud) -> str:
    """Return the replica that holds the Lease."""
    return cloud.kubectl(
        *("get", "lease", "nephos-operator", "--namespace=nephos-system", "--output=jsonpath={.spec.holderIdentity}")
    ).strip()


def leader(cloud: Cloud, *, other_than: str = "") -> str:
    """Wait until a replica leads, and return its name."""

    def probe() -> str:
        found = holder(cloud)
        if found not in REPLICAS or found == other_than:
            raise NotYet(f"the Lease is held by {found!r}")
        return found

    return wait_for(probe, what="a leader", timeout_s=40)


def create(tenant: Tenant, prefix: str, count: int) -> list[str]:
    names = [f"{prefix}-{number}" for number in range(count)]
    tenant.apply(*(server_manifest(name, f"net-{number % 2}") for number, name in enumerate(names)))
    return names


def all_active(tenant: Tenant, names: list[str]) -> None:
    """Wait until all Servers are Active."""

    def probe() -> None:
        phases = {
            server["metadata"]["name"]: server.get("status", {}).get("phase") for server in tenant.all_of("servers")
        }
        missing = [name for name in names if phases.get(name) != "Active"]
        if missing:
            raise NotYet(f"{len(missing)} are not Active, such as {missing[0]} ({phases.get(missing[0])})")

    wait_for(probe, what="all Servers Active", timeout_s=90)


def nothing_is_given_twice(tenant: Tenant) -> None:
    ports = tenant.all_of("ports")
    claims = Counter((held["subnetUID"], held["address"]) for port in ports for held in port["spec"]["allocations"])
    assert max(claims.values()) == 1
    assert len(ports) == len(tenant.all_of("servers"))
    vnis = Counter(network["status"]["vni"] for network in tenant.all_of("networks"))
    assert max(vnis.values()) == 1


@pytest.mark.timeout(180)
def test_the_other_replica_takes_over_from_one_that_is_killed(cloud: Cloud, tenant: Tenant) -> None:
    first = leader(cloud)
    names = create(tenant, "killed", 12)
    cloud.kill(first)
    names += create(tenant, "after", 12)
    all_active(tenant, names)
    nothing_is_given_twice(tenant)


@pytest.mark.timeout(180)
def test_one_that_was_stopped_and_goes_on_writes_nothing_any_more(cloud: Cloud, tenant: Tenant) -> None:
    first = leader(cloud)
    cloud.kill(first, signal.SIGSTOP)
    try:
        names = create(tenant, "stopped", 12)
        second = leader(cloud, other_than=first)
        all_active(tenant, names)
    finally:
        cloud.kill(first, signal.SIGCONT)
    names += create(tenant, "both", 12)
    all_active(tenant, names)
    nothing_is_given_twice(tenant)
    assert leader(cloud) == second


@pytest.mark.timeout(120)
def test_the_webhook_refuses_with_a_sentence_that_names_the_field(cloud: Cloud, tenant: Tenant) -> None:
    leader(cloud)
    gateway = server_manifest("bad", "net-0", networks=[{"network": "net-0", "addresses": ["10.0.0.1"]}])
    tenant.expect_refused(r"spec\.networks\[net0\]\.addresses: 10\.0\.0\.1 is the gateway", gateway)
    over = {**network_manifests("net-0", "10.0.128.0/17")[1], "metadata": {"name": "over"}}
    tenant.expect_refused(r"overlaps 10\.0\.0\.0/16 of Subnet net-0-v4", over)
    small = Tenant(cloud.cluster, "small")
    small.create(instances=0)
    small.expect_refused(r"allows 0 instances", server_manifest("one", "none"))


@pytest.mark.timeout(180)
def test_a_project_with_servers_is_emptied_and_gone(cloud: Cloud, tenant: Tenant) -> None:
    leader(cloud)
    cloud.kubectl("delete", "project", tenant.name, "--timeout=120s")
    assert cloud.kubectl("get", "namespace", tenant.name, "--ignore-not-found").strip() == ""
