from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import CATALOG_NAMESPACE, Resource
from nephos_api.resources import KINDS, Flavor, Host, Network, Router, Server, Subnet
from nephos_operator.kinds import Namespace

World = Any
CATALOG = Path(__file__).parents[3] / "examples/catalog.yaml"
KIND_BY_NAME: dict[str, type[Resource]] = {kind.info.kind: kind for kind in KINDS}
FLAT = {"physicalNetwork": "ext", "type": "Flat"}


async def catalogs(cloud: World, name: str = "public") -> Network:
    network: Network = await cloud.get(Network, name, CATALOG_NAMESPACE)
    return network


async def reason(cloud: World, name: str) -> str:
    return str(cloud.ready(await catalogs(cloud, name)).reason)


async def test_a_providers_network_has_no_vni_and_the_providers_mtu(cloud: World) -> None:
    network = await cloud.add_outside()
    assert network.status.phase == "Active"
    assert network.status.vni is None
    assert network.status.mtu == 1500
    await cloud.make(Network, "jumbo", CATALOG_NAMESPACE, external=FLAT | {"physicalNetwork": "lab"}, mtu=9000)
    host = await cloud.get(Host, "h1")
    status = host.status.to_wire() | {"physicalNetworks": ["ext", "lab"]}
    await cloud.kube.apply_status(
        host, {name: status[name] for name in ("address", "physicalNetworks")}, FieldManager.AGENT
    )
    await cloud.settle()
    assert (await catalogs(cloud, "jumbo")).status.mtu == 9000


async def test_a_subnet_that_nobody_serves_has_no_service_address(cloud: World) -> None:
    await cloud.add_outside()
    subnet = await cloud.get(Subnet, "public-v4", CATALOG_NAMESPACE)
    assert subnet.status.phase == "Active"
    assert subnet.status.gateway == "203.0.113.1"
    assert subnet.status.service_address is None
    (view,) = (await catalogs(cloud)).status.subnets
    assert (view.cidr, view.service_address) == ("203.0.113.0/24", None)
    await cloud.make(Subnet, "served", CATALOG_NAMESPACE, network="public", cidr="198.51.100.0/24")
    await cloud.settle()
    assert (await cloud.get(Subnet, "served", CATALOG_NAMESPACE)).status.service_address == "198.51.100.254"


async def test_a_network_of_ours_keeps_its_service_address_without_dhcp(cloud: World) -> None:
    await cloud.make(Network, "red", "demo")
    await cloud.make(Subnet, "red-v4", "demo", network="red", cidr="10.3.0.0/24", dhcp=False)
    await cloud.settle()
    assert (await cloud.get(Subnet, "red-v4")).status.service_address == "10.3.0.254"


async def test_a_physical_network_that_no_host_has_is_waited_for(world: World) -> None:
    await world.kube.create(Namespace, {"metadata": {"name": CATALOG_NAMESPACE}})
    await world.make(Network, "public", CATALOG_NAMESPACE, external=FLAT)
    world._watch()
    world.pass_time(60)
    await world.look_again()
    network = await catalogs(world)
    assert network.status.phase == "Build"
    assert world.ready(network).reason == "NoPhysicalNetwork"
    assert "physical network ext" in world.ready(network).message
    await world.add_host("h1")
    assert (await catalogs(world)).status.phase == "Active"


async def test_a_network_that_lost_its_hosts_stays_active(cloud: World) -> None:
    await cloud.add_outside()
    for name in ("h1", "h2"):
        await cloud.kube.apply_status(
            await cloud.get(Host, name), {"address": "192.0.2.9", "physicalNetworks": []}, FieldManager.AGENT
        )
    await cloud.settle()
    await cloud.look_again()
    assert (await catalogs(cloud)).status.phase == "Active"


async def test_vlan_is_refused_where_no_kernel_has_it_and_taken_where_one_has(cloud: World) -> None:
    vlan = {"physicalNetwork": "ext", "type": "VLAN", "vlanID": 7}
    await cloud.make(Network, "tagged", CATALOG_NAMESPACE, external=vlan)
    await cloud.settle()
    network = await catalogs(cloud, "tagged")
    assert network.status.phase == "Error"
    assert cloud.ready(network).reason == "NoVLAN"
    assert "802.1Q" in cloud.ready(network).message
    status = {"address": "192.0.2.1", "physicalNetworks": ["ext"], "hasVLAN": True}
    await cloud.kube.apply_status(await cloud.get(Host, "h1"), status, FieldManager.AGENT)
    await cloud.settle()
    assert (await catalogs(cloud, "tagged")).status.phase == "Active"


