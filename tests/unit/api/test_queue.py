"""What a reconciler can rely on: one worker a key, no lost key, backoff that forgets."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nephos_api.errors import ApiUnavailable, PermanentFault, Refused
from nephos_api.reconcile.queue import Backoff, WorkQueue
from nephos_api.reconcile.result import Done, Failed, Result, Retry, Wait

SOON = Backoff(first_s=0.001, most_s=0.004)
WITHIN_S = 10


@asynccontextmanager
async def running(queue: WorkQueue[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Worker:
    """Reconciles keys, each time with the next of the scripted results, then Done."""

    def __init__(self, *script: Result | Exception) -> None:
        self.calls: Counter[str] = Counter()
        self.active: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.settled: asyncio.Queue[tuple[str, Result]] = asyncio.Queue()
        self._script = list(script)

    async def __call__(self, key: str) -> Result:
        assert not self.active[key], "two workers on one key"
        self.active[key] += 1
        self.calls[key] += 1
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            result = self._script.pop(0) if self._script else Done()
            if isinstance(result, Exception):
                raise result
            return result
        finally:
            self.active[key] -= 1

    def observe(self, key: str, result: Result, duration_s: float) -> None:
        assert duration_s >= 0
        self.settled.put_nowait((key, result))


def queue_of(worker: Worker, **options: int) -> WorkQueue[str]:
    return WorkQueue(worker, backoff=SOON, observe=worker.observe, **options)


async def test_a_key_added_many_times_while_it_waits_is_worked_on_once() -> None:
    worker = Worker()
    queue = queue_of(worker)
    for _ in range(100):
        queue.add("a")
    assert len(queue) == 1
    async with running(queue):
        await worker.settled.get()
        await _idle(queue)
    assert worker.calls == {"a": 1}


async def test_a_key_added_while_it_is_worked_on_comes_again_once() -> None:
    worker = Worker()
    worker.gate.clear()
    queue = queue_of(worker)
    async with running(queue):
        queue.add("a")
        await _until(lambda: worker.active["a"] == 1)
        for _ in range(5):
            queue.add("a")
        worker.gate.set()
        await worker.settled.get()
        await worker.settled.get()
        await _idle(queue)
    assert worker.calls == {"a": 2}


@pytest.mark.parametrize(
    ("outcome", "calls"),
    [
        (Done(), 1),
        (Failed("Bad", "it stays so"), 1),
        (Wait("something"), 1),
        (Wait("something", after_s=0.001), 2),
        (Retry("Busy", "later"), 2),
        (ApiUnavailable("away"), 2),
        (PermanentFault("no", reason="Bad"), 1),
        (ValueError("a bug"), 2),
        (AssertionError("a bug"), 2),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_each_result_and_error_brings_the_key_back_or_not(outcome: Result | Exception, calls: int) -> None:
    worker = Worker(outcome)
    queue = queue_of(worker)
    async with running(queue):
        queue.add("a")
        for _ in range(calls):
            await worker.settled.get()
        await _idle(queue)
    assert worker.calls == {"a": calls}


@pytest.mark.parametrize("bring", [WorkQueue.add, WorkQueue.notice])
async def test_a_refused_request_is_retried_slowly_and_an_event_brings_it_back_at_once(
    bring: Callable[[WorkQueue[str], str], None],
) -> None:
    worker = Worker(Refused("forbidden", code=403, reason="Forbidden"))
    queue = queue_of(worker)
    async with running(queue):
        queue.add("a")
        _, result = await worker.settled.get()
        assert isinstance(result, Retry)
        assert result.reason == "Forbidden"
        assert queue.is_idle
        bring(queue, "a")
        assert await worker.settled.get() == ("a", Done())


async def test_an_event_during_a_failing_try_is_not_kept_waiting_by_the_backoff() -> None:
    worker = Worker(Retry("Busy", "later"))
    worker.gate.clear()
    queue: WorkQueue[str] = WorkQueue(worker, backoff=Backoff(first_s=3600, most_s=3600), observe=worker.observe)
    async with running(queue):
        queue.add("a")
        await _until(lambda: worker.active["a"] == 1)
        queue.add("a")
        worker.gate.set()
        await worker.settled.get()
        assert await worker.settled.get() == ("a", Done())


@pytest.mark.parametrize("outcome", [Retry("Busy", "later"), Failed("Bad", "it stays so")])
async def test_what_a_failing_try_caused_itself_does_not_repeat_it_at_once(outcome: Result) -> None:
    worker = Worker(outcome)
    worker.gate.clear()
    queue: WorkQueue[str] = WorkQueue(worker, backoff=Backoff(first_s=3600, most_s=3600), observe=worker.observe)
    async with running(queue):
        queue.add("a")
        await _until(lambda: worker.active["a"] == 1)
        queue.notice("a")
        worker.gate.set()
        assert await worker.settled.get() == ("a", outcome)
        queue.notice("a")
        await _idle(queue)
        assert worker.calls == {"a": 1}
        queue.add("a")
        assert await worker.settled.get() == ("a", Done())
        queue.notice("a")
        assert await worker.settled.get() == ("a", Done())


async def test_what_is_noticed_after_a_failure_that_stays_is_looked_at_after_the_backoff() -> None:
    worker = Worker(Failed("Bad", "it stays so"))
    queue = queue_of(worker)
    async with running(queue):
        queue.add("a")
        await worker.settled.get()
        queue.notice("a")
        assert await worker.settled.get() == ("a", Done())


async def test_a_failure_that_stays_slows_down_no_later_retry() -> None:
    worker = Worker(*(Failed("Bad", "it stays so") for _ in range(20)), Retry("Busy", "later"))
    queue: WorkQueue[str] = WorkQueue(worker, backoff=Backoff(first_s=0.001, most_s=3600), observe=worker.observe)
    async with running(queue):
        for _ in range(21):
            queue.add("a")
            await worker.settled.get()
        assert await worker.settled.get() == ("a", Done())


async def test_what_is_noticed_during_a_good_try_is_looked_at_at_once() -> None:
    worker = Worker(Wait("something", after_s=3600))
    worker.gate.clear()
    queue = queue_of(worker)
    async with running(queue):
        queue.add("a")
        await _until(lambda: worker.active["a"] == 1)
        queue.notice("a")
        worker.gate.set()
        await worker.settled.get()
        assert await worker.settled.get() == ("a", Done())


async def test_one_key_in_backoff_holds_up_no_other() -> None:
    worker = Worker(Retry("Busy", "later"))
    queue: WorkQueue[str] = WorkQueue(
        worker, workers=1, backoff=Backoff(first_s=3600, most_s=3600), observe=worker.observe
    )
    async with running(queue):
        queue.add("a")
        queue.add("b")
        assert [await worker.settled.get(), await worker.settled.get()][1] == ("b", Done())


async def test_no_more_keys_are_worked_on_at_once_than_there_are_workers() -> None:
    worker = Worker()
    worker.gate.clear()
    queue = queue_of(worker, workers=3)
    async with running(queue):
        for name in "abcdefgh":
            queue.add(name)
        await _until(lambda: worker.active.total() == 3)
        await asyncio.sleep(0)
        assert worker.active.total() == 3
        worker.gate.set()
        await _idle(queue)
    assert worker.calls.total() == 8


@given(failures=st.integers(1, 200))
def test_a_delay_doubles_up_to_its_bound(failures: int) -> None:
    backoff = Backoff(first_s=0.1, most_s=60)
    ceiling = min(60.0, 0.1 * 2 ** (failures - 1))
    assert ceiling / 2 <= backoff.delay_s(failures) <= ceiling


Action = tuple[str, str]
KEYS = st.sampled_from("abc")
ACTIONS = st.lists(st.tuples(st.sampled_from(["add", "later", "pass"]), KEYS), max_size=40)
RESULTS = st.lists(
    st.sampled_from(
        [Done(), Retry("Busy", "later"), Wait("x", after_s=0.001), Failed("Bad", "so"), ApiUnavailable("x")]
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, results=RESULTS, workers=st.integers(1, 3))
async def test_whatever_happens_the_last_word_on_a_key_is_worked_on(
    actions: list[Action], results: list[Result | Exception], workers: int
) -> None:
    worker = Worker(*results)
    wanted: set[str] = set()
    queue = queue_of(worker, workers=workers)
    async with running(queue):
        for action, key in actions:
            if action == "add":
                queue.add(key)
            elif action == "later":
                queue.add_after(key, 0.001)
            wanted |= {key} if action != "pass" else set()
            await asyncio.sleep(0)
        before = worker.calls.copy()
        for key in wanted:
            queue.add(key)
        await _until(lambda: all(worker.calls[key] > before[key] for key in wanted))
        await _until(lambda: queue.is_idle)


async def _idle(queue: WorkQueue[str]) -> None:
    await _until(lambda: queue.is_idle)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # why: one turn of the loop, not a time
        await asyncio.sleep(0)
