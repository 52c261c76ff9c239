"""Networks of the provider's: which Hosts reach them, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from nephos_api.metadata import CATALOG_NAMESPACE
from nephos_api.resources import Host, Network
from nephos_api.resources.network import ExternalSegment, SegmentType
from nephos_operator.precedence import rank
from nephos_operator.verdict import Problem, Stalls, Waits

PROVIDER_MTU: Final = 1500
"""MTU in bytes of a provider's network whose spec names none (Ethernet's own)."""


def is_reached(segment: ExternalSegment, physical_networks: Collection[str], *, has_vlan: bool) -> bool:
    """Tell whether a host has the segment: the physical network, and 802.1Q devices where it is a VLAN."""
    return segment.physical_network in physical_networks and (segment.type is SegmentType.FLAT or has_vlan)


def reaches(host: Host, segment: ExternalSegment) -> bool:
    """Tell whether the Host has the segment."""
    return is_reached(segment, host.status.physical_networks, has_vlan=host.status.has_vlan)


def segment_problem(network: Network, hosts: Collection[Host], others: Iterable[Network]) -> Problem | None:
    """Return why the provider's network can't be used as its spec says, or None.

    ``others`` are all Networks of the same segment.
    """
    segment = network.spec.external
    if segment is None:
        return None
    better = [other for other in others if other.uid != network.uid and rank(other) < rank(network)]
    if better:
        return Stalls(
            "SegmentTaken",
            f"spec.external: {min(better, key=rank).key} is that segment of {segment.physical_network} already;"
            " use it, or name another segment",
        )
    if segment.type is SegmentType.VLAN and hosts and not any(host.status.has_vlan for host in hosts):
        return Stalls(
            "NoVLAN",
            "spec.external.type: no Host's kernel has 802.1Q devices, which VLAN needs; make the Network anew as Flat,"
            " on a physical network that carries that VLAN untagged",
        )
    if not any(reaches(host, segment) for host in hosts):
        return Waits(
            "NoPhysicalNetwork",
            f"waits for a Host that has the physical network {segment.physical_network}, which"
            " spec.external.physicalNetwork names (option --physical-network of its agent)",
        )
    return None


def offer_problem(network: Network) -> Stalls | None:
    """Return why the Network can't be offered to other projects as its spec says, or None."""
    spec = network.spec
    if network.metadata.namespace == CATALOG_NAMESPACE or not (spec.shared or spec.projects):
        return None
    field = "shared" if spec.shared else "projects"
    return Stalls(
        "NotInCatalog",
        f"spec.{field}: only Networks of {CATALOG_NAMESPACE} are offered to other projects; make it there",
    )
