from __future__ import annotations

from typing import Any

import pytest

from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import CATALOG_NAMESPACE
from nephos_api.resources import FloatingIP, Host, Network, Port, Project, Router, Server, Subnet

World = Any


@pytest.fixture
async def edge(cloud: World) -> World:
    """Two hosts, a project with a network, and a router to the world."""
    await cloud.add_outside()
    await cloud.add_router()
    return cloud


async def shown(cloud: World, name: str) -> str | None:
    """Return the FloatingIPs that kubectl get shows of a Server."""
    found: str | None = (await cloud.get(Server, name)).status.floating_ip_list
    return found


async def host_of(cloud: World, server: str) -> str:
    return str((await cloud.get(Server, server)).status.host)


def true_conditions(floating_ip: FloatingIP) -> list[str]:
    return [condition.type for condition in floating_ip.status.conditions if condition.status == "True"]


async def move(cloud: World, port_name: str, host: str) -> None:
    """Bind the Port to another Host, as a migration does."""
    port = await cloud.get(Port, port_name)
    wire = port.spec.to_wire() | {"host": host, "hostAddress": (await cloud.get(Host, host)).status.address}
    await cloud.kube.apply(
        Port, {"metadata": {"name": port_name, "namespace": "demo"}, "spec": wire}, FieldManager.OPERATOR
    )
    cloud._watch()


async def look_at_hosts(cloud: World) -> None:
    """Have the Hosts alone looked at, as the check of their Leases does."""
    for host in cloud.store.hosts:
        await cloud.reconcile(host.key)
    await cloud.settle()


async def test_it_gets_a_free_address_of_the_pool_and_stands_for_nobody(edge: World) -> None:
    floating_ip = await edge.add_floating_ip()
    public = await edge.get(Network, "public", CATALOG_NAMESPACE)
    assert floating_ip.status.address == "203.0.113.11"
    assert floating_ip.status.network_uid == public.uid
    assert floating_ip.status.subnet_uid == public.status.subnets[0].uid
    assert (floating_ip.status.phase, floating_ip.status.host) == ("Down", None)
    assert edge.ready(floating_ip).reason == "Unbound"


async def test_it_stands_for_a_server_on_the_servers_host(edge: World) -> None:
    server = await edge.add_server("one")
    floating_ip = await edge.add_floating_ip(server="one")
    port, router = await edge.get(Port, "one-net0"), await edge.get(Router, "edge")
    status = floating_ip.status
    assert (status.fixed_address, status.port, status.port_uid) == ("10.0.0.2", "one-net0", port.uid)
    assert (status.router, status.router_uid) == ("edge", router.uid)
    assert (status.mac_address, status.host, status.target) == (port.spec.mac_address, server.status.host, "Server one")
    assert status.phase == "Down"
    assert edge.ready(floating_ip).reason == "Binding"
    assert await shown(edge, "one") == "203.0.113.11"


async def test_from_binding_on_its_phase_is_the_agents(edge: World) -> None:
    await edge.add_server("one")
    await edge.add_floating_ip(server="one")
    await edge.agent_answers("web")
    await edge.look_again()
    floating_ip = await edge.get(FloatingIP, "web")
    assert floating_ip.status.phase == "Active"
    assert [condition.reason for condition in floating_ip.status.conditions] == ["Ready"]
    written = [write for write in edge.kube.writes if write.address.plural == "floatingips"]
    assert [write.manager for write in written[1:]] == ["nephos-operator", "nephos-agent"]


async def test_a_server_at_rest_costs_no_write_with_a_floating_ip_either(edge: World) -> None:
    await edge.add_server("one")
    await edge.agent_activates("one")
    await edge.add_floating_ip(server="one")
    await edge.agent_answers("web")
    before = len(edge.kube.writes)
    edge.pass_time(3600)
    await edge.look_again()
    assert len(edge.kube.writes) == before
    assert (await edge.get(Server, "one")).status.phase == "Active"


