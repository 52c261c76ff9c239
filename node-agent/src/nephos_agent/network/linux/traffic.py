"""Reads what passed the ports of this host: one dump of the links, one of the queues, one listing a reason of drops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from nephos_agent.network.facts import GuardSet, Tap
from nephos_agent.network.linux.kernel import Kernel
from nephos_agent.network.linux.link_reader import Counters
from nephos_agent.network.names import funnel_name
from nephos_agent.network.traffic import DropReason, Passed, PortTraffic
from nephos_api.resources.security_group import Direction

_REASONS: Final = {
    GuardSet.SPOOFED: (Direction.EGRESS, DropReason.SPOOFED),
    GuardSet.DISABLED: (Direction.EGRESS, DropReason.DISABLED),
    GuardSet.REFUSED_EGRESS: (Direction.EGRESS, DropReason.NOT_ALLOWED),
    GuardSet.REFUSED_INGRESS: (Direction.INGRESS, DropReason.NOT_ALLOWED),
    GuardSet.CROWDED: (Direction.EGRESS, DropReason.TOO_MANY_FLOWS),
    GuardSet.LIMITED: (Direction.EGRESS, DropReason.PACKET_LIMIT),
}


def read(kernel: Kernel, taps: Iterable[Tap]) -> tuple[PortTraffic, ...]:
    """Return what passed the taps."""
    counters = kernel.tenants.counters()
    dropped = kernel.tables.read_drops()
    queues = kernel.shaping.dropped()
    by_device: dict[str, list[tuple[GuardSet, int]]] = {}
    for (device, reason), packets in dropped.items():
        by_device.setdefault(device, []).append((reason, packets))

    def queue(device: str) -> int | None:
        link = counters.get(device)
        return queues.get(link.index) if link else None

    def drops(tap: Tap, link: Counters) -> Iterator[tuple[Direction, DropReason, int]]:
        for reason, packets in by_device.get(tap.device, ()):
            yield (*_REASONS[reason], packets)
        of_queue = {Direction.INGRESS: queue(tap.device), Direction.EGRESS: queue(funnel_name(tap.port_uid))}
        for direction, overflow in of_queue.items():
            if overflow is not None:
                yield direction, DropReason.BANDWIDTH_LIMIT, overflow
        yield Direction.INGRESS, DropReason.NIC, link.sent_dropped
        yield Direction.EGRESS, DropReason.NIC, link.received_dropped

    return tuple(
        PortTraffic(
            tap.port_uid,
            ingress=Passed(link.sent_packets, link.sent_bytes),
            egress=Passed(link.received_packets, link.received_bytes),
            drops=tuple(sorted(drops(tap, link))),
        )
        for tap in taps
        if (link := counters.get(tap.device))
    )
