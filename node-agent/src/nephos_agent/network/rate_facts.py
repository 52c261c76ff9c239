"""Limits of a port, as facts (see ``facts``).

Bandwidth is kept by queues, packets by elements of the filters. Only what a device sends can be queued: what comes in
to the guest is what its tap sends; what the guest sends is diverted through a funnel (an ifb device) and comes back
behind its queue, as if the tap had just received it.
"""

from __future__ import annotations

from dataclasses import dataclass

from nephos_api.resources.security_group import Direction


@dataclass(frozen=True)
class Funnel:
    """What one guest sends goes through this device."""

    device: str
    port_uid: str
    tap: str
    intact: bool = True

    @property
    def key(self) -> tuple[str, ...]:
        """One a name."""
        return ("funnel", self.device)


@dataclass(frozen=True)
class Shaper:
    """The queue of what the device sends: it holds what exceeds the rate, and drops what it cannot hold."""

    device: str
    kilobits_per_second: int

    @property
    def key(self) -> tuple[str, ...]:
        """One a device."""
        return ("shaper", self.device)


@dataclass(frozen=True)
class Diversion:
    """What the tap receives goes through the funnel first."""

    device: str
    funnel: str

    @property
    def key(self) -> tuple[str, ...]:
        """One a tap."""
        return ("diversion", self.device)


@dataclass(frozen=True)
class PacketLimit:
    """What exceeds the rate is dropped; ``direction`` as the guest sees it."""

    device: str
    direction: Direction
    packets_per_second: int

    @property
    def key(self) -> tuple[str, ...]:
        """One a direction."""
        return ("packets", self.device, self.direction)
