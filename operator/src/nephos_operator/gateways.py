"""Which Host carries a Router's own external addresses: one that can, the least loaded, kept while it stays fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nephos_api.resources import Host
from nephos_api.resources.host import HostPhase
from nephos_api.resources.network import ExternalSegment
from nephos_operator.host_release import absence
from nephos_operator.provider import reaches


def is_in_service(host: Host) -> bool:
    """Tell whether the Host may be a gateway to whatever it reaches."""
    is_up = host.status.phase is HostPhase.UP and host.status.address is not None
    return is_up and host.spec.enabled and not host.is_deleting


def unfitness(host: Host | None, segment: ExternalSegment) -> str | None:
    """Return why the Host can't be a gateway to the segment, in words that go on with its name; None where it can."""
    absent = absence(host)
    if host is None or absent:
        return absent
    if host.status.phase is not HostPhase.UP or not host.spec.enabled:
        return "is Disabled"
    if not reaches(host, segment):
        return f"does not reach physical network {segment.physical_network}"
    return None if host.status.address else "has no address on the underlay"


def choose(
    current: Host | None, hosts: Iterable[Host], segment: ExternalSegment, load: Callable[[str], int]
) -> Host | None:
    """Return the gateway Host, None where there is none.

    The current one stays while it is fit, and while no other is, unless it is surely dead: then it serves nobody.
    ``load`` tells how many Routers a Host of that name carries to the outside.
    """
    if current is not None and unfitness(current, segment) is None:
        return current
    fit = [host for host in hosts if unfitness(host, segment) is None]
    if fit:
        return min(fit, key=lambda host: (load(host.metadata.name), host.metadata.name))
    may_serve = current is not None and not current.spec.out_of_service and reaches(current, segment)
    return current if may_serve else None
