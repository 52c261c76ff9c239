"""Ports as NICs: those that people made, and NICs that come and go while the Server runs."""

from __future__ import annotations

from typing import Any

import pytest

from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import Host, Network, Port, Project, Server, Subnet
from nephos_operator.reconcilers.server import Placement, plan
from nephos_operator.verdict import Waits

World = Any
BLUE = {"name": "net0", "network": "blue"}
VIP = {"name": "net1", "network": "blue", "port": "vip"}
MAC = "52:54:00:12:34:56"


def binding(port: Port) -> tuple[str | None, ...]:
    spec = port.spec
    return (spec.server, spec.server_uid, spec.server_interface, spec.host, spec.host_address)


NOBODYS = (None,) * 5


async def add_port(cloud: World, name: str = "vip", **spec: Any) -> Port:
    """Make a Port as a person does, with server-side apply."""
    body = {"metadata": {"name": name, "namespace": "demo"}, "spec": {"network": "blue"} | spec}
    path = f"/apis/nephos.cloud/v1alpha1/namespaces/demo/ports/{name}"
    await cloud.kube.raw("PATCH", path, body=body, query={"fieldManager": "kubectl", "force": "true"})
    await cloud.settle()
    port: Port = await cloud.get(Port, name)
    return port


async def looks_later(cloud: World) -> None:
    cloud.pass_time(60)
    await cloud.look_again()


async def test_a_server_takes_a_port_that_is_there_with_its_addresses_and_its_mac(cloud: World) -> None:
    await add_port(cloud, addresses=["10.0.0.50", "10.0.0.51"], macAddress=MAC)
    before = len(cloud.kube.writes)
    server = await cloud.add_server("one", networks=[VIP])
    port = await cloud.get(Port, "vip")
    host = await cloud.get(Host, server.status.host)
    assert binding(port) == ("one", server.uid, "net1", server.status.host, host.status.address)
    assert [(a.name, a.address, a.mac) for a in server.status.addresses] == [
        ("net1", "10.0.0.50", MAC),
        ("net1", "10.0.0.51", MAC),
    ]
    verbs = [(write.verb, write.address.plural) for write in cloud.kube.writes[before:]]
    assert verbs == [("create", "servers"), ("apply", "ports"), ("apply", "servers")]
    await cloud.agent_activates("one")
    before = len(cloud.kube.writes)
    await cloud.look_again()
    cloud.restart()
    await cloud.look_again()
    assert cloud.kube.writes[before:] == []


async def test_nics_are_in_the_order_of_the_spec(cloud: World) -> None:
    await cloud.add_network("red", "10.1.0.0/24")
    await add_port(cloud)
    nics = [{"name": "z", "network": "red"}, VIP, {"name": "a", "network": "blue"}]
    server = await cloud.add_server("one", networks=nics)
    assert [address.name for address in server.status.addresses] == ["z", "net1", "a"]
    assert [address.network for address in server.status.addresses] == ["red", "blue", "blue"]


async def test_a_port_outlives_its_server_with_everything_that_its_users_wrote(cloud: World) -> None:
    pairs = [{"address": "10.0.0.100"}]
    made = await add_port(cloud, securityGroups=[], allowedAddressPairs=pairs, addresses=["10.0.0.50"])
    await cloud.add_server("one", networks=[VIP])
    await cloud.agent_activates("one")
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    assert binding(await cloud.get(Port, "vip")) != NOBODYS
    await cloud.agent_releases("one")
    assert await cloud.gone(Server, "one")
    port = await cloud.get(Port, "vip")
    assert port.spec == made.spec
    assert (port.status.phase, await cloud.reason(Port, "vip")) == ("Down", "Unbound")


async def test_a_port_whose_server_was_torn_away_is_free(cloud: World) -> None:
    await add_port(cloud)
    server = await cloud.add_server("one", networks=[VIP])
    await cloud.kube.set_finalizers(server, ())
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    assert binding(await cloud.get(Port, "vip")) == NOBODYS


