"""Strings for people, each within the bound of its field, whatever they are about."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from nephos_api.fields import LIST_MOST, SENTENCE_MOST
from nephos_api.metadata import Key

MOST_NAMED: Final = 3
"""Objects that a sentence names; of more it says how many."""
_CUT: Final = "…"


def shortened(sentence: str) -> str:
    """Return the sentence, cut where it is longer than a condition's message may be."""
    return sentence if len(sentence) <= SENTENCE_MOST else sentence[: SENTENCE_MOST - len(_CUT)] + _CUT


def listed(keys: Collection[Key]) -> str:
    """Return the first few objects as a sentence says them: ``Port demo/a, Port demo/b and 7 more``."""
    names = sorted(map(str, keys))
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def joined(items: Iterable[str]) -> str | None:
    """Return the items in one string, as many as a field of status has room for; None where there are none."""
    text = ", ".join(items)
    if len(text) > LIST_MOST:
        whole = text[: LIST_MOST - len(_CUT)].rpartition(" ")[0]
        text = f"{whole} {_CUT}"
    return text or None
