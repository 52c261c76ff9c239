"""What a reconciler returns: one of four results."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """The object is as it should be; an event brings it back."""


@dataclass(frozen=True)
class Wait:
    """The object waits for something; an event brings it back, or the time does."""

    what_for: str
    after_s: float | None = None
    """Come back after so many seconds even without an event; None: only by an event (or the sweep)."""


@dataclass(frozen=True)
class Retry:
    """Something failed that may go away by itself; the queue brings the object back with backoff."""

    reason: str
    message: str


@dataclass(frozen=True)
class Failed:
    """The object stays as it is until its spec changes."""

    reason: str
    message: str


Result = Done | Wait | Retry | Failed
