from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.metadata import Key
from nephos_api.resources import Flavor, Network, Server
from nephos_operator.heartbeats import Heartbeat, Heartbeats
from nephos_operator.kinds import Namespace
from nephos_operator.store import Change, Store
from nephos_operator.sweep import WentBackError, sweep
from nephos_operator.triggers import take
from nephos_operator.writes import LeaderWrites, NotLeading


def server(version: int, uid: str = "a", host: str | None = None, name: str = "one") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "demo", "uid": uid, "resourceVersion": str(version)}
    status = {"host": host} if host else {}
    return {"metadata": metadata, "spec": {"flavor": "tiny", "image": "tiny"}, "status": status}


@pytest.fixture
def store() -> Store:
    return Store()


def put(store: Store, body: dict[str, Any]) -> None:
    take("MODIFIED", body, Server, store)


def test_an_older_version_never_replaces_a_newer_one(store: Store) -> None:
    put(store, server(5, host="h1"))
    put(store, server(4))
    found = store.servers.get("one", "demo")
    assert found is not None
    assert found.status.host == "h1"
    assert store.servers.count("host", "h1") == 1


def test_indices_follow_the_objects(store: Store) -> None:
    put(store, server(1))
    assert [found.uid for found in store.servers.by("waits_for", Key("Flavor", None, "tiny"))] == ["a"]
    put(store, server(2, host="h1"))
    assert store.servers.by("waits_for", Key("Flavor", None, "tiny")) == ()
    assert store.servers.count("namespace", "demo") == 1
    take("DELETED", server(3), Server, store)
    assert store.servers.by("host", "h1") == ()


def test_a_late_answer_does_not_bring_a_deleted_object_back(store: Store) -> None:
    put(store, server(1))
    take("DELETED", server(2), Server, store)
    put(store, server(2))
    assert len(store.servers) == 0
    put(store, server(3, uid="b"))
    assert len(store.servers) == 1


def test_an_object_that_left_the_selection_may_come_back(store: Store) -> None:
    put(store, server(1))
    take("DELETED", server(2), Server, store)
    put(store, server(3))
    assert len(store.servers) == 1


def test_a_new_object_of_the_same_name_is_told_as_one_gone_and_one_come(store: Store) -> None:
    changes: list[Change] = []
    store.subscribe(changes.append)
    put(store, server(1))
    put(store, server(5, uid="b"))
    assert [(c.old and c.old.uid, c.new and c.new.uid) for c in changes] == [(None, "a"), ("a", None), (None, "b")]
    take("DELETED", server(2, uid="a"), Server, store)
    assert len(store.servers) == 1


def test_what_does_not_fit_the_model_is_left_out(store: Store) -> None:
    put(store, {"metadata": {"name": "odd", "namespace": "demo", "uid": "x", "resourceVersion": "1"}, "spec": {}})
    assert len(store.servers) == 0


async def test_the_sweep_forgets_what_vanished_while_no_watch_was_up(store: Store) -> None:
    kube = MemoryKubernetes()
    await kube.create(Namespace, {"metadata": {"name": "demo", "labels": {"nephos.cloud/project": "demo"}}})
    await kube.create(Namespace, {"metadata": {"name": "other"}})
    await kube.create(Flavor, {"metadata": {"name": "tiny"}, "spec": {"vcpus": 1, "memoryMiB": 64, "diskGiB": 1}})
    await kube.create(Network, {"metadata": {"name": "blue", "namespace": "demo"}, "spec": {}})
    await sweep(kube, store)
    assert (len(store.flavors), len(store.networks)) == (1, 1)
    assert [namespace.metadata.name for namespace in store.namespaces] == ["demo"]
    await kube.delete(Flavor, "tiny")
    await sweep(kube, store)
    assert len(store.flavors) == 0


async def test_the_sweep_keeps_what_came_after_its_list(store: Store) -> None:
    class Busy(MemoryKubernetes):
        async def list(self, kind: Any, selection: Any = None) -> Any:
            listing = await super().list(kind)
            if kind is Server:
                put(store, server(1000))  # made while the list was on its way
            return listing

    await sweep(Busy(), store)
    assert len(store.servers) == 1


async def test_an_api_that_went_back_in_time_is_begun_with_anew(store: Store) -> None:
    put(store, server(1000))
    with pytest.raises(WentBackError):
        await sweep(MemoryKubernetes(), store)


async def test_a_write_is_refused_without_the_lead_and_its_answer_is_known_at_once(store: Store) -> None:
    kube, left_s = MemoryKubernetes(), 5.0
    counted: list[tuple[str, str]] = []
    writes = LeaderWrites(kube, store, lambda: left_s, lambda verb, kind: counted.append((verb, kind)))
    body = {"metadata": {"name": "tiny"}, "spec": {"vcpus": 1, "memoryMiB": 64, "diskGiB": 1}}
    await writes.create(Flavor, body)
    assert store.flavors.get("tiny") is not None
    assert counted == [("create", "Flavor")]
    left_s = 0.0
    with pytest.raises(NotLeading):
        await writes.delete(Flavor, "tiny")
    with pytest.raises(NotLeading):
        await writes.raw("DELETE", "/apis/nephos.cloud/v1alpha1/flavors/tiny")
    assert await kube.get(Flavor, "tiny") is not None


async def test_a_write_that_outlives_the_lead_is_given_up(store: Store) -> None:
    class Slow(MemoryKubernetes):
        async def delete(self, *_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

    writes = LeaderWrites(Slow(), store, lambda: 0.01, lambda *_: None)
    with pytest.raises(TimeoutError):
        await writes.delete(Flavor, "tiny")


def test_a_heartbeat_is_judged_by_our_own_clock_alone() -> None:
    now_s = 100.0
    heartbeats = Heartbeats(lambda: now_s)
    heartbeats.observe("h1", "1")
    assert heartbeats.of("h1") is Heartbeat.UNKNOWN
    heartbeats.observe("h1", "2")
    assert heartbeats.of("h1") is Heartbeat.RENEWED
    assert heartbeats.of("h2") is Heartbeat.UNKNOWN
    now_s += 15
    heartbeats.observe("h1", "2")
    now_s += 10
    assert heartbeats.of("h1") is Heartbeat.LOST
    assert heartbeats.of("h2") is Heartbeat.LOST
    heartbeats.be_patient()
    assert heartbeats.of("h1") is Heartbeat.UNKNOWN