async def test_an_asked_address_is_given_or_the_reason_is_said(edge: World) -> None:
    assert (await edge.add_floating_ip("mine", address="203.0.113.77")).status.address == "203.0.113.77"
    edge.pass_time(10)
    for name, address, reason in (
        ("outside", "198.51.100.7", "AddressOutside"),
        ("beyond", "203.0.113.201", "AddressOutsidePool"),
        ("gateway", "203.0.113.1", "AddressReserved"),
        ("taken", "203.0.113.77", "AddressInUse"),
        ("routers", "203.0.113.10", "AddressInUse"),
    ):
        await edge.add_floating_ip(name, address=address)
        edge.pass_time(10)
        await edge.look_again()
        assert await edge.reason(FloatingIP, name) == reason
        assert "spec.address" in await edge.message(FloatingIP, name)
        assert (await edge.get(FloatingIP, name)).status.address is None
    await edge.kube.delete(FloatingIP, "mine", "demo")
    await edge.settle()
    assert (await edge.get(FloatingIP, "taken")).status.address == "203.0.113.77"


async def test_an_address_of_a_subnet_that_is_on_its_way_is_waited_for(edge: World) -> None:
    await edge.make(Subnet, "more", CATALOG_NAMESPACE, network="public", cidr="198.51.100.0/24", dhcp=False)
    edge._watch()
    await edge.make(FloatingIP, "web", "demo", externalNetwork="public", address="198.51.100.7")
    edge._watch()
    edge.pass_time(10)
    await edge.reconcile((await edge.get(FloatingIP, "web")).key)
    assert await edge.reason(FloatingIP, "web") == "SubnetNotActive"
    await edge.settle()
    assert (await edge.get(FloatingIP, "web")).status.address == "198.51.100.7"


async def test_what_other_projects_hold_is_not_named(edge: World) -> None:
    await edge.add_floating_ip("mine", address="203.0.113.77")
    await edge.add_project("other")
    await edge.make(FloatingIP, "theirs", "other", externalNetwork="public", address="203.0.113.77")
    await edge.settle()
    edge.pass_time(10)
    await edge.look_again()
    message = edge.ready(await edge.get(FloatingIP, "theirs", "other")).message
    assert "another project" in message
    assert "mine" not in message


async def test_a_full_pool_is_waited_for(cloud: World) -> None:
    await cloud.add_outside(allocationPools=[{"start": "203.0.113.10", "end": "203.0.113.10"}])
    await cloud.add_floating_ip("first")
    await cloud.add_floating_ip("second")
    cloud.pass_time(10)
    await cloud.look_again()
    assert await cloud.reason(FloatingIP, "second") == "NoFreeAddress"
    await cloud.kube.delete(FloatingIP, "first", "demo")
    await cloud.settle()
    assert (await cloud.get(FloatingIP, "second")).status.address == "203.0.113.10"


async def test_it_waits_for_server_router_and_network_in_whatever_order_they_come(cloud: World) -> None:
    await cloud.add_floating_ip(server="one")
    cloud.pass_time(10)
    await cloud.look_again()
    assert await cloud.reason(FloatingIP, "web") == "NoNetwork"
    await cloud.add_outside()
    assert (await cloud.get(FloatingIP, "web")).status.address == "203.0.113.10"
    assert await cloud.reason(FloatingIP, "web") == "NoServer"
    await cloud.add_server("one")
    assert await cloud.reason(FloatingIP, "web") == "NoRouter"
    assert "Subnet blue-v4" in await cloud.message(FloatingIP, "web")
    await cloud.add_router()
    floating_ip = await cloud.get(FloatingIP, "web")
    assert (floating_ip.status.host, floating_ip.status.fixed_address) == (await host_of(cloud, "one"), "10.0.0.2")
    assert true_conditions(floating_ip) == []


