"""What a plan says when an object can't be what it should be: it waits, or it stays so until somebody changes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Waits:
    """Something else has to come, change or go first."""

    reason: str
    """One CamelCase word."""
    message: str
    """A sentence that says what it waits for."""


@dataclass(frozen=True)
class Stalls:
    """The spec contradicts what is there: nothing happens until somebody changes one of them."""

    reason: str
    """One CamelCase word."""
    message: str
    """A sentence that names the field and says what to do."""


Problem = Waits | Stalls
