"""From a port's limits to facts. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nephos_agent.network.model import HostPort
from nephos_agent.network.names import funnel_name, tap_name
from nephos_agent.network.rate_facts import Diversion, Funnel, PacketLimit, Shaper
from nephos_api.resources.security_group import Direction

LimitFact = Funnel | Shaper | Diversion | PacketLimit
_MOST_KBIT_S: Final = (2**32 - 1) // 125
"""34 Gbit/s: what the kernel's queue can count in its 32 bits of bytes a second. No tap reaches it."""


def limit_facts(port: HostPort, *, is_open: bool) -> Iterator[LimitFact]:
    """Yield what keeps the port's limits; ``is_open``: its tap is on the bridge."""
    if not port.is_enabled:
        return
    tap, funnel = tap_name(port.uid), funnel_name(port.uid)
    for direction, limit in ((Direction.INGRESS, port.ingress), (Direction.EGRESS, port.egress)):
        if limit.packets_per_second is not None:
            yield PacketLimit(tap, direction, limit.packets_per_second)
    if port.egress.kilobits_per_second is not None:
        yield Funnel(funnel, port.uid, tap)
        yield Shaper(funnel, min(port.egress.kilobits_per_second, _MOST_KBIT_S))
        if is_open:
            yield Diversion(tap, funnel)
    if port.ingress.kilobits_per_second is not None and is_open:
        yield Shaper(tap, min(port.ingress.kilobits_per_second, _MOST_KBIT_S))


def has_packet_limit(port: HostPort) -> bool:
    """Tell whether packets of the port are counted."""
    return port.ingress.packets_per_second is not None or port.egress.packets_per_second is not None