async def test_it_stands_for_the_port_and_the_address_that_are_named(edge: World) -> None:
    await edge.add_network("red", "10.1.0.0/24")
    await edge.change(Router, "edge", subnets=["blue-v4", "red-v4"])
    nics = [{"network": "blue"}, {"name": "net1", "network": "red", "addresses": ["10.1.0.50", "10.1.0.51"]}]
    await edge.add_server("one", networks=nics)
    first = await edge.add_floating_ip("first", port="one-net1")
    second = await edge.add_floating_ip("second", server="one", fixedAddress="10.1.0.51")
    third = await edge.add_floating_ip("third", server="one")
    assert (first.status.fixed_address, first.status.target) == ("10.1.0.50", "Port one-net1")
    assert (second.status.fixed_address, second.status.port) == ("10.1.0.51", "one-net1")
    assert (third.status.fixed_address, third.status.port) == ("10.0.0.2", "one-net0")
    assert await shown(edge, "one") == "203.0.113.11, 203.0.113.12, 203.0.113.13"
    await edge.add_floating_ip("wrong", port="one-net0", fixedAddress="10.1.0.50")
    assert await edge.reason(FloatingIP, "wrong") == "NotItsAddress"
    assert (await edge.get(FloatingIP, "wrong")).status.phase == "Error"


async def test_its_server_is_its_first_port_behind_a_router(edge: World) -> None:
    await edge.add_network("red", "10.1.0.0/24")
    await edge.add_server("one", networks=[{"network": "red"}, {"name": "net1", "network": "blue"}])
    assert (await edge.add_floating_ip(server="one")).status.port == "one-net1"


async def test_one_fixed_address_has_one_floating_ip_the_next_one_takes_its_place(edge: World) -> None:
    await edge.add_server("one")
    await edge.add_floating_ip("first", server="one")
    edge.pass_time(10)
    await edge.add_floating_ip("second", port="one-net0")
    edge.pass_time(10)
    await edge.look_again()
    assert await edge.reason(FloatingIP, "second") == "FixedAddressTaken"
    assert "FloatingIP demo/first" in await edge.message(FloatingIP, "second")
    assert (await edge.get(FloatingIP, "second")).status.address is not None
    await edge.change(FloatingIP, "first", server=None)
    assert (await edge.get(FloatingIP, "second")).status.host == await host_of(edge, "one")
    assert (await edge.get(FloatingIP, "first")).status.host is None


async def test_two_that_stand_for_one_address_agree_on_the_older(edge: World) -> None:
    await edge.add_server("one")
    await edge.add_floating_ip("first", server="one")
    edge.pass_time(10)
    second = await edge.add_floating_ip("second")
    first = await edge.get(FloatingIP, "first")
    stolen = first.status.to_wire() | {"address": second.status.address, "conditions": []}
    await edge.change(FloatingIP, "second", server="one")
    await edge.kube.apply_status(await edge.get(FloatingIP, "second"), stolen, FieldManager.OPERATOR)
    await edge.settle()
    assert (await edge.get(FloatingIP, "first")).status.host == await host_of(edge, "one")
    assert (await edge.get(FloatingIP, "second")).status.port_uid is None


async def test_it_is_bound_to_another_server_and_unbound(edge: World) -> None:
    await edge.add_server("one")
    await edge.add_server("two")
    await edge.add_floating_ip(server="one")
    await edge.agent_answers("web")
    floating_ip = await edge.change(FloatingIP, "web", server="two")
    assert (floating_ip.status.port, floating_ip.status.fixed_address) == ("two-net0", "10.0.0.3")
    assert (await shown(edge, "one"), await shown(edge, "two")) == (None, "203.0.113.11")
    floating_ip = await edge.change(FloatingIP, "web", server=None)
    assert (floating_ip.status.host, floating_ip.status.port, floating_ip.status.phase) == (None, None, "Down")
    assert floating_ip.status.address == "203.0.113.11"
    assert await shown(edge, "two") is None


