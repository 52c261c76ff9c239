"""One leader at a time; a host's lease tells how old it is."""

import asyncio
from collections.abc import Callable

import pytest

from nephos_api.kube.lease import ElectionTimes, HostLease, LeaderElection, Lease, LeaseSpec, may_take
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.metadata import SYSTEM_NAMESPACE

TIMES = ElectionTimes(duration_s=15, stop_after_s=10, retry_every_s=0.001)
WITHIN_S = 10


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now

    async def is_asked_on(self) -> None:
        """Wait until whoever goes by it has had its time in several rounds more."""
        enough = self.asked + 20
        await _turns(lambda: self.asked >= enough)


class Leader:
    """A candidate that says when it leads."""

    def __init__(self, kubernetes: MemoryKubernetes, name: str, clock: Clock) -> None:
        self.election = LeaderElection(kubernetes, "operator", name, times=TIMES, clock=clock)
        self.leading = asyncio.Event()
        self.stopped = asyncio.Event()
        self.task = asyncio.create_task(self.election.run(self._lead))

    async def _lead(self) -> None:
        self.leading.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.mark.parametrize(
    ("holder", "unchanged_s", "taken"),
    [
        (None, 0, True),
        ("", 0, True),
        ("me", 0, True),
        ("other", 0, False),
        ("other", 14.9, False),
        ("other", 15.0, False),
        ("other", 15.1, True),
    ],
)
def test_a_lease_is_taken_only_when_it_is_free_ours_or_was_not_renewed_for_its_whole_duration(
    holder: str | None, unchanged_s: float, taken: bool
) -> None:
    spec = LeaseSpec(holder_identity=holder, lease_duration_seconds=15)
    assert may_take(spec, "me", unchanged_s=unchanged_s) is taken


async def test_a_second_replica_waits_and_takes_over_at_once_when_the_first_stops_in_order() -> None:
    async with asyncio.timeout(WITHIN_S):
        kubernetes, clock = MemoryKubernetes(), Clock()
        first = Leader(kubernetes, "first", clock)
        await first.leading.wait()
        second = Leader(kubernetes, "second", clock)
        await _turns(lambda: second.election._seen is not None)
        assert not second.leading.is_set()
        await first.stop()
        assert first.stopped.is_set()
        await second.leading.wait()
        await second.stop()


async def test_a_leader_that_vanished_is_followed_only_after_its_lease_ran_out() -> None:
    async with asyncio.timeout(WITHIN_S):
        kubernetes, clock = MemoryKubernetes(), Clock()
        lease = {"holderIdentity": "dead", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
        kubernetes.seed(Lease, {"metadata": {"name": "operator", "namespace": SYSTEM_NAMESPACE}, "spec": lease})
        leader = Leader(kubernetes, "new", clock)
        await _turns(lambda: leader.election._seen is not None)
        clock.now += 14
        await clock.is_asked_on()
        assert not leader.leading.is_set()
        clock.now += 2
        await leader.leading.wait()
        found = await kubernetes.get(Lease, "operator", SYSTEM_NAMESPACE)
        assert found is not None
        assert (found.spec.holder_identity, found.spec.lease_transitions) == ("new", 1)
        await leader.stop()


async def test_a_leader_that_can_not_renew_stops_before_its_lease_runs_out() -> None:
    async with asyncio.timeout(WITHIN_S):
        kubernetes, clock = MemoryKubernetes(), Clock()
        leader = Leader(kubernetes, "first", clock)
        await leader.leading.wait()
        kubernetes.set_available(False)
        clock.now += 9
        await clock.is_asked_on()
        assert not leader.stopped.is_set()
        clock.now += 2
        await leader.stopped.wait()
        await asyncio.gather(leader.task, return_exceptions=True)
        assert not leader.election.is_leader


async def test_a_leader_whose_lease_another_took_stops_at_once() -> None:
    async with asyncio.timeout(WITHIN_S):
        kubernetes, clock = MemoryKubernetes(), Clock()
        leader = Leader(kubernetes, "first", clock)
        await leader.leading.wait()
        path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases/operator"
        await kubernetes.raw("PATCH", path, body={"spec": {"holderIdentity": "other"}})
        await leader.stopped.wait()
        await asyncio.gather(leader.task, return_exceptions=True)


async def test_a_host_s_lease_is_made_then_renewed_by_one_write_a_beat() -> None:
    kubernetes, clock = MemoryKubernetes(), Clock()
    lease = HostLease(kubernetes, "h1", clock=clock)
    ages = [lease.age_s]
    await lease.renew()
    clock.now += 3
    ages.append(lease.age_s)
    await lease.renew()
    ages.append(lease.age_s)
    assert ages == [None, 3, 0]
    assert [write.verb for write in kubernetes.writes] == ["create", "patch"]
    found = await kubernetes.get(Lease, "h1", SYSTEM_NAMESPACE)
    assert found is not None
    assert found.spec.holder_identity == "h1"
    assert found.metadata.labels == {"nephos.cloud/lease": "host"}


async def test_a_host_s_lease_grows_old_while_the_server_is_away_and_is_young_again_after() -> None:
    async with asyncio.timeout(WITHIN_S):
        kubernetes, clock = MemoryKubernetes(), Clock()
        lease = HostLease(kubernetes, "h1", renew_every_s=0.005, clock=clock)
        task = asyncio.create_task(lease.run())
        await _turns(lambda: lease.age_s == 0)
        kubernetes.set_available(False)
        clock.now += 30
        await clock.is_asked_on()
        assert lease.age_s == 30
        kubernetes.set_available(True)
        clock.now += 1
        await _turns(lambda: (lease.age_s or 0) < 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _turns(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # why: the condition is another task's, a turn of the loop away
        await asyncio.sleep(0.001)
