"""VXLAN network identifiers: one a Network, derived from its UID so that two writers rarely choose the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

FIRST: Final = 4096
"""Smaller ones are left to people: VLAN gateways and other overlays like to use them."""
LAST: Final = 2**24 - 1
"""24 bits (RFC 7348)."""


def choose(uid: str, is_taken: Callable[[int], bool]) -> int | None:
    """Return a free identifier for the Network of that UID, or None where all are taken."""
    span = LAST - FIRST + 1
    start = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big") % span
    for step in range(span):
        candidate = FIRST + (start + step) % span
        if not is_taken(candidate):
            return candidate
    return None
