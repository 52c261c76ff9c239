"""One suite for the real client and for its twin in memory: what a reconciler may rely on with either."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nephos_api.errors import Conflict, Refused
from nephos_api.kube.client import connect
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.kube.protocol import EventType, FieldManager, Kubernetes, Selection
from nephos_api.metadata import CLEANUP_FINALIZER
from nephos_api.resources import Flavor, Network, Port, Server, ServerGroup
from nephos_dev import credentials

OPERATOR, AGENT = FieldManager.OPERATOR, FieldManager.AGENT
NAMESPACES = "/api/v1/namespaces"
WITHIN_S = 30


@pytest.fixture(params=["memory", "real"])
def kubeconfig(request: pytest.FixtureRequest) -> Path | None:
    if request.param == "memory":
        return None
    request.getfixturevalue("api")
    path: Path = request.getfixturevalue("cloud").layout.kubeconfig
    return path


@pytest.fixture
async def kubernetes(kubeconfig: Path | None) -> AsyncIterator[Kubernetes]:
    if kubeconfig is None:
        yield MemoryKubernetes()
        return
    async with connect(kubeconfig) as client:
        yield client


@pytest.fixture
async def operator(
    kubernetes: Kubernetes, kubeconfig: Path | None, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Kubernetes]:
    """The one who may remove finalizers."""
    if kubeconfig is None:
        yield kubernetes
        return
    cloud = request.getfixturevalue("cloud")
    token = cloud.cluster.request_token("nephos-system", "nephos-operator")
    credentials.write_token_kubeconfig(cloud.layout, tmp_path / "kubeconfig", user="operator", token=token)
    async with connect(tmp_path / "kubeconfig") as client:
        yield client


@pytest.fixture
async def namespace(kubernetes: Kubernetes) -> str:
    name = f"n{uuid.uuid4().hex[:10]}"
    await kubernetes.raw("POST", NAMESPACES, body={"metadata": {"name": name}})
    return name


def named(namespace: str, name: str = "one") -> dict[str, Any]:
    return {"name": name, "namespace": namespace}


def network(namespace: str, name: str = "one", **metadata: Any) -> dict[str, Any]:
    return {"metadata": named(namespace, name) | metadata, "spec": {}}


def server(namespace: str, name: str = "one") -> dict[str, Any]:
    return {"metadata": named(namespace, name), "spec": {"flavor": "tiny", "image": "tiny"}}


def condition(kind: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "Because", "lastTransitionTime": "2026-01-01T00:00:00Z"}


async def test_what_is_made_can_be_read_and_listed(kubernetes: Kubernetes, namespace: str) -> None:
    made = await kubernetes.create(Network, network(namespace))
    assert made.uid
    assert made.metadata.generation == 1
    assert made.metadata.finalizers == (CLEANUP_FINALIZER,)
    assert await kubernetes.get(Network, "one", namespace) == made
    listing = await kubernetes.list(Network, Selection(namespace))
    assert listing.items == (made,)
    assert int(listing.resource_version) >= int(made.metadata.resource_version or "")


async def test_what_is_not_there_is_none_and_deleting_it_is_no_error(kubernetes: Kubernetes, namespace: str) -> None:
    assert await kubernetes.get(Network, "one", namespace) is None
    await kubernetes.delete(Network, "one", namespace)
    assert await kubernetes.raw("GET", f"{NAMESPACES}/nowhere-at-all") is None
    assert await kubernetes.raw("DELETE", f"{NAMESPACES}/nowhere-at-all") is None


async def test_a_second_object_of_one_name_is_a_conflict(kubernetes: Kubernetes, namespace: str) -> None:
    await kubernetes.create(Network, network(namespace))
    with pytest.raises(Conflict):
        await kubernetes.create(Network, network(namespace))


async def test_what_does_not_fit_the_schema_is_refused(kubernetes: Kubernetes, namespace: str) -> None:
    with pytest.raises(Refused) as refusal:
        await kubernetes.create(Flavor, {"metadata": {"name": "zero"}, "spec": {"vcpus": 0}})
    assert refusal.value.code == 422


async def test_apply_makes_and_changes(kubernetes: Kubernetes, namespace: str) -> None:
    made = await kubernetes.apply(Network, network(namespace) | {"spec": {"mtu": 1400}}, OPERATOR)
    changed = await kubernetes.apply(Network, network(namespace) | {"spec": {"mtu": 1450}}, OPERATOR)
    assert (made.uid, made.spec.mtu, made.metadata.generation) == (changed.uid, 1400, 1)
    assert (changed.spec.mtu, changed.metadata.generation) == (1450, 2)


async def test_an_apply_without_a_change_is_no_write(kubernetes: Kubernetes, namespace: str) -> None:
    body = network(namespace) | {"spec": {"mtu": 1400}}
    first = await kubernetes.apply(Network, body, OPERATOR)
    assert await kubernetes.apply(Network, body, OPERATOR) == first
    one = await kubernetes.apply_status(first, {"vni": 7}, OPERATOR)
    assert await kubernetes.apply_status(one, {"vni": 7}, OPERATOR) == one


async def test_what_an_applier_leaves_out_goes_unless_another_owns_it(kubernetes: Kubernetes, namespace: str) -> None:
    made = await kubernetes.create(Server, server(namespace))
    both = {"host": "h1", "placementEpoch": 1, "phase": "Build", "conditions": [condition("Ready", "False")]}
    placed = await kubernetes.apply_status(made, both, OPERATOR)
    active = {"phase": "Active", "conditions": [condition("Ready"), condition("Released", "False")]}
    running = await kubernetes.apply_status(placed, active, AGENT)
    kept = await kubernetes.apply_status(running, {"host": "h1", "conditions": []}, OPERATOR)
    assert (kept.status.host, kept.status.placement_epoch, kept.status.phase) == ("h1", None, "Active")
    assert {entry.type: entry.status for entry in kept.status.conditions} == {"Ready": "True", "Released": "False"}
    fewer = await kubernetes.apply_status(kept, {"phase": "Active", "conditions": [condition("Ready")]}, AGENT)
    assert [entry.type for entry in fewer.status.conditions] == ["Ready"]


async def test_an_apply_that_says_a_version_is_refused_on_an_old_picture(
    kubernetes: Kubernetes, namespace: str
) -> None:
    seen = await kubernetes.apply(Network, network(namespace), FieldManager.OPERATOR)
    version = seen.metadata.resource_version
    body = network(namespace, uid=seen.uid, resourceVersion=version) | {"spec": {"mtu": 1400}}
    await kubernetes.apply(Network, body, FieldManager.OPERATOR)
    with pytest.raises(Conflict):
        await kubernetes.apply(Network, body | {"spec": {"mtu": 1300}}, FieldManager.OPERATOR)


async def test_an_unguarded_status_may_be_applied_to_an_old_picture(kubernetes: Kubernetes, namespace: str) -> None:
    made = await kubernetes.create(Server, server(namespace))
    await kubernetes.apply_status(made, {"host": "h1"}, OPERATOR)
    written = await kubernetes.apply_status(made, {"phase": "Active"}, AGENT)
    assert (written.status.host, written.status.phase) == ("h1", "Active")


async def test_a_guarded_status_is_refused_on_an_old_picture(kubernetes: Kubernetes, namespace: str) -> None:
    made = await kubernetes.create(Server, server(namespace))
    await kubernetes.apply_status(made, {"host": "h1"}, OPERATOR, guard=True)
    with pytest.raises(Conflict):
        await kubernetes.apply_status(made, {"host": "h2"}, OPERATOR, guard=True)


async def test_a_status_never_lands_on_another_object_of_the_name(
    kubernetes: Kubernetes, operator: Kubernetes, namespace: str
) -> None:
    first = await kubernetes.create(Network, network(namespace))
    await kubernetes.delete(Network, "one", namespace)
    deleting = await kubernetes.get(Network, "one", namespace)
    assert deleting is not None
    assert deleting.is_deleting
    await operator.set_finalizers(deleting, ())
    with pytest.raises(Conflict):
        await kubernetes.apply_status(first, {"vni": 7}, OPERATOR)
    second = await kubernetes.create(Network, network(namespace))
    with pytest.raises(Conflict):
        await kubernetes.apply_status(first, {"vni": 7}, OPERATOR)
    await kubernetes.delete(Network, "one", namespace, uid=first.uid)
    assert await kubernetes.get(Network, "one", namespace) == second


async def test_finalizers_are_replaced_only_on_the_picture_that_was_looked_at(
    kubernetes: Kubernetes, namespace: str
) -> None:
    made = await kubernetes.create(Network, network(namespace))
    await kubernetes.apply_status(made, {"vni": 7}, OPERATOR)
    with pytest.raises(Conflict):
        await kubernetes.set_finalizers(made, ())


async def test_a_deleted_owner_takes_what_it_owns_with_it(kubernetes: Kubernetes, namespace: str) -> None:
    owner = await kubernetes.create(ServerGroup, {"metadata": named(namespace), "spec": {"policy": "Affinity"}})
    reference = {"apiVersion": "nephos.cloud/v1alpha1", "kind": "ServerGroup", "name": "one", "uid": owner.uid}
    owned = {"metadata": named(namespace, "two") | {"ownerReferences": [reference]}, "spec": {"policy": "Affinity"}}
    await kubernetes.create(ServerGroup, owned)
    listing = await kubernetes.list(ServerGroup, Selection(namespace))
    await kubernetes.delete(ServerGroup, "one", namespace)
    gone: set[str] = set()
    async with asyncio.timeout(90):
        async for event in kubernetes.watch(ServerGroup, Selection(namespace), listing.resource_version):
            if event.type is EventType.DELETED and event.resource is not None:
                gone.add(event.resource.metadata.name)
            if gone == {"one", "two"}:
                break


async def test_a_watch_by_field_sees_objects_enter_and_leave(kubernetes: Kubernetes, namespace: str) -> None:
    made = await kubernetes.create(Server, server(namespace))
    await kubernetes.create(Server, server(namespace, "other"))
    by_host = Selection(namespace, field_selector="status.host=h1")
    listing = await kubernetes.list(Server, by_host)
    assert listing.items == ()
    placed = await kubernetes.apply_status(made, {"host": "h1"}, OPERATOR)
    active = await kubernetes.apply_status(placed, {"phase": "Active"}, AGENT)
    await kubernetes.apply_status(active, {"host": "h2"}, OPERATOR)
    seen: list[EventType] = []
    async with asyncio.timeout(WITHIN_S):
        async for event in kubernetes.watch(Server, by_host, listing.resource_version):
            seen += [event.type] if event.resource else []
            if event.type is EventType.DELETED:
                break
    assert seen == [EventType.ADDED, EventType.MODIFIED, EventType.DELETED]


async def test_a_field_that_is_not_selectable_is_refused(kubernetes: Kubernetes, namespace: str) -> None:
    with pytest.raises(Refused):
        await kubernetes.list(Port, Selection(namespace, field_selector="spec.macAddress=52:54:00:00:00:01"))


async def test_labels_select(kubernetes: Kubernetes, namespace: str) -> None:
    await kubernetes.create(Network, network(namespace, "red", labels={"color": "red"}))
    await kubernetes.create(Network, network(namespace, "blue", labels={"color": "blue"}))
    await kubernetes.create(Network, network(namespace, "none"))

    async def names(selector: str) -> set[str]:
        listing = await kubernetes.list(Network, Selection(namespace, label_selector=selector))
        return {item.metadata.name for item in listing.items}

    assert await names("color=red") == {"red"}
    assert await names("color!=red") == {"blue", "none"}
    assert await names("color") == {"red", "blue"}
    assert await names("!color") == {"none"}


async def test_a_namespace_that_ends_takes_no_new_objects(kubernetes: Kubernetes, namespace: str) -> None:
    await kubernetes.create(Network, network(namespace))
    await kubernetes.raw("DELETE", f"{NAMESPACES}/{namespace}")
    ending = await kubernetes.raw("GET", f"{NAMESPACES}/{namespace}")
    assert ending is not None
    assert "deletionTimestamp" in ending["metadata"]
    with pytest.raises(Refused) as refusal:
        await kubernetes.create(Network, network(namespace, "two"))
    assert (refusal.value.code, refusal.value.reason) == (403, "NamespaceTerminating")


async def test_any_path_can_be_patched_and_replaced(kubernetes: Kubernetes, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = await kubernetes.raw("POST", path, body={"metadata": {"name": "one"}, "data": {"a": "1", "b": "2"}})
    assert made is not None
    patched = await kubernetes.raw("PATCH", f"{path}/one", body={"data": {"a": None, "c": "3"}})
    assert patched is not None
    assert patched["data"] == {"b": "2", "c": "3"}
    with pytest.raises(Conflict):
        await kubernetes.raw("PUT", f"{path}/one", body=made)
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}, "data": {"a": "1"}}
    made = await kubernetes.raw("PATCH", f"{path}/two", body=applied, query={"fieldManager": "x", "force": "true"})
    assert made is not None
    assert made["data"] == {"a": "1"}
    listed = await kubernetes.raw("GET", path)
    assert listed is not None
    assert {"one", "two"} <= {item["metadata"]["name"] for item in listed["items"]}
