from __future__ import annotations

from typing import Any

from nephos_api.conditions import ConditionStatus
from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import Network, Port, Project, SecurityGroup, Server

World = Any
WEB = [{"direction": "Ingress", "protocol": "TCP", "portMin": 80, "remoteCIDR": "0.0.0.0/0"}]


async def groups_of(cloud: World, port: str) -> list[tuple[str, str]]:
    """Return namespaces and names of the groups that the Port has, each checked to be the one of that UID."""
    references = (await cloud.get(Port, port)).spec.security_group_references
    for reference in references:
        assert (await cloud.get(SecurityGroup, reference.name, reference.namespace)).uid == reference.uid
    return [(reference.namespace, reference.name) for reference in references]


async def tear_away(cloud: World, name: str, namespace: str = "demo") -> None:
    """Delete the group as one does who takes its finalizer away by force."""
    await cloud.kube.set_finalizers(await cloud.get(SecurityGroup, name, namespace), ())
    await cloud.kube.delete(SecurityGroup, name, namespace)
    await cloud.settle()


async def test_a_project_begins_with_a_default_group_that_lets_its_members_in(cloud: World) -> None:
    group = await cloud.get(SecurityGroup, "default")
    inward = [(rule.direction, rule.family, rule.remote_group) for rule in group.spec.rules]
    assert inward == [("Ingress", "IPv4", "default"), ("Ingress", "IPv6", "default")]
    assert [(rule.direction, rule.family) for rule in group.spec.default_rules] == [
        ("Egress", "IPv4"),
        ("Egress", "IPv6"),
    ]
    assert [(remote.name, remote.uid) for remote in group.status.remote_groups] == [("default", group.uid)]
    assert group.status.rule_count == 4
    assert cloud.ready(group).status is ConditionStatus.TRUE


async def test_the_default_group_is_its_users_and_comes_back_when_it_is_deleted(cloud: World) -> None:
    group = await cloud.get(SecurityGroup, "default")
    await cloud.patch(SecurityGroup, "default", rules=WEB)
    await cloud.look_again()
    assert len((await cloud.get(SecurityGroup, "default")).spec.rules) == 1
    await cloud.kube.delete(SecurityGroup, "default", "demo")
    await cloud.settle()
    again = await cloud.get(SecurityGroup, "default")
    assert again.uid != group.uid
    assert len(again.spec.rules) == 2


async def test_the_default_group_goes_with_its_project(cloud: World) -> None:
    await cloud.kube.delete(Project, "demo")
    await cloud.settle()
    assert await cloud.gone(SecurityGroup, "default")


async def test_a_servers_port_is_born_with_its_groups_and_costs_no_write_more(cloud: World) -> None:
    await cloud.make(SecurityGroup, "web", "demo", rules=WEB)
    await cloud.settle()
    before = len(cloud.kube.writes)
    await cloud.add_server("one", securityGroups=["default", "web"])
    assert await groups_of(cloud, "one-net0") == [("demo", "default"), ("demo", "web")]
    verbs = [(write.verb, write.address.plural) for write in cloud.kube.writes[before:]]
    assert verbs == [("create", "servers"), ("create", "ports"), ("apply", "servers")]
    before = len(cloud.kube.writes)
    await cloud.look_again()
    assert cloud.kube.writes[before:] == []


