from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nephos_api.conditions import ConditionStatus
from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import Host, Image, KeyPair, Network, Port, Project, Server, ServerGroup, Subnet

World = Any
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFaRs9M808mde0ktD+XT43GCzGekxJD3TBRW08DlT5Ot ops@example.org"


async def test_a_server_gets_a_host_an_address_and_a_port_with_two_writes(cloud: World) -> None:
    before = len(cloud.kube.writes)
    server = await cloud.add_server("one")
    port = await cloud.get(Port, "one-net0")
    assert server.status.phase == "Build"
    assert server.status.host in ("h1", "h2")
    assert server.status.placement_epoch == 1
    assert server.status.address_list == "10.0.0.2"
    assert server.status.image.namespace == "nephos-catalog"
    assert port.spec.host == server.status.host
    assert port.spec.host_address == (await cloud.get(Host, server.status.host)).status.address
    assert port.spec.network_uid == (await cloud.get(Network, "blue")).uid
    assert port.spec.server_uid == server.uid
    verbs = [(write.verb, write.address.plural) for write in cloud.kube.writes[before:]]
    assert verbs == [("create", "servers"), ("create", "ports"), ("apply", "servers")]


async def test_the_conditions_are_left_to_the_agent_without_a_remnant(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.agent_activates("one")
    server = await cloud.get(Server, "one")
    assert server.status.phase == "Active"
    assert [(c.type, c.status) for c in server.status.conditions] == [("Ready", ConditionStatus.TRUE)]


async def test_a_server_at_rest_costs_no_write(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.agent_activates("one")
    before = len(cloud.kube.writes)
    await cloud.look_again()
    cloud.restart()
    await cloud.look_again()
    assert cloud.kube.writes[before:] == []


async def test_a_server_waits_for_each_reference_and_says_for_which(world: World) -> None:
    await world.add_host("h1")
    await world.add_project()
    server = await world.add_server("one", keyPairs=["ops"], serverGroup="apart")
    world.pass_time(60)
    steps: list[tuple[str, str, Callable[[], Awaitable[object]]]] = [
        ("NoFlavor", "Flavor tiny", world.add_catalog),
        (
            "NoServerGroup",
            "ServerGroup demo/apart",
            lambda: world.make(ServerGroup, "apart", "demo", policy="Affinity"),
        ),
        ("NoKeyPair", "KeyPair demo/ops", lambda: world.make(KeyPair, "ops", "demo", publicKey="ssh-ed25519 AAAAC3Nz")),
        ("KeyPairNotReady", "KeyPair demo/ops", lambda: world.change(KeyPair, "ops", publicKey=KEY)),
        ("NoNetwork", "Network demo/blue", lambda: world.make(Network, "blue", "demo")),
        ("NoSubnet", "Subnet", lambda: world.make(Subnet, "b", "demo", network="blue", cidr="10.0.0.0/24")),
    ]
    await world.look_again()
    for reason, mentioned, remedy in steps:
        assert await world.reason(Server, "one") == reason
        assert mentioned in await world.message(Server, "one")
        await remedy()
        await world.settle()
    server = await world.get(Server, "one")
    assert server.status.host == "h1"


async def test_what_comes_with_the_same_apply_is_waited_for_in_silence(cloud: World) -> None:
    await cloud.make(Server, "one", "demo", flavor="tiny", image="tiny", networks=[{"network": "red"}])
    await cloud.settle()
    assert (await cloud.get(Server, "one")).status.conditions == ()
    await cloud.add_network("red", "10.1.0.0/24")
    assert (await cloud.get(Server, "one")).status.address_list == "10.1.0.2"


async def test_a_namespace_without_project_is_said(world: World) -> None:
    await world.add_catalog()
    await world.kube.raw("POST", "/api/v1/namespaces", body={"metadata": {"name": "demo"}})
    await world.add_server("one")
    world.pass_time(60)
    await world.look_again()
    assert await world.reason(Server, "one") == "NoProject"


async def test_an_image_that_needs_more_than_the_flavor_has_stalls(world: World) -> None:
    await world.add_catalog(minMemoryMiB=256)
    await world.add_host("h1")
    await world.add_project()
    await world.add_network()
    await world.add_server("one")
    assert await world.reason(Server, "one") == "FlavorTooSmall"
    assert "256" in await world.message(Server, "one")
    assert (await world.get(Server, "one")).status.phase == "Error"


async def test_an_image_of_the_project_comes_before_the_catalogs(cloud: World) -> None:
    image = await cloud.make(Image, "tiny", "demo", source={"url": "https://x.example.org/i"}, format="qcow2")
    server = await cloud.add_server("one")
    assert server.status.host is None
    status = {"phase": "Active", "sha256": "1" * 64, "format": "qcow2", "sizeBytes": 1, "virtualSizeBytes": 1}
    await cloud.kube.apply_status(image, status, FieldManager.IMAGE_SERVICE)
    await cloud.settle()
    assert (await cloud.get(Server, "one")).status.image.uid == image.uid


async def test_a_fixed_address_is_given_or_the_reason_said(cloud: World) -> None:
    one = await cloud.add_server("one", networks=[{"network": "blue", "addresses": ["10.0.0.11"]}])
    assert one.status.address_list == "10.0.0.11"
    cases = {"10.0.0.11": "AddressInUse", "10.0.0.1": "AddressReserved", "10.9.9.9": "AddressOutside"}
    for number, (address, reason) in enumerate(cases.items()):
        name = f"other-{number}"
        await cloud.add_server(name, networks=[{"network": "blue", "addresses": [address]}])
        cloud.pass_time(60)
        await cloud.look_again()
        assert await cloud.reason(Server, name) == reason
        assert address in await cloud.message(Server, name)


async def test_an_address_that_becomes_free_is_taken_by_the_one_that_waits(cloud: World) -> None:
    nic = [{"network": "blue", "addresses": ["10.0.0.11"]}]
    await cloud.add_server("one", networks=nic)
    await cloud.add_server("two", networks=nic)
    cloud.pass_time(60)
    await cloud.look_again()
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    await cloud.agent_releases("one")
    assert (await cloud.get(Server, "two")).status.address_list == "10.0.0.11"


async def test_both_versions_of_ip_are_given_where_the_network_has_both(cloud: World) -> None:
    await cloud.make(Subnet, "blue-v6", "demo", network="blue", cidr="2001:db8::/64", ipv6Mode="DHCPv6Stateful")
    await cloud.settle()
    server = await cloud.add_server("one")
    assert [address.address for address in server.status.addresses] == ["10.0.0.2", "2001:db8::2"]


async def test_anti_affinity_is_kept_and_an_exhausted_search_says_the_count_per_filter(cloud: World) -> None:
    await cloud.make(ServerGroup, "apart", "demo", policy="AntiAffinity")
    hosts = {(await cloud.add_server(name, serverGroup="apart")).status.host for name in ("one", "two")}
    assert hosts == {"h1", "h2"}
    three = await cloud.add_server("three", serverGroup="apart")
    assert three.status.phase == "Error"
    assert await cloud.reason(Server, "three") == "NoValidHost"
    assert "anti-affinity 2" in await cloud.message(Server, "three")
    assert cloud.addresses.count((await cloud.get(Subnet, "blue-v4")).uid) == 2
    await cloud.add_host("h3")
    assert (await cloud.get(Server, "three")).status.host == "h3"


async def test_capacity_is_never_promised_twice(world: World) -> None:
    await world.add_catalog()
    await world.add_host("h1", memoryMiB=512 + 3 * 128)
    await world.add_project()
    await world.add_network()
    for number in range(5):
        await world.make(Server, f"s{number}", "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    await world.settle()
    placed = [server for server in world.store.servers if server.status.host]
    assert len(placed) == 3
    victim = placed[0].metadata.name
    await world.kube.delete(Server, victim, "demo")
    await world.settle()
    await world.agent_releases(victim)
    assert len([server for server in world.store.servers if server.status.host]) == 3


async def test_a_refused_server_goes_to_another_host_and_after_all_refused_ends_in_error(cloud: World) -> None:
    first = (await cloud.add_server("one")).status.host
    await cloud.agent_refuses("one")
    server = await cloud.get(Server, "one")
    assert server.status.host not in (None, first)
    assert server.status.placement_epoch == 2
    assert (await cloud.get(Port, "one-net0")).spec.host == server.status.host
    await cloud.agent_refuses("one")
    server = await cloud.get(Server, "one")
    assert server.status.host is None
    assert server.status.phase == "Error"
    assert "refused-before 2" in await cloud.message(Server, "one")
    await cloud.add_host("h3")
    server = await cloud.get(Server, "one")
    assert server.status.host is not None
    assert server.status.placement_epoch == 3


async def test_at_most_three_hosts_are_asked_in_one_search(cloud: World) -> None:
    for name in ("h3", "h4", "h5"):
        await cloud.add_host(name)
    await cloud.add_server("one")
    for _ in range(3):
        await cloud.agent_refuses("one")
    assert (await cloud.get(Server, "one")).status.phase == "Error"
    assert "3 Hosts" in await cloud.message(Server, "one")


async def test_the_quota_holds_even_where_admission_did_not_see_it(cloud: World) -> None:
    await cloud.make(Project, "small", quota={"instances": 1})
    await cloud.settle()
    await cloud.add_network("blue", namespace="small")
    for name in ("one", "two"):
        await cloud.make(Server, name, "small", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    await cloud.settle()
    servers = cloud.store.servers.by("namespace", "small")
    assert sorted(server.status.host is not None for server in servers) == [False, True]
    stalled = next(server for server in servers if server.status.host is None)
    assert cloud.ready(stalled).reason == "QuotaExceeded"
    placed = next(server for server in servers if server.status.host is not None)
    await cloud.kube.delete(Server, placed.metadata.name, "small")
    await cloud.settle()
    status = {"phase": "Deleting", "conditions": [cloud.condition("Released", "True")]}
    placed = await cloud.get(Server, placed.metadata.name, "small")
    await cloud.kube.apply_status(placed, status, FieldManager.AGENT)
    await cloud.settle()
    assert (await cloud.get(Server, stalled.metadata.name, "small")).status.host is not None


async def test_a_port_of_the_same_name_is_never_adopted(cloud: World) -> None:
    await cloud.make(Port, "one-net0", "demo", network="blue")
    await cloud.settle()
    await cloud.add_server("one")
    cloud.pass_time(60)
    await cloud.look_again()
    assert await cloud.reason(Server, "one") == "PortNameTaken"
    await cloud.kube.delete(Port, "one-net0", "demo")
    await cloud.settle()
    assert (await cloud.get(Server, "one")).status.host is not None


async def test_a_deleted_server_stays_until_its_host_has_let_go(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.agent_activates("one")
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    assert (await cloud.get(Server, "one")).is_deleting
    assert not (await cloud.get(Port, "one-net0")).is_deleting
    await cloud.agent_releases("one")
    assert await cloud.gone(Server, "one")
    assert await cloud.gone(Port, "one-net0")
    assert cloud.addresses.count((await cloud.get(Subnet, "blue-v4")).uid) == 0


async def test_a_server_that_was_never_placed_goes_at_once(cloud: World) -> None:
    await cloud.add_server("one", flavor="none")
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    assert await cloud.gone(Server, "one")


async def test_out_of_service_releases_the_servers_of_a_dead_host(cloud: World) -> None:
    server = await cloud.add_server("one")
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    assert not await cloud.gone(Server, "one")
    host = server.status.host
    await cloud.kube.raw("PATCH", f"/apis/nephos.cloud/v1alpha1/hosts/{host}", body={"spec": {"outOfService": True}})
    await cloud.settle()
    assert await cloud.gone(Server, "one")


async def test_a_port_that_was_torn_away_is_made_again_with_its_address(cloud: World) -> None:
    server = await cloud.add_server("one")
    port = await cloud.get(Port, "one-net0")
    await cloud.kube.set_finalizers(port, ())
    await cloud.kube.delete(Port, "one-net0", "demo")
    await cloud.settle()
    again = await cloud.get(Port, "one-net0")
    assert again.uid != port.uid
    assert again.spec.allocations[0].address == server.status.address_list
    assert again.spec.host == server.status.host


async def test_a_host_that_moves_on_the_underlay_takes_its_ports_along(cloud: World) -> None:
    server = await cloud.add_server("one")
    host = await cloud.get(Host, server.status.host)
    status = host.status.to_wire() | {"address": "192.0.2.99"}
    for name in ("phase", "conditions", "observedGeneration"):
        status.pop(name, None)
    await cloud.kube.apply_status(host, status, FieldManager.AGENT)
    await cloud.settle()
    assert (await cloud.get(Port, "one-net0")).spec.host_address == "192.0.2.99"


async def test_a_host_builds_only_so_many_servers_at_a_time(world: World) -> None:
    await world.add_catalog()
    await world.add_host("h1", vcpus=64)
    await world.add_project(instances=-1, cores=-1)
    await world.add_network()
    for number in range(10):
        await world.make(Server, f"s{number}", "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    await world.settle()
    placed = [server.metadata.name for server in world.store.servers if server.status.host]
    assert len(placed) == 8
    for name in placed[:2]:
        await world.agent_activates(name)
    assert all(server.status.host for server in world.store.servers)


async def test_nothing_is_written_by_a_replica_that_does_not_lead(cloud: World) -> None:
    cloud.lead_left_s = 0.0
    before = len(cloud.kube.writes)
    await cloud.add_server("one")
    assert [write.verb for write in cloud.kube.writes[before:]] == ["create"]


async def test_a_refusal_of_any_length_fits_into_the_condition(cloud: World) -> None:
    for name in ("h3", "h4"):
        await cloud.add_host(name)
    await cloud.add_server("one")
    for _ in range(3):
        await cloud.agent_refuses("one", "no room " * 120)
    message = await cloud.message(Server, "one")
    assert message.startswith("No valid host: 3 Hosts took it in and refused it")
    assert len(message) == 1024


async def test_an_address_of_one_nic_is_given_back_when_the_other_nic_can_have_none(cloud: World) -> None:
    await cloud.add_network("red", "10.1.0.0/24")
    nics = [{"network": "blue"}, {"name": "net1", "network": "red", "addresses": ["10.9.9.9"]}]
    await cloud.add_server("one", networks=nics)
    assert await cloud.reason(Server, "one") == "AddressOutside"
    assert cloud.addresses.count((await cloud.get(Subnet, "blue-v4")).uid) == 0
