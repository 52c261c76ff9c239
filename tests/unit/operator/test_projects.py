from __future__ import annotations

from typing import Any

from nephos_api.kube.lease import HostLease
from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import Host, Image, KeyPair, Network, Port, Project, Server, ServerAction, Subnet
from nephos_operator.kinds import Namespace

World = Any
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/demo/rolebindings"


async def test_a_project_makes_its_namespace_and_binds_its_members(world: World) -> None:
    members = [
        {"kind": "User", "name": "ada", "role": "Member"},
        {"kind": "ServiceAccount", "name": "ci", "namespace": "tools", "role": "Admin"},
    ]
    await world.make(Project, "demo", members=members)
    await world.settle()
    project = await world.get(Project, "demo")
    assert project.status.phase == "Active"
    assert project.status.namespace_adopted is False
    member = await world.kube.raw("GET", f"{BINDINGS}/nephos-member")
    assert member["subjects"] == [{"kind": "User", "name": "ada", "apiGroup": "rbac.authorization.k8s.io"}]
    admin = await world.kube.raw("GET", f"{BINDINGS}/nephos-admin")
    assert admin["subjects"] == [{"kind": "ServiceAccount", "name": "ci", "namespace": "tools"}]
    assert await world.kube.raw("GET", f"{BINDINGS}/nephos-reader") is None
    await world.kube.raw("PATCH", "/apis/nephos.cloud/v1alpha1/projects/demo", body={"spec": {"members": members[:1]}})
    await world.settle()
    assert await world.kube.raw("GET", f"{BINDINGS}/nephos-admin") is None


async def test_a_labelled_namespace_is_adopted_and_only_emptied_at_the_end(world: World) -> None:
    metadata = {"name": "demo", "labels": {"nephos.cloud/project": "demo"}}
    await world.kube.create(Namespace, {"metadata": metadata})
    await world.make(Project, "demo")
    await world.add_network()
    assert (await world.get(Project, "demo")).status.namespace_adopted is True
    await world.kube.delete(Project, "demo")
    await world.settle()
    assert await world.gone(Project, "demo")
    assert await world.gone(Network, "blue")
    assert (await world.get(Namespace, "demo")).is_deleting is False


async def test_a_namespace_of_somebody_else_is_left_alone(world: World) -> None:
    await world.kube.create(Namespace, {"metadata": {"name": "demo"}})
    await world.make(Project, "demo")
    world.pass_time(60)
    await world.settle()
    assert await world.reason(Project, "demo") == "NamespaceNotOurs"
    assert "kubectl label namespace demo" in await world.message(Project, "demo")
    await world.kube.delete(Project, "demo")
    await world.settle()
    assert await world.gone(Project, "demo")
    assert (await world.get(Namespace, "demo")).is_deleting is False


async def test_a_project_that_ends_takes_everything_along_in_order(cloud: World) -> None:
    await cloud.make(KeyPair, "ops", "demo", publicKey="ssh-ed25519 AAAAC3NzaC1l")
    await cloud.make(Port, "vip", "demo", network="blue")
    await cloud.add_server("one")
    before = len(cloud.kube.writes)
    await cloud.kube.delete(Project, "demo")
    await cloud.settle()
    assert (await cloud.get(Project, "demo")).status.phase == "Deleting"
    assert not (await cloud.get(Network, "blue")).is_deleting
    await cloud.agent_releases("one")
    assert await cloud.gone(Project, "demo")
    assert await cloud.gone(Namespace, "demo")
    deleted = [write.address.plural for write in cloud.kube.writes[before:] if write.verb == "delete"]
    order = ["projects", "servers", "ports", "subnets", "networks", "keypairs", "securitygroups", "namespaces"]
    assert sorted(set(deleted), key=deleted.index) == order


