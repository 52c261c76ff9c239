"""What to do about domains and disks that no Server claims: as little as possible, as late as possible. Pure.

The rule is the design's fourth: a day of consistent "not found", then the disk waits a week in the trash; what looks
like an API that lost its memory stops the collection and raises an alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

GRACE_S: Final = 24 * 3600.0
MANY: Final = 20
MANY_PERCENT: Final = 5


@dataclass(frozen=True)
class Orphan:
    """A domain or disk (or both) whose Server the API does not place here."""

    server_uid: str
    missing_since: float
    """Seconds of the epoch, when it was first not found; since then it never was."""


@dataclass(frozen=True)
class Verdict:
    """What to collect now, and why nothing is if that is so."""

    collect: tuple[str, ...] = ()
    """UIDs of Servers whose domain and disk go."""
    stopped: str | None = None
    """A sentence for the alert."""


def update(known: Mapping[str, float], missing: frozenset[str], now: float) -> dict[str, float]:
    """Return since when each is missing: one that was found in between starts anew."""
    return {server_uid: known.get(server_uid, now) for server_uid in sorted(missing)}


def judge(orphans: Mapping[str, float], *, here: int, placed: int, now: float) -> Verdict:
    """Decide. ``here``: how many Servers have something on this host; ``placed``: how many the API places here."""
    if not orphans:
        return Verdict()
    if placed == 0:
        return Verdict(stopped=f"the API places no Server here, but {here} are here: is it the right API?")
    if len(orphans) > MANY and len(orphans) * 100 > here * MANY_PERCENT:
        return Verdict(stopped=f"{len(orphans)} of {here} Servers on this host are not in the API: was it restored?")
    return Verdict(collect=tuple(uid for uid, since in orphans.items() if now - since >= GRACE_S))
