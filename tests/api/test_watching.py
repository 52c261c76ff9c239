"""What list, watch and informer promise, against the real API server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nephos_api.errors import Expired
from nephos_api.kube.client import KubernetesClient
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import EventType, Selection
from nephos_api.resources import Network, Port, Server
from nephos_dev.cloud import Cloud

from .conftest import OPERATOR, Api, manifest, wait_admitting

WITHIN_S = 60


class Seen:
    """The changes that an informer told of, by name."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []
        self._more = asyncio.Event()

    def __call__(self, old: Any, new: Any) -> None:
        what = "added" if old is None else "gone" if new is None else "changed"
        self.changes.append((what, (new or old).metadata.name))
        self._more.set()

    async def wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not condition():
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def running(informer: Informer[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            await informer.synced.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_watch_by_host_sees_servers_enter_and_leave(api: Api, kubernetes: KubernetesClient) -> None:
    body = manifest("Server", {"flavor": "tiny", "image": "tiny"})
    name = body["metadata"]["name"]
    seen = Seen()
    informer = Informer(Server, Selection(field_selector="status.host=watched"), kubernetes, seen)
    async with running(informer):
        api.create(body).accepted()
        api.patch(body, {"status": {"host": "watched"}}, sub="status", user=OPERATOR).accepted()
        await seen.wait(lambda: len(informer) == 1)
        api.patch(body, {"status": {"phase": "Build"}}, sub="status", user=OPERATOR).accepted()
        await seen.wait(lambda: ("changed", name) in seen.changes)
        api.patch(body, {"status": {"host": "other"}}, sub="status", user=OPERATOR).accepted()
        await seen.wait(lambda: len(informer) == 0)
    assert seen.changes == [("added", name), ("changed", name), ("gone", name)]
    api.remove(body)


@pytest.mark.parametrize(
    ("kind", "field"), [(Port, "spec.host"), (Port, "spec.networkUID"), (Server, "spec.serverGroup")]
)
async def test_fields_that_agents_watch_by_can_be_selected(kubernetes: KubernetesClient, kind: Any, field: str) -> None:
    assert (await kubernetes.list(kind, Selection(field_selector=f"{field}=nothing"))).items == ()


async def test_an_informer_outlives_a_killed_api_server(api: Api, cloud: Cloud, kubernetes: KubernetesClient) -> None:
    before, after = manifest("Network", {}, name="before-kill"), manifest("Network", {}, name="after-kill")
    gone = manifest("Network", {}, name="gone-meanwhile")
    for body in (before, gone):
        api.create(body).accepted()
    seen = Seen()
    informer = Informer(Network, Selection("first"), kubernetes, seen)
    async with running(informer):
        killed = cloud.kill("kube-apiserver")
        await asyncio.to_thread(cloud.wait_restarted, "kube-apiserver", killed=killed)
        await asyncio.to_thread(wait_admitting, api)
        await asyncio.to_thread(api.remove, gone)
        (await asyncio.to_thread(api.create, after)).accepted()
        await seen.wait(lambda: ("gone", "gone-meanwhile") in seen.changes and ("added", "after-kill") in seen.changes)
        assert ("gone", "before-kill") not in seen.changes
        assert seen.changes.count(("added", "before-kill")) == 1
    for body in (before, after):
        api.remove(body)


async def test_a_resync_finds_what_no_watch_showed(api: Api, kubernetes: KubernetesClient) -> None:
    body = manifest("Network", {})
    api.create(body).accepted()
    seen = Seen()
    informer = Informer(Network, Selection("first"), kubernetes, seen)
    async with running(informer):
        await asyncio.to_thread(api.remove, body)
        async with asyncio.timeout(WITHIN_S):
            await informer.resync()
        assert informer.get(body["metadata"]["name"], "first") is None
        assert ("gone", body["metadata"]["name"]) in seen.changes


async def test_lists_are_read_in_pages(api: Api, kubernetes: KubernetesClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nephos_api.kube.client.PAGE_SIZE", 2)
    bodies = [manifest("Network", {}, labels={"page": "me"}) for _ in range(5)]
    for body in bodies:
        api.create(body).accepted()
    listing = await kubernetes.list(Network, Selection("first", label_selector="page=me"))
    assert {item.metadata.name for item in listing.items} == {body["metadata"]["name"] for body in bodies}
    for body in bodies:
        api.remove(body)


async def test_a_watch_from_the_past_expires(kubernetes: KubernetesClient) -> None:
    async with asyncio.timeout(WITHIN_S):
        with pytest.raises(Expired):
            await anext(kubernetes.watch(Network, Selection(), "1"))


async def test_watches_get_bookmarks_or_events_with_their_versions(api: Api, kubernetes: KubernetesClient) -> None:
    listing = await kubernetes.list(Network)
    body = manifest("Network", {})
    api.create(body).accepted()
    async with asyncio.timeout(WITHIN_S):
        async for event in kubernetes.watch(Network, Selection(), listing.resource_version):
            if event.type is EventType.ADDED:
                assert event.resource is not None
                assert event.resource_version == event.resource.metadata.resource_version
                break
    api.remove(body)
