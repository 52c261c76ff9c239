from __future__ import annotations

from typing import Any

import pytest

from nephos_api.kube.paths import object_path
from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import CATALOG_NAMESPACE
from nephos_api.resources import FloatingIP, Host, Network, Port, Project, Router, Server, Subnet

World = Any


@pytest.fixture
async def outside(cloud: World) -> World:
    """Two hosts, a project with a network, and an external Network."""
    await cloud.add_outside()
    return cloud


async def host_status(cloud: World, name: str, **status: Any) -> None:
    """Have the Host's agent say this."""
    host = await cloud.get(Host, name)
    held = {field: host.status.to_wire()[field] for field in ("address", "capacity", "physicalNetworks")}
    await cloud.kube.apply_status(host, held | status, FieldManager.AGENT)
    await cloud.settle()


async def add_lab(cloud: World) -> None:
    """Offer a second external Network."""
    for name in ("h1", "h2"):
        await host_status(cloud, name, physicalNetworks=["ext", "lab"])
    await cloud.make(Network, "lab", CATALOG_NAMESPACE, external={"physicalNetwork": "lab"})
    await cloud.make(Subnet, "lab-v4", CATALOG_NAMESPACE, network="lab", cidr="198.51.100.0/24", dhcp=False)
    await cloud.settle()


async def silence(cloud: World, *names: str) -> None:
    """Have the agents of these Hosts fall silent, and the operator notice."""
    cloud.silent.update(names)
    cloud.pass_time(60)
    await cloud.look_again()


async def test_a_router_gets_legs_an_address_outside_a_transit_and_a_gateway_host(outside: World) -> None:
    router = await outside.add_router()
    subnet, network = await outside.get(Subnet, "blue-v4"), await outside.get(Network, "blue")
    public = await outside.get(Network, "public", CATALOG_NAMESPACE)
    (leg,) = router.status.legs
    assert (leg.subnet, leg.subnet_uid, leg.cidr, leg.address) == ("blue-v4", subnet.uid, "10.0.0.0/24", "10.0.0.1")
    assert (leg.network, leg.network_uid) == ("blue", network.uid)
    external = router.status.external
    assert (external.network, external.network_namespace, external.network_uid) == (
        "public",
        CATALOG_NAMESPACE,
        public.uid,
    )
    assert [(held.address, held.prefix_length) for held in external.addresses] == [("203.0.113.10", 24)]
    assert (external.next_hops, external.cidrs) == (("203.0.113.1",), ("203.0.113.0/24",))
    assert router.status.transit_vni not in (None, network.status.vni)
    assert (router.status.gateway_host, router.status.gateway_host_address) == ("h1", "192.0.2.1")
    assert (router.status.phase, router.status.subnet_list) == ("Active", "blue-v4")
    assert router.status.external_address_list == "203.0.113.10"
    assert outside.ready(router).status == "True"


async def test_a_router_at_rest_costs_no_write_and_comes_with_one(outside: World) -> None:
    before = len(outside.kube.writes)
    await outside.add_router()
    await outside.look_again()
    written = [(write.verb, write.address.plural) for write in outside.kube.writes[before:]]
    assert written == [("create", "routers"), ("apply", "routers"), ("apply", "networks")]


async def test_a_router_without_an_outside_joins_its_subnets(cloud: World) -> None:
    await cloud.add_network("red", "10.1.0.0/24")
    router = await cloud.add_router(externalNetwork=None, subnets=["blue-v4", "red-v4"])
    assert [leg.address for leg in router.status.legs] == ["10.0.0.1", "10.1.0.1"]
    assert router.status.phase == "Active"
    assert (router.status.external, router.status.transit_vni, router.status.gateway_host) == (None, None, None)
    for name in ("blue", "red"):
        assert [found.uid for found in (await cloud.get(Network, name)).status.routers] == [router.uid]


async def test_what_is_there_already_works_while_another_subnet_is_waited_for(outside: World) -> None:
    router = await outside.add_router(subnets=["blue-v4", "red-v4"])
    outside.pass_time(10)
    await outside.look_again()
    router = await outside.get(Router, "edge")
    assert [leg.subnet for leg in router.status.legs] == ["blue-v4"]
    assert router.status.phase == "Build"
    assert "Subnet demo/red-v4" in outside.ready(router).message
    await outside.add_network("red", "10.1.0.0/24")
    router = await outside.get(Router, "edge")
    assert [leg.subnet for leg in router.status.legs] == ["blue-v4", "red-v4"]
    assert router.status.phase == "Active"


