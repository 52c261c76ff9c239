"""What a host's network can do, beside what every Linux can."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Abilities:
    """As its kernel says, once, when the agent starts."""

    has_vlan: bool = False
    """Whether there are 802.1Q devices."""
    underlay_mtu: int | None = None
    """MTU in bytes of the interface that carries the underlay; None where none has the address."""
