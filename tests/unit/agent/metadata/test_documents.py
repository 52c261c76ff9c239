"""What a guest reads about itself; compared with files that people read in review."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nephos_agent.metadata import config_drive, documents
from nephos_agent.metadata.source import Guest, GuestNic
from nephos_api.metadata import Metadata
from nephos_api.resources.network import HostRoute, IPv6Mode, Network, NetworkStatus, SubnetView
from nephos_api.resources.port import Allocation, Port, PortSpec
from nephos_api.resources.server import NetworkInterface, Server, ServerKey, ServerSpec, ServerStatus

GOLDEN = Path(__file__).parent / "golden"
SEED = bytes(range(16))
BLUE = Network(
    metadata=Metadata(name="blue", namespace="first", uid="network-1"),
    status=NetworkStatus(
        vni=1001,
        mtu=1450,
        dns_domain="blue.first.nephos.internal",
        subnets=(
            SubnetView(name="v4", uid="s1", cidr="10.10.0.0/24", gateway="10.10.0.1", service_address="10.10.0.254"),
            SubnetView(
                name="v6",
                uid="s2",
                cidr="fd00:10::/64",
                service_address="fd00:10::ffff",
                ipv6_mode=IPv6Mode.DHCPV6_STATEFUL,
            ),
        ),
    ),
)
MANUAL = Network(
    metadata=Metadata(name="manual", namespace="first", uid="network-2"),
    status=NetworkStatus(
        vni=1002,
        mtu=1400,
        subnets=(
            SubnetView(
                name="m",
                uid="s3",
                cidr="10.40.0.0/20",
                gateway="10.40.0.1",
                service_address="10.40.15.254",
                dhcp=False,
                dns_servers=("192.0.2.53",),
                host_routes=(HostRoute(destination="10.50.0.0/16", next_hop="10.40.0.2"),),
            ),
        ),
    ),
)


def nic(name: str, network: Network, *allocations: Allocation) -> GuestNic:
    spec = PortSpec(network=network.metadata.name, mac_address="52:54:00:aa:bb:cc", allocations=allocations)
    return GuestNic(Port(metadata=Metadata(name=f"web-1-{name}", uid=f"port-{name}"), spec=spec), network)


GUEST = Guest(
    server=Server(
        metadata=Metadata(name="web-1", namespace="first", uid="0b8d3b1c-54a1-4d8e-9d5e-3a7f5a3c1e01"),
        spec=ServerSpec(
            flavor="tiny",
            image="debian-12",
            networks=(NetworkInterface(network="blue"), NetworkInterface(name="net1", network="manual")),
            user_data="#!/bin/sh\necho hello\n",
            metadata={"role": "web"},
        ),
        status=ServerStatus(key_pairs=(ServerKey(name="mine", public_key="ssh-ed25519 AAAAC3Nza me@example.org"),)),
    ),
    nics=(
        nic(
            "net0",
            BLUE,
            Allocation(subnet="v4", subnet_uid="s1", address="10.10.0.11", prefix_length=24),
            Allocation(subnet="v6", subnet_uid="s2", address="fd00:10::b", prefix_length=64),
        ),
        nic("net1", MANUAL, Allocation(subnet="m", subnet_uid="s3", address="10.40.0.9", prefix_length=20)),
    ),
    availability_zone="az1",
)
BARE = Guest(
    Server(metadata=Metadata(name="bare", namespace="first", uid="u"), spec=ServerSpec(flavor="f", image="i")),
    (),
    "az1",
)


def get(path: str, guest: Guest = GUEST) -> str | None:
    return documents.read(documents.tree(guest, SEED), path)


@pytest.mark.parametrize("name", ["meta_data.json", "network_data.json"])
def test_documents_are_as_reviewed(name: str) -> None:
    found = get(f"/openstack/latest/{name}")
    assert found is not None
    assert json.dumps(json.loads(found), indent=1, sort_keys=True) + "\n" == (GOLDEN / name).read_text()


def test_every_path_of_the_service_is_as_reviewed() -> None:
    def walk(path: str) -> list[str]:
        listing = get(path)
        assert listing is not None
        found = [path]
        for name in listing.splitlines():
            found += walk(path + name) if name.endswith("/") else [path + name]
        return found

    assert "\n".join(walk("/")) + "\n" == (GOLDEN / "paths.txt").read_text()


@pytest.mark.parametrize("path", ["/", "/openstack", "/openstack/", "/latest/meta-data/", "/2009-04-04/meta-data"])
def test_folders_are_listed_with_and_without_a_slash_at_their_end(path: str) -> None:
    assert get(path)


@pytest.mark.parametrize(
    "path",
    [
        "/openstack/2012-08-10/network_data.json",
        "/openstack/2099-01-01/meta_data.json",
        "/openstack/latest/password",
        "/openstack/latest/meta_data.json/uuid",
        "/favicon.ico",
        "/latest/../openstack",
    ],
)
def test_what_a_version_does_not_know_is_not_there(path: str) -> None:
    assert get(path) is None


def test_user_data_is_given_as_it_is_and_absent_where_there_is_none() -> None:
    assert get("/openstack/latest/user_data") == get("/latest/user-data") == "#!/bin/sh\necho hello\n"
    assert get("/openstack/latest/user_data", BARE) is None
    assert get("/latest/user-data", BARE) is None
    assert "user_data" not in (get("/openstack/latest/", BARE) or "")


def test_a_server_without_keys_and_networks_has_metadata_too() -> None:
    found = json.loads(get("/openstack/latest/meta_data.json", BARE) or "")
    assert found["public_keys"] == {}
    assert found["keys"] == []
    assert get("/latest/meta-data/public-keys/", BARE) is None
    assert get("/latest/meta-data/local-ipv4", BARE) == ""


def test_ec2_names_its_keys_as_cloud_init_walks_them() -> None:
    assert get("/latest/meta-data/public-keys/") == "0=mine"
    assert get("/latest/meta-data/public-keys/0/openssh-key") == "ssh-ed25519 AAAAC3Nza me@example.org"


def test_the_config_drive_has_what_the_service_has() -> None:
    files = config_drive.files(GUEST, SEED)
    assert files["openstack/latest/meta_data.json"].decode() == get("/openstack/latest/meta_data.json")
    assert files["openstack/latest/network_data.json"].decode() == get("/openstack/latest/network_data.json")
    assert files["openstack/latest/user_data"] == b"#!/bin/sh\necho hello\n"
    assert json.loads(files["ec2/latest/meta-data.json"])["local-ipv4"] == "10.10.0.11"


def test_each_config_drive_has_a_seed_of_its_own() -> None:
    seeds = {json.loads(config_drive.files(BARE)["openstack/latest/meta_data.json"])["random_seed"] for _ in range(2)}
    assert len(seeds) == 2