async def test_addresses_outside_are_those_that_are_asked_for(outside: World) -> None:
    router = await outside.add_router(externalAddresses=["203.0.113.150"])
    assert router.status.external_address_list == "203.0.113.150"
    router = await outside.change(Router, "edge", externalAddresses=["203.0.113.151", "203.0.113.150"])
    assert router.status.external_address_list == "203.0.113.151, 203.0.113.150"
    router = await outside.change(Router, "edge", externalAddresses=["203.0.113.151"])
    assert router.status.external_address_list == "203.0.113.151"
    assert (await outside.add_floating_ip(address="203.0.113.12")).status.address == "203.0.113.12"
    router = await outside.change(Router, "edge", externalAddresses=["203.0.113.12"])
    assert router.status.external_address_list == "203.0.113.151"
    assert await outside.reason(Router, "edge") == "AddressInUse"
    assert "FloatingIP demo/web" in await outside.message(Router, "edge")
    await outside.kube.delete(FloatingIP, "web", "demo")
    await outside.settle()
    assert (await outside.get(Router, "edge")).status.external_address_list == "203.0.113.12"


@pytest.mark.parametrize(
    ("spec", "reason", "mentioned"),
    [
        ({"externalAddresses": ["198.51.100.7"]}, "AddressOutside", "spec.externalAddresses"),
        ({"externalAddresses": ["203.0.113.1"]}, "AddressReserved", "spec.externalAddresses"),
        ({"externalAddresses": ["203.0.113.250"]}, "AddressOutsidePool", "spec.externalAddresses"),
        ({"externalNetwork": "blue"}, "NetworkNotExternal", "spec.externalNetwork"),
        ({"routes": [{"destination": "10.9.0.0/16", "nextHop": "10.8.0.1"}]}, "NextHopOutside", "spec.routes"),
        ({"subnets": ["blue-v4", "same-v4"]}, "Overlaps", "Subnet blue-v4"),
        ({"subnets": ["blue-v4", "like-v4"]}, "Overlaps", "the external Network"),
    ],
    ids=str,
)
async def test_what_contradicts_is_said_with_the_field(
    outside: World, spec: dict[str, Any], reason: str, mentioned: str
) -> None:
    await outside.add_network("same", "10.0.0.128/25")
    await outside.add_network("like", "203.0.113.0/28")
    router = await outside.add_router(**spec)
    assert router.status.phase == "Error"
    assert await outside.reason(Router, "edge") == reason
    assert mentioned in await outside.message(Router, "edge")


async def test_a_route_goes_by_a_subnet_or_by_the_outside(outside: World) -> None:
    routes = [
        {"destination": "10.9.0.0/16", "nextHop": "10.0.0.9"},
        {"destination": "192.0.2.0/24", "nextHop": "203.0.113.9"},
    ]
    assert (await outside.add_router(routes=routes)).status.phase == "Active"


async def test_of_two_routers_for_one_subnet_the_older_keeps_it_and_the_other_follows(outside: World) -> None:
    first = await outside.add_router()
    outside.pass_time(10)
    second = await outside.add_router("second")
    assert second.status.legs == ()
    assert await outside.reason(Router, "second") == "GatewayTaken"
    assert "Router demo/edge" in await outside.message(Router, "second")
    assert (await outside.get(Router, "edge")).status.legs == first.status.legs
    await outside.change(Router, "edge", subnets=[])
    second = await outside.get(Router, "second")
    assert [leg.subnet for leg in second.status.legs] == ["blue-v4"]
    assert second.status.phase == "Active"


async def test_two_routers_with_one_leg_agree_on_the_older(outside: World) -> None:
    first = await outside.add_router()
    outside.pass_time(10)
    second = await outside.add_router("second")
    stolen = second.status.to_wire() | {"legs": [leg.to_wire() for leg in first.status.legs], "phase": "Active"}
    await outside.kube.apply_status(second, stolen, FieldManager.OPERATOR)
    await outside.settle()
    assert (await outside.get(Router, "edge")).status.legs == first.status.legs
    assert (await outside.get(Router, "second")).status.legs == ()


