"""The example of the issue, applied and deleted in any order, ends as it should; agents do as they are told."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import PROJECT_LABEL, Resource
from nephos_api.resources import KINDS, FloatingIP, Port, Project, Router, Server
from nephos_operator.kinds import Namespace

from .conftest import World
from .lives import agents_act, settle, unchecked

QUICKSTART = Path(__file__).parents[3] / "examples/quickstart.yaml"
KIND_BY_NAME: dict[str, type[Resource]] = {kind.info.kind: kind for kind in KINDS}
DOCUMENTS = [document for document in yaml.safe_load_all(QUICKSTART.read_text()) if document["kind"] in KIND_BY_NAME]
SEEDS = range(12)


async def apply(world: World, document: dict[str, Any]) -> None:
    metadata = document["metadata"]
    await world.make(KIND_BY_NAME[document["kind"]], metadata["name"], metadata.get("namespace"), **document["spec"])


async def delete(world: World, document: dict[str, Any]) -> None:
    metadata = document["metadata"]
    await world.kube.delete(KIND_BY_NAME[document["kind"]], metadata["name"], metadata.get("namespace"))


@pytest.fixture
async def region(world: World) -> World:
    """What the cloud's people made: hosts, the catalog, the outside; and the namespace of the example."""
    await world.add_catalog()
    await world.add_host("h1")
    await world.add_host("h2")
    await world.add_outside()
    await world.kube.create(Namespace, {"metadata": {"name": "demo", "labels": {PROJECT_LABEL: "demo"}}})
    return world


async def is_up(world: World) -> bool:
    web = await world.get(FloatingIP, "web")
    router = await world.get(Router, "edge")
    servers = [await world.get(Server, name) for name in ("web-1", "web-2")]
    return (
        {server.status.phase for server in servers} == {"Active"}
        and router.status.phase == "Active"
        and web.status.phase == "Active"
        and web.status.fixed_address == "10.10.0.11"
        and servers[0].status.floating_ip_list == web.status.address
    )


async def left(world: World) -> list[str]:
    """Return what is left of the project."""
    return [
        str(item.key)
        for kind in KINDS
        for item in (await world.kube.list(kind)).items
        if item.metadata.namespace == "demo" or item.key.kind == "Project"
    ]


@pytest.mark.parametrize("seed", SEEDS)
async def test_it_comes_up_and_goes_in_any_order(region: World, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # why: an order that can be repeated, no secret
    for step in (apply, delete):
        for document in dice.sample(DOCUMENTS, len(DOCUMENTS)):
            await step(region, document)
            if dice.random() < 0.4:
                await region.settle()
            if dice.random() < 0.3:
                await agents_act(region)
                region.pass_time(1)
        await settle(region, unchecked, rounds=8)
        if step is apply:
            assert await is_up(region)
    assert await left(region) == []


async def test_it_goes_with_its_project(region: World) -> None:
    for document in DOCUMENTS:
        await apply(region, document)
    await settle(region, unchecked, rounds=8)
    await region.kube.delete(Project, "demo")
    await settle(region, unchecked, rounds=8)
    assert await left(region) == []
    assert (await region.kube.list(Port)).items == ()


async def test_it_comes_up_with_few_writes(region: World) -> None:
    """A Router and a FloatingIP cost two writes of the operator's each, beside the Servers'."""
    for document in DOCUMENTS:
        await apply(region, document)
    await settle(region, unchecked, rounds=8)
    written = [
        write.address.plural
        for write in region.kube.writes
        if write.manager == FieldManager.OPERATOR and write.address.plural in ("routers", "floatingips")
    ]
    assert written.count("routers") <= 2
    assert written.count("floatingips") <= 2
