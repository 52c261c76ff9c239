"""What a plan says when an object can't be what it should be: it waits, or it stays so until somebody changes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNDER_WAY_S: Final = 1.0
"""Nothing tells of one that is not made after all: the promise is looked at again after so long."""


@dataclass(frozen=True)
class Waits:
    """Something else has to come, change or go first."""

    reason: str
    """One CamelCase word."""
    message: str
    """A sentence that says what it waits for."""
    after_s: float | None = None
    """Nothing tells when that is over: it is looked at again after so long, and nobody is told until then."""


@dataclass(frozen=True)
class Stalls:
    """The spec contradicts what is there: nothing happens until somebody changes one of them."""

    reason: str
    """One CamelCase word."""
    message: str
    """A sentence that names the field and says what to do."""


Problem = Waits | Stalls