async def test_a_transit_is_no_networks_and_no_other_routers(outside: World) -> None:
    await outside.add_network("red", "10.1.0.0/24")
    await outside.add_router()
    outside.pass_time(10)
    await outside.add_router("second", subnets=["red-v4"])
    held = (await outside.get(Network, "blue")).status.vni
    second = await outside.get(Router, "second")
    await outside.kube.apply_status(second, second.status.to_wire() | {"transitVNI": held}, FieldManager.OPERATOR)
    await outside.settle()
    vnis = [(await outside.get(Network, name)).status.vni for name in ("blue", "red")]
    vnis += [(await outside.get(Router, name)).status.transit_vni for name in ("edge", "second")]
    assert vnis[0] == held
    assert len(set(vnis)) == 4


async def test_gateways_are_spread_and_stay_where_they_are(outside: World) -> None:
    hosts = []
    for number in range(4):
        await outside.add_network(f"n{number}", f"10.{number + 1}.0.0/24")
        hosts.append((await outside.add_router(f"r{number}", subnets=[f"n{number}-v4"])).status.gateway_host)
    assert sorted(hosts) == ["h1", "h1", "h2", "h2"]
    await outside.add_host("h0")
    await outside.look_again()
    assert [(await outside.get(Router, f"r{number}")).status.gateway_host for number in range(4)] == hosts


@pytest.mark.parametrize("way", ["silent", "disabled", "outOfService", "gone", "unplugged"])
async def test_the_gateway_moves_when_its_host_is_lost_or_drained_and_its_address_stays(
    outside: World, way: str
) -> None:
    before = await outside.add_router()
    assert before.status.gateway_host == "h1"
    match way:
        case "silent":
            await silence(outside, "h1")
        case "disabled":
            await outside.change(Host, "h1", enabled=False)
        case "outOfService":
            await outside.change(Host, "h1", outOfService=True)
        case "gone":
            await outside.kube.delete(Host, "h1")
            await outside.settle()
        case "unplugged":
            await host_status(outside, "h1", physicalNetworks=[])
    after = await outside.get(Router, "edge")
    assert (after.status.gateway_host, after.status.gateway_host_address) == ("h2", "192.0.2.2")
    assert after.status.external == before.status.external
    assert after.status.transit_vni == before.status.transit_vni
    assert "GatewayMoved" in outside.events.reasons
    outside.silent.clear()
    outside.pass_time(5)
    await outside.look_again()
    assert (await outside.get(Router, "edge")).status.gateway_host == "h2"


async def test_a_gateway_host_is_kept_where_no_other_is_fit_and_the_router_says_so(outside: World) -> None:
    await outside.change(Host, "h2", enabled=False)
    await outside.add_router()
    await silence(outside, "h1")
    router = await outside.get(Router, "edge")
    assert router.status.gateway_host == "h1"
    assert outside.ready(router).reason == "GatewayHostUnfit"
    assert "physical network ext" in outside.ready(router).message
    await outside.change(Host, "h1", outOfService=True)
    router = await outside.get(Router, "edge")
    assert router.status.gateway_host is None
    assert outside.ready(router).reason == "NoGatewayHost"
    await outside.change(Host, "h2", enabled=True)
    router = await outside.get(Router, "edge")
    assert (router.status.gateway_host, router.status.phase) == ("h2", "Active")


async def test_an_outside_that_only_a_floating_ip_needs_has_a_gateway_as_soon_as_a_host_is_fit(outside: World) -> None:
    await outside.change(Host, "h2", enabled=False)
    await outside.add_server("one")
    await outside.add_router()
    await outside.add_floating_ip(server="one")
    await outside.change(Router, "edge", externalNetwork=None)
    await outside.change(Host, "h1", outOfService=True)
    assert (await outside.get(Router, "edge")).status.gateway_host is None
    await outside.change(Host, "h2", enabled=True)
    assert (await outside.get(Router, "edge")).status.gateway_host == "h2"


