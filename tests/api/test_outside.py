"""Routers and FloatingIPs with a real API server and a real operator; hosts are simulated, their agents are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nephos_dev.cloud import Cloud, Plan
from nephos_dev.layout import name_for_tests
from nephos_dev.progress import FailureError
from nephos_dev.scale import prepare, simulated_hosts
from nephos_dev.tenant import Tenant, manifest, network_manifests
from nephos_dev.waiting import NotYet, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
CATALOG_KINDS = "network,subnet"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """Two hosts, the catalog of the examples without its unreachable Image, and the quickstart."""
    cloud = Cloud(name_for_tests("out"))
    cloud.up(Plan(hosts=0, operators=1, image_service=False, agents=False, catalog=False))
    with simulated_hosts(cloud, 2):
        prepare(cloud, Tenant(cloud.cluster, "others"), networks=0)
        cloud.kubectl("apply", f"--filename={EXAMPLES / 'catalog.yaml'}")
        cloud.kubectl("apply", f"--filename={EXAMPLES / 'quickstart.yaml'}")
        yield cloud
    cloud.down()


@pytest.fixture(scope="module")
def demo(cloud: Cloud) -> Tenant:
    """The project of the quickstart, once it is up."""
    tenant = Tenant(cloud.cluster, "demo")
    tenant.wait_phase("web", "Active", kind="floatingip", timeout_s=90)
    for name in ("web-1", "web-2"):
        tenant.wait_phase(name, "Active")
    tenant.wait_phase("edge", "Active", kind="router")
    return tenant


def ready(found: dict[str, Any]) -> dict[str, Any]:
    """Return the Ready condition."""
    return next(one for one in found["status"]["conditions"] if one["type"] == "Ready")


def reason_is(expected: str) -> Any:
    return lambda found: "" if ready(found)["reason"] == expected else f"its reason is {ready(found)}"


@pytest.mark.timeout(300)
def test_the_catalog_and_the_quickstart_come_up_as_they_are(cloud: Cloud, demo: Tenant) -> None:
    network = json.loads(cloud.kubectl("get", "network", "public", "--namespace=nephos-catalog", "--output=json"))
    assert (network["status"]["phase"], network["status"]["mtu"]) == ("Active", 1500)
    assert "vni" not in network["status"]
    shown = cloud.kubectl("get", "floatingip,router,server", "--namespace=demo", "--output=wide")
    web = demo.get("floatingip", "web") or {}
    assert web["status"]["fixedAddress"] == "10.10.0.11"
    assert shown.count(web["status"]["address"]) == 2, shown
    assert "203.0.113.10" in shown


@pytest.mark.timeout(120)
def test_it_stands_for_another_server_or_for_nobody(demo: Tenant) -> None:
    address = (demo.get("floatingip", "web") or {})["status"]["address"]
    demo.patch_spec("floatingip", "web", {"server": None})
    found = demo.wait("floatingip", "web", reason_is("Unbound"))
    assert (found["status"]["address"], found["status"]["phase"]) == (address, "Down")
    assert "host" not in found["status"]
    assert [one["type"] for one in found["status"]["conditions"] if one["status"] == "True"] == ["Ready"]
    demo.patch_spec("floatingip", "web", {"server": "web-2"})
    demo.wait_phase("web", "Active", kind="floatingip")
    demo.wait("server", "web-2", lambda found: "" if found["status"].get("floatingIPList") == address else "not shown")
    assert "floatingIPList" not in (demo.get("server", "web-1") or {})["status"]
    demo.patch_spec("floatingip", "web", {"server": "web-1"})
    demo.wait_phase("web", "Active", kind="floatingip")


@pytest.mark.timeout(120)
def test_the_gateway_moves_off_a_host_that_is_disabled(cloud: Cloud, demo: Tenant) -> None:
    before = (demo.get("router", "edge") or {})["status"]
    cloud.kubectl("patch", "host", before["gatewayHost"], "--type=merge", '--patch={"spec":{"enabled":false}}')
    after = demo.wait(
        "router", "edge", lambda found: "" if found["status"]["gatewayHost"] != before["gatewayHost"] else "not moved"
    )["status"]
    assert after["external"] == before["external"]
    cloud.kubectl("patch", "host", before["gatewayHost"], "--type=merge", '--patch={"spec":{"enabled":true}}')
    assert "GatewayMoved" in cloud.kubectl("get", "events", "--namespace=demo")


@pytest.mark.timeout(120)
def test_what_can_not_be_is_refused_with_a_sentence(demo: Tenant) -> None:
    refused = (
        (manifest("FloatingIP", "bad", externalNetwork="public", address="203.0.113.201"), r"none of the pools"),
        (manifest("FloatingIP", "bad", externalNetwork="blue"), r"spec\.externalNetwork: Network demo/blue is no"),
        (manifest("Router", "bad", subnets=["blue-v4"]), r"Router demo/edge has Subnet demo/blue-v4 already"),
        (manifest("Router", "bad", subnets=["red-v4", "redder-v4"]), r"spec\.subnets: .* overlaps"),
    )
    demo.apply(*network_manifests("red", "10.20.0.0/24"), *network_manifests("redder", "10.20.0.0/25"))
    for name in ("red-v4", "redder-v4"):
        demo.wait_phase(name, "Active", kind="subnet")
    for body, sentence in refused:
        with pytest.raises(FailureError, match=sentence):
            demo.apply(body)
    demo.delete("network", "red", "redder")
    demo.delete("subnet", "red-v4", "redder-v4")


@pytest.mark.timeout(300)
def test_deleting_the_quickstart_leaves_nothing_of_it(cloud: Cloud, demo: Tenant) -> None:
    cloud.kubectl("delete", f"--filename={EXAMPLES / 'quickstart.yaml'}", "--timeout=120s")

    def probe() -> None:
        left = cloud.kubectl("get", "nephos", "--all-namespaces", "--output=name").split()
        of_demo = [
            name for name in left if name.rpartition("/")[2] in ("demo", "web", "edge", "web-1", "web-2", "blue")
        ]
        if of_demo:
            raise NotYet(f"{of_demo} are left")

    wait_for(probe, what="nothing of the quickstart", timeout_s=30)
    assert cloud.kubectl("get", "namespace", "demo", "--ignore-not-found").strip() == ""
    cloud.kubectl("delete", CATALOG_KINDS, "--all", "--namespace=nephos-catalog", "--timeout=60s")
