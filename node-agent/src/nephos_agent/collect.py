"""What to do about domains and disks that no Server claims: as little as possible, as late as possible. Pure.

The rule is the design's fourth: a day of consistent "not found", then the disk waits a week in the trash; what looks
like an API that lost its memory stops the collection and raises an alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

GRACE_S: Final = 24 * 3600.0
MOST_BETWEEN_LOOKS_S: Final = 3600.0
"""What lies further back than this at a look was not watched: it counts for no more."""
MANY: Final = 20
MANY_PERCENT: Final = 5


@dataclass(frozen=True)
class Verdict:
    """What to collect now, and why nothing is if that is so."""

    collect: tuple[str, ...] = ()
    """UIDs of Servers whose domain and disk go."""
    stopped: str | None = None
    """A sentence for the alert."""


def update(known: Mapping[str, float], missing: frozenset[str], passed_s: float) -> dict[str, float]:
    """Return for how many seconds each was looked for in vain; ``passed_s``: since the look before this one.

    One that was found in between starts anew. Only time in which somebody looked counts, and no clock of the day is
    asked: one that jumps must not make a day of a minute.
    """
    counted_s = min(max(passed_s, 0.0), MOST_BETWEEN_LOOKS_S)
    return {uid: known[uid] + counted_s if uid in known else 0.0 for uid in sorted(missing)}


def judge(orphans: Mapping[str, float], *, here: int, placed: int) -> Verdict:
    """Decide.

    ``orphans``: for how many seconds each was missed. ``here``: how many Servers have something on this host.
    ``placed``: how many the API places here.
    """
    if not orphans:
        return Verdict()
    if placed == 0:
        return Verdict(stopped=f"the API places no Server here, but {here} are here: is it the right API?")
    if len(orphans) > MANY and len(orphans) * 100 > here * MANY_PERCENT:
        return Verdict(stopped=f"{len(orphans)} of {here} Servers on this host are not in the API: was it restored?")
    return Verdict(collect=tuple(uid for uid, missed_s in orphans.items() if missed_s >= GRACE_S))
