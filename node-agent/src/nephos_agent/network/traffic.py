"""What passed a port and what was dropped of it, as the host counted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nephos_api.resources.security_group import Direction


class DropReason(StrEnum):
    """Why packets of a port were dropped; a closed list, since it is a label of a metric."""

    SPOOFED = "Spoofed"
    """The guest spoke with an address that is not its own, or as a server or router."""
    DISABLED = "Disabled"
    """The Port is switched off."""
    NOT_ALLOWED = "NotAllowed"
    """No rule of its security groups allows it."""
    TOO_MANY_FLOWS = "TooManyFlows"
    """It began more connections than a port may, several thousand a second."""
    PACKET_LIMIT = "PacketLimit"
    """More packets a second than its QoS allows."""
    BANDWIDTH_LIMIT = "BandwidthLimit"
    """The queue of its bandwidth was full."""
    NIC = "NIC"
    """The guest did not take them, or gave them to a NIC that is not ready."""


@dataclass(frozen=True)
class Passed:
    """Since the NIC's tap was made."""

    packets: int
    size_bytes: int


@dataclass(frozen=True)
class PortTraffic:
    """Directions are as the guest sees them."""

    port_uid: str
    ingress: Passed
    egress: Passed
    drops: tuple[tuple[Direction, DropReason, int], ...]
    """Packets by direction and reason. Where a counter has both directions, the one that it mostly is."""