async def test_another_target_on_the_same_host_is_down_until_it_answers_for_that_one(edge: World) -> None:
    await edge.add_server("one", networks=[{"network": "blue", "addresses": ["10.0.0.20", "10.0.0.21"]}])
    await edge.add_floating_ip(server="one")
    await edge.agent_answers("web")
    floating_ip = await edge.change(FloatingIP, "web", fixedAddress="10.0.0.21")
    assert (floating_ip.status.fixed_address, floating_ip.status.phase) == ("10.0.0.21", "Down")
    assert edge.ready(floating_ip).reason == "Binding"
    await edge.agent_answers("web")
    floating_ip = await edge.get(FloatingIP, "web")
    assert (floating_ip.status.phase, floating_ip.status.observed_generation) == ("Active", 2)


async def test_a_change_that_changes_nothing_for_its_host_is_seen(edge: World) -> None:
    await edge.add_server("one")
    await edge.add_floating_ip(server="one")
    await edge.agent_answers("web")
    floating_ip = await edge.change(FloatingIP, "web", server=None, port="one-net0")
    assert (floating_ip.status.phase, floating_ip.status.observed_generation) == ("Active", 2)
    assert floating_ip.status.target == "Port one-net0"


async def test_it_follows_its_port_to_another_host_and_is_down_until_that_one_answers(edge: World) -> None:
    await edge.add_server("one")
    await edge.add_floating_ip(server="one")
    await edge.agent_answers("web")
    other = "h2" if await host_of(edge, "one") == "h1" else "h1"
    await move(edge, "one-net0", other)
    await edge.reconcile((await edge.get(FloatingIP, "web")).key)
    floating_ip = await edge.get(FloatingIP, "web")
    assert (floating_ip.status.host, floating_ip.status.phase) == (other, "Down")
    assert edge.ready(floating_ip).reason == "Binding"
    assert "Moved" in edge.events.reasons


async def test_conditions_of_an_agent_that_let_go_do_not_stay(edge: World) -> None:
    await edge.add_server("one")
    await edge.add_floating_ip(server="one")
    told = [edge.condition("Ready", "False"), edge.condition("Reconciling", "True")]
    status = {"phase": "Down", "conditions": told}
    await edge.kube.apply_status(await edge.get(FloatingIP, "web"), status, FieldManager.AGENT)
    await edge.settle()
    assert true_conditions(await edge.get(FloatingIP, "web")) == ["Reconciling"]
    assert true_conditions(await edge.change(FloatingIP, "web", server=None)) == ["Ready"]
    before = len(edge.kube.writes)
    await edge.look_again()
    assert len(edge.kube.writes) == before


async def test_it_outlives_its_server_and_waits_for_another_of_that_name(edge: World) -> None:
    await edge.add_server("one")
    await edge.add_floating_ip(server="one")
    await edge.kube.delete(Server, "one", "demo")
    await edge.settle()
    assert (await edge.get(FloatingIP, "web")).status.host == await host_of(edge, "one")
    await edge.agent_releases("one")
    floating_ip = await edge.get(FloatingIP, "web")
    assert (floating_ip.status.host, floating_ip.status.address) == (None, "203.0.113.11")
    assert await edge.reason(FloatingIP, "web") == "NoServer"
    await edge.add_server("one")
    assert (await edge.get(FloatingIP, "web")).status.host is not None


async def test_a_port_without_a_host_is_waited_for(edge: World) -> None:
    await edge.make(Port, "vip", "demo", network="blue")
    await edge.add_floating_ip(port="vip")
    edge.pass_time(10)
    await edge.look_again()
    floating_ip = await edge.get(FloatingIP, "web")
    assert (floating_ip.status.port, floating_ip.status.host) == ("vip", None)
    assert await edge.reason(FloatingIP, "web") == "PortUnbound"


