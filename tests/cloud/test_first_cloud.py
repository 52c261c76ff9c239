"""The first example, as a user applies it."""

from functools import partial

import pytest

from cloud.sound import wait_sound
from nephos_dev.cloud import Cloud
from nephos_dev.console import Console
from nephos_dev.layout import WORK_TREE
from nephos_dev.tenant import Tenant
from nephos_dev.waiting import NotYet, wait_for

EXAMPLE = WORK_TREE / "examples" / "first.yaml"
FIRST = "first"


@pytest.fixture
def first(cloud: Cloud) -> Tenant:
    tenant = Tenant(cloud.cluster, FIRST)
    cloud.kubectl("apply", "-f", str(EXAMPLE))
    return tenant


def test_two_servers_on_two_hosts_ping_each_other_by_address_and_by_name(cloud: Cloud, first: Tenant) -> None:
    one, two = (first.wait_phase(name, "Active") for name in ("one", "two"))
    assert one["status"]["host"] != two["status"]["host"], "the group's policy is AntiAffinity"
    assert one["status"]["addresses"][0]["address"] == "10.10.0.11"
    address = two["status"]["addresses"][0]["address"]
    with cloud.console(FIRST, "one") as console:
        console.log_in()
        for target in (address, "two"):
            wait_for(partial(_ping, console, target), what=f"ping {target}", timeout_s=60)
    wait_sound(cloud)


@pytest.mark.parametrize("order", ["as written", "namespace first", "backwards"])
def test_the_example_is_deleted_clean_in_any_order(cloud: Cloud, first: Tenant, order: str) -> None:
    first.wait_phase("one", "Active")
    first.wait_phase("two", "Active")
    deletions = {
        "as written": [("-f", str(EXAMPLE))],
        "namespace first": [("namespace", FIRST), ("project", FIRST)],
        "backwards": [("project", FIRST), ("-f", str(EXAMPLE))],
    }
    for arguments in deletions[order]:
        cloud.kubectl("delete", *arguments, "--ignore-not-found", "--timeout=120s")
    for kind in ("servers", "ports", "networks", "subnets"):
        assert cloud.kubectl("get", f"{kind}.nephos.cloud", f"--namespace={FIRST}", "--output=name") == ""
    wait_sound(cloud)


def test_applying_the_example_again_changes_nothing(cloud: Cloud, first: Tenant) -> None:
    before = first.wait_phase("one", "Active")
    cloud.kubectl("apply", "-f", str(EXAMPLE))
    after = first.wait_phase("one", "Active")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["status"] == before["status"]
    cloud.kubectl("delete", "-f", str(EXAMPLE), "--ignore-not-found", "--timeout=120s")
    wait_sound(cloud)


def _ping(console: Console, target: str) -> None:
    answer = console.run(f"ping -c 1 -W 2 {target}")
    if answer.status:
        raise NotYet(answer.output)
