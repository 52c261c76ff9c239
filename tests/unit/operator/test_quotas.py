"""Quotas that admission did not hold: of what came together the first are taken, and others follow as room comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nephos_api.kube.paths import object_path
from nephos_api.kube.protocol import FieldManager
from nephos_api.resources import Flavor, KeyPair, Network, Port, Project, SecurityGroup, Server, ServerGroup, Subnet
from nephos_operator.quota import rule_count
from nephos_operator.verdict import UNDER_WAY_S

World = Any
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFaRs9M808mde0ktD+XT43GCzGekxJD3TBRW08DlT5Ot ops@example.org"
KINDS: tuple[tuple[Any, str, dict[str, Any]], ...] = (
    (Network, "networks", {}),
    (Subnet, "subnets", {"network": "blue"}),
    (KeyPair, "keyPairs", {"publicKey": KEY}),
    (ServerGroup, "serverGroups", {"policy": "Affinity"}),
    (SecurityGroup, "securityGroups", {}),
)
IDS = [field for _, field, _ in KINDS]


def spec_of(kind: Any, spec: dict[str, Any], number: int) -> dict[str, Any]:
    return spec | ({"cidr": f"10.7.{number}.0/24"} if kind is Subnet else {})


async def make_with_room_for_two(cloud: World, kind: Any, field: str, spec: dict[str, Any], names: str) -> None:
    """Let the project have two more of that kind than it has, and make these, one after the other."""
    held = cloud.store.tables[kind.info.kind].count("namespace", "demo")
    await cloud.change(Project, "demo", quota={field: held + 2})
    for number, name in enumerate(names):
        await cloud.make(kind, name, "demo", **spec_of(kind, spec, number))
        cloud.pass_time(1)
    await cloud.settle()


def is_taken(cloud: World, found: Any) -> bool:
    return bool(cloud.ready(found).status == "True")


@pytest.mark.parametrize(("kind", "field", "spec"), KINDS, ids=IDS)
async def test_the_first_are_taken_and_the_next_one_says_why_it_waits(
    cloud: World, kind: Any, field: str, spec: dict[str, Any]
) -> None:
    await make_with_room_for_two(cloud, kind, field, spec, "abc")
    assert [is_taken(cloud, await cloud.get(kind, name)) for name in ("a", "b", "c")] == [True, True, False]
    assert await cloud.reason(kind, "c") == "QuotaExceeded"
    assert f"spec.quota.{field}" in await cloud.message(kind, "c")
    await cloud.kube.delete(kind, "a", "demo")
    await cloud.settle()
    assert is_taken(cloud, await cloud.get(kind, "c"))


@pytest.mark.parametrize(("kind", "field", "spec"), KINDS, ids=IDS)
async def test_a_greater_quota_lets_in_what_waited_and_a_smaller_one_takes_nothing(
    cloud: World, kind: Any, field: str, spec: dict[str, Any]
) -> None:
    await make_with_room_for_two(cloud, kind, field, spec, "abc")
    await cloud.change(Project, "demo", quota={field: -1})
    assert is_taken(cloud, await cloud.get(kind, "c"))
    if kind is not SecurityGroup:  # whose rules count, not the group: what exceeds is said of the youngest
        await cloud.change(Project, "demo", quota={field: 0})
        assert is_taken(cloud, await cloud.get(kind, "c"))


@pytest.mark.parametrize(("kind", "field", "spec"), KINDS, ids=IDS)
async def test_one_that_goes_changes_nothing_of_what_the_others_beyond_the_quota_say(
    cloud: World, kind: Any, field: str, spec: dict[str, Any]
) -> None:
    await make_with_room_for_two(cloud, kind, field, spec, "abcde")
    said = {name: await cloud.message(kind, name) for name in ("d", "e")}
    assert len(set(said.values())) == 1
    await cloud.kube.delete(kind, "c", "demo")
    await cloud.settle()
    assert {name: await cloud.message(kind, name) for name in ("d", "e")} == said


async def test_one_group_less_changes_nothing_of_what_others_beyond_the_quota_of_rules_say(cloud: World) -> None:
    rules = [{"direction": "Ingress", "protocol": "TCP"}]
    held = sum(map(rule_count, cloud.store.security_groups))
    await cloud.change(Project, "demo", quota={"securityGroupRules": held + 1})
    for name in ("a", "b", "c", "d"):
        await cloud.make(SecurityGroup, name, "demo", rules=rules)
        cloud.pass_time(1)
    await cloud.settle()
    said = await cloud.message(SecurityGroup, "d")
    assert said == await cloud.message(SecurityGroup, "b")
    await cloud.kube.delete(SecurityGroup, "c", "demo")
    await cloud.settle()
    assert await cloud.message(SecurityGroup, "d") == said


@pytest.mark.parametrize(("kind", "spec"), [(kind, spec) for kind, _, spec in KINDS if kind is not SecurityGroup])
async def test_what_is_taken_stays_as_it_is_while_its_project_is_not_active(
    cloud: World, kind: Any, spec: dict[str, Any]
) -> None:
    await cloud.make(kind, "a", "demo", **spec_of(kind, spec, 0))
    await cloud.settle()
    before = await cloud.get(kind, "a")
    cloud.pass_time(60)
    await cloud.kube.apply_status(await cloud.get(Project, "demo"), {"phase": "Pending"}, FieldManager.OPERATOR)
    cloud._watch()
    await cloud.reconcile(before.key)
    assert (await cloud.get(kind, "a")).status == before.status


async def test_two_that_are_made_at_once_are_not_both_let_in(cloud: World) -> None:
    await cloud.change(Project, "demo", quota={"keyPairs": 1})
    for name in ("a", "b"):
        await cloud.make(KeyPair, name, "demo", publicKey=KEY)
    cloud._watch()
    younger, older = sorted([await cloud.get(KeyPair, name) for name in ("a", "b")], key=lambda found: found.uid)[::-1]
    cloud.store.remove(older.key, older.uid, 0)  # its event has not come yet

    async def late() -> None:
        cloud.store.put(older)
        await cloud.reconcile(older.key)

    await asyncio.gather(cloud.reconcile(younger.key), late())
    told = [is_taken(cloud, await cloud.get(KeyPair, found.metadata.name)) for found in (younger, older)]
    assert told == [True, False]


async def test_of_two_servers_that_come_at_once_the_second_counts_the_ports_of_the_first(cloud: World) -> None:
    await cloud.change(Project, "demo", quota={"ports": 1})
    for name in ("one", "two"):
        await cloud.make(Server, name, "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    cloud._watch()
    await asyncio.gather(*(cloud.reconcile(cloud.store.servers.key(name, "demo")) for name in ("one", "two")))
    assert len((await cloud.kube.list(Port)).items) == 1
    await cloud.look_again()
    assert await cloud.reason(Server, "two") == "QuotaExceeded"
    await cloud.kube.delete(Server, "one", "demo")
    await cloud.settle()
    await cloud.agent_releases("one")
    assert (await cloud.get(Server, "two")).status.host is not None


async def promise_a_port(cloud: World) -> None:
    """Let the project have one Port, which a Server is about to get, without any word of it written."""
    await cloud.change(Project, "demo", quota={"ports": 1})
    await cloud.make(Server, "one", "demo", flavor="tiny", image="tiny", networks=[{"network": "blue"}])
    cloud._watch()
    cloud.lead_left_s = 0.0
    await cloud.reconcile(cloud.store.servers.key("one", "demo"))
    cloud.lead_left_s = 60.0


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (Port, {"network": "blue"}),
        (Server, {"flavor": "tiny", "image": "tiny", "networks": [{"network": "blue"}]}),
    ],
)
async def test_who_comes_after_a_port_under_way_is_told_once_it_is_there(
    cloud: World, kind: Any, spec: dict[str, Any]
) -> None:
    await promise_a_port(cloud)
    cloud.pass_time(1)
    await cloud.make(kind, "late", "demo", **spec)
    cloud._watch()
    cloud.pass_time(60)
    key = cloud.store.tables[kind.info.kind].key("late", "demo")
    await cloud.reconcile(key)
    assert cloud.results[key].after_s == UNDER_WAY_S
    assert (await cloud.get(kind, "late")).status.conditions == ()
    assert (await cloud.kube.list(Port)).items == (() if kind is Server else (await cloud.get(Port, "late"),))
    await cloud.look_again()
    assert [port.metadata.name for port in cloud.store.ports if port.spec.allocations] == ["one-net0"]
    await cloud.reconcile(key)
    assert await cloud.reason(kind, "late") == "QuotaExceeded"


async def test_a_nic_that_comes_after_a_port_under_way_waits_without_a_word(cloud: World) -> None:
    await cloud.add_server("two")
    await cloud.change(Project, "demo", quota={"ports": 2})
    networks = [{"name": "net0", "network": "blue"}, {"name": "net1", "network": "blue"}]
    two = await cloud.get(Server, "two")
    await cloud.kube.raw("PATCH", object_path(Server.info, "two", "demo"), body={"spec": {"networks": networks}})
    cloud.addresses.reserve_next(cloud.store.subnets.get("blue-v4", "demo"), cloud.store.ports.key("never", "demo"))
    cloud._watch()
    await cloud.reconcile(two.key)
    assert cloud.results[two.key].after_s == UNDER_WAY_S
    assert "PortsUnderWay" not in cloud.events.reasons


async def test_a_server_that_came_first_does_not_count_ports_that_wait(cloud: World) -> None:
    await cloud.change(Project, "demo", quota={"ports": 1})
    await cloud.add_server("one", flavor="small")
    cloud.pass_time(10)
    await cloud.make(Port, "late", "demo", network="nowhere")
    await cloud.settle()
    await cloud.make(Flavor, "small", vcpus=1, memoryMiB=128, diskGiB=1)
    await cloud.settle()
    assert (await cloud.get(Server, "one")).status.host is not None


async def test_a_server_waits_for_what_is_beyond_the_quota(cloud: World) -> None:
    await cloud.change(Project, "demo", quota={"keyPairs": 0})
    await cloud.make(KeyPair, "ops", "demo", publicKey=KEY)
    await cloud.settle()
    await cloud.add_server("one", keyPairs=["ops"])
    cloud.pass_time(10)
    await cloud.look_again()
    assert await cloud.reason(Server, "one") == "KeyPairNotReady"
    assert "KeyPair demo/ops" in await cloud.message(Server, "one")
    await cloud.change(Project, "demo", quota={"keyPairs": 1})
    assert (await cloud.get(Server, "one")).status.host is not None
