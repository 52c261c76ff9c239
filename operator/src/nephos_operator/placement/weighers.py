"""Weighers: each says how well a Host suits a Server. The sum of the normalised weights decides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from nephos_api.resources.server_group import ServerGroupPolicy
from nephos_operator.placement.snapshot import HostView, Inventory, Request


@dataclass(frozen=True)
class Weigher:
    """How a Host is weighed, and how much that counts; weights are spread from 0 to 1 over the Hosts that are left."""

    name: str
    multiplier: float
    weigh: Callable[[Request, HostView], float]


def _free(inventory: Inventory, used: int) -> float:
    return inventory.capacity - used


def _members(policy: ServerGroupPolicy, sign: int) -> Callable[[Request, HostView], float]:
    return lambda request, host: sign * request.group_hosts.get(host.name, 0) if request.policy is policy else 0.0


WEIGHERS: Final = (
    Weigher("memory", 1.0, lambda _, host: _free(host.memory, host.used.memory_mib)),
    Weigher("vcpus", 1.0, lambda _, host: _free(host.vcpus, host.used.vcpus)),
    Weigher("disk", 1.0, lambda _, host: _free(host.disk, host.used.disk_gib)),
    Weigher("soft-affinity", 1.0, _members(ServerGroupPolicy.SOFT_AFFINITY, 1)),
    Weigher("soft-anti-affinity", 1.0, _members(ServerGroupPolicy.SOFT_ANTI_AFFINITY, -1)),
    Weigher("io-load", -1.0, lambda _, host: host.used.building),
)
"""Nova's weighers and multipliers, as far as these kinds reach."""


def best(request: Request, hosts: Sequence[HostView]) -> HostView:
    """Return the Host that suits best; of equals, one that depends on the Server, so that they spread.

    Raises ValueError where there is no Host.
    """
    totals = {host.name: 0.0 for host in hosts}
    for weigher in WEIGHERS:
        weights = [weigher.weigh(request, host) for host in hosts]
        low, high = min(weights), max(weights)
        if high > low:
            for host, weight in zip(hosts, weights, strict=True):
                totals[host.name] += weigher.multiplier * (weight - low) / (high - low)
    return max(hosts, key=lambda host: (round(totals[host.name], 9), _lot(request.server_uid, host.name)))


def _lot(server_uid: str, host: str) -> bytes:
    return hashlib.blake2b(f"{server_uid}/{host}".encode(), digest_size=8).digest()
