"""Whether a Server fits on this host: the agent is the last judge. Pure.

The rule is OpenStack Placement's: used + requested ≤ (total − reserved) × allocation ratio.
"""

from __future__ import annotations

from collections.abc import Iterable

from nephos_api.resources.host import HostSpec, Resources
from nephos_api.resources.server import ServerFlavor


def total(flavors: Iterable[ServerFlavor]) -> Resources:
    """Return what Servers of those flavors use together."""
    sizes = tuple(flavors)
    return Resources(
        vcpus=sum(size.vcpus for size in sizes),
        memory_mib=sum(size.memory_mib for size in sizes),
        disk_gib=sum(size.disk_gib for size in sizes),
        servers=len(sizes),
    )


def refusal(request: ServerFlavor, used: Resources, capacity: Resources, host: HostSpec) -> str | None:
    """Return why the request does not fit beside what is used, in a sentence; None where it fits."""
    ratio, reserved = host.allocation_ratio, host.reserved
    for name, unit, requested, in_use, size, kept, factor in (
        ("vCPUs", "", request.vcpus, used.vcpus, capacity.vcpus, reserved.vcpus, ratio.vcpus),
        ("memory", " MiB", request.memory_mib, used.memory_mib, capacity.memory_mib, reserved.memory_mib, ratio.memory),
        ("disk", " GiB", request.disk_gib, used.disk_gib, capacity.disk_gib, reserved.disk_gib, ratio.disk),
    ):
        bound = (size - kept) * factor
        if in_use + requested > bound:
            return (
                f"{name}: {requested}{unit} requested, {max(0, int(bound) - in_use)}{unit} free of {int(bound)}{unit}"
            )
    if capacity.servers and used.servers >= capacity.servers:
        return f"servers: the host takes {capacity.servers} at most"
    return None
