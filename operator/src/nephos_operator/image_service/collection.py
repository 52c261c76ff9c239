"""Which content of the store nobody needs any more. Pure.

Content goes with the last Image of its hash. What is left over by a crash, or because a Server still needed it then,
goes after a day in which nobody needed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

KEPT_S: Final = 24 * 3600.0
_MOST_SHARE: Final = 0.05
_MOST_FILES: Final = 20


@dataclass(frozen=True)
class Collection:
    """What to remove now, and since when what else is unused."""

    removed: frozenset[str]
    unused_since: Mapping[str, float]
    is_suspicious: bool
    """So much is unused at once that something else must be wrong; nothing is removed."""


def plan_collection(
    present: frozenset[str], used: frozenset[str], unused_since: Mapping[str, float], now: float
) -> Collection:
    """Return what to remove of ``present``; ``now`` and ``unused_since`` are seconds of one clock."""
    unused = {sha256: unused_since.get(sha256, now) for sha256 in present - used}
    due = frozenset(sha256 for sha256, since in unused.items() if now - since >= KEPT_S)
    is_suspicious = len(due) > _MOST_FILES and len(due) > _MOST_SHARE * len(present)
    return Collection(frozenset() if is_suspicious else due, unused, is_suspicious)