class TestHostDown:
    """Nobody knows whether an address answers on a Host that is not heard of."""

    @pytest.fixture
    async def lost(self, edge: World) -> World:
        """A FloatingIP that answered, on a Host that fell silent."""
        await edge.add_server("one")
        await edge.add_floating_ip(server="one")
        await edge.agent_answers("web")
        edge.silent.add(await host_of(edge, "one"))
        edge.pass_time(60)
        await look_at_hosts(edge)
        return edge

    async def test_it_is_not_active_and_says_why(self, lost: World) -> None:
        floating_ip, host = await lost.get(FloatingIP, "web"), await host_of(lost, "one")
        assert (floating_ip.status.phase, floating_ip.status.host) == ("Down", host)
        assert await lost.reason(FloatingIP, "web") == "HostDown"
        assert f"Host {host} is Down" in await lost.message(FloatingIP, "web")
        assert true_conditions(floating_ip) == ["Reconciling"]
        assert "HostDown" in lost.events.reasons
        before = len(lost.kube.writes)
        await lost.look_again()
        assert len(lost.kube.writes) == before

    async def test_its_agent_has_the_word_again_once_the_host_is_up(self, lost: World) -> None:
        lost.silent.clear()
        lost.pass_time(5)
        await look_at_hosts(lost)
        floating_ip = await lost.get(FloatingIP, "web")
        assert (floating_ip.status.phase, lost.ready(floating_ip).reason) == ("Down", "Binding")
        assert true_conditions(floating_ip) == []
        await lost.agent_answers("web")
        await lost.look_again()
        floating_ip = await lost.get(FloatingIP, "web")
        assert (floating_ip.status.phase, true_conditions(floating_ip)) == ("Active", ["Ready"])

    async def test_it_is_bound_elsewhere_meanwhile(self, lost: World) -> None:
        before = await lost.get(FloatingIP, "web")
        other = "h2" if before.status.host == "h1" else "h1"
        await move(lost, "one-net0", other)
        await lost.reconcile(before.key)
        floating_ip = await lost.get(FloatingIP, "web")
        assert (floating_ip.status.host, lost.ready(floating_ip).reason) == (other, "Binding")
        assert true_conditions(floating_ip) == []

    async def test_one_that_comes_to_a_host_that_is_down_says_so_too(self, lost: World) -> None:
        await lost.add_server("two", networks=[{"network": "blue"}])
        other = await lost.add_floating_ip("other", port="two-net0")
        await move(lost, "two-net0", await host_of(lost, "one"))
        await lost.reconcile(other.key)
        assert await lost.reason(FloatingIP, "other") == "HostDown"

    @pytest.mark.parametrize(("way", "said"), [("gone", "is gone"), ("outOfService", "is out of service")])
    async def test_a_host_that_is_dead_is_told_by_name(self, edge: World, way: str, said: str) -> None:
        await edge.add_server("one")
        await edge.add_floating_ip(server="one")
        await edge.agent_answers("web")
        host = await host_of(edge, "one")
        if way == "gone":
            await edge.kube.delete(Host, host)
            await edge.settle()
        else:
            await edge.change(Host, host, outOfService=True)
        assert (await edge.get(FloatingIP, "web")).status.phase == "Down"
        assert f"Host {host} {said}" in await edge.message(FloatingIP, "web")


