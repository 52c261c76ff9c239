"""What the webhook refuses of Routers and FloatingIPs, and what it lets in because it is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from nephos_api.metadata import CATALOG_NAMESPACE
from nephos_api.resources import FloatingIP, Host, Network, Project, Router, Server, Subnet
from nephos_operator.admission.cloud import Cloud
from nephos_operator.admission.handlers import judge

World = Any


@pytest.fixture
async def edge(cloud: World) -> World:
    """A router, a server, and floating addresses in use."""
    await cloud.add_outside()
    await cloud.add_router()
    await cloud.add_network("red", "10.1.0.0/24")
    await cloud.add_server("one")
    await cloud.add_floating_ip(server="one", address="203.0.113.50")
    return cloud


def asks(cloud: World, kind: Any, operation: str = "CREATE", name: str = "new", **spec: Any) -> str | None:
    body = {"metadata": {"name": name, "namespace": "demo"}, "spec": spec}
    return judge(kind, body, operation, Cloud(cloud.store, cloud.addresses))


def router(cloud: World, operation: str = "CREATE", name: str = "new", **spec: Any) -> str | None:
    return asks(cloud, Router, operation, name, **spec)


def floating_ip(cloud: World, operation: str = "CREATE", name: str = "new", **spec: Any) -> str | None:
    return asks(cloud, FloatingIP, operation, name, **({"externalNetwork": "public"} | spec))


async def test_what_refers_to_nothing_yet_is_let_in(world: World) -> None:
    routes = [{"destination": "10.9.0.0/16", "nextHop": "10.8.0.1"}]
    assert router(world, externalNetwork="none", subnets=["none"], routes=routes) is None
    assert floating_ip(world, server="none", address="192.0.2.7") is None


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE"])
@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ({"externalNetwork": "blue"}, ("spec.externalNetwork", "no external Network")),
        ({"externalNetwork": "public", "externalAddresses": ["192.0.2.7"]}, ("spec.externalAddresses", "no Subnet")),
        ({"externalNetwork": "public", "externalAddresses": ["203.0.113.1"]}, ("spec.externalAddresses", "gateway")),
        (
            {"externalNetwork": "public", "externalAddresses": ["203.0.113.201"]},
            ("spec.externalAddresses", "none of the pools", "203.0.113.10–203.0.113.200"),
        ),
        (
            {"externalNetwork": "public", "externalAddresses": ["203.0.113.50"]},
            ("spec.externalAddresses", "in use by FloatingIP demo/web"),
        ),
        ({"subnets": ["blue-v4"]}, ("spec.subnets", "Router demo/edge has Subnet demo/blue-v4 already")),
        ({"subnets": ["red-v4", "wide-v4"]}, ("spec.subnets", "overlaps 10.1.0.0/24 of Subnet red-v4")),
        (
            {"externalNetwork": "public", "subnets": ["like-v4"]},
            ("spec.subnets", "overlaps 203.0.113.0/24 of the external Network"),
        ),
        (
            {"subnets": ["red-v4"], "routes": [{"destination": "10.9.0.0/16", "nextHop": "10.8.0.1"}]},
            ("spec.routes", "next hop 10.8.0.1"),
        ),
    ],
    ids=str,
)
async def test_a_bad_router_is_refused_with_the_field(
    edge: World, operation: str, spec: dict[str, Any], parts: tuple[str, ...]
) -> None:
    await edge.add_network("wide", "10.0.0.0/15")
    await edge.add_network("like", "203.0.113.0/28")
    sentence = router(edge, operation, **spec)
    assert sentence is not None
    for part in parts:
        assert part in sentence


async def test_a_router_may_keep_what_it_has(edge: World) -> None:
    held = (await edge.get(Router, "edge")).to_wire()
    held["spec"] |= {"externalAddresses": ["203.0.113.10"], "subnets": ["blue-v4", "red-v4"]}
    assert judge(Router, held, "UPDATE", Cloud(edge.store, edge.addresses)) is None


async def test_a_router_keeps_an_address_that_the_pools_lost(edge: World) -> None:
    await edge.change(Router, "edge", externalAddresses=["203.0.113.10"])
    pools = [{"start": "203.0.113.40", "end": "203.0.113.200"}]
    await edge.patch(Subnet, "public-v4", CATALOG_NAMESPACE, allocationPools=pools)
    held = (await edge.get(Router, "edge")).to_wire()
    held["spec"]["subnets"] = ["blue-v4", "red-v4"]
    assert judge(Router, held, "UPDATE", Cloud(edge.store, edge.addresses)) is None
    router = await edge.change(Router, "edge", subnets=["blue-v4", "red-v4"])
    assert router.status.external_address_list == "203.0.113.10"


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ({"externalNetwork": "blue"}, ("spec.externalNetwork", "no external Network")),
        ({"address": "192.0.2.7"}, ("spec.address", "no Subnet")),
        ({"address": "203.0.113.201"}, ("spec.address", "none of the pools", "203.0.113.10–203.0.113.200")),
        ({"address": "203.0.113.50"}, ("spec.address", "in use by FloatingIP demo/web")),
        ({"address": "203.0.113.10"}, ("spec.address", "in use by Router demo/edge")),
        ({"server": "one", "fixedAddress": "10.0.0.99"}, ("spec.fixedAddress", "no address of Port demo/one-net0")),
        ({"port": "one-net0", "fixedAddress": "10.0.0.99"}, ("spec.fixedAddress", "10.0.0.2")),
    ],
    ids=str,
)
async def test_a_bad_floating_ip_is_refused_with_the_field(
    edge: World, spec: dict[str, Any], parts: tuple[str, ...]
) -> None:
    sentence = floating_ip(edge, **spec)
    assert sentence is not None
    for part in parts:
        assert part in sentence


async def test_what_contradicts_is_refused_when_it_is_changed_too(edge: World) -> None:
    assert floating_ip(edge, "UPDATE", "web", server="one", fixedAddress="10.0.0.99", address="203.0.113.50")
    assert floating_ip(edge, "UPDATE", "web", server=None, address="203.0.113.50") is None


async def test_an_update_that_changes_no_spec_is_let_in_whatever_came_meanwhile(edge: World) -> None:
    edge.pass_time(10)
    await edge.add_router("second")
    body = (await edge.get(Router, "second")).to_wire()
    body["metadata"]["labels"] = {"a": "b"}
    assert judge(Router, body, "UPDATE", Cloud(edge.store, edge.addresses)) is None


async def test_a_network_for_some_projects_is_refused_to_others(edge: World) -> None:
    await edge.change(Host, "h1", enabled=True)
    await edge.make(
        Network, "closed", CATALOG_NAMESPACE, external={"physicalNetwork": "lab"}, projects=["other"], shared=True
    )
    await edge.settle()
    for sentence in (router(edge, externalNetwork="closed"), floating_ip(edge, externalNetwork="closed")):
        assert sentence is not None
        assert "for some projects only" in sentence


@pytest.mark.parametrize(
    ("kind", "quota", "field", "spec"),
    [
        (Router, {"routers": 1}, "routers", {}),
        (Router, {"routesPerRouter": 0}, "routesPerRouter", {"routes": 1}),
        (FloatingIP, {"floatingIPs": 1}, "floatingIPs", {"externalNetwork": "public"}),
    ],
)
async def test_quotas(edge: World, kind: Any, quota: dict[str, int], field: str, spec: dict[str, Any]) -> None:
    await edge.change(Project, "demo", quota=quota)
    if "routes" in spec:
        spec = {"subnets": ["red-v4"], "routes": [{"destination": "10.9.0.0/16", "nextHop": "10.1.0.9"}]}
    sentence = asks(edge, kind, **spec)
    assert sentence is not None
    assert f"spec.quota.{field}" in sentence


async def test_what_is_being_deleted_takes_no_new_reference(edge: World) -> None:
    await edge.add_router("red", subnets=["red-v4"])
    for kind, name, namespace in (
        (Subnet, "red-v4", "demo"),
        (Server, "one", "demo"),
        (Network, "public", CATALOG_NAMESPACE),
    ):
        await edge.kube.delete(kind, name, namespace)
    await edge.settle()
    for sentence in (
        router(edge, subnets=["red-v4"]),
        router(edge, externalNetwork="public"),
        floating_ip(edge),
        floating_ip(edge, "UPDATE", "other", server="one"),
    ):
        assert sentence is not None
        assert "is being deleted" in sentence
    kept = {"server": "one", "address": "203.0.113.50"}
    assert floating_ip(edge, "UPDATE", "web", **kept) is None
    assert router(edge, "UPDATE", "red", subnets=["red-v4"], externalNetwork="public", enabled=False) is None
