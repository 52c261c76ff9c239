"""Routers and FloatingIPs with a real API server and a real operator; hosts are simulated, their agents are not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nephos_dev.cloud import Cloud, Plan
from nephos_dev.layout import name_for_tests
from nephos_dev.scale import prepare, simulated_hosts
from nephos_dev.tenant import Tenant, conditions, manifest, network_manifests, reason_is, server_manifest
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
    """Return the Ready condition, empty where nothing was said yet."""
    return conditions(found).get("Ready", {})


@pytest.mark.timeout(300)
def test_the_catalog_and_the_quickstart_come_up_as_they_are(cloud: Cloud, demo: Tenant) -> None:
    network = json.loads(cloud.kubectl("get", "network", "public", "--namespace=nephos-catalog", "--output=json"))
    assert (network["status"]["phase"], network["status"]["mtu"]) == ("Active", 1500)
    assert "vni" not in network["status"]
    web = demo.get("floatingip", "web") or {}
    assert web["status"]["fixedAddress"] == "10.10.0.11"
    address = web["status"]["address"]
    demo.wait("server", "web-1", lambda found: "" if found["status"].get("floatingIPList") == address else "not shown")
    shown = cloud.kubectl("get", "floatingip,router,server", "--namespace=demo", "--output=wide")
    assert shown.count(address) == 2, shown
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
    demo.wait("server", "web-1", lambda found: found["status"].get("floatingIPList", ""))
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
    wait_for(lambda: _told(cloud, "GatewayMoved"), what="the event", timeout_s=30)


def _told(cloud: Cloud, words: str, *selection: str) -> None:
    events = cloud.kubectl("get", "events", "--namespace=demo", *selection)
    if words not in events:
        raise NotYet(events)


@pytest.mark.timeout(120)
def test_it_is_not_active_while_its_host_counts_as_lost(cloud: Cloud, demo: Tenant) -> None:
    host = (demo.get("floatingip", "web") or {})["status"]["host"]
    cloud.kubectl("patch", "host", host, "--type=merge", '--patch={"spec":{"outOfService":true}}')
    lost = demo.wait("floatingip", "web", reason_is("HostDown"))
    assert (lost["status"]["phase"], lost["status"]["host"]) == ("Down", host)
    assert f"Host {host} is out of service" in ready(lost)["message"]
    cloud.kubectl("patch", "host", host, "--type=merge", '--patch={"spec":{"outOfService":false}}')
    found = demo.wait_phase("web", "Active", kind="floatingip")
    assert [one["type"] for one in found["status"]["conditions"] if one["status"] == "True"] == ["Ready"]


@pytest.mark.timeout(120)
def test_what_can_not_be_is_refused_with_a_sentence(demo: Tenant) -> None:
    taken = (demo.get("floatingip", "web") or {})["status"]["address"]
    refused = (
        (manifest("FloatingIP", "bad", externalNetwork="public", address="203.0.113.201"), r"none of the pools"),
        (manifest("FloatingIP", "bad", externalNetwork="public", address="198.51.100.1"), r"lies in no Subnet"),
        (manifest("FloatingIP", "bad", externalNetwork="public", address=taken), r"in use by FloatingIP demo/web"),
        (manifest("FloatingIP", "bad", externalNetwork="blue"), r"spec\.externalNetwork: Network demo/blue is no"),
        (manifest("Router", "bad", subnets=["blue-v4"]), r"Router demo/edge has Subnet demo/blue-v4 already"),
        (manifest("Router", "bad", subnets=["red-v4", "redder-v4"]), r"spec\.subnets: .* overlaps"),
        (manifest("Port", "bad", network="public"), r"spec\.network: Network nephos-catalog/public is not shared"),
    )
    demo.apply(*network_manifests("red", "10.20.0.0/24"), *network_manifests("redder", "10.20.0.0/25"))
    for name in ("red-v4", "redder-v4"):
        demo.wait_phase(name, "Active", kind="subnet")
    for body, sentence in refused:
        demo.expect_refused(sentence, body)
    demo.delete("network", "red", "redder")
    demo.delete("subnet", "red-v4", "redder-v4")


@pytest.mark.timeout(120)
def test_a_network_for_some_projects_is_refused_to_all_others(cloud: Cloud, demo: Tenant) -> None:
    catalog = Tenant(cloud.cluster, "nephos-catalog")
    catalog.apply(manifest("Network", "lab", shared=True, projects=["others"]))
    catalog.wait_phase("lab", "Active", kind="network")
    sentence = r"spec\..*: Network nephos-catalog/lab is for some projects only, and demo is none of them"
    for body in (manifest("Port", "bad", network="lab"), server_manifest("bad", "lab")):
        demo.expect_refused(sentence, body)
    others = Tenant(cloud.cluster, "others")
    others.apply(manifest("Port", "good", network="lab"))
    others.wait("port", "good", reason_is("NoSubnet"))
    others.delete("port", "good")
    catalog.delete("network", "lab")


@pytest.mark.timeout(60)
def test_a_vlan_that_no_hosts_kernel_has_says_so(cloud: Cloud) -> None:
    catalog = Tenant(cloud.cluster, "nephos-catalog")
    catalog.apply(manifest("Network", "tagged", external={"physicalNetwork": "ext", "type": "VLAN", "vlanID": 7}))
    found = catalog.wait("network", "tagged", reason_is("NoVLAN"))
    told = conditions(found)["Stalled"]
    assert (told["status"], found["status"]["phase"]) == ("True", "Error")
    assert "no Host's kernel has 802.1Q devices" in told["message"]
    catalog.delete("network", "tagged")


@pytest.mark.timeout(120)
def test_what_is_held_names_its_holders_and_goes_once_they_let_go(demo: Tenant) -> None:
    demo.apply(
        *network_manifests("red", "10.20.0.0/24"),
        manifest("Router", "inner", subnets=["red-v4"]),
        manifest("Port", "vip", network="red"),
    )
    demo.wait_phase("inner", "Active", kind="router")
    demo.wait("port", "vip", reason_is("Unbound"))
    for kind, name in (("subnet", "red-v4"), ("network", "red")):
        demo.delete(kind, name, wait=False)
        held = demo.wait(kind, name, reason_is("InUse"))
        assert held["status"]["phase"] == "Deleting"
        assert "held by Port demo/vip, Router demo/inner" in ready(held)["message"]
    demo.delete("router", "inner")
    demo.wait("subnet", "red-v4", lambda found: "" if "Router" not in ready(found)["message"] else "held by it still")
    demo.delete("port", "vip")
    for kind, name in (("subnet", "red-v4"), ("network", "red")):
        demo.wait_gone(kind, name)


@pytest.mark.timeout(120)
def test_a_leg_that_a_floating_ip_needs_stays_until_that_is_unbound(demo: Tenant) -> None:
    demo.patch_spec("router", "edge", {"subnets": []})
    kept = demo.wait("router", "edge", reason_is("LegInUse"))
    assert "held by FloatingIP demo/web" in ready(kept)["message"]
    assert [leg["subnet"] for leg in kept["status"]["legs"]] == ["blue-v4"]
    demo.patch_spec("floatingip", "web", {"server": None})
    demo.wait("router", "edge", lambda found: "it has a leg" if "legs" in found["status"] else "")
    demo.patch_spec("router", "edge", {"subnets": ["blue-v4"]})
    demo.patch_spec("floatingip", "web", {"server": "web-1"})
    demo.wait_phase("web", "Active", kind="floatingip")


@pytest.mark.timeout(120)
def test_a_router_or_port_in_use_is_deleted_once_it_is_not(cloud: Cloud, demo: Tenant) -> None:
    demo.delete("router", "edge", wait=False)
    held = demo.wait("router", "edge", reason_is("InUse"))
    assert "held by FloatingIP demo/web" in ready(held)["message"]
    assert held["status"]["legs"]
    demo.patch_spec("floatingip", "web", {"server": None})
    demo.wait_gone("router", "edge")
    demo.delete("port", "web-1-net0", wait=False)
    its_own = "--field-selector=involvedObject.name=web-1-net0"
    wait_for(lambda: _told(cloud, "held by Server web-1", its_own), what="the Port says who has it", timeout_s=30)
    assert demo.get("port", "web-1-net0") is not None
    demo.delete("server", "web-1")
    demo.wait_gone("port", "web-1-net0")
    cloud.kubectl("apply", f"--filename={EXAMPLES / 'quickstart.yaml'}")
    demo.wait_phase("web", "Active", kind="floatingip")


@pytest.mark.timeout(300)
def test_deleting_the_quickstart_leaves_nothing_of_it(cloud: Cloud, demo: Tenant) -> None:
    cloud.kubectl("delete", f"--filename={EXAMPLES / 'quickstart.yaml'}", "--ignore-not-found", "--timeout=120s")

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
