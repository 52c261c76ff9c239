"""A deduplicating queue of keys with workers, backoff and delays.

A key is worked on by one worker at a time. A key that is added while it is worked on comes again once; one that is
added while it waits in the queue is there once. Backoff is kept in memory and forgotten at success.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from nephos_api.errors import PermanentFault, Refused, TemporaryFault
from nephos_api.reconcile.result import Failed, Result, Retry, Wait

K = TypeVar("K", bound=Hashable)
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Backoff:
    """Delays between tries: doubled from ``first_s`` up to ``most_s``, each taken at random from its upper half."""

    first_s: float = 0.05
    most_s: float = 60.0

    def delay_s(self, failures: int) -> float:
        """Return the delay in seconds after so many failures in a row (1 or more)."""
        ceiling: float = min(self.most_s, self.first_s * 2 ** min(failures - 1, 30))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311  # why: spreads load, guards nothing


_REFUSED_BACKOFF: Final = Backoff(first_s=5.0, most_s=300.0)
"""A refused request is a bug or missing rights: trying again soon can't help, but rights may come."""


class _RefusedRetry(Retry):
    pass


class WorkQueue(Generic[K]):
    """Calls ``reconcile(key)`` for each key added, with at most ``workers`` at a time.

    ``observe(key, result, duration_s)`` is called after each try, for metrics.
    """

    def __init__(
        self,
        reconcile: Callable[[K], Awaitable[Result]],
        *,
        workers: int = 8,
        backoff: Backoff | None = None,
        observe: Callable[[K, Result, float], None] | None = None,
    ) -> None:
        self._reconcile = reconcile
        self._workers = workers
        self._backoff = backoff or Backoff()
        self._observe = observe
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._queued: set[K] = set()
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._noticed: set[K] = set()
        self._failures: dict[K, int] = {}
        self._paced: dict[K, int] = {}
        """How often in a row a try ended so that what it caused itself must not repeat it."""
        self._delayed: dict[K, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        """Return how many keys wait to be worked on, delayed ones not counted."""
        return len(self._queued) + len(self._again | self._noticed)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is worked on (delayed keys not counted)."""
        return not (self._queued or self._active or self._again or self._noticed)

    def add(self, key: K) -> None:
        """Have the key worked on soon; cancels its delay, if it has one."""
        if timer := self._delayed.pop(key, None):
            timer.cancel()
        if key in self._active:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.put_nowait(key)

    def notice(self, key: K) -> None:
        """Have the key looked at because of something that its own work may have caused.

        Unlike what ``add`` brings, that is no remedy: a try that failed is not repeated sooner for it.
        """
        if key in self._active:
            self._noticed.add(key)
        elif key not in self._paced:
            self.add(key)
        elif key not in self._delayed:
            self.add_after(key, self._backoff.delay_s(self._paced[key]))

    def add_after(self, key: K, delay_s: float) -> None:
        """Have the key worked on after a delay, unless something brings it sooner."""
        if key in self._queued or key in self._again:
            return
        if timer := self._delayed.pop(key, None):
            timer.cancel()
        self._delayed[key] = asyncio.get_running_loop().call_later(delay_s, self.add, key)

    async def run(self) -> None:
        """Work until cancelled; then the keys under work are cancelled too."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._workers):
                    tasks.create_task(self._work())
        finally:
            for timer in self._delayed.values():
                timer.cancel()
            self._delayed.clear()

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._active.add(key)
            started = time.monotonic()
            try:
                result = await self._try(key)
            finally:
                self._active.discard(key)
            if self._observe:
                self._observe(key, result, time.monotonic() - started)
            self._settle(key, result)

    async def _try(self, key: K) -> Result:
        try:
            return await self._reconcile(key)
        except TemporaryFault as fault:
            return Retry(fault.reason, fault.message)
        except PermanentFault as fault:
            return Failed(fault.reason, fault.message)
        except Refused as refusal:
            return _RefusedRetry(refusal.reason or "Refused", refusal.message)
        except Exception as error:
            log.exception("reconcile failed", key=str(key))
            return Retry(type(error).__name__, str(error))

    def _settle(self, key: K, result: Result) -> None:
        delay_s = self._delay_s(key, result)
        if isinstance(result, Retry | Failed) and not isinstance(result, _RefusedRetry):
            self._paced[key] = self._paced.get(key, 0) + 1
        else:
            self._paced.pop(key, None)
        is_noticed = key in self._noticed
        self._noticed.discard(key)
        if key in self._again:
            # What came meanwhile may be the remedy: it isn't kept waiting.
            self._again.discard(key)
            self.add(key)
            return
        if delay_s is not None:
            self.add_after(key, delay_s)
        if is_noticed:
            self.notice(key)

    def _delay_s(self, key: K, result: Result) -> float | None:
        """Return when the key comes back by itself; None for not at all."""
        if not isinstance(result, Retry):
            self._failures.pop(key, None)
            return result.after_s if isinstance(result, Wait) else None
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        backoff = _REFUSED_BACKOFF if isinstance(result, _RefusedRetry) else self._backoff
        delay_s = backoff.delay_s(failures)
        log.warning("retry", key=str(key), reason=result.reason, message=result.message, delay_s=round(delay_s, 3))
        return delay_s
