"""Events are for people: they never get in the way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nephos_api.kube.events import EventRecorder
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.resources import Flavor, Network

WITHIN_S = 10


@pytest.fixture
def kubernetes() -> MemoryKubernetes:
    return MemoryKubernetes()


@pytest.fixture
def network(kubernetes: MemoryKubernetes) -> Network:
    return kubernetes.seed(Network, {"metadata": {"name": "blue", "namespace": "demo"}, "spec": {}})


@pytest.fixture
async def recorder(kubernetes: MemoryKubernetes) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(kubernetes, "nephos-operator", "operator-1")
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def events(kubernetes: MemoryKubernetes, count: int, namespace: str = "demo") -> list[dict[str, Any]]:
    """Return the events of the namespace once they stand for so many occurrences."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = await kubernetes.raw("GET", f"/api/v1/namespaces/{namespace}/events")
            assert found is not None
            if sum(event["count"] for event in found["items"]) == count:
                return list(found["items"])
            await asyncio.sleep(0)


async def test_an_event_says_of_what_why_and_by_whom(
    kubernetes: MemoryKubernetes, network: Network, recorder: EventRecorder
) -> None:
    recorder.warning(network, "NoVNI", "All network identifiers are taken; delete a Network")
    (event,) = await events(kubernetes, 1)
    assert event["involvedObject"]["uid"] == network.uid
    assert (event["type"], event["reason"]) == ("Warning", "NoVNI")
    assert event["source"] == {"component": "nephos-operator"}


async def test_the_same_again_raises_the_count(
    kubernetes: MemoryKubernetes, network: Network, recorder: EventRecorder
) -> None:
    for _ in range(3):
        recorder.normal(network, "Active", "VNI 7")
    recorder.normal(network, "Active", "VNI 8")
    await events(kubernetes, 4)
    recorder.normal(network, "Active", "VNI 7")
    counts = {event["message"]: event["count"] for event in await events(kubernetes, 5)}
    assert counts == {"VNI 7": 4, "VNI 8": 1}


async def test_a_new_process_counts_on(kubernetes: MemoryKubernetes, network: Network) -> None:
    for count in (1, 2):
        recorder = EventRecorder(kubernetes, "nephos-operator", "operator-1")
        recorder.normal(network, "Active", "VNI 7")
        task = asyncio.create_task(recorder.run())
        assert len(await events(kubernetes, count)) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_events_of_objects_without_a_namespace_lie_in_default(
    kubernetes: MemoryKubernetes, recorder: EventRecorder
) -> None:
    flavor = kubernetes.seed(
        Flavor, {"metadata": {"name": "tiny"}, "spec": {"vcpus": 1, "memoryMiB": 64, "diskGiB": 1}}
    )
    recorder.normal(flavor, "Seen", "Hello")
    assert await events(kubernetes, 1, "default")


async def test_what_can_not_be_written_is_dropped_and_the_next_is_written(
    kubernetes: MemoryKubernetes, network: Network, recorder: EventRecorder
) -> None:
    kubernetes.set_available(False)
    recorder.normal(network, "Lost", "Nobody reads this")
    async with asyncio.timeout(WITHIN_S):
        while recorder._pending:  # noqa: ASYNC110  # why: another task empties it, a turn of the loop away
            await asyncio.sleep(0)
    kubernetes.set_available(True)
    recorder.normal(network, "Kept", "Somebody reads this")
    assert [event["reason"] for event in await events(kubernetes, 1)] == ["Kept"]


async def test_a_flood_is_bounded(kubernetes: MemoryKubernetes, network: Network) -> None:
    recorder = EventRecorder(kubernetes, "nephos-operator", "operator-1")
    for number in range(5000):
        recorder.normal(network, "Flood", f"number {number}")
    assert len(recorder._pending) == 1000