async def test_a_port_that_another_server_uses_is_waited_for(cloud: World) -> None:
    await add_port(cloud)
    await cloud.add_server("one", networks=[VIP])
    await cloud.add_server("two", networks=[VIP])
    await looks_later(cloud)
    assert await cloud.reason(Server, "two") == "PortInUse"
    assert "Server one uses it" in await cloud.message(Server, "two")
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    await cloud.agent_releases("one")
    two = await cloud.get(Server, "two")
    assert two.status.host is not None
    assert (await cloud.get(Port, "vip")).spec.server_uid == two.uid


async def test_of_two_servers_that_name_one_port_at_once_one_gets_it(cloud: World) -> None:
    await add_port(cloud)
    cloud.lead_left_s = 0.0  # decided, and not written yet
    for name in ("one", "two"):
        await cloud.make(Server, name, "demo", flavor="tiny", image="tiny", networks=[VIP])
    await cloud.settle()
    cloud.lead_left_s = 60.0
    one, two = [await cloud.get(Server, name) for name in ("one", "two")]
    assert isinstance(plan(one, cloud.context), Placement)
    assert isinstance(waits := plan(two, cloud.context), Waits)
    assert "another Server is about to use it" in waits.message
    await looks_later(cloud)
    assert (await cloud.get(Port, "vip")).spec.server == "one"
    assert await cloud.reason(Server, "two") == "PortInUse"
    assert cloud.context.promised_ports == {}


@pytest.mark.parametrize("spec", [{"network": "nowhere"}, {"securityGroups": ["to-come"]}], ids=str)
async def test_a_port_that_is_not_ready_is_waited_for(cloud: World, spec: dict[str, Any]) -> None:
    await add_port(cloud, **spec)
    await cloud.add_server("one", networks=[VIP | {"network": spec.get("network", "blue")}])
    await looks_later(cloud)
    assert await cloud.reason(Server, "one") == "PortNotReady"
    assert "Port demo/vip" in await cloud.message(Server, "one")


async def test_a_port_to_come_is_waited_for(cloud: World) -> None:
    await cloud.add_server("one", networks=[VIP])
    await looks_later(cloud)
    assert await cloud.reason(Server, "one") == "NoPort"
    await add_port(cloud)
    assert (await cloud.get(Server, "one")).status.host is not None


async def test_an_entry_that_names_a_port_of_another_network_says_which(cloud: World) -> None:
    await cloud.add_network("red", "10.1.0.0/24")
    await add_port(cloud)
    await cloud.add_server("one", networks=[VIP | {"network": "red"}])
    assert await cloud.reason(Server, "one") == "PortOnOtherNetwork"
    assert "spec.networks[net1].network is red, but Port demo/vip is on Network blue" in await cloud.message(
        Server, "one"
    )


