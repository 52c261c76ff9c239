"""Who keeps what two claim: an Active one, then the older, then the smaller UID."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from nephos_api.metadata import Resource

R = TypeVar("R", bound=Resource)


def winner(claimants: Iterable[R]) -> R:
    """Return the claimant that keeps what all of them claim; raises ValueError where there is none."""
    return min(claimants, key=rank)


def rank(claimant: Resource) -> tuple[bool, str, str]:
    """Return the order of precedence: the smallest wins."""
    phase = getattr(getattr(claimant, "status", None), "phase", None)
    return phase != "Active", claimant.metadata.creation_timestamp or "", claimant.uid
