"""A Server on the provider's own network, without a router in between."""

import json
from collections.abc import Callable, Iterator

import pytest

from nephos_dev.asking import eventually, in_guest, outside
from nephos_dev.cloud import Cloud
from nephos_dev.console import Console
from nephos_dev.tenant import Tenant, manifest, server_manifest

Guest = Callable[[str], Console]
CATALOG = "nephos-catalog"
OUTSIDE = "203.0.113.1"


@pytest.fixture
def shared(cloud: Cloud, tenant: Tenant) -> Iterator[None]:
    """The catalog's network `public`, open to Servers of this project alone while the test runs."""
    _offer(cloud, {"shared": True, "projects": [tenant.name]})
    yield
    _offer(cloud, {"shared": False, "projects": None})


def _offer(cloud: Cloud, spec: dict[str, object]) -> None:
    patch = json.dumps({"spec": spec})
    cloud.kubectl("patch", "network", "public", f"--namespace={CATALOG}", "--type=merge", f"--patch={patch}")


@pytest.mark.usefixtures("shared")
def test_a_server_on_the_providers_network_and_the_outside_reach_each_other(
    cloud: Cloud, tenant: Tenant, guest: Guest
) -> None:
    rule = {"direction": "Ingress", "protocol": "ICMP", "remoteCIDR": "0.0.0.0/0"}
    tenant.apply_once_heard(
        manifest("SecurityGroup", "ping", rules=[rule]),
        server_manifest("web", "public", securityGroups=["ping"], configDrive=True),
    )
    address = tenant.wait_phase("web", "Active")["status"]["addresses"][0]["address"]
    eventually(outside(cloud.layout, "ping", "-c", "1", "-W", "1", address), what="ping from the outside", timeout_s=90)
    eventually(in_guest(guest("web"), f"ping -c 1 -W 1 {OUTSIDE}"), "1 packets received", what="ping to the outside")