async def test_a_router_kept_on_a_lost_host_moves_as_soon_as_another_is_fit(outside: World) -> None:
    await outside.add_router()
    await outside.change(Host, "h2", enabled=False)
    await silence(outside, "h1")
    assert (await outside.get(Router, "edge")).status.gateway_host == "h1"
    await outside.change(Host, "h2", enabled=True)
    router = await outside.get(Router, "edge")
    assert (router.status.gateway_host, router.status.phase) == ("h2", "Active")


async def test_a_gateway_host_that_moves_on_the_underlay_is_followed(outside: World) -> None:
    await outside.add_router()
    await host_status(outside, "h1", address="192.0.2.77")
    assert (await outside.get(Router, "edge")).status.gateway_host_address == "192.0.2.77"


async def test_a_network_for_some_projects_is_refused_to_others(outside: World) -> None:
    external = {"physicalNetwork": "lab"}
    await host_status(outside, "h1", physicalNetworks=["ext", "lab"])
    await outside.make(Network, "closed", CATALOG_NAMESPACE, external=external, projects=["other"])
    await outside.settle()
    await outside.add_router(externalNetwork="closed")
    assert await outside.reason(Router, "edge") == "NetworkNotForProject"


async def test_a_deleted_router_waits_for_its_floating_ips_and_says_so(outside: World) -> None:
    await outside.add_server("one")
    await outside.add_router()
    await outside.add_floating_ip(server="one")
    await outside.kube.delete(Router, "edge", "demo")
    await outside.settle()
    router = await outside.get(Router, "edge")
    assert router.status.phase == "Deleting"
    assert router.status.gateway_host == "h1"
    assert "FloatingIP demo/web" in outside.ready(router).message
    await outside.change(FloatingIP, "web", server=None)
    assert await outside.gone(Router, "edge")
    assert (await outside.get(FloatingIP, "web")).status.address == "203.0.113.11"


async def test_a_deleted_routers_gateway_moves_while_a_floating_ip_needs_it(outside: World) -> None:
    await outside.add_server("one")
    await outside.add_router()
    await outside.add_floating_ip(server="one")
    await outside.kube.delete(Router, "edge", "demo")
    await outside.settle()
    await silence(outside, "h1")
    router = await outside.get(Router, "edge")
    assert (router.status.gateway_host, router.status.gateway_host_address) == ("h2", "192.0.2.2")
    assert (router.status.phase, await outside.reason(Router, "edge")) == ("Deleting", "InUse")
    assert "GatewayMoved" in outside.events.reasons
    before = len(outside.kube.writes)
    await outside.look_again()
    assert len(outside.kube.writes) == before


async def test_its_gateway_host_is_told_before_a_routers_address_is_free(outside: World) -> None:
    await outside.add_router()
    await outside.kube.delete(Router, "edge", "demo")
    outside._watch()
    await outside.reconcile((await outside.get(Router, "edge")).key)
    router = await outside.get(Router, "edge")
    assert router.status.gateway_host is None
    assert router.status.external_address_list == "203.0.113.10"
    await outside.settle()
    assert await outside.gone(Router, "edge")


async def test_a_leg_that_is_taken_out_stays_while_a_floating_ip_needs_it(outside: World) -> None:
    await outside.add_server("one")
    await outside.add_router()
    before = await outside.add_floating_ip(server="one")
    router = await outside.change(Router, "edge", subnets=[])
    assert [leg.subnet for leg in router.status.legs] == ["blue-v4"]
    assert router.status.phase == "Active"
    assert outside.ready(router).reason == "LegInUse"
    assert "FloatingIP demo/web" in outside.ready(router).message
    assert (await outside.get(FloatingIP, "web")).status.router_uid == before.status.router_uid
    await outside.kube.delete(Subnet, "blue-v4", "demo")
    await outside.settle()
    assert "Router demo/edge" in await outside.message(Subnet, "blue-v4")
    await outside.change(FloatingIP, "web", server=None)
    router = await outside.get(Router, "edge")
    assert router.status.legs == ()
    assert outside.ready(router).status == "True"
    assert "Router" not in await outside.message(Subnet, "blue-v4")


