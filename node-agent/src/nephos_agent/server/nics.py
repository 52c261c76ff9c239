"""Which Ports are NICs of a Server, which ones leave it, and where each stands. Pure.

The Server's list decides, not the Ports: a Port that the list names no more is taken from the guest, and then its
status says Released with the generation of the spec that it was released at. Only then the operator may give it to
another Server, or let it go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from nephos_agent.compute.protocol import Domain, DomainState, Nic
from nephos_agent.network.names import tap_name
from nephos_api.conditions import ConditionType, is_true_of
from nephos_api.interfaces import is_used, port_of
from nephos_api.resources.port import Port
from nephos_api.resources.server import Server


class PortState(StrEnum):
    """Where a Port of a Server stands on this host."""

    PLUGGED = "Plugged"
    """Frames pass."""
    DISABLED = "Disabled"
    """It is plugged, and people switched it off."""
    WAITING = "Waiting"
    """It is yet to be plugged."""
    OFF = "Off"
    """Its Server is off."""
    LEAVING = "Leaving"
    """The guest has not let go of it yet."""
    RELEASED = "Released"
    """Nothing of it is left here, and it is not the Server's any more."""


@dataclass(frozen=True)
class Nics:
    """The Ports of a Server on this host."""

    listed: tuple[Port, ...]
    """Those that the Server lists, in its order."""
    missing: tuple[str, ...]
    """Names of Ports that the Server lists and that are not here yet."""
    leaving: tuple[Port, ...]
    """Those that the Server lists no more."""

    def unknown(self, domain: Domain | None) -> tuple[Nic, ...]:
        """Return the NICs that the domain keeps although no Port of them is known.

        While the API does not show all Ports of the Server, a NIC may well be one of those that are missing.
        """
        if domain is None or not self.missing:
            return ()
        known = {tap_name(port.uid) for port in (*self.listed, *self.leaving)}
        return tuple(nic for nic in domain.nics if nic.tap not in known)

    def fit(self, domain: Domain | None) -> bool:
        """Tell whether the running domain has the NICs that it should have, all with a link."""
        if domain is None:
            return False
        wanted = {tap_name(port.uid) for port in self.listed} | {nic.tap for nic in self.unknown(domain)}
        return wanted == {nic.tap for nic in domain.nics} and all(nic.is_linked for nic in domain.nics)

    def is_up_to_guest(self, domain: Domain | None) -> bool:
        """Tell whether all that is left to do is the guest's: to let go of NICs that have lost their link."""
        if domain is None:
            return False
        kept = tuple(nic for nic in domain.nics if nic.is_linked)
        return kept != domain.nics and self.fit(replace(domain, nics=kept))


def nics(server: Server, ports: Mapping[str, Port]) -> Nics:
    """Sort the Server's Ports; ``ports`` by name, of its namespace."""
    names = tuple(port_of(server, nic) for nic in server.spec.networks)
    own = {name: port for name, port in ports.items() if port.spec.server_uid == server.uid}
    used = {name: port for name, port in own.items() if is_used(port, server)}
    return Nics(
        listed=tuple(used[name] for name in names if name in used),
        missing=tuple(name for name in names if name not in used),
        leaving=tuple(port for name, port in own.items() if name not in used),
    )


def port_state(port: Port, domain: Domain | None, *, leaving: bool = False, plugged: Collection[str] = ()) -> PortState:
    """Tell where the Port stands; ``plugged``: UIDs of the ports that are filtered and bridged."""
    linked = {nic.tap: nic.is_linked for nic in domain.nics} if domain else {}
    tap = tap_name(port.uid)
    if leaving:
        return PortState.LEAVING if tap in linked else PortState.RELEASED
    if domain is None or domain.state in (DomainState.SHUTOFF, DomainState.CRASHED):
        return PortState.OFF
    if not linked.get(tap) or port.uid not in plugged:
        return PortState.WAITING
    return PortState.PLUGGED if port.spec.enabled else PortState.DISABLED


def is_released(port: Port) -> bool:
    """Tell whether the Port was released as it is bound now; what was said of an earlier binding does not count."""
    return is_true_of(port.status.conditions, ConditionType.RELEASED, port.metadata.generation)