async def test_one_segment_is_one_network_the_older_keeps_it(cloud: World) -> None:
    await cloud.add_outside()
    cloud.pass_time(10)
    await cloud.make(Network, "again", CATALOG_NAMESPACE, external=FLAT)
    await cloud.settle()
    assert await reason(cloud, "again") == "SegmentTaken"
    await cloud.kube.delete(Subnet, "public-v4", CATALOG_NAMESPACE)
    await cloud.kube.delete(Network, "public", CATALOG_NAMESPACE)
    await cloud.settle()
    assert (await catalogs(cloud, "again")).status.phase == "Active"


@pytest.mark.parametrize("offer", [{"shared": True}, {"projects": ["other"]}], ids=str)
async def test_only_the_catalog_offers_networks_to_others(cloud: World, offer: dict[str, Any]) -> None:
    await cloud.make(Network, "mine", "demo", **offer)
    await cloud.settle()
    assert await cloud.reason(Network, "mine") == "NotInCatalog"
    assert f"spec.{next(iter(offer))}" in await cloud.message(Network, "mine")


async def test_a_server_on_a_providers_network_goes_where_the_wire_is(cloud: World) -> None:
    await cloud.add_outside()
    network = await catalogs(cloud)
    body = {"metadata": {"name": "public", "namespace": CATALOG_NAMESPACE}, "spec": network.spec.to_wire()}
    await cloud.kube.apply(Network, body | {"spec": body["spec"] | {"shared": True}}, FieldManager.OPERATOR)
    for name in ("h1", "h2"):
        host = await cloud.get(Host, name)
        status = {"address": host.status.address, "capacity": host.status.capacity.to_wire(), "physicalNetworks": []}
        status |= {"architecture": "x86_64", "firmwares": ["BIOS"]}
        await cloud.kube.apply_status(host, status, FieldManager.AGENT)
    await cloud.settle()
    server = await cloud.add_server("one", networks=[{"network": "public"}])
    assert await cloud.reason(Server, "one") == "NoValidHost"
    assert "physical-network" in await cloud.message(Server, "one")
    await cloud.kube.apply_status(
        await cloud.get(Host, "h2"), status | {"physicalNetworks": ["ext"]}, FieldManager.AGENT
    )
    await cloud.settle()
    server = await cloud.get(Server, "one")
    assert server.status.host == "h2"
    assert server.status.address_list.startswith("203.0.113.")


async def test_a_network_names_the_routers_that_have_a_leg_on_it(cloud: World) -> None:
    await cloud.add_outside()
    router = await cloud.add_router()
    assert [
        (found.name, found.namespace, found.uid) for found in (await cloud.get(Network, "blue")).status.routers
    ] == [("edge", "demo", router.uid)]
    assert (await catalogs(cloud)).status.routers == ()
    await cloud.change(Router, "edge", subnets=[])
    assert (await cloud.get(Network, "blue")).status.routers == ()


async def test_what_routers_and_floating_ips_hold_is_not_deleted(cloud: World) -> None:
    await cloud.add_outside()
    await cloud.add_router()
    await cloud.add_floating_ip()
    for name, kind in (("public-v4", Subnet), ("public", Network)):
        await cloud.kube.delete(kind, name, CATALOG_NAMESPACE)
    await cloud.settle()
    for name, kind in (("public-v4", Subnet), ("public", Network)):
        held = await cloud.get(kind, name, CATALOG_NAMESPACE)
        assert held.status.phase == "Deleting"
        assert "FloatingIP demo/web, Router demo/edge" in cloud.ready(held).message
    await cloud.kube.delete(Router, "edge", "demo")
    await cloud.settle()
    assert "Router" not in cloud.ready(await catalogs(cloud)).message
    await cloud.kube.raw("DELETE", "/apis/nephos.cloud/v1alpha1/namespaces/demo/floatingips/web")
    await cloud.settle()
    assert await cloud.gone(Network, "public", CATALOG_NAMESPACE)
    assert await cloud.gone(Subnet, "public-v4", CATALOG_NAMESPACE)


async def test_the_catalog_of_the_examples_becomes_active_as_it_is(world: World) -> None:
    await world.kube.create(Namespace, {"metadata": {"name": CATALOG_NAMESPACE}})
    await world.add_host("h1")
    documents = [document for document in yaml.safe_load_all(CATALOG.read_text()) if document["kind"] != "Image"]
    for document in documents:
        metadata = document["metadata"]
        kind = KIND_BY_NAME[document["kind"]]
        await world.make(kind, metadata["name"], metadata.get("namespace"), **document["spec"])
    await world.settle()
    assert {view.name for view in (await catalogs(world)).status.subnets} == {"public-v4", "public-v6"}
    for document in documents:
        metadata = document["metadata"]
        made: Any = await world.get(KIND_BY_NAME[document["kind"]], metadata["name"], metadata.get("namespace"))
        assert isinstance(made, Flavor) or made.status.phase == "Active"
        assert world.ready(made).status == "True"
