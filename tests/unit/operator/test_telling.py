"""Whatever keeps an object from being Ready is said on it, in a sentence, whichever kind it is of."""

from __future__ import annotations

from typing import Any

import pytest

from nephos_api.conditions import ConditionStatus, ConditionType, find
from nephos_api.metadata import Resource
from nephos_api.resources import (
    KINDS,
    Flavor,
    FloatingIP,
    Host,
    Image,
    KeyPair,
    Network,
    Port,
    Project,
    Router,
    SecurityGroup,
    Server,
    ServerAction,
    ServerGroup,
    Subnet,
)
from nephos_operator.kinds import Namespace
from nephos_operator.statuses import status_of

World = Any
SPECS: dict[type[Resource], dict[str, Any]] = {
    KeyPair: {"publicKey": "ssh-ed25519 AAAAC3Nz"},
    Network: {},
    Subnet: {"network": "blue", "cidr": "10.0.0.0/24"},
    Port: {"network": "blue"},
    SecurityGroup: {},
    Router: {},
    FloatingIP: {"externalNetwork": "public"},
    ServerGroup: {"policy": "Affinity"},
    Server: {"flavor": "tiny", "image": "tiny", "networks": [{"network": "blue"}]},
    ServerAction: {"server": "one", "action": "Start"},
}
"""Objects of a tenant, each in a namespace that no Project owns."""


def says_why(resource: Any) -> str:
    """Return the sentence; the object is not Ready, and tells programs whether that may change by itself."""
    conditions = status_of(resource).conditions
    ready = find(conditions, ConditionType.READY)
    assert ready is not None
    assert ready.status is ConditionStatus.FALSE
    assert ready.reason
    assert len(ready.message.split()) > 3
    progress = [find(conditions, kind) for kind in (ConditionType.RECONCILING, ConditionType.STALLED)]
    assert [condition.status for condition in progress if condition] == [ConditionStatus.TRUE]
    assert status_of(resource).observed_generation == resource.metadata.generation
    return str(ready.message)


@pytest.mark.parametrize("kind", SPECS, ids=lambda kind: kind.info.kind)
async def test_an_object_that_has_to_wait_says_for_what(world: World, kind: type[Resource]) -> None:
    await world.make(kind, "one", "demo", **SPECS[kind])
    world._watch()
    world.pass_time(60)
    await world.look_again()
    assert "Project demo" in says_why(await world.get(kind, "one"))


async def test_a_project_whose_namespace_is_somebody_elses_says_so(world: World) -> None:
    await world.kube.create(Namespace, {"metadata": {"name": "demo"}})
    await world.make(Project, "demo")
    world._watch()
    world.pass_time(60)
    await world.look_again()
    assert "namespace demo" in says_why(await world.get(Project, "demo"))


async def test_a_host_that_is_silent_says_what_to_do(world: World) -> None:
    await world.add_host("h1")
    world.silent.add("h1")
    world.pass_time(60)
    await world.look_again()
    assert "spec.outOfService" in says_why(await world.get(Host, "h1"))


async def test_a_flavor_is_ready_as_it_is(world: World) -> None:
    await world.add_catalog()
    await world.settle()
    assert world.ready(await world.get(Flavor, "tiny", None)).status is ConditionStatus.TRUE


def test_no_kind_is_left_out_above() -> None:
    told_elsewhere = {Image}  # by the image service: tests/unit/image_service/test_statuses.py
    assert {*SPECS, Project, Host, Flavor} | told_elsewhere == set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.kind)
def test_kubectl_get_shows_where_each_kind_stands(kind: type[Resource]) -> None:
    assert kind.info.columns
