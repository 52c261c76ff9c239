"""What a decision of placement looks at: the request, and each Host with what is promised on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from nephos_api.resources import Host
from nephos_api.resources.host import HostPhase
from nephos_api.resources.network import ExternalSegment
from nephos_api.resources.server_group import ServerGroupPolicy
from nephos_operator.ledger import Ledger, Sums
from nephos_operator.references import Resolved


@dataclass(frozen=True)
class Inventory:
    """What a host has of one class of resource (OpenStack Placement's terms)."""

    total: int
    reserved: int
    allocation_ratio: float

    def fits(self, used: int, requested: int) -> bool:
        """Tell whether used + requested ≤ (total − reserved) × ratio, and the request alone ≤ total."""
        return requested <= self.total and used + requested <= self.capacity

    @cached_property
    def capacity(self) -> float:
        """What may be promised in all."""
        return (self.total - self.reserved) * self.allocation_ratio


@dataclass(frozen=True)
class Request:
    """What a Server asks of a Host."""

    server_uid: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    architecture: str = "x86_64"
    machine_type: str | None = None
    firmware: str = "BIOS"
    availability_zone: str | None = None
    host_labels: Mapping[str, str] = field(default_factory=dict)
    required_traits: frozenset[str] = frozenset()
    forbidden_traits: frozenset[str] = frozenset()
    policy: ServerGroupPolicy | None = None
    group_hosts: Mapping[str, int] = field(default_factory=dict)
    """How many other members of its group each host has."""
    segments: frozenset[ExternalSegment] = frozenset()
    """Networks of the provider's that it has a NIC on."""
    refused_by: frozenset[str] = frozenset()
    """Hosts that refused it in this search."""


@dataclass(frozen=True)
class HostView:
    """A Host, as filters and weighers see it."""

    name: str
    is_up: bool
    is_enabled: bool
    availability_zone: str
    labels: Mapping[str, str]
    traits: frozenset[str]
    architecture: str | None
    machine_types: frozenset[str]
    firmwares: frozenset[str]
    vcpus: Inventory
    memory: Inventory
    disk: Inventory
    most_servers: int
    """0: no bound."""
    used: Sums
    """What is promised there: the ledger's own object, which changes as claims come and go."""
    physical_networks: frozenset[str] = frozenset()
    has_vlan: bool = False


def view(host: Host, used: Sums) -> HostView:
    """Return the Host with what is promised on it."""
    spec, status = host.spec, host.status
    capacity, reserved, ratio = status.capacity, spec.reserved, spec.allocation_ratio
    return HostView(
        name=host.metadata.name,
        is_up=status.phase in (HostPhase.UP, HostPhase.DISABLED)
        and status.address is not None
        and not host.is_deleting,
        is_enabled=spec.enabled and not spec.out_of_service,
        availability_zone=spec.availability_zone,
        labels=host.metadata.labels,
        traits=frozenset(status.traits),
        architecture=status.architecture,
        machine_types=frozenset(status.machine_types),
        firmwares=frozenset(status.firmwares),
        vcpus=Inventory(capacity.vcpus if capacity else 0, reserved.vcpus, ratio.vcpus),
        memory=Inventory(capacity.memory_mib if capacity else 0, reserved.memory_mib, ratio.memory),
        disk=Inventory(capacity.disk_gib if capacity else 0, reserved.disk_gib, ratio.disk),
        most_servers=capacity.servers if capacity else 0,
        used=used,
        physical_networks=frozenset(status.physical_networks),
        has_vlan=status.has_vlan,
    )


class HostViews:
    """The views of all Hosts; one is made anew when its Host changes, what is promised there is read through."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._views: dict[str, tuple[Host, HostView]] = {}

    def of(self, hosts: Iterable[Host]) -> list[HostView]:
        """Return the views of these Hosts."""
        return [self._view(host) for host in hosts]

    def _view(self, host: Host) -> HostView:
        name = host.metadata.name
        held = self._views.get(name)
        if held is None or held[0] is not host:
            held = self._views[name] = host, view(host, self._ledger.on_host(name))
        return held[1]


def request(
    server_uid: str,
    resolved: Resolved,
    *,
    availability_zone: str | None,
    group_hosts: Mapping[str, int],
    refused_by: frozenset[str],
) -> Request:
    """Return what a Server with these references asks of a Host."""
    flavor, properties = resolved.flavor.spec, resolved.image.spec.properties
    return Request(
        server_uid=server_uid,
        vcpus=flavor.vcpus,
        memory_mib=flavor.memory_mib,
        disk_gib=flavor.disk_gib,
        architecture=properties.architecture,
        machine_type=properties.machine_type,
        firmware=properties.firmware,
        availability_zone=availability_zone,
        host_labels=flavor.host_labels,
        required_traits=frozenset(flavor.required_traits),
        forbidden_traits=frozenset(flavor.forbidden_traits),
        policy=resolved.group.spec.policy if resolved.group else None,
        group_hosts=group_hosts,
        segments=frozenset(plan.network.spec.external for plan in resolved.interfaces if plan.network.spec.external),
        refused_by=refused_by,
    )
