"""What a guest learns about itself, from the metadata service and from the config drive."""

from collections.abc import Callable

import pytest

from nephos_dev.console import Console
from nephos_dev.tenant import Tenant, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

Guest = Callable[[str], Console]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFaRs9M808mde0ktD+XT43GCzGekxJD3TBRW08DlT5Ot ops@example.org"
USER_DATA = "#!/bin/sh\necho hello from $(hostname) > /www/index.html\n"


@pytest.mark.parametrize("config_drive", [False, True], ids=["metadata service", "config drive"])
def test_a_guest_takes_its_name_its_keys_and_its_user_data(tenant: Tenant, guest: Guest, config_drive: bool) -> None:
    tenant.apply(
        {
            "apiVersion": "nephos.cloud/v1alpha1",
            "kind": "KeyPair",
            "metadata": {"name": "ops"},
            "spec": {"publicKey": KEY},
        },
        *network_manifests("blue", "10.30.0.0/24"),
        server_manifest("web", "blue", keyPairs=["ops"], userData=USER_DATA, configDrive=config_drive),
    )
    tenant.wait_phase("web", "Active")
    console = guest("web")
    _eventually(console, "wget -q -O - http://127.0.0.1/", "hello from web")
    assert console.run("hostname").output == "web"
    assert KEY.split()[1] in console.run("cat /root/.ssh/authorized_keys").output


def test_metadata_is_served_in_openstacks_and_ec2s_layout(tenant: Tenant, guest: Guest) -> None:
    tenant.apply(*network_manifests("blue", "10.30.0.0/24"), server_manifest("web", "blue", metadata={"tier": "front"}))
    server = tenant.wait_phase("web", "Active")
    console = guest("web")
    base = "http://169.254.169.254"
    uid = server["metadata"]["uid"]
    _eventually(console, f"wget -q -O - {base}/openstack/latest/meta_data.json", uid)
    assert '"tier"' in console.run(f"wget -q -O - {base}/openstack/latest/meta_data.json").output
    assert console.run(f"wget -q -O - {base}/latest/meta-data/hostname").output.startswith("web")


def test_two_networks_of_the_same_addresses_never_meet(tenant: Tenant, guest: Guest) -> None:
    tenant.apply(
        *network_manifests("red", "10.40.0.0/24"),
        *network_manifests("blue", "10.40.0.0/24"),
        server_manifest("r1", "red", networks=[{"network": "red", "addresses": ["10.40.0.11"]}]),
        server_manifest("r2", "red", networks=[{"network": "red", "addresses": ["10.40.0.12"]}]),
        server_manifest("b1", "blue", networks=[{"network": "blue", "addresses": ["10.40.0.11"]}]),
    )
    for name in ("r1", "r2", "b1"):
        tenant.wait_phase(name, "Active")
    _eventually(guest("r1"), "ping -c 1 -W 2 10.40.0.12", "1 packets received")
    _eventually(guest("b1"), "ping -c 1 -W 2 10.40.0.11", "1 packets received")
    assert guest("b1").run("ping -c 2 -W 1 10.40.0.12").status != 0


def test_guests_are_told_the_mtu_that_the_underlay_leaves_them(tenant: Tenant, guest: Guest) -> None:
    tenant.apply(*network_manifests("blue", "10.30.0.0/24"), server_manifest("web", "blue"))
    tenant.wait_phase("web", "Active")
    network = tenant.get("network", "blue")
    assert network is not None
    _eventually(guest("web"), "cat /sys/class/net/eth0/mtu", str(network["status"]["mtu"]))


def _eventually(console: Console, command: str, expected: str) -> None:
    def probe() -> None:
        answer = console.run(command)
        if answer.status or expected not in answer.output:
            raise NotYet(f"it printed {answer.output!r}")

    wait_for(probe, what=f"{command} in the guest prints {expected!r}", timeout_s=60)