async def test_absent_means_default_and_an_empty_list_means_none(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.add_server("two", securityGroups=[])
    await cloud.make(Port, "vip", "demo", network="blue")
    await cloud.make(Port, "bare", "demo", network="blue", securityGroups=[])
    await cloud.settle()
    assert await groups_of(cloud, "one-net0") == await groups_of(cloud, "vip") == [("demo", "default")]
    assert await groups_of(cloud, "two-net0") == await groups_of(cloud, "bare") == []


async def test_a_group_of_the_project_comes_before_the_catalogs_and_the_one_that_was_found_stays(cloud: World) -> None:
    await cloud.make(SecurityGroup, "web", "nephos-catalog")
    await cloud.settle()
    await cloud.add_server("one", securityGroups=["web"])
    assert await groups_of(cloud, "one-net0") == [("nephos-catalog", "web")]
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.settle()
    await cloud.add_server("two", securityGroups=["web"])
    assert await groups_of(cloud, "one-net0") == [("nephos-catalog", "web")]
    assert await groups_of(cloud, "two-net0") == [("demo", "web")]


async def test_default_is_never_the_catalogs(world: World) -> None:
    await world.make(SecurityGroup, "default", "nephos-catalog")
    await world.make(Port, "vip", "demo", network="blue")
    await world.settle()
    assert (await world.get(Port, "vip")).spec.security_group_references == ()


async def test_a_server_waits_for_its_groups_and_says_for_which(cloud: World) -> None:
    await cloud.add_server("one", securityGroups=["web"])
    cloud.pass_time(60)
    await cloud.look_again()
    assert await cloud.reason(Server, "one") == "NoSecurityGroup"
    assert "demo nor in nephos-catalog" in await cloud.message(Server, "one")
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.settle()
    assert (await cloud.get(Server, "one")).status.host is not None


async def test_a_port_waits_for_its_groups_says_for_which_and_has_those_that_are_there(cloud: World) -> None:
    await cloud.make(Port, "vip", "demo", network="blue", securityGroups=["default", "web"])
    await cloud.settle()
    cloud.pass_time(60)
    await cloud.look_again()
    assert await groups_of(cloud, "vip") == [("demo", "default")]
    assert await cloud.reason(Port, "vip") == "NoSecurityGroup"
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.settle()
    assert await groups_of(cloud, "vip") == [("demo", "default"), ("demo", "web")]
    assert (await cloud.get(Port, "vip")).status.phase == "Down"


async def test_a_change_of_groups_reaches_the_ports_of_a_running_server(cloud: World) -> None:
    await cloud.add_server("one")
    await cloud.agent_activates("one")
    await cloud.patch(Server, "one", securityGroups=["default", "web"])
    assert await groups_of(cloud, "one-net0") == [("demo", "default")]
    assert "NoSecurityGroup" in cloud.events.reasons
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.settle()
    assert await groups_of(cloud, "one-net0") == [("demo", "default"), ("demo", "web")]
    await cloud.patch(Server, "one", securityGroups=["web"])
    assert await groups_of(cloud, "one-net0") == [("demo", "web")]
    await cloud.patch(Server, "one", securityGroups=[])
    assert await groups_of(cloud, "one-net0") == []
    await cloud.patch(Server, "one", securityGroups=None)
    assert await groups_of(cloud, "one-net0") == [("demo", "default")]
    assert (await cloud.get(Server, "one")).status.phase == "Active"


async def test_a_group_that_was_torn_away_and_made_again_is_taken_up_by_all_who_name_it(cloud: World) -> None:
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.settle()
    await cloud.make(Port, "vip", "demo", network="blue", securityGroups=["web"])
    await cloud.add_server("one", securityGroups=["web"])
    await tear_away(cloud, "web")
    assert await groups_of(cloud, "one-net0") == await groups_of(cloud, "vip") == []
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.settle()
    assert await groups_of(cloud, "one-net0") == await groups_of(cloud, "vip") == [("demo", "web")]


async def test_one_port_of_a_server_may_have_groups_of_its_own(cloud: World) -> None:
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.settle()
    await cloud.add_server("one", networks=[{"network": "blue"}, {"name": "net1", "network": "blue"}])
    await cloud.patch(Port, "one-net1", securityGroups=["web"])
    assert await groups_of(cloud, "one-net0") == [("demo", "default")]
    assert await groups_of(cloud, "one-net1") == [("demo", "web")]


async def test_what_users_wrote_on_a_servers_port_stays(cloud: World) -> None:
    await cloud.add_server("one")
    mine: dict[str, Any] = {
        "allowedAddressPairs": [{"address": "10.0.0.100"}],
        "qos": {"egress": {"kilobitsPerSecond": 1000}},
    }
    await cloud.patch(Port, "one-net0", **mine)
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.patch(Server, "one", securityGroups=["web"])
    spec = (await cloud.get(Port, "one-net0")).spec
    assert await groups_of(cloud, "one-net0") == [("demo", "web")]
    assert [pair.address for pair in spec.allowed_address_pairs] == ["10.0.0.100"]
    assert spec.qos is not None
    assert spec.qos.egress.kilobits_per_second == 1000


async def test_the_operator_owns_its_own_fields_alone_of_a_port_that_a_person_made(cloud: World) -> None:
    mine = {"network": "blue", "securityGroups": ["default"], "allowedAddressPairs": [{"address": "10.0.0.100"}]}
    body = {"metadata": {"name": "vip", "namespace": "demo"}, "spec": mine | {"macAddress": "52:54:00:12:34:56"}}
    query = {"fieldManager": "kubectl", "force": "true"}
    path = "/apis/nephos.cloud/v1alpha1/namespaces/demo/ports/vip"
    await cloud.kube.raw("PATCH", path, body=body, query=query)
    await cloud.settle()
    await cloud.kube.raw("PATCH", path, body=body | {"spec": mine | {"securityGroups": []}}, query=query)
    await cloud.settle()
    port = await cloud.get(Port, "vip")
    assert port.spec.security_groups == ()
    assert port.spec.security_group_references == ()
    assert port.spec.allocations
    del mine["allowedAddressPairs"]
    await cloud.kube.raw("PATCH", path, body=body | {"spec": mine}, query=query)
    await cloud.settle()
    assert (await cloud.get(Port, "vip")).spec.allowed_address_pairs == ()


async def test_a_port_without_filters_has_no_groups(cloud: World) -> None:
    await cloud.add_network("open", "10.7.0.0/24")
    await cloud.patch(Network, "open", portSecurity=False)
    await cloud.make(Port, "free", "demo", network="open")
    await cloud.make(Port, "kept", "demo", network="open", portSecurity=True)
    await cloud.settle()
    assert await groups_of(cloud, "free") == []
    assert await groups_of(cloud, "kept") == [("demo", "default")]
    await cloud.add_server("one", networks=[{"network": "open"}])
    assert await groups_of(cloud, "one-net0") == []
    await cloud.patch(Network, "open", portSecurity=True)
    assert await groups_of(cloud, "free") == await groups_of(cloud, "one-net0") == [("demo", "default")]


async def test_groups_that_would_filter_nothing_are_said(cloud: World) -> None:
    await cloud.add_network("open", "10.7.0.0/24")
    await cloud.patch(Network, "open", portSecurity=False)
    await cloud.make(Port, "free", "demo", network="open", securityGroups=["default"])
    await cloud.add_server("one", networks=[{"network": "open"}], securityGroups=["default"])
    for kind, name in ((Port, "free"), (Server, "one")):
        assert await cloud.reason(kind, name) == "NetworkUnfiltered"
        assert "Network demo/open" in await cloud.message(kind, name)
    await cloud.patch(Server, "one", securityGroups=[])
    assert (await cloud.get(Server, "one")).status.host is not None


async def test_one_nic_of_a_server_may_go_without_filters(cloud: World) -> None:
    await cloud.add_server("one", securityGroups=["default"])
    await cloud.patch(Port, "one-net0", portSecurity=False, securityGroups=[])
    assert await groups_of(cloud, "one-net0") == []
    await cloud.patch(Port, "one-net0", portSecurity=None, securityGroups=None)
    assert await groups_of(cloud, "one-net0") == [("demo", "default")]


async def test_a_group_in_use_says_who_holds_it_and_goes_after_them(cloud: World) -> None:
    await cloud.make(SecurityGroup, "web", "demo")
    await cloud.settle()
    await cloud.add_server("one", securityGroups=["web"])
    await cloud.kube.delete(SecurityGroup, "web", "demo")
    await cloud.settle()
    assert "held by Port demo/one-net0" in await cloud.message(SecurityGroup, "web")
    await cloud.add_server("two", securityGroups=["web"])
    cloud.pass_time(60)
    await cloud.look_again()
    assert await cloud.reason(Server, "two") == "SecurityGroupDeleting"
    await cloud.patch(Server, "one", securityGroups=[])
    assert await cloud.gone(SecurityGroup, "web")


async def test_a_default_rule_that_names_a_group_to_come_says_so_too(cloud: World) -> None:
    await cloud.make(SecurityGroup, "web", "demo", defaultRules=[{"direction": "Egress", "remoteGroup": "clients"}])
    await cloud.settle()
    cloud.pass_time(60)
    await cloud.look_again()
    assert "spec.defaultRules[0].remoteGroup" in await cloud.message(SecurityGroup, "web")


async def test_a_rule_that_names_a_group_to_come_says_so_and_finds_it(cloud: World) -> None:
    rules = [*WEB, {"direction": "Ingress", "remoteGroup": "clients"}]
    await cloud.make(SecurityGroup, "web", "demo", rules=rules)
    await cloud.settle()
    cloud.pass_time(60)
    await cloud.look_again()
    assert "spec.rules[1].remoteGroup" in await cloud.message(SecurityGroup, "web")
    assert (await cloud.get(SecurityGroup, "web")).status.rule_count == 4
    await cloud.make(SecurityGroup, "clients", "demo")
    await cloud.settle()
    group = await cloud.get(SecurityGroup, "web")
    clients = await cloud.get(SecurityGroup, "clients")
    assert [remote.uid for remote in group.status.remote_groups] == [clients.uid]
    assert cloud.ready(group).status is ConditionStatus.TRUE
    await tear_away(cloud, "clients")
    assert (await cloud.get(SecurityGroup, "web")).status.remote_groups == ()


async def test_the_quota_holds_even_where_admission_did_not_see_it(world: World) -> None:
    await world.add_project(securityGroups=2, securityGroupRules=7, ports=1)
    await world.add_network()
    world.pass_time(10)
    await world.make(SecurityGroup, "first", "demo", rules=WEB)
    world.pass_time(10)
    await world.make(SecurityGroup, "second", "demo", defaultRules=[])
    await world.make(Port, "one", "demo", network="blue")
    world.pass_time(10)
    await world.make(Port, "two", "demo", network="blue")
    await world.settle()
    for kind, name, field in ((SecurityGroup, "second", "securityGroups"), (Port, "two", "ports")):
        assert await world.reason(kind, name) == "QuotaExceeded"
        assert f"spec.quota.{field}" in await world.message(kind, name)
    await world.kube.delete(SecurityGroup, "first", "demo")
    await world.kube.delete(Port, "one", "demo")
    await world.settle()
    assert await world.reason(SecurityGroup, "second") == "Ready"
    assert await world.reason(Port, "two") == "Unbound"
    await world.patch(SecurityGroup, "second", rules=[*WEB * 4])
    assert "spec.quota.securityGroupRules" in await world.message(SecurityGroup, "second")


async def test_a_rule_more_writes_nothing_but_the_groups_own_status(cloud: World) -> None:
    for name in ("one", "two"):
        await cloud.add_server(name)
    await cloud.agent_activates("one")
    before = len(cloud.kube.writes)
    await cloud.patch(SecurityGroup, "default", rules=WEB)
    written = [(write.verb, write.address.plural) for write in cloud.kube.writes[before:]]
    assert written == [("patch", "securitygroups"), ("apply", "securitygroups")]


async def test_a_servers_port_that_lost_its_address_keeps_its_groups(cloud: World) -> None:
    await cloud.make(Port, "first", "demo", network="blue", addresses=["10.0.0.50"])
    await cloud.settle()
    cloud.pass_time(10)
    await cloud.add_server("one")
    taken = [allocation.to_wire() for allocation in (await cloud.get(Port, "first")).spec.allocations]
    port = await cloud.get(Port, "one-net0")
    spec = port.spec.to_wire() | {"allocations": taken}
    await cloud.kube.apply(
        Port, {"metadata": {"name": "one-net0", "namespace": "demo"}, "spec": spec}, FieldManager.OPERATOR
    )
    await cloud.settle()
    assert await groups_of(cloud, "one-net0") == [("demo", "default")]