async def test_everything_goes_when_the_namespace_is_deleted_first(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.kube.delete(Namespace, "demo")
    await cloud.kube.delete(Project, "demo")
    await cloud.settle()
    await cloud.agent_releases("one")
    for kind, name in ((Server, "one"), (Port, "one-net0"), (Network, "blue"), (Subnet, "blue-v4")):
        assert await cloud.gone(kind, name)
    assert await cloud.gone(Project, "demo")
    assert await cloud.gone(Namespace, "demo")


async def test_a_host_is_up_while_its_lease_is_renewed(world: World) -> None:
    await world.add_host("h1")
    assert (await world.get(Host, "h1")).status.phase == "Up"
    world.silent.add("h1")
    world.pass_time(21)
    await world.look_again()
    assert (await world.get(Host, "h1")).status.phase == "Down"
    world.silent.clear()
    world.pass_time(1)
    await world.look_again()
    assert (await world.get(Host, "h1")).status.phase == "Up"


async def test_a_silent_watch_is_no_dead_host(world: World) -> None:
    await world.add_host("h1")
    await world.kube.create(Namespace, {"metadata": {"name": "nephos-system"}})
    await HostLease(world.kube, "h1").renew()
    world.silent.add("h1")
    world.pass_time(21)
    await world.look_again()
    assert (await world.get(Host, "h1")).status.phase == "Up"
    world.pass_time(21)
    await world.look_again()
    assert (await world.get(Host, "h1")).status.phase == "Down"


async def test_a_restarted_operator_takes_nobody_for_lost_before_it_could_see_him(world: World) -> None:
    await world.add_host("h1")
    world.silent.add("h1")
    world.restart()
    world.pass_time(15)
    await world.look_again()
    assert (await world.get(Host, "h1")).status.phase == "Up"
    world.pass_time(10)
    await world.look_again()
    assert (await world.get(Host, "h1")).status.phase == "Down"


async def test_a_disabled_host_takes_no_new_servers_and_says_so(cloud: World) -> None:
    for name in ("h1", "h2"):
        body = {"spec": {"enabled": False, "disabledReason": "new disks"}}
        await cloud.kube.raw("PATCH", f"/apis/nephos.cloud/v1alpha1/hosts/{name}", body=body)
    await cloud.settle()
    assert (await cloud.get(Host, "h1")).status.phase == "Disabled"
    assert "new disks" in await cloud.message(Host, "h1")
    await cloud.add_server("one")
    assert "disabled 2" in await cloud.message(Server, "one")
    await cloud.kube.raw("PATCH", "/apis/nephos.cloud/v1alpha1/hosts/h2", body={"spec": {"enabled": True}})
    await cloud.settle()
    assert (await cloud.get(Server, "one")).status.host == "h2"


async def test_an_action_is_handed_to_the_servers_host(cloud: World) -> None:
    server = await cloud.add_server("one")
    await cloud.agent_activates("one")
    await cloud.make(ServerAction, "again", "demo", server="one", action="Reboot")
    await cloud.settle()
    action = await cloud.get(ServerAction, "again")
    assert (action.status.phase, action.status.host) == ("Pending", server.status.host)
    assert action.status.server_uid == server.uid


async def test_an_action_that_the_phase_forbids_is_refused_with_the_phases_that_allow_it(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.agent_activates("one")
    await cloud.make(ServerAction, "start", "demo", server="one", action="Start")
    await cloud.settle()
    action = await cloud.get(ServerAction, "start")
    assert action.status.phase == "Failed"
    assert action.status.message == "Start is allowed while the Server is Shutoff; it is Active"


async def test_an_action_ends_with_its_server_and_goes_after_its_time(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.agent_activates("one")
    await cloud.make(ServerAction, "again", "demo", server="one", action="Reboot", ttlSecondsAfterFinished=60)
    await cloud.settle()
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    await cloud.agent_releases("one")
    assert (await cloud.get(ServerAction, "again")).status.phase == "Failed"
    cloud.pass_time(61)
    await cloud.look_again()
    assert await cloud.gone(ServerAction, "again")


async def test_an_action_waits_for_a_server_that_is_not_there_yet(cloud: World) -> None:
    await cloud.make(ServerAction, "again", "demo", server="one", action="Reboot")
    cloud.pass_time(60)
    await cloud.settle()
    assert await cloud.reason(ServerAction, "again") == "NoServer"


async def test_an_image_that_becomes_active_wakes_those_that_wait(cloud: World) -> None:
    image = await cloud.make(Image, "new", "demo", source={"url": "https://x.example.org/i"}, format="raw")
    await cloud.add_server("one", image="new")
    status = {"phase": "Active", "sha256": "1" * 64, "format": "raw", "sizeBytes": 1, "virtualSizeBytes": 1}
    await cloud.kube.apply_status(image, status, FieldManager.IMAGE_SERVICE)
    await cloud.settle()
    assert (await cloud.get(Server, "one")).status.host is not None
