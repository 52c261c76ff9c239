"""Whether a Host is there to do, or to let go, and whether anything of a Server or FloatingIP may still be on it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from nephos_api.conditions import ConditionType, find, is_true, is_true_of
from nephos_api.resources import FloatingIP, Host, Port, Server
from nephos_api.resources.host import HostPhase
from nephos_operator.store import Store

SILENT_S: Final = 45.0
"""An address that is being given back may be given to another after its Host was Down for so long: the host may be cut
off from us and still answer, but the next holder announces itself, and people are not kept waiting for a dead host."""


def absence(host: Host | None) -> str | None:
    """Return why nobody hears of what the Host does, in words that go on with its name; None where its agent says."""
    if host is None or host.is_deleting:
        return "is gone"
    if host.spec.out_of_service:
        return "is out of service"
    return "is Down" if host.status.phase is HostPhase.DOWN else None


def has_let_go(server: Server, store: Store) -> bool:
    """Tell whether nothing of the Server runs anywhere.

    True where it was never placed, where its host says so (condition Released), where a person says that the host is
    dead (spec.outOfService), and where the Host was deleted.
    """
    if server.status.host is None:
        return True
    if server.is_deleting and is_true(server.status.conditions, ConditionType.RELEASED):
        return True
    host = store.hosts.get(server.status.host)
    return host is None or host.spec.out_of_service


def seconds_until_free(floating_ip: FloatingIP, store: Store, now: datetime) -> float | None:
    """Return after how many seconds nobody answers any more for a FloatingIP that is being deleted.

    0 where no host did, where its host says so (condition Released), and where that host is gone or out of service;
    None where the host is there and has not said it yet.
    """
    status = floating_ip.status
    host = store.hosts.get(status.host) if status.host is not None else None
    if host is None or host.spec.out_of_service or is_true(status.conditions, ConditionType.RELEASED):
        return 0
    if host.status.phase is not HostPhase.DOWN:
        return None
    ready = find(host.status.conditions, ConditionType.READY)
    since = [floating_ip.metadata.deletion_timestamp, ready.last_transition_time if ready is not None else None]
    silent_s = min((now - datetime.fromisoformat(moment)).total_seconds() for moment in since if moment)
    return max(0.0, SILENT_S - silent_s)


def has_unplugged(port: Port, server: Server, store: Store) -> bool:
    """Tell whether the Port is no NIC of the Server's guest any more.

    The host says so of the Port alone where the Server stays (condition Released). A deletion raises the generation
    without changing the binding, so that what the host said just before it still holds.
    """
    if port.spec.host is None or server.status.host is None or (server.is_deleting and has_let_go(server, store)):
        return True
    host = store.hosts.get(port.spec.host)
    if host is None or host.spec.out_of_service:
        return True
    generation, said = port.metadata.generation, port.status.conditions
    return is_true_of(said, ConditionType.RELEASED, generation) or (
        port.is_deleting and is_true_of(said, ConditionType.RELEASED, generation - 1)
    )
