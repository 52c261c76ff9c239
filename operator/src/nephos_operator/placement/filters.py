"""Filters: each says whether a Host can take a Server at all. The names are what a user reads in the counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nephos_api.resources.server_group import ServerGroupPolicy
from nephos_operator.placement.snapshot import HostView, Request
from nephos_operator.provider import is_reached

IO_LOAD_LIMIT: Final = 8
"""Servers that one Host builds at a time (Nova's max_io_ops_per_host)."""

BUSY: Final = "io-load"
"""The filter whose refusal passes by itself."""

Filter = Callable[[Request, HostView], bool]

FILTERS: Final[dict[str, Filter]] = {
    "refused-before": lambda request, host: host.name not in request.refused_by,
    "not-up": lambda _, host: host.is_up,
    "disabled": lambda _, host: host.is_enabled,
    "availability-zone": lambda request, host: request.availability_zone in (None, host.availability_zone),
    "labels": lambda request, host: request.host_labels.items() <= host.labels.items(),
    "traits": lambda request, host: (
        request.required_traits <= host.traits and not request.forbidden_traits & host.traits
    ),
    "image-properties": lambda request, host: (
        request.architecture == host.architecture
        and (request.machine_type is None or request.machine_type in host.machine_types)
        and (request.firmware == "BIOS" or request.firmware in host.firmwares)
    ),
    "physical-network": lambda request, host: all(
        is_reached(segment, host.physical_networks, has_vlan=host.has_vlan) for segment in request.segments
    ),
    "vcpus": lambda request, host: host.vcpus.fits(host.used.vcpus, request.vcpus),
    "memory": lambda request, host: host.memory.fits(host.used.memory_mib, request.memory_mib),
    "disk": lambda request, host: host.disk.fits(host.used.disk_gib, request.disk_gib),
    "number-of-servers": lambda _, host: not host.most_servers or host.used.servers < host.most_servers,
    "affinity": lambda request, host: (
        request.policy is not ServerGroupPolicy.AFFINITY or not request.group_hosts or host.name in request.group_hosts
    ),
    "anti-affinity": lambda request, host: (
        request.policy is not ServerGroupPolicy.ANTI_AFFINITY or host.name not in request.group_hosts
    ),
    BUSY: lambda _, host: host.used.building < IO_LOAD_LIMIT,
}
"""In order: a Host counts for the first that refuses it."""


def refused_by(request: Request, host: HostView) -> str | None:
    """Return the name of the first filter that refuses the Host, or None where all let it pass."""
    for name, lets_pass in FILTERS.items():
        if not lets_pass(request, host):
            return name
    return None
