from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import pytest

from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import Host, KeyPair, Network, Port, Project, Router, Server, ServerGroup, Subnet
from nephos_operator.addressing import automatic_address
from nephos_operator.reconcilers.simple import fingerprint
from nephos_operator.verdict import Stalls

World = Any


async def test_a_network_gets_a_vni_an_mtu_a_domain_and_the_view_of_its_subnets(cloud: World) -> None:
    network = await cloud.get(Network, "blue")
    assert network.status.phase == "Active"
    assert 4096 <= network.status.vni < 2**24
    assert network.status.mtu == 1450
    assert network.status.dns_domain == "blue.demo.nephos.internal"
    assert network.status.cidrs == "10.0.0.0/24"
    (view,) = network.status.subnets
    assert (view.gateway, view.service_address) == ("10.0.0.1", "10.0.0.254")


async def test_agents_are_told_what_guests_are_told(cloud: World) -> None:
    options = {"ntpServers": ["fd00::123"], "searchDomains": ["example.org"], "dnsServers": ["2620:fe::fe"]}
    await cloud.make(Subnet, "blue-v6", "demo", network="blue", cidr="fd00::/64", **options)
    await cloud.settle()
    network = await cloud.get(Network, "blue")
    v4, v6 = network.status.subnets
    assert (v4.ipv6_mode, v6.ipv6_mode) == (None, "SLAAC")
    assert (v6.gateway, v6.service_address) == ("fd00::1", "fd00::ffff:ffff:ffff:ffff")
    assert (v6.ntp_servers, v6.search_domains, v6.dns_servers) == (("fd00::123",), ("example.org",), ("2620:fe::fe",))


async def test_a_server_on_a_network_of_both_versions_has_an_address_of_each(cloud: World) -> None:
    await cloud.make(Subnet, "blue-v6", "demo", network="blue", cidr="fd00::/64")
    await cloud.settle()
    server = await cloud.add_server("one")
    first, second = server.status.addresses
    assert first.address == "10.0.0.2"
    assert second.address == automatic_address(ip_network("fd00::/64"), second.mac)
    await cloud.make(Port, "mine", "demo", network="blue", macAddress="52:54:00:12:34:56")
    await cloud.settle()
    port = await cloud.get(Port, "mine")
    assert [held.address for held in port.spec.allocations] == ["10.0.0.3", "fd00::5054:ff:fe12:3456"]


async def test_the_mtu_follows_the_narrowest_underlay(cloud: World) -> None:
    host = await cloud.get(Host, "h1")
    status = {name: value for name, value in host.status.to_wire().items() if name in ("address", "capacity")}
    await cloud.kube.apply_status(host, status | {"underlayMtu": 1400}, FieldManager.AGENT)
    await cloud.settle()
    assert (await cloud.get(Network, "blue")).status.mtu == 1350
    await cloud.make(Network, "wide", "demo", mtu=1400)
    await cloud.settle()
    assert await cloud.reason(Network, "wide") == "MTUTooLarge"


async def test_a_network_with_an_mtu_of_its_own_follows_an_underlay_that_carries_less(cloud: World) -> None:
    await cloud.make(Network, "own", "demo", mtu=1400)
    await cloud.settle()
    host = await cloud.get(Host, "h1")
    status = {name: value for name, value in host.status.to_wire().items() if name in ("address", "capacity")}
    await cloud.kube.apply_status(host, status | {"underlayMtu": 1400}, FieldManager.AGENT)
    await cloud.settle()
    assert (await cloud.get(Network, "own")).status.mtu == 1350


async def test_of_two_networks_with_one_vni_the_older_keeps_it(cloud: World) -> None:
    blue = await cloud.get(Network, "blue")
    cloud.pass_time(10)
    await cloud.make(Network, "red", "demo")
    await cloud.settle()
    red = await cloud.get(Network, "red")
    await cloud.kube.apply_status(red, {"phase": "Active", "vni": blue.status.vni}, FieldManager.OPERATOR)
    await cloud.settle()
    assert (await cloud.get(Network, "blue")).status.vni == blue.status.vni
    assert (await cloud.get(Network, "red")).status.vni != blue.status.vni