async def test_a_leg_that_stays_leaves_no_room_for_one_with_the_same_addresses(outside: World) -> None:
    await outside.add_network("same", "10.0.0.128/25")
    await outside.add_server("one")
    await outside.add_router()
    await outside.add_floating_ip(server="one")
    router = await outside.change(Router, "edge", subnets=["same-v4"])
    assert [leg.subnet for leg in router.status.legs] == ["blue-v4"]
    assert await outside.reason(Router, "edge") == "Overlaps"
    await outside.change(FloatingIP, "web", server=None)
    router = await outside.get(Router, "edge")
    assert [leg.subnet for leg in router.status.legs] == ["same-v4"]
    assert router.status.phase == "Active"


async def test_an_outside_that_is_taken_away_stays_while_a_floating_ip_needs_it(outside: World) -> None:
    await outside.add_server("one")
    await outside.add_router()
    await outside.add_floating_ip(server="one")
    router = await outside.change(Router, "edge", externalNetwork=None)
    assert router.status.external.network == "public"
    assert outside.ready(router).reason == "ExternalInUse"
    await outside.kube.delete(Server, "one", "demo")
    await outside.settle()
    await outside.agent_releases("one")
    router = await outside.get(Router, "edge")
    assert (router.status.external, router.status.gateway_host, router.status.transit_vni) == (None, None, None)
    assert outside.ready(router).status == "True"


async def test_who_keeps_a_leg_and_an_outside_is_named_and_the_rest_counted(outside: World) -> None:
    await outside.add_router()
    for number in range(5):
        await outside.add_server(f"s{number}")
        await outside.add_floating_ip(f"f{number}", server=f"s{number}")
    await outside.change(Router, "edge", subnets=[])
    assert "FloatingIP demo/f2 and 2 more;" in await outside.message(Router, "edge")
    await outside.change(Router, "edge", subnets=["blue-v4"], externalNetwork=None)
    assert "FloatingIP demo/f2 and 2 more;" in await outside.message(Router, "edge")


async def test_another_outside_is_taken_where_nobody_needs_the_one_before(outside: World) -> None:
    await add_lab(outside)
    before = await outside.add_router()
    after = await outside.change(Router, "edge", externalNetwork="lab")
    assert (after.status.external.network, after.status.external_address_list) == ("lab", "198.51.100.2")
    assert after.status.transit_vni == before.status.transit_vni
    assert (await outside.add_floating_ip(address="203.0.113.10")).status.address == "203.0.113.10"


async def test_a_second_subnet_outside_gives_a_second_ip_version(outside: World) -> None:
    await outside.add_router()
    spec = {"network": "public", "cidr": "2001:db8:113::/64", "dhcp": False}
    await outside.make(Subnet, "public-v6", CATALOG_NAMESPACE, **spec)
    await outside.settle()
    external = (await outside.get(Router, "edge")).status.external
    assert [held.address for held in external.addresses] == ["203.0.113.10", "2001:db8:113::2"]
    assert external.next_hops == ("203.0.113.1", "2001:db8:113::1")
    assert external.cidrs == ("203.0.113.0/24", "2001:db8:113::/64")


async def test_a_subnet_with_a_leg_is_deleted_once_the_router_gives_it_up(outside: World) -> None:
    await outside.add_router()
    for kind, name in ((Network, "blue"), (Subnet, "blue-v4")):
        await outside.kube.delete(kind, name, "demo")
    await outside.settle()
    for kind, name in ((Network, "blue"), (Subnet, "blue-v4")):
        assert "Router demo/edge" in await outside.message(kind, name)
    assert (await outside.get(Router, "edge")).status.phase == "Active"
    await outside.kube.delete(Router, "edge", "demo")
    await outside.settle()
    assert await outside.gone(Router, "edge")
    for kind, name in ((Network, "blue"), (Subnet, "blue-v4")):
        assert await outside.gone(kind, name)


async def test_quotas_of_routers_and_routes_hold_without_admission(outside: World) -> None:
    await outside.change(Project, "demo", quota={"routers": 1, "routesPerRouter": 0})
    await outside.add_router()
    outside.pass_time(10)
    await outside.add_router("second", subnets=[])
    assert await outside.reason(Router, "second") == "QuotaExceeded"
    await outside.change(Router, "edge", routes=[{"destination": "10.9.0.0/16", "nextHop": "10.0.0.9"}])
    assert await outside.reason(Router, "edge") == "QuotaExceeded"
    assert "routesPerRouter" in await outside.message(Router, "edge")
    assert len((await outside.get(Router, "edge")).status.legs) == 1
    await outside.kube.delete(Router, "edge", "demo")
    await outside.settle()
    assert (await outside.get(Router, "second")).status.phase == "Active"


