from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nephos_api.resources import KINDS, Network, Port, Project, SecurityGroup, Server, ServerGroup, Subnet
from nephos_api.resources.network import MOST_SUBNETS
from nephos_operator.admission.cloud import Cloud
from nephos_operator.admission.handlers import KINDS as REVIEWED
from nephos_operator.admission.handlers import judge

World = Any
KIND_BY_NAME = {kind.info.kind: kind for kind in KINDS}
WEBHOOK = Path(__file__).parents[3] / "charts/nephos/files/webhook.yaml"


def asks(cloud: World, kind: str, name: str = "new", namespace: str = "demo", **spec: Any) -> str | None:
    body = {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
    return judge(KIND_BY_NAME[kind], body, "CREATE", Cloud(cloud.store, cloud.addresses))


def asks_server(cloud: World, name: str = "new", namespace: str = "demo", **spec: Any) -> str | None:
    plain = {"flavor": "tiny", "image": "tiny", "networks": [{"network": "blue"}]}
    return asks(cloud, "Server", name, namespace, **(plain | spec))


async def test_what_refers_to_nothing_yet_is_let_in(world: World) -> None:
    assert asks_server(world, flavor="none", image="none", keyPairs=["none"]) is None
    assert asks(world, "Subnet", network="none", cidr="10.0.0.0/24") is None


async def test_a_good_server_is_let_in(cloud: World) -> None:
    assert asks_server(cloud, networks=[{"network": "blue", "addresses": ["10.0.0.11"]}]) is None


@pytest.mark.parametrize(
    ("address", "mentioned"),
    [("10.9.0.1", "no Subnet"), ("10.0.0.1", "gateway"), ("10.0.0.254", "service"), ("10.0.0.2", "Port demo/one-net0")],
)
async def test_a_bad_fixed_address_is_refused_with_the_field(cloud: World, address: str, mentioned: str) -> None:
    await cloud.add_server("one")
    sentence = asks_server(cloud, networks=[{"network": "blue", "addresses": [address]}])
    assert sentence is not None
    assert sentence.startswith("spec.networks[net0].addresses: ")
    assert address in sentence
    assert mentioned in sentence
    sentence = asks(cloud, "Port", network="blue", addresses=[address])
    assert sentence is not None
    assert mentioned in sentence


@pytest.mark.parametrize(
    ("quota", "field"),
    [
        ({"instances": 1}, "instances"),
        ({"cores": 1}, "cores"),
        ({"ramMiB": 128}, "ramMiB"),
        ({"ports": 0}, "ports"),
        ({"metadataItems": 0}, "metadataItems"),
        ({"serverGroupMembers": 1}, "serverGroupMembers"),
    ],
)
async def test_a_server_over_the_quota_is_refused_with_what_is_exceeded(
    world: World, quota: dict[str, int], field: str
) -> None:
    await world.add_catalog()
    await world.add_project(**quota)
    await world.add_network()
    await world.make(ServerGroup, "g", "demo", policy="Affinity")
    await world.add_server("one", serverGroup="g")
    sentence = asks_server(world, serverGroup="g", metadata={"a": "b"})
    assert sentence is not None
    assert f"spec.quota.{field}" in sentence


@pytest.mark.parametrize(
    ("kind", "field", "spec"),
    [
        ("Network", "networks", {}),
        ("Subnet", "subnets", {"network": "red", "cidr": "10.5.0.0/24"}),
        ("KeyPair", "keyPairs", {"publicKey": "ssh-ed25519 AAAAC3NzaC1l"}),
        ("ServerGroup", "serverGroups", {"policy": "Affinity"}),
        ("Port", "ports", {"network": "red"}),
    ],
)
async def test_each_counted_kind_has_its_limit(world: World, kind: str, field: str, spec: dict[str, Any]) -> None:
    await world.add_project(**{field: 0})
    sentence = asks(world, kind, **spec)
    assert sentence is not None
    assert f"allows 0 {field}" in sentence


async def test_minus_one_is_no_limit(world: World) -> None:
    await world.add_project(instances=-1)
    assert asks_server(world) is None


async def test_subnets_of_one_network_do_not_overlap(cloud: World) -> None:
    sentence = asks(cloud, "Subnet", network="blue", cidr="10.0.0.128/25")
    assert sentence is not None
    assert "Subnet blue-v4" in sentence
    assert asks(cloud, "Subnet", network="red", cidr="10.0.0.128/25") is None


async def test_one_subnet_more_than_a_network_can_have_is_refused(cloud: World) -> None:
    await cloud.make(Network, "red", "demo")
    for number in range(MOST_SUBNETS):
        assert asks(cloud, "Subnet", network="red", cidr="10.6.0.0/24") is None
        await cloud.make(Subnet, f"red-{number}", "demo", network="red", cidr=f"10.5.{number}.0/24")
        await cloud.settle()
    sentence = asks(cloud, "Subnet", network="red", cidr="10.6.0.0/24")
    assert sentence is not None
    assert sentence.startswith("spec.network: Network red has 32 Subnets")
    await cloud.kube.delete(Subnet, "red-0", "demo")
    await cloud.settle()
    assert asks(cloud, "Subnet", network="red", cidr="10.6.0.0/24") is None


async def test_pools_do_not_overlap(cloud: World) -> None:
    pools = [{"start": "10.7.0.2", "end": "10.7.0.9"}, {"start": "10.7.0.9", "end": "10.7.0.20"}]
    sentence = asks(cloud, "Subnet", network="blue", cidr="10.7.0.0/24", allocationPools=pools)
    assert sentence is not None
    assert "spec.allocationPools" in sentence


@pytest.mark.parametrize(
    ("spec", "mentioned"),
    [
        ({"allocationPools": [{"start": "fd00::20", "end": "fd00::10"}]}, "ends before it starts"),
        (
            {"allocationPools": [{"start": "fd00::2", "end": "fd00::9"}, {"start": "fd00::9", "end": "fd00::f"}]},
            "two pools overlap",
        ),
        ({"allocationPools": [{"start": "fd00::2", "end": "fd00:0:0:1::"}]}, "outside"),
        ({"gateway": "fd00::5", "allocationPools": [{"start": "fd00::2", "end": "fd00::9"}]}, "contains spec.gateway"),
        ({"gateway": "fd00::"}, "spec.gateway"),
        ({"gateway": "fd00::5", "serviceAddress": "fd00::5"}, "spec.serviceAddress"),
        ({"gateway": "fd00::1", "allocationPools": [{"start": "fd00::2", "end": "fd00::9"}]}, None),
    ],
)
async def test_what_cel_can_not_compare_of_ipv6_is_refused_too(
    cloud: World, spec: dict[str, Any], mentioned: str | None
) -> None:
    sentence = asks(cloud, "Subnet", network="blue", cidr="fd00::/64", **spec)
    assert sentence == mentioned if mentioned is None else mentioned in (sentence or "")


async def test_subnets_of_ipv6_do_not_overlap_either(cloud: World) -> None:
    await cloud.make(Subnet, "blue-v6", "demo", network="blue", cidr="fd00::/64")
    await cloud.settle()
    sentence = asks(cloud, "Subnet", network="blue", cidr="fd00::/96", ipv6Mode="DHCPv6Stateful")
    assert "Subnet blue-v6" in (sentence or "")
    assert asks(cloud, "Subnet", network="blue", cidr="fd00:1::/64") is None


async def test_an_address_of_a_subnet_that_is_on_its_way_is_let_in(cloud: World) -> None:
    await cloud.make(Subnet, "blue-v6", "demo", network="blue", cidr="fd00::/64", ipv6Mode="DHCPv6Stateful")
    assert asks_server(cloud, networks=[{"network": "blue", "addresses": ["fd00::9"]}]) is not None
    cloud._watch()
    assert asks_server(cloud, networks=[{"network": "blue", "addresses": ["fd00::9"]}]) is None


async def test_an_address_that_the_guest_makes_itself_is_not_asked_for(cloud: World) -> None:
    await cloud.make(Subnet, "blue-v6", "demo", network="blue", cidr="fd00::/64")
    await cloud.settle()
    for sentence in (
        asks_server(cloud, networks=[{"network": "blue", "addresses": ["fd00::9"]}]),
        asks(cloud, "Port", network="blue", addresses=["fd00::9"], macAddress="52:54:00:12:34:56"),
    ):
        assert "guests make their own address" in (sentence or "")
    own, mac = ["fd00::5054:ff:fe12:3456"], "52:54:00:12:34:56"
    assert asks(cloud, "Port", network="blue", addresses=own, macAddress=mac) is None


async def test_what_contradicts_an_image_is_refused(world: World) -> None:
    await world.add_catalog(minDiskGiB=5)
    await world.add_project()
    sentence = asks_server(world)
    assert sentence is not None
    assert "diskGiB" in sentence


async def test_what_is_being_deleted_takes_no_new_reference(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.kube.delete(Network, "blue", "demo")
    await cloud.settle()
    for sentence in (
        asks_server(cloud),
        asks(cloud, "Port", network="blue"),
        asks(cloud, "Subnet", network="blue", cidr="10.8.0.0/24"),
        asks(cloud, "ServerAction", server="one", action="Start"),
    ):
        assert sentence is not None
        assert "is being deleted" in sentence


def test_the_chart_sends_every_kind_that_is_reviewed_and_no_deletion() -> None:
    configuration = yaml.safe_load(WEBHOOK.read_text())
    sent = {webhook["rules"][0]["resources"][0]: webhook for webhook in configuration["webhooks"]}
    assert set(sent) == {kind.info.plural for kind in REVIEWED}
    for plural, webhook in sent.items():
        assert webhook["clientConfig"]["service"]["path"] == f"/{plural}"
        assert "DELETE" not in webhook["rules"][0]["operations"]
        assert webhook["failurePolicy"] == "Ignore"
        assert "nephos-system" in webhook["matchConditions"][0]["expression"]


async def asks_to_change(cloud: World, kind: str, name: str, **spec: Any) -> str | None:
    """Return what the webhook says to ``kubectl patch``."""
    held = await cloud.get(KIND_BY_NAME[kind], name)
    body = {"metadata": {"name": name, "namespace": "demo", "uid": held.uid}, "spec": held.spec.to_wire() | spec}
    return judge(KIND_BY_NAME[kind], body, "UPDATE", Cloud(cloud.store, cloud.addresses))


RULE = {"direction": "Ingress"}


async def test_groups_and_their_rules_have_a_limit(world: World) -> None:
    await world.add_project(securityGroups=2, securityGroupRules=7)
    await world.settle()
    assert asks(world, "SecurityGroup", rules=[RULE]) is None  # beside the default group, which has four
    sentence = asks(world, "SecurityGroup", rules=[RULE, RULE])
    assert sentence is not None
    assert "spec.quota.securityGroupRules" in sentence
    await world.make(SecurityGroup, "web", "demo", rules=[RULE])
    await world.settle()
    sentence = asks(world, "SecurityGroup", rules=[], defaultRules=[])
    assert sentence is not None
    assert "allows 2 securityGroups" in sentence
    sentence = await asks_to_change(world, "SecurityGroup", "web", rules=[RULE, RULE])
    assert sentence is not None
    assert "spec.quota.securityGroupRules" in sentence
    await world.patch(Project, "demo", quota={"securityGroupRules": 1})
    assert await asks_to_change(world, "SecurityGroup", "web", rules=[]) is None


async def test_a_group_that_is_being_deleted_takes_no_new_ports(cloud: World) -> None:
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.settle()
    await cloud.add_server("one", securityGroups=["web"])
    await cloud.add_server("two")
    await cloud.make(Port, "vip", "demo", network="blue")
    await cloud.kube.delete(SecurityGroup, "web", "demo")
    await cloud.settle()
    for sentence in (
        asks_server(cloud, securityGroups=["default", "web"]),
        asks(cloud, "Port", network="blue", securityGroups=["web"]),
        await asks_to_change(cloud, "Server", "two", securityGroups=["web"]),
        await asks_to_change(cloud, "Port", "vip", securityGroups=["web"]),
    ):
        assert sentence is not None
        assert sentence.startswith("spec.securityGroups: SecurityGroup demo/web is being deleted")
    assert await asks_to_change(cloud, "Server", "one", securityGroups=["web", "default"]) is None


async def test_a_mac_address_in_use_on_the_network_is_refused(cloud: World) -> None:
    await cloud.add_network("red", "10.1.0.0/24")
    await cloud.make(Port, "vip", "demo", network="blue", macAddress="52:54:00:12:34:56")
    await cloud.settle()
    sentence = asks(cloud, "Port", network="blue", macAddress="52:54:00:12:34:56")
    assert sentence is not None
    assert "spec.macAddress: 52:54:00:12:34:56 is in use by Port demo/vip" in sentence
    assert asks(cloud, "Port", network="red", macAddress="52:54:00:12:34:56") is None


async def test_a_port_that_stays_another_servers_is_refused(cloud: World) -> None:
    await cloud.make(Port, "vip", "demo", network="blue")
    await cloud.settle()
    vip = {"name": "net1", "network": "blue", "port": "vip"}
    await cloud.add_server("one", networks=[vip])
    await cloud.add_server("two")
    sentence = asks_server(cloud, networks=[vip])
    assert sentence is not None
    assert "spec.networks[net1].port: Port demo/vip is in use by Server demo/one" in sentence
    sentence = await asks_to_change(cloud, "Server", "two", networks=[{"network": "blue"}, vip])
    assert sentence is not None
    assert await asks_to_change(cloud, "Server", "one", metadata={"a": "b"}) is None
    await cloud.patch(Server, "one", networks=[])
    assert asks_server(cloud, networks=[vip]) is None, "it is about to be free"
    sentence = asks_server(cloud, networks=[vip | {"network": "red"}])
    assert sentence is not None
    assert "is on Network blue, not on red" in sentence


async def test_a_nic_that_is_added_is_judged_as_those_of_a_new_server(cloud: World) -> None:
    await cloud.add_server("one")
    nic = {"name": "net1", "network": "blue"}
    for networks, mentioned in (
        ([{"network": "blue"}, nic | {"addresses": ["10.0.0.1"]}], "spec.networks[net1].addresses: 10.0.0.1"),
        ([{"network": "blue"}, nic | {"addresses": ["10.0.0.2"]}], "in use by Port demo/one-net0"),
    ):
        sentence = await asks_to_change(cloud, "Server", "one", networks=networks)
        assert sentence is not None
        assert mentioned in sentence
    await cloud.patch(Project, "demo", quota={"ports": 1})
    sentence = await asks_to_change(cloud, "Server", "one", networks=[{"network": "blue"}, nic])
    assert sentence is not None
    assert "spec.quota.ports" in sentence
    assert await asks_to_change(cloud, "Server", "one", networks=[]) is None


@pytest.mark.parametrize(
    ("spec", "mentioned"),
    [({"shared": False}, "is not shared"), ({"shared": True, "projects": ["other"]}, "spec.projects")],
    ids=str,
)
async def test_a_network_of_the_catalog_that_is_not_for_the_project_is_refused(
    cloud: World, spec: dict[str, Any], mentioned: str
) -> None:
    await cloud.make(Network, "lab", "nephos-catalog", **spec)
    await cloud.settle()
    for sentence, field in (
        (asks_server(cloud, networks=[{"network": "lab"}]), "spec.networks[net0].network: "),
        (asks(cloud, "Port", network="lab"), "spec.network: "),
    ):
        assert sentence is not None
        assert sentence.startswith(field)
        assert mentioned in sentence


async def test_ways_around_the_filters_are_refused_on_a_shared_network(cloud: World) -> None:
    await cloud.make(Network, "lab", "nephos-catalog", shared=True)
    await cloud.settle()
    assert asks(cloud, "Port", network="lab") is None
    sentence = asks(cloud, "Port", network="lab", allowedAddressPairs=[{"address": "10.5.0.9"}])
    assert sentence is not None
    assert "spec.allowedAddressPairs" in sentence
    sentence = asks(cloud, "Port", network="lab", macAddress="52:54:00:12:34:56")
    assert sentence is not None
    assert "spec.macAddress" in sentence


async def test_of_a_shared_networks_addresses_those_of_the_pools_may_be_chosen(cloud: World) -> None:
    await cloud.make(Network, "lab", "nephos-catalog", shared=True)
    pools = [{"start": "10.5.0.2", "end": "10.5.0.99"}]
    await cloud.make(Subnet, "lab-v4", "nephos-catalog", network="lab", cidr="10.5.0.0/24", allocationPools=pools)
    await cloud.settle()
    for address, mentioned in (("10.5.0.99", None), ("10.5.0.100", "none of the pools of Subnet lab-v4")):
        for sentence in (
            asks_server(cloud, networks=[{"network": "lab", "addresses": [address]}]),
            asks(cloud, "Port", network="lab", addresses=[address]),
        ):
            assert sentence is None if mentioned is None else mentioned in (sentence or "")
