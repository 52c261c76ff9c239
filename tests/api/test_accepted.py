"""Good manifests are accepted as they are, and get their defaults."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from nephos_api.kube.client import KubernetesClient
from nephos_api.resources import Image

from .conftest import INFO, Api, manifest

WORK_TREE = Path(__file__).parents[2]
EXAMPLES = WORK_TREE / "examples"
PAGES = [
    page for page in (WORK_TREE / "README.md", *(WORK_TREE / "docs").rglob("*.md")) if "```yaml" in page.read_text()
]
KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkVNQ0tEFhPZ2jzuRdpCXUzbG3eFhOAzL4fuhZnmzbN me@example.org",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKkVNQ0tEFhPZ2jzuRdpCXUzbG3eFhOAzL4fuhZnmzbN",
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7= a b\n",
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIGdQ",
)

ACCEPTED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Project", {}),
    ("Project", {"members": [{"kind": "ServiceAccount", "name": "ci", "namespace": "tools", "role": "Member"}]}),
    ("Project", {"quota": {"instances": -1, "ramMiB": 0}}),
    ("Flavor", {"vcpus": 1, "memoryMiB": 64, "diskGiB": 1, "requiredTraits": ["HW_CPU_X86_AVX2"]}),
    ("Host", {}),
    ("Network", {}),
    ("Network", {"mtu": 1400, "dnsDomain": "blue.example.org"}),
    ("Subnet", {"network": "blue", "cidr": "10.0.0.0/8"}),
    (
        "Subnet",
        {
            "network": "blue",
            "cidr": "192.0.2.0/29",
            "gateway": "192.0.2.1",
            "serviceAddress": "192.0.2.6",
            "allocationPools": [{"start": "192.0.2.2", "end": "192.0.2.3"}, {"start": "192.0.2.5", "end": "192.0.2.5"}],
            "dnsServers": ["9.9.9.9", "2620:fe::fe"],
            "hostRoutes": [{"destination": "10.0.0.0/8", "nextHop": "192.0.2.2"}],
        },
    ),
    ("Subnet", {"network": "public", "cidr": "2001:db8:113::/64", "dhcp": False}),
    ("Subnet", {"network": "blue", "cidr": "fd00:10::/120", "ipv6Mode": "DHCPv6Stateful"}),
    (
        "Subnet",
        {
            "network": "blue",
            "cidr": "fd00:10::/64",
            "ipv6Mode": "DHCPv6Stateless",
            "gateway": "fd00:10::1",
            "serviceAddress": "fd00:10::53",
            "allocationPools": [{"start": "fd00:10::100", "end": "fd00:10::ffff"}],
            "dnsServers": ["2620:fe::fe", "9.9.9.9"],
            "hostRoutes": [{"destination": "fd00:20::/48", "nextHop": "fd00:10::2"}],
            "ntpServers": ["fd00:10::123"],
            "searchDomains": ["example.org", "a.example.org"],
        },
    ),
    ("Image", {"source": {"url": "https://[2001:db8::1]:8443/a.raw"}, "format": "raw"}),
    ("Image", {"source": {"url": "http://192.0.2.10/a.raw?x=1#y"}, "format": "raw"}),
    ("Image", {"source": {"url": "http://10.0.0.5:8080/a.raw", "sha256": "0" * 64}, "format": "raw"}),
    ("Image", {"source": {"url": "https://images.example.org/@latest/a.raw", "sha256": 12}, "format": "raw"}),
    *(("KeyPair", {"publicKey": key}) for key in KEYS),
    ("ServerGroup", {"policy": "SoftAntiAffinity"}),
    ("Server", {"flavor": "tiny", "image": "tiny"}),
    (
        "Server",
        {
            "flavor": "tiny",
            "image": "tiny",
            "networks": [
                {"network": "blue", "addresses": ["10.10.0.9"]},
                {"name": "eth1", "network": "red", "addresses": ["10.10.0.9"]},
            ],
        },
    ),
    ("ServerAction", {"server": "one", "action": "Reboot", "reboot": {"type": "Hard"}}),
    (
        "Server",
        {
            "flavor": "tiny",
            "image": "tiny",
            "networks": [{"network": "blue", "port": "vip"}, {"name": "net1", "network": "blue"}],
            "securityGroups": [],
        },
    ),
    ("SecurityGroup", {}),
    (
        "SecurityGroup",
        {
            "defaultRules": [],
            "rules": [
                {
                    "direction": "Ingress",
                    "protocol": "TCP",
                    "portMin": 80,
                    "portMax": 90,
                    "remoteCIDR": "2001:db8::/32",
                },
                {"direction": "Egress", "protocol": "47", "family": "IPv6", "remoteGroup": "default"},
                {"direction": "Ingress", "protocol": "ICMPv6", "icmpType": 128, "icmpCode": 0},
            ],
        },
    ),
    ("Port", {"network": "blue", "portSecurity": False, "securityGroups": [], "enabled": False}),
    (
        "Port",
        {
            "network": "blue",
            "addresses": ["10.10.0.9", "2001:db8::9"],
            "allowedAddressPairs": [{"address": "10.10.9.0/24", "macAddress": "52:54:00:00:00:09"}],
            "qos": {"egress": {"kilobitsPerSecond": 1000}},
        },
    ),
    ("Network", {"external": {"physicalNetwork": "ext"}, "mtu": 9000}),
    ("Network", {"external": {"physicalNetwork": "ext", "type": "VLAN", "vlanID": 7}}),
    ("Router", {}),
    (
        "Router",
        {
            "externalNetwork": "public",
            "externalAddresses": ["203.0.113.20", "2001:db8:113::20"],
            "subnets": ["blue-v4", "blue-v6"],
            "routes": [
                {"destination": "10.99.0.0/16", "nextHop": "10.10.0.9"},
                {"destination": "2001:db8:99::/48", "nextHop": "2001:db8:113::9"},
            ],
            "snat": False,
            "enabled": False,
        },
    ),
    ("FloatingIP", {"externalNetwork": "public"}),
    ("FloatingIP", {"externalNetwork": "public", "server": "one", "fixedAddress": "10.10.0.9"}),
    ("FloatingIP", {"externalNetwork": "public", "address": "203.0.113.20", "port": "vip"}),
    ("Port", {"network": "blue", "addresses": ["10.10.0.9"], "macAddress": "52:54:00:12:34:56"}),
)


@pytest.mark.parametrize(("kind", "spec"), ACCEPTED, ids=lambda value: str(value)[:60])
def test_a_good_manifest_is_accepted(api: Api, kind: str, spec: dict[str, Any]) -> None:
    api.create(manifest(kind, spec), dryRun="All").accepted()


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_accepted_exactly_as_it_is(api: Api, path: Path) -> None:
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document["kind"] in INFO]
    assert documents
    for document in documents:
        named = document["metadata"] | ({"namespace": "first"} if INFO[document["kind"]].namespaced else {})
        api.create(document | {"metadata": named}, dryRun="All").accepted()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_manifest_of_the_documentation_is_accepted(api: Api, page: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL)
    for document in yaml.safe_load_all("---\n".join(blocks).replace("ssh-ed25519 AAAA…", KEYS[1])):
        named = document["metadata"]
        if INFO[document["kind"]].namespaced and named.get("namespace") != "nephos-catalog":
            named = named | {"namespace": "first"}
        api.create(document | {"metadata": named}, dryRun="All").accepted()


async def test_a_checksum_that_yaml_reads_as_a_number_is_padded(api: Api, kubernetes: KubernetesClient) -> None:
    text = f"""
      source: {{url: "https://images.example.org/debian-12.qcow2", sha256: {"0" * 64}}}
      format: qcow2
      minDiskGiB: 2
    """
    body = manifest("Image", yaml.safe_load(text), namespace="nephos-catalog")
    api.create(body).accepted()
    try:
        read = await kubernetes.get(Image, body["metadata"]["name"], "nephos-catalog")
        assert read is not None
        assert read.spec.source.sha256 == "0" * 64
    finally:
        api.remove(body)


def test_absent_fields_get_their_defaults(api: Api) -> None:
    server = api.create(
        manifest("Server", {"flavor": "tiny", "image": "tiny", "networks": [{"network": "blue"}]}), dryRun="All"
    ).accepted()
    assert server["spec"]["networks"] == [{"name": "net0", "network": "blue"}]
    assert (server["spec"]["state"], server["spec"]["restartPolicy"]) == ("Active", "Never")
    project = api.create(manifest("Project"), dryRun="All").accepted()
    assert project["spec"]["quota"]["instances"] == 10
    assert project["spec"]["quota"]["ramMiB"] == 51_200
    host = api.create(manifest("Host"), dryRun="All").accepted()
    assert host["spec"]["allocationRatio"] == {"vcpus": 4, "memory": 1, "disk": 1}
    assert host["spec"]["reserved"]["memoryMiB"] == 512


def test_status_is_not_taken_from_a_manifest(api: Api) -> None:
    body = manifest("Network", {}) | {"status": {"vni": 7}}
    assert "status" not in api.create(body, dryRun="All").accepted()