async def test_a_network_in_use_says_by_whom_it_is_held_and_goes_after_them(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.kube.delete(Network, "blue", "demo")
    await cloud.kube.delete(Subnet, "blue-v4", "demo")
    await cloud.settle()
    for kind, name in ((Network, "blue"), (Subnet, "blue-v4")):
        assert (await cloud.get(kind, name)).status.phase == "Deleting"
        assert "Port demo/one-net0" in await cloud.message(kind, name)
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    await cloud.agent_releases("one")
    assert await cloud.gone(Network, "blue")
    assert await cloud.gone(Subnet, "blue-v4")


async def test_a_network_that_is_being_deleted_takes_no_new_server(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.kube.delete(Network, "blue", "demo")
    await cloud.add_server("two")
    cloud.pass_time(60)
    await cloud.look_again()
    assert await cloud.reason(Server, "two") == "NetworkDeleting"


async def test_a_subnet_waits_for_its_network_and_stalls_over_another(cloud: World) -> None:
    await cloud.make(Subnet, "early", "demo", network="red", cidr="10.2.0.0/24")
    cloud.pass_time(60)
    await cloud.settle()
    assert await cloud.reason(Subnet, "early") == "NoNetwork"
    await cloud.make(Network, "red", "demo")
    await cloud.settle()
    assert (await cloud.get(Subnet, "early")).status.phase == "Active"
    await cloud.make(Subnet, "late", "demo", network="red", cidr="10.2.0.128/25")
    await cloud.settle()
    assert await cloud.reason(Subnet, "late") == "Overlaps"
    await cloud.kube.delete(Subnet, "early", "demo")
    await cloud.settle()
    assert (await cloud.get(Subnet, "late")).status.phase == "Active"


async def test_a_subnet_waits_for_its_network_to_have_a_place_in_the_quota(cloud: World) -> None:
    await cloud.change(Project, "demo", quota={"networks": 1})
    await cloud.make(Router, "edge", "demo", subnets=["blue-v4", "red-v4"])
    await cloud.add_network("red", "10.2.0.0/24")
    cloud.pass_time(60)
    await cloud.look_again()
    assert await cloud.reason(Network, "red") == "QuotaExceeded"
    assert await cloud.reason(Subnet, "red-v4") == "NetworkNotActive"
    router = await cloud.get(Router, "edge")
    assert [leg.subnet for leg in router.status.legs] == ["blue-v4"]
    await cloud.change(Project, "demo", quota={"networks": 2})
    assert [leg.subnet for leg in (await cloud.get(Router, "edge")).status.legs] == ["blue-v4", "red-v4"]


async def test_a_subnet_stays_active_whatever_is_wrong_with_its_network_for_a_while(cloud: World) -> None:
    await cloud.change(Project, "demo", quota={"networks": 0})
    await cloud.look_again()
    assert (await cloud.get(Subnet, "blue-v4")).status.phase == "Active"


async def test_the_service_address_is_the_highest_free_one_or_the_one_asked_for(cloud: World) -> None:
    await cloud.make(Network, "red", "demo")
    await cloud.make(Subnet, "a", "demo", network="red", cidr="10.3.0.0/24", gateway="10.3.0.254")
    await cloud.make(Subnet, "b", "demo", network="red", cidr="10.4.0.0/24", serviceAddress="10.4.0.2")
    await cloud.settle()
    assert (await cloud.get(Subnet, "a")).status.service_address == "10.3.0.253"
    assert (await cloud.get(Subnet, "b")).status.service_address == "10.4.0.2"


async def test_a_port_that_a_person_makes_gets_an_address_and_a_mac(cloud: World) -> None:
    await cloud.make(Port, "vip", "demo", network="blue", addresses=["10.0.0.50"])
    await cloud.make(Port, "any", "demo", network="blue")
    await cloud.settle()
    vip, other = await cloud.get(Port, "vip"), await cloud.get(Port, "any")
    assert [allocation.address for allocation in vip.spec.allocations] == ["10.0.0.50"]
    assert [allocation.address for allocation in other.spec.allocations] == ["10.0.0.2"]
    assert vip.spec.mac_address != other.spec.mac_address
    assert vip.status.phase == "Down"
    await cloud.kube.delete(Port, "vip", "demo")
    await cloud.settle()
    assert await cloud.gone(Port, "vip")


async def test_of_two_ports_with_one_address_the_loser_never_becomes_active(cloud: World) -> None:
    await cloud.make(Port, "first", "demo", network="blue", addresses=["10.0.0.50"])
    await cloud.settle()
    first = await cloud.get(Port, "first")
    cloud.pass_time(10)
    spec = {"network": "blue", "networkUID": first.spec.network_uid, "macAddress": "52:54:00:00:00:01"}
    allocations = [allocation.to_wire() for allocation in first.spec.allocations]
    await cloud.make(Port, "second", "demo", **spec, allocations=allocations)
    await cloud.settle()
    assert (await cloud.get(Port, "first")).status.phase == "Down"
    assert (await cloud.get(Port, "second")).status.phase == "Error"
    assert await cloud.reason(Port, "second") == "AddressTaken"
    await cloud.kube.delete(Port, "first", "demo")
    await cloud.settle()
    assert await cloud.reason(Port, "second") == "Unbound"


async def test_a_servers_port_that_lost_its_address_takes_another(cloud: World) -> None:
    await cloud.make(Port, "first", "demo", network="blue", addresses=["10.0.0.50"])
    await cloud.settle()
    first = await cloud.get(Port, "first")
    cloud.pass_time(10)
    server = await cloud.add_server("one")
    await cloud.kube.apply_status(server, {"phase": "Active", "conditions": []}, FieldManager.AGENT)
    port = await cloud.get(Port, "one-net0")
    taken = [allocation.to_wire() for allocation in first.spec.allocations]
    body = {"metadata": {"name": "one-net0", "namespace": "demo"}, "spec": port.spec.to_wire() | {"allocations": taken}}
    await cloud.kube.apply(Port, body, FieldManager.OPERATOR)
    await cloud.settle()
    again = await cloud.get(Port, "one-net0")
    assert [allocation.address for allocation in again.spec.allocations] != ["10.0.0.50"]
    assert (await cloud.get(Port, "first")).spec.allocations == first.spec.allocations
    server = await cloud.get(Server, "one")
    assert server.status.address_list == again.spec.allocations[0].address
    assert [address.address for address in server.status.addresses] == [server.status.address_list]
    assert (server.status.phase, server.status.host) == ("Active", port.spec.host)


async def test_a_port_is_held_by_its_server(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.kube.delete(Port, "one-net0", "demo")
    await cloud.settle()
    assert (await cloud.get(Port, "one-net0")).is_deleting
    assert "InUse" in cloud.events.reasons


async def test_a_port_whose_server_is_gone_goes_too(cloud: World) -> None:
    server = await cloud.add_server("one")
    await cloud.kube.set_finalizers(server, ())
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    assert await cloud.gone(Port, "one-net0")


async def test_a_key_pair_shows_its_fingerprint(cloud: World) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFaRs9M808mde0ktD+XT43GCzGekxJD3TBRW08DlT5Ot ops@example.org"
    await cloud.make(KeyPair, "ops", "demo", publicKey=key)
    await cloud.make(ServerGroup, "apart", "demo", policy="AntiAffinity")
    await cloud.settle()
    key_pair = await cloud.get(KeyPair, "ops")
    assert key_pair.status.fingerprint.startswith("SHA256:")
    assert cloud.ready(key_pair).status == "True"
    assert cloud.ready(await cloud.get(ServerGroup, "apart")).status == "True"


@pytest.mark.parametrize("key", ["ssh-ed25519", "ssh-ed25519 %%%", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIFaRs9M8"])
def test_a_key_that_is_none_is_told(key: str) -> None:
    assert isinstance(fingerprint(key), Stalls)


async def test_a_port_that_never_got_its_address_leaves_it_free(cloud: World) -> None:
    cloud.lead_left_s = 0.0  # the decision is made, and nothing of it can be written
    await cloud.make(Port, "mine", "demo", network="blue")
    await cloud.settle()
    subnet = cloud.store.subnets.get("blue-v4", "demo")
    assert cloud.addresses.count(subnet.uid) == 1
    cloud.lead_left_s = 60.0
    await cloud.kube.delete(Port, "mine", "demo")
    await cloud.settle()
    assert await cloud.gone(Port, "mine")
    assert cloud.addresses.count(subnet.uid) == 0


async def test_what_a_port_under_way_was_promised_is_not_deleted_before_it_comes(cloud: World) -> None:
    cloud.lead_left_s = 0.0  # decided, and not written yet
    await cloud.make(Server, "one", "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    await cloud.settle()
    cloud.lead_left_s = 60.0
    for kind, name in ((Subnet, "blue-v4"), (Network, "blue")):
        await cloud.kube.delete(kind, name, "demo")
        cloud._watch()
        await cloud.reconcile((await cloud.get(kind, name)).key)
        assert not await cloud.gone(kind, name)
    await cloud.look_again()  # the Server is told that its Network goes, and gives back what it was promised
    await cloud.look_again()
    assert await cloud.gone(Network, "blue")
    assert await cloud.gone(Subnet, "blue-v4")


async def test_a_server_in_the_way_of_a_port_of_its_name_takes_nothing_from_it(cloud: World) -> None:
    cloud.lead_left_s = 0.0
    await cloud.make(Port, "one-net0", "demo", network="blue")
    await cloud.settle()
    subnet = cloud.store.subnets.get("blue-v4", "demo")
    await cloud.make(Server, "one", "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    await cloud.settle()
    assert cloud.addresses.count(subnet.uid) == 1


async def test_ports_get_the_address_that_guests_make_on_a_subnet_that_came_later(cloud: World) -> None:
    server = await cloud.add_server("one")
    await cloud.make(Port, "mine", "demo", network="blue", addresses=["10.0.0.50"])
    await cloud.settle()
    await cloud.make(Subnet, "leased", "demo", network="blue", cidr="fd00:1::/64", ipv6Mode="DHCPv6Stateful")
    await cloud.make(Subnet, "silent", "demo", network="blue", cidr="fd00:2::/64", dhcp=False)
    await cloud.make(Subnet, "told", "demo", network="blue", cidr="fd00:3::/64")
    await cloud.settle()
    for name, first in (("one-net0", "10.0.0.2"), ("mine", "10.0.0.50")):
        port = await cloud.get(Port, name)
        own = automatic_address(ip_network("fd00:3::/64"), port.spec.mac_address)
        assert [held.address for held in port.spec.allocations] == [first, own]
    server = await cloud.get(Server, "one")
    assert [held.address for held in server.status.addresses][1].startswith("fd00:3::5054:")
    before = len(cloud.kube.writes)
    await cloud.look_again()
    assert len(cloud.kube.writes) == before, "what is so already costs no write"


async def test_a_providers_subnet_has_a_service_address_while_guests_are_served_there(cloud: World) -> None:
    await cloud.make(Network, "outside", "nephos-catalog", external={"physicalNetwork": "ext"})
    spec = {"network": "outside", "cidr": "203.0.113.0/24", "dhcp": False}
    subnet = await cloud.make(Subnet, "outside-v4", "nephos-catalog", **spec)
    for dhcp, address in ((False, None), (True, "203.0.113.254"), (False, None)):
        body = {"metadata": {"name": "outside-v4", "namespace": "nephos-catalog"}, "spec": spec | {"dhcp": dhcp}}
        await cloud.kube.apply(Subnet, body, FieldManager.OPERATOR)
        await cloud.settle()
        subnet = await cloud.get(Subnet, "outside-v4", "nephos-catalog")
        assert subnet.status.service_address == address


async def test_a_service_address_is_nobody_elses_before_it_is_written(cloud: World) -> None:
    await cloud.make(Network, "outside", "nephos-catalog", external={"physicalNetwork": "ext"})
    spec = {"network": "outside", "cidr": "203.0.113.0/24", "dhcp": False}
    subnet = await cloud.make(Subnet, "outside-v4", "nephos-catalog", **spec)
    await cloud.settle()
    path = "/apis/nephos.cloud/v1alpha1/namespaces/nephos-catalog/subnets/outside-v4"
    await cloud.kube.raw("PATCH", path, body={"spec": {"dhcp": True}})
    cloud._watch()
    writing = asyncio.create_task(cloud.reconcile(subnet.key))
    await asyncio.sleep(0)
    assert cloud.addresses.holders(subnet.uid, "203.0.113.254") == {subnet.key}
    await cloud.make(Port, "thief", "nephos-catalog", network="outside", addresses=["203.0.113.254"])
    cloud._watch()
    await cloud.reconcile(cloud.store.ports.key("thief", "nephos-catalog"))
    await writing
    await cloud.settle()
    assert (await cloud.get(Subnet, "outside-v4", "nephos-catalog")).status.service_address == "203.0.113.254"
    assert (await cloud.get(Port, "thief", "nephos-catalog")).spec.allocations == ()
    assert cloud.addresses.count(subnet.uid) == 0


async def test_a_service_address_that_another_has_is_waited_for(cloud: World) -> None:
    await cloud.make(Network, "outside", "nephos-catalog", external={"physicalNetwork": "ext"})
    spec = {"network": "outside", "cidr": "203.0.113.0/24", "dhcp": False}
    await cloud.make(Subnet, "outside-v4", "nephos-catalog", **spec)
    await cloud.settle()
    await cloud.make(Port, "first", "nephos-catalog", network="outside", addresses=["203.0.113.9"])
    await cloud.settle()
    await cloud.patch(Subnet, "outside-v4", "nephos-catalog", dhcp=True, serviceAddress="203.0.113.9")
    subnet = await cloud.get(Subnet, "outside-v4", "nephos-catalog")
    assert cloud.ready(subnet).reason == "AddressInUse"
    assert "Port nephos-catalog/first" in cloud.ready(subnet).message
    await cloud.kube.delete(Port, "first", "nephos-catalog")
    await cloud.settle()
    subnet = await cloud.get(Subnet, "outside-v4", "nephos-catalog")
    assert (subnet.status.phase, subnet.status.service_address) == ("Active", "203.0.113.9")


async def test_a_look_at_a_subnet_leaves_nothing_behind(cloud: World) -> None:
    subnet = await cloud.get(Subnet, "blue-v4")
    await cloud.add_server("one")
    before = list(cloud.addresses._cursors[subnet.uid]._freed)
    await cloud.look_again()
    assert list(cloud.addresses._cursors[subnet.uid]._freed) == before


async def test_what_is_applied_together_with_two_subnets_gets_addresses_of_both(cloud: World) -> None:
    await cloud.make(Network, "red", "demo")
    await cloud.make(Subnet, "red-v4", "demo", network="red", cidr="10.3.0.0/24")
    await cloud.settle()
    await cloud.make(Port, "mine", "demo", network="red")
    await cloud.make(Server, "one", "demo", flavor="tiny", image="tiny", networks=[{"network": "red"}])
    await cloud.make(Subnet, "red-v6", "demo", network="red", cidr="fd00::/64", ipv6Mode="DHCPv6Stateful")
    await cloud.settle()
    for name in ("mine", "one-net0"):
        port = await cloud.get(Port, name)
        assert [held.subnet for held in port.spec.allocations] == ["red-v4", "red-v6"]


async def test_a_subnet_that_can_not_be_used_keeps_nobody_waiting(cloud: World) -> None:
    await cloud.make(Subnet, "over", "demo", network="blue", cidr="10.0.0.128/25")
    await cloud.settle()
    assert await cloud.reason(Subnet, "over") == "Overlaps"
    server = await cloud.add_server("one")
    assert server.status.host is not None
