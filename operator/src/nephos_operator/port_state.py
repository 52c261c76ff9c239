"""Where a Port stands between people and Servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nephos_api.conditions import ConditionStatus, ConditionType, find
from nephos_api.interfaces import is_nic, port_of
from nephos_api.metadata import OwnerReference
from nephos_api.resources import Port, Server
from nephos_api.resources.server import NetworkInterface

if TYPE_CHECKING:
    from nephos_operator.store import Store

UNBOUND: Final = "Unbound"
"""The reason of the Ready condition of a Port that is complete and that no Server uses."""


def bound_port(server: Server, interface: NetworkInterface, store: Store) -> Port | None:
    """Return the NIC's Port, if it is there and bound to this NIC."""
    port = store.ports.get(port_of(server, interface), server.metadata.namespace)
    return port if port is not None and is_nic(port, server, interface) else None


def server_owners(port: Port) -> tuple[OwnerReference, ...]:
    """Return the owner references that the operator gave the Port."""
    return tuple(owner for owner in port.metadata.owner_references if owner.kind == Server.info.kind)


def is_servers_own(port: Port) -> bool:
    """Tell whether the operator made the Port for a Server, and it goes with that; what a person made outlives it."""
    return bool(server_owners(port))


def can_be_bound(port: Port) -> bool:
    """Tell whether a Server may take the Port: it is complete, says so, and is nobody's."""
    said = find(port.status.conditions, ConditionType.READY)
    is_ready = said is not None and said.status is ConditionStatus.TRUE and said.reason == UNBOUND
    return is_ready and port.spec.server_uid is None and bool(port.spec.allocations) and not port.is_deleting