@pytest.mark.parametrize("reason", ["QuotaExceeded", "ProjectDeleting"])
async def test_a_gateway_moves_whatever_is_wrong_with_project_and_quota(outside: World, reason: str) -> None:
    before = await outside.add_router(routes=[{"destination": "10.9.0.0/16", "nextHop": "10.0.0.9"}])
    if reason == "QuotaExceeded":
        await outside.change(Project, "demo", quota={"routesPerRouter": 0})
    else:
        outside.pass_time(60)
        await outside.kube.delete(Project, "demo")
    await outside.kube.raw("PATCH", object_path(Host.info, "h1", None), body={"spec": {"enabled": False}})
    outside._watch()
    await outside.reconcile(before.key)
    router = await outside.get(Router, "edge")
    assert await outside.reason(Router, "edge") == ("Active" if reason == "ProjectDeleting" else reason)
    assert router.status.gateway_host == "h2"
    assert (router.status.legs, router.status.external) == (before.status.legs, before.status.external)


@pytest.mark.parametrize("way", ["another", "none", "gone"])
async def test_an_outside_without_an_address_is_let_go_too(outside: World, way: str) -> None:
    await outside.add_floating_ip(address="203.0.113.10")
    await outside.add_router(externalAddresses=["203.0.113.10"])
    outside.pass_time(60)
    await outside.look_again()
    assert (await outside.get(Router, "edge")).status.external.addresses == ()
    for kind, name in ((Subnet, "public-v4"), (Network, "public")):
        await outside.kube.delete(kind, name, CATALOG_NAMESPACE)
    await outside.settle()
    await outside.kube.delete(FloatingIP, "web", "demo")
    await outside.settle()
    assert not await outside.gone(Network, "public", CATALOG_NAMESPACE)
    match way:
        case "another":
            await outside.change(Router, "edge", externalNetwork="lab")
        case "none":
            await outside.change(Router, "edge", externalNetwork=None, externalAddresses=None)
        case "gone":
            await outside.kube.delete(Router, "edge", "demo")
            await outside.settle()
    assert await outside.gone(Network, "public", CATALOG_NAMESPACE)


@pytest.mark.parametrize("way", ["unnamed", "refused", "another", "asked"])
async def test_an_address_that_a_router_never_got_is_free(outside: World, way: str) -> None:
    outside.lead_left_s = 0.0  # the decision is made, and nothing of it can be written
    await outside.make(Router, "edge", "demo", externalNetwork="public")
    await outside.settle()
    subnet = outside.store.subnets.get("public-v4", CATALOG_NAMESPACE)
    assert outside.addresses.count(subnet.uid) == 1
    outside.lead_left_s = 60.0
    match way:
        case "unnamed":
            await outside.change(Router, "edge", externalNetwork=None)
        case "refused":
            await outside.patch(Network, "public", CATALOG_NAMESPACE, projects=["other"])
        case "another":
            await add_lab(outside)
            router = await outside.change(Router, "edge", externalNetwork="lab")
            assert router.status.external_address_list == "198.51.100.2"
        case "asked":
            router = await outside.change(Router, "edge", externalAddresses=["203.0.113.150"])
            assert router.status.external_address_list == "203.0.113.150"
    assert outside.addresses.count(subnet.uid) == (1 if way == "asked" else 0)


async def test_an_address_that_a_port_claims_too_is_the_older_ones(outside: World) -> None:
    router = await outside.add_router()
    outside.pass_time(10)
    public = await outside.get(Network, "public", CATALOG_NAMESPACE)
    allocations = [held.to_wire() for held in router.status.external.addresses]
    spec = {"network": "public", "networkUID": public.uid, "macAddress": "52:54:00:00:00:01"}
    await outside.make(Port, "thief", CATALOG_NAMESPACE, **spec, allocations=allocations)
    await outside.settle()
    thief = await outside.get(Port, "thief", CATALOG_NAMESPACE)
    assert outside.ready(thief).reason == "AddressTaken"
    assert (await outside.get(Router, "edge")).status.external == router.status.external