class TestRelease:
    @pytest.fixture
    async def answering(self, edge: World) -> World:
        """A FloatingIP that answers, and whose deletion was asked for."""
        await edge.add_server("one")
        await edge.add_floating_ip(server="one", address="203.0.113.77")
        await edge.agent_answers("web")
        await edge.kube.delete(FloatingIP, "web", "demo")
        await edge.settle()
        return edge

    async def next_one_gets_it(self, cloud: World) -> bool:
        if not await cloud.gone(FloatingIP, "web"):
            return False
        return str((await cloud.add_floating_ip("next", address="203.0.113.77")).status.address) == "203.0.113.77"

    async def test_its_address_is_nobodys_before_its_host_has_let_go(self, answering: World) -> None:
        answering.pass_time(3600)
        await answering.look_again()
        assert not await answering.gone(FloatingIP, "web")
        await answering.add_floating_ip("eager", address="203.0.113.77")
        assert (await answering.get(FloatingIP, "eager")).status.address is None
        status = {"phase": "Down", "conditions": [answering.condition("Released", "True")]}
        await answering.kube.apply_status(await answering.get(FloatingIP, "web"), status, FieldManager.AGENT)
        await answering.settle()
        assert await answering.gone(FloatingIP, "web")
        assert (await answering.get(FloatingIP, "eager")).status.address == "203.0.113.77"
        assert await shown(answering, "one") is None

    async def test_a_host_that_is_down_is_waited_for_some_seconds_only(self, answering: World) -> None:
        answering.silent.add(await host_of(answering, "one"))
        answering.pass_time(30)
        await answering.look_again()
        assert not await answering.gone(FloatingIP, "web")
        answering.pass_time(46)
        await answering.look_again()
        assert await self.next_one_gets_it(answering)

    @pytest.mark.parametrize("dead", ["outOfService", "gone"])
    async def test_a_host_that_is_dead_is_not_waited_for(self, answering: World, dead: str) -> None:
        if dead == "gone":
            await answering.kube.delete(Host, await host_of(answering, "one"))
            await answering.settle()
        else:
            await answering.change(Host, await host_of(answering, "one"), outOfService=True)
        assert await self.next_one_gets_it(answering)

    async def test_one_that_nobody_answers_for_goes_at_once(self, edge: World) -> None:
        await edge.add_floating_ip()
        await edge.kube.delete(FloatingIP, "web", "demo")
        await edge.settle()
        assert await edge.gone(FloatingIP, "web")


async def test_the_quota_holds_without_admission(edge: World) -> None:
    await edge.change(Project, "demo", quota={"floatingIPs": 1})
    await edge.add_floating_ip("first")
    edge.pass_time(10)
    await edge.add_floating_ip("second")
    assert await edge.reason(FloatingIP, "second") == "QuotaExceeded"
    await edge.kube.delete(FloatingIP, "first", "demo")
    await edge.settle()
    assert (await edge.get(FloatingIP, "second")).status.address is not None


@pytest.mark.parametrize("way", ["quota", "refused"])
async def test_an_address_that_it_never_got_is_free(cloud: World, way: str) -> None:
    await cloud.add_outside()
    cloud.lead_left_s = 0.0  # the decision is made, and nothing of it can be written
    await cloud.make(FloatingIP, "web", "demo", externalNetwork="public")
    await cloud.settle()
    subnet = cloud.store.subnets.get("public-v4", CATALOG_NAMESPACE)
    assert cloud.addresses.count(subnet.uid) == 1
    cloud.lead_left_s = 60.0
    if way == "quota":
        await cloud.change(Project, "demo", quota={"floatingIPs": 0})
    else:
        await cloud.patch(Network, "public", CATALOG_NAMESPACE, projects=["other"])
    assert (await cloud.get(FloatingIP, "web")).status.address is None
    assert cloud.addresses.count(subnet.uid) == 0


async def test_a_router_that_goes_takes_nobody_new(edge: World) -> None:
    await edge.add_server("one")
    await edge.add_server("two")
    await edge.add_floating_ip("first", server="one")
    await edge.kube.delete(Router, "edge", "demo")
    await edge.settle()
    await edge.add_floating_ip("second", server="two")
    edge.pass_time(10)
    await edge.look_again()
    assert await edge.reason(FloatingIP, "second") == "NoRouter"


async def test_an_address_that_another_claims_too_is_the_older_ones(edge: World) -> None:
    first = await edge.add_floating_ip("first")
    edge.pass_time(10)
    second = await edge.add_floating_ip("second")
    stolen = second.status.to_wire() | {"address": first.status.address}
    await edge.kube.apply_status(second, stolen, FieldManager.OPERATOR)
    await edge.settle()
    assert (await edge.get(FloatingIP, "first")).status.address == first.status.address
    assert (await edge.get(FloatingIP, "second")).status.address not in (None, first.status.address)
