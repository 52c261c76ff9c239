"""Real input: Debian 12 with its own cloud-init, booted as a Server."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nephos_api.identity import device_name
from nephos_dev.cloud import Cloud
from nephos_dev.images import build_debian_12, default_cache_dir
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

API_VERSION = "nephos.cloud/v1alpha1"
USER_DATA = "#!/bin/sh\nhostname > /var/tmp/user-data\n"
SSH = {"direction": "Ingress", "protocol": "TCP", "portMin": 22, "portMax": 22}
BOOT_TIMEOUT_S = 300  # 35 s on an idle machine; cloud-init is a Python program, and the processor is emulated


@dataclass(frozen=True)
class Shell:
    """Commands in a guest, by ssh from where its host serves its network."""

    cloud: Cloud
    tenant: Tenant
    server: str
    key: Path

    def run(self, command: str, *, timeout_s: float = 60) -> str:
        """Return what the command printed, once ssh lets us in. Raises FailureError."""
        return wait_for(lambda: self._try(command), what=f"{command} by ssh in the guest", timeout_s=timeout_s)

    def _try(self, command: str) -> str:
        found = self.tenant.wait_phase(self.server, "Active")
        network = self.tenant.get("network", "blue")
        assert network is not None
        host = next(host for host in self.cloud.hosts if host.name == found["status"]["host"])
        inside = ("ip", "netns", "exec", device_name("nephos-", network["metadata"]["uid"]))
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=5")
        flags = [part for option in options for part in ("-o", option)]
        address = found["status"]["addresses"][0]["address"]
        done = self.cloud.execute(host, *inside, "ssh", "-i", str(self.key), *flags, f"debian@{address}", command)
        if done.returncode:
            raise NotYet(done.stderr.strip() or f"status {done.returncode}")
        return done.stdout.strip()


@pytest.fixture(scope="session")
def debian(cloud: Cloud) -> Iterator[str]:
    """The image in the catalog, and a flavor that it fits."""
    built = build_debian_12(default_cache_dir())
    source = {"url": f"file://{built.path}", "sha256": built.sha256}
    cloud.cluster.apply_objects(
        {
            "apiVersion": API_VERSION,
            "kind": "Image",
            "metadata": {"name": "debian-12", "namespace": "nephos-catalog"},
            "spec": {"source": source, "format": "qcow2", "minMemoryMiB": 256},
        },
        {
            "apiVersion": API_VERSION,
            "kind": "Flavor",
            "metadata": {"name": "small"},
            "spec": {"vcpus": 1, "memoryMiB": 768, "diskGiB": 4},
        },
    )
    yield "debian-12"
    cloud.kubectl("delete", "image", "debian-12", "--namespace=nephos-catalog", "--timeout=60s")
    cloud.kubectl("delete", "flavor", "small")


@pytest.mark.timeout(BOOT_TIMEOUT_S + 120)
@pytest.mark.parametrize(
    ("config_drive", "where"),
    [(False, "http://169.254.169.254"), (True, "/dev/vd")],
    ids=["metadata service", "config drive"],
)
def test_cloud_init_takes_everything_from_our_openstack_data(
    cloud: Cloud, tenant: Tenant, debian: str, tmp_path: Path, config_drive: bool, where: str
) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    tenant.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "KeyPair",
            "metadata": {"name": "ops"},
            "spec": {"publicKey": key.with_suffix(".pub").read_text().strip()},
        },
        *network_manifests("blue", "10.60.0.0/24"),
        manifest("Subnet", "blue-v6", network="blue", cidr="fd00:60::/64"),
        manifest("SecurityGroup", "ssh", rules=[SSH]),
        manifest("Network", "leased"),
        manifest("Subnet", "leased-v6", network="leased", cidr="fd00:61::/64", ipv6Mode="DHCPv6Stateful"),
        server_manifest(
            "deb",
            "blue",
            networks=[{"network": "blue"}, {"name": "net1", "network": "leased"}],
            securityGroups=["ssh"],
            image=debian,
            flavor="small",
            keyPairs=["ops"],
            userData=USER_DATA,
            configDrive=config_drive,
        ),
    )
    shell = Shell(cloud, tenant, "deb", key)
    assert shell.run("hostname", timeout_s=BOOT_TIMEOUT_S) == "deb"
    assert shell.run("cloud-init status --wait >/dev/null; cat /var/tmp/user-data") == "deb"
    assert where in shell.run("sudo cloud-init query subplatform")
    assert shell.run("id -un") == "debian"
    network = tenant.get("network", "blue")
    assert network is not None
    assert set(shell.run("cat /sys/class/net/e*/mtu").split()) == {str(network["status"]["mtu"])}
    server = tenant.wait_phase("deb", "Active")
    addresses = [entry["address"] for entry in server["status"]["addresses"]]
    assert len(addresses) == 3
    wait_for(lambda: _all_there(shell, addresses), what="each address that the Server says", timeout_s=60)


def _all_there(shell: Shell, addresses: list[str]) -> None:
    found = shell.run("ip -brief address")
    if missing := [address for address in addresses if f" {address}/" not in found]:
        raise NotYet(f"{missing} not in {found}")