async def test_a_servers_own_port_is_nobody_elses(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.add_server("two", networks=[BLUE | {"port": "one-net0"}])
    await looks_later(cloud)
    assert await cloud.reason(Server, "two") == "PortInUse"


async def test_a_nic_that_is_added_gets_its_port_while_the_server_runs(cloud: World) -> None:
    await cloud.add_network("red", "10.1.0.0/24")
    server = await cloud.add_server("one")
    await cloud.agent_activates("one")
    before = len(cloud.kube.writes)
    red = {"name": "net1", "network": "red", "addresses": ["10.1.0.77"]}
    await cloud.patch(Server, "one", networks=[BLUE, red])
    port = await cloud.get(Port, "one-net1")
    assert (port.spec.host, port.spec.server_uid) == (server.status.host, server.uid)
    assert len(port.spec.security_group_references) == 1
    server = await cloud.get(Server, "one")
    assert [address.address for address in server.status.addresses] == ["10.0.0.2", "10.1.0.77"]
    assert (server.status.phase, server.status.address_list) == ("Active", "10.0.0.2, 10.1.0.77")
    verbs = [(write.verb, write.address.plural) for write in cloud.kube.writes[before:]]
    assert verbs == [("patch", "servers"), ("create", "ports"), ("apply", "servers")]


async def test_a_nic_that_is_added_waits_for_its_network_and_says_so(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.agent_activates("one")
    await cloud.patch(Server, "one", networks=[BLUE, {"name": "net1", "network": "red"}])
    assert "NoNetwork" in cloud.events.reasons
    assert (await cloud.get(Server, "one")).status.phase == "Active"
    await cloud.add_network("red", "10.1.0.0/24")
    assert (await cloud.get(Server, "one")).status.address_list == "10.0.0.2, 10.1.0.2"


async def test_a_nic_that_is_taken_away_keeps_its_port_until_the_host_has_unplugged_it(cloud: World) -> None:
    await cloud.add_server("one", networks=[BLUE, BLUE | {"name": "net1"}])
    await cloud.agent_activates("one")
    before = await cloud.get(Port, "one-net1")
    await cloud.patch(Server, "one", networks=[BLUE])
    port = await cloud.get(Port, "one-net1")
    assert (port.spec, port.is_deleting) == (before.spec, False)
    assert (await cloud.get(Server, "one")).status.address_list == "10.0.0.2"
    await cloud.agent_unplugs("one-net1")
    assert await cloud.gone(Port, "one-net1")
    assert not await cloud.gone(Port, "one-net0")
    assert cloud.addresses.count((await cloud.get(Subnet, "blue-v4")).uid) == 1


async def test_a_nic_that_comes_back_under_its_name_gets_a_port_again(cloud: World) -> None:
    await cloud.add_server("one", networks=[BLUE, BLUE | {"name": "net1"}])
    await cloud.agent_activates("one")
    for nics in ([BLUE], [BLUE, BLUE | {"name": "net1"}]):
        await cloud.patch(Server, "one", networks=nics)
    assert binding(await cloud.get(Port, "one-net1")) != NOBODYS
    await cloud.patch(Server, "one", networks=[BLUE])
    await cloud.agent_unplugs("one-net1")
    await cloud.patch(Server, "one", networks=[BLUE, BLUE | {"name": "net1"}])
    assert len((await cloud.get(Server, "one")).status.addresses) == 2


async def test_a_port_moves_from_one_running_server_to_another(cloud: World) -> None:
    made = await add_port(cloud, macAddress=MAC)
    await cloud.add_server("one", networks=[BLUE, VIP])
    two = await cloud.add_server("two", networks=[BLUE])
    for name in ("one", "two"):
        await cloud.agent_activates(name)
    await cloud.patch(Server, "one", networks=[BLUE])
    await cloud.patch(Server, "two", networks=[BLUE, VIP])
    assert (await cloud.get(Port, "vip")).spec.server == "one"
    assert "PortInUse" in cloud.events.reasons
    await cloud.agent_unplugs("vip")
    port = await cloud.get(Port, "vip")
    assert (port.spec.server_uid, port.spec.host) == (two.uid, two.status.host)
    assert (port.spec.mac_address, port.spec.allocations) == (MAC, made.spec.allocations)
    await cloud.patch(Server, "two", networks=[BLUE])
    assert binding(await cloud.get(Port, "vip")) != NOBODYS  # what was said of the binding before says nothing
    await cloud.agent_unplugs("vip")
    assert binding(await cloud.get(Port, "vip")) == NOBODYS
    assert await cloud.reason(Port, "vip") == "Unbound"
    before = len(cloud.kube.writes)
    await cloud.look_again()
    assert cloud.kube.writes[before:] == []


async def test_a_host_that_is_out_of_service_has_unplugged_everything(cloud: World) -> None:
    await add_port(cloud)
    server = await cloud.add_server("one", networks=[BLUE, VIP])
    await cloud.patch(Server, "one", networks=[BLUE])
    path = f"/apis/nephos.cloud/v1alpha1/hosts/{server.status.host}"
    await cloud.kube.raw("PATCH", path, body={"spec": {"outOfService": True}})
    await cloud.settle()
    assert binding(await cloud.get(Port, "vip")) == NOBODYS


async def test_a_port_in_use_that_is_deleted_says_who_holds_it_and_goes_with_the_nic(cloud: World) -> None:
    await add_port(cloud)
    await cloud.add_server("one", networks=[BLUE, VIP])
    await cloud.kube.delete(Port, "vip", "demo")
    await cloud.settle()
    assert "InUse" in cloud.events.reasons
    await cloud.patch(Server, "one", networks=[BLUE])
    assert not await cloud.gone(Port, "vip")
    await cloud.agent_unplugs("vip")
    assert await cloud.gone(Port, "vip")


async def test_groups_of_a_port_in_use_are_its_own(cloud: World) -> None:
    await add_port(cloud, securityGroups=[])
    await cloud.add_server("one", networks=[BLUE, VIP], securityGroups=["default"])
    assert (await cloud.get(Port, "vip")).spec.security_group_references == ()
    await cloud.patch(Port, "vip", securityGroups=["default"])
    port = await cloud.get(Port, "vip")
    assert [reference.name for reference in port.spec.security_group_references] == ["default"]
    assert port.spec.server == "one"


async def test_a_nic_more_than_the_quota_allows_says_so(world: World) -> None:
    await world.add_catalog()
    await world.add_host("h1")
    await world.add_project(ports=1)
    await world.add_network()
    await world.add_server("one")
    await world.patch(Server, "one", networks=[BLUE, BLUE | {"name": "net1"}])
    assert "QuotaExceeded" in world.events.reasons
    assert await world.gone(Port, "one-net1")


@pytest.mark.parametrize("way", ["port gone", "larger quota"])
async def test_a_nic_and_a_server_beyond_the_quota_of_ports_come_once_there_is_room(world: World, way: str) -> None:
    await world.add_catalog()
    await world.add_host("h1")
    await world.add_project(ports=3)
    await world.add_network()
    await world.add_network("red", "10.1.0.0/24")
    for name in ("vip", "other"):
        await add_port(world, name, network="red")
    await world.add_server("one")
    await world.patch(Server, "one", networks=[BLUE, BLUE | {"name": "net1"}])
    await world.add_server("two")
    assert await world.reason(Server, "two") == "QuotaExceeded"
    if way == "port gone":
        for name in ("vip", "other"):
            await world.kube.delete(Port, name, "demo")
        await world.settle()
    else:
        await world.change(Project, "demo", quota={"ports": 5})
    assert not await world.gone(Port, "one-net1")
    assert (await world.get(Server, "two")).status.host == "h1"


async def test_of_two_ports_with_one_mac_address_the_second_waits(cloud: World) -> None:
    await add_port(cloud, macAddress=MAC)
    await add_port(cloud, "other", macAddress=MAC)
    await looks_later(cloud)
    assert await cloud.reason(Port, "other") == "MACInUse"
    assert "Port demo/vip" in await cloud.message(Port, "other")
    await cloud.kube.delete(Port, "vip", "demo")
    await cloud.settle()
    assert await cloud.reason(Port, "other") == "Unbound"


async def test_a_port_that_lost_its_address_gets_one_with_the_mac_address_that_it_has(cloud: World) -> None:
    blue = await cloud.get(Network, "blue")
    port = await add_port(cloud, networkUID=blue.uid, macAddress=MAC)
    assert len(port.spec.allocations) == 1
    assert port.spec.mac_address == MAC


async def test_a_server_comes_as_soon_as_the_name_of_its_port_is_free(cloud: World) -> None:
    await cloud.add_network("red", "10.2.0.0/24")
    await add_port(cloud, "one-net0", network="red")
    await cloud.add_server("one")
    await looks_later(cloud)
    assert await cloud.reason(Server, "one") == "PortNameTaken"
    await cloud.kube.delete(Port, "one-net0", "demo")
    await cloud.settle()
    assert (await cloud.get(Server, "one")).status.host is not None


async def test_of_two_ports_that_have_one_mac_address_the_younger_follows(cloud: World) -> None:
    first = await add_port(cloud, macAddress=MAC)
    cloud.pass_time(10)
    pinned = {"network": "blue", "networkUID": first.spec.network_uid, "macAddress": MAC}
    allocation = first.spec.allocations[0].to_wire() | {"address": "10.0.0.77"}
    await cloud.make(Port, "other", "demo", **pinned, allocations=[allocation])
    await cloud.settle()
    assert await cloud.reason(Port, "other") == "MACInUse"
    assert await cloud.reason(Port, "vip") == "Unbound"
    await cloud.kube.delete(Port, "vip", "demo")
    await cloud.settle()
    assert await cloud.reason(Port, "other") == "Unbound"


class TestSharedNetworks:
    async def share(self, cloud: World, **spec: Any) -> Network:
        await cloud.make(Network, "lab", "nephos-catalog", **({"shared": True} | spec))
        pools = [{"start": "10.5.0.2", "end": "10.5.0.99"}]
        await cloud.make(Subnet, "lab-v4", "nephos-catalog", network="lab", cidr="10.5.0.0/24", allocationPools=pools)
        await cloud.settle()
        network: Network = await cloud.get(Network, "lab", "nephos-catalog")
        return network

    async def test_servers_and_ports_of_every_project_are_on_it(self, cloud: World) -> None:
        network = await self.share(cloud)
        server = await cloud.add_server("one", networks=[{"network": "lab"}])
        await add_port(cloud, network="lab", addresses=["10.5.0.50"])
        assert server.status.address_list == "10.5.0.2"
        for name in ("one-net0", "vip"):
            port = await cloud.get(Port, name)
            assert (port.spec.network_namespace, port.spec.network_uid) == ("nephos-catalog", network.uid)
            assert [held.subnet for held in port.spec.allocations] == ["lab-v4"]

    async def test_a_network_of_the_project_comes_first_and_what_was_found_stays(self, cloud: World) -> None:
        shared = await self.share(cloud)
        await cloud.add_server("one", networks=[{"network": "lab"}])
        await cloud.add_network("lab", "10.6.0.0/24")
        await cloud.agent_refuses("one")
        assert (await cloud.get(Port, "one-net0")).spec.network_uid == shared.uid
        await cloud.add_server("two", networks=[{"network": "lab"}])
        assert (await cloud.get(Port, "two-net0")).spec.network_namespace is None

    @pytest.mark.parametrize(
        ("spec", "reason", "mentioned"),
        [
            ({"shared": False}, "NetworkNotShared", "is not shared"),
            ({"projects": ["other"]}, "NetworkNotForProject", "spec.projects"),
        ],
    )
    async def test_what_a_project_may_not_use_is_said(
        self, cloud: World, spec: dict[str, Any], reason: str, mentioned: str
    ) -> None:
        await self.share(cloud, **spec)
        await cloud.add_server("one", networks=[{"network": "lab"}])
        await add_port(cloud, network="lab")
        for kind, name in ((Server, "one"), (Port, "vip")):
            assert await cloud.reason(kind, name) == reason
            assert mentioned in await cloud.message(kind, name)

    @pytest.mark.parametrize(
        ("before", "after"), [({"shared": False}, {"shared": True}), ({"projects": ["other"]}, {"projects": ["demo"]})]
    )
    async def test_what_waits_for_a_network_gets_it_once_it_is_offered(
        self, cloud: World, before: dict[str, Any], after: dict[str, Any]
    ) -> None:
        await cloud.add_server("there")
        await self.share(cloud, **before)
        await cloud.add_server("one", networks=[{"network": "lab"}])
        await add_port(cloud, network="lab")
        await cloud.patch(Server, "there", networks=[BLUE, {"name": "net1", "network": "lab"}])
        await cloud.patch(Network, "lab", "nephos-catalog", **after)
        assert (await cloud.get(Server, "one")).status.host is not None
        assert (await cloud.get(Port, "vip")).spec.allocations
        assert not await cloud.gone(Port, "there-net1")

    async def test_a_server_on_a_network_of_the_providers_goes_where_that_is(self, cloud: World) -> None:
        segment = {"physicalNetwork": "lab", "type": "Flat"}
        await self.share(cloud, external=segment)
        await cloud.add_server("one", networks=[{"network": "lab"}])
        host = await cloud.get(Host, "h2")
        own = ("address", "capacity", "architecture", "firmwares")
        status = {name: value for name, value in host.status.to_wire().items() if name in own}
        await cloud.kube.apply_status(host, status | {"physicalNetworks": ["lab"]}, FieldManager.AGENT)
        await cloud.settle()
        assert (await cloud.get(Server, "one")).status.host == "h2"
        for number in range(3):
            server = await cloud.add_server(f"more-{number}", networks=[{"network": "lab"}])
            assert server.status.host == "h2"
        assert (await cloud.add_server("other", networks=[])).status.host == "h1"
        await cloud.patch(Server, "other", networks=[{"name": "net0", "network": "lab"}])
        assert "HostNotOnNetwork" in cloud.events.reasons
        host = await cloud.get(Host, "h1")
        status = {name: value for name, value in host.status.to_wire().items() if name in own}
        await cloud.kube.apply_status(host, status | {"physicalNetworks": ["lab"]}, FieldManager.AGENT)
        await cloud.settle()
        assert len((await cloud.get(Server, "other")).status.addresses) == 1

    async def test_a_project_that_is_named_may_use_it(self, cloud: World) -> None:
        await self.share(cloud, projects=["demo"])
        assert (await cloud.add_server("one", networks=[{"network": "lab"}])).status.address_list == "10.5.0.2"

    async def test_its_deletion_waits_for_the_ports_of_all_projects(self, cloud: World) -> None:
        await self.share(cloud)
        await cloud.make(Project, "other")
        await cloud.settle()
        await cloud.make(Port, "vip", "other", network="lab")
        await cloud.settle()
        for kind, name in ((Network, "lab"), (Subnet, "lab-v4")):
            await cloud.kube.delete(kind, name, "nephos-catalog")
        await cloud.settle()
        held = cloud.ready(await cloud.get(Network, "lab", "nephos-catalog"))
        assert "Port other/vip" in held.message
        await cloud.kube.delete(Port, "vip", "other")
        await cloud.settle()
        assert await cloud.gone(Network, "lab", "nephos-catalog")
        assert await cloud.gone(Subnet, "lab-v4", "nephos-catalog")

    async def test_of_its_addresses_those_of_the_pools_may_be_chosen(self, cloud: World) -> None:
        await self.share(cloud)
        nic = {"network": "lab", "addresses": ["10.5.0.99"]}
        assert (await cloud.add_server("one", networks=[nic])).status.address_list == "10.5.0.99"
        await cloud.add_server("two", networks=[nic | {"addresses": ["10.5.0.100"]}])
        assert await cloud.reason(Server, "two") == "AddressOutsidePool"
        await add_port(cloud, network="lab", addresses=["10.5.0.100"])
        assert await cloud.reason(Port, "vip") == "AddressOutsidePool"
        await cloud.make(Port, "admins", "nephos-catalog", network="lab", addresses=["10.5.0.100"])
        await cloud.settle()
        assert (await cloud.get(Port, "admins", "nephos-catalog")).spec.allocations[0].address == "10.5.0.100"

    async def test_others_there_are_not_named(self, cloud: World) -> None:
        shared = await self.share(cloud)
        await cloud.make(Project, "other")
        await cloud.settle()
        await cloud.make(Port, "secret", "other", network="lab")
        await cloud.settle()
        held = await cloud.get(Port, "secret", "other")
        cloud.pass_time(10)
        pinned = {"network": "lab", "networkUID": shared.uid, "networkNamespace": "nephos-catalog"}
        allocations = [allocation.to_wire() for allocation in held.spec.allocations]
        await cloud.make(Port, "same-address", "demo", **pinned, macAddress=MAC, allocations=allocations)
        other = [allocations[0] | {"address": "10.5.0.50"}]
        await cloud.make(Port, "same-mac", "demo", **pinned, macAddress=held.spec.mac_address, allocations=other)
        await cloud.settle()
        for name, reason in (("same-address", "AddressTaken"), ("same-mac", "MACInUse")):
            assert await cloud.reason(Port, name) == reason
            assert "belongs to somebody in another project" in await cloud.message(Port, name)

    @pytest.mark.parametrize(
        "spec",
        [
            {"portSecurity": False, "securityGroups": []},
            {"allowedAddressPairs": [{"address": "10.5.0.9"}]},
            {"macAddress": MAC},
        ],
        ids=str,
    )
    async def test_nobody_gets_around_the_filters_on_anothers_network(self, cloud: World, spec: dict[str, Any]) -> None:
        await self.share(cloud)
        await add_port(cloud, network="lab", **spec)
        assert await cloud.reason(Port, "vip") == "NetworkOfAnother"
        assert (await cloud.get(Port, "vip")).spec.network_uid is None
