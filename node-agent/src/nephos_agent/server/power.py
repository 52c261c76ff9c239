"""Whether a Server should run, and whether it does. Pure: everything is decided from what the API and the host say."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from nephos_agent.compute.protocol import Domain, DomainState, PauseReason, StopReason
from nephos_api.conditions import ConditionType, find, is_true
from nephos_api.resources.server import RestartPolicy, Server, ServerPhase, ServerState, ServerStatus

POWERING_OFF: Final = "PoweringOff"
"""Reason of the condition Reconciling while the guest is asked to shut down; a power-off that began is finished."""


class Power(StrEnum):
    """What should be."""

    ON = "On"
    OFF = "Off"
    GONE = "Gone"


class Found(StrEnum):
    """What is."""

    ABSENT = "Absent"
    OFF = "Off"
    STARTING = "Starting"
    """A start has not come to its end; perhaps nobody is at it any more."""
    PAUSED = "Paused"
    """Started and yet to be resumed, or paused by somebody behind our back."""
    DISK_ERROR = "DiskError"
    """Paused because its disk can't be read or written."""
    BUSY = "Busy"
    """Paused for a while by something that will resume it."""
    RUNNING = "Running"


_PAUSED: Final = {
    PauseReason.STARTING: Found.STARTING,
    PauseReason.REQUESTED: Found.PAUSED,
    PauseReason.DISK_ERROR: Found.DISK_ERROR,
    PauseReason.OTHER: Found.BUSY,
}
_RESTARTS: Final = {
    StopReason.GUEST: frozenset({RestartPolicy.ALWAYS}),
    StopReason.DESTROYED: frozenset({RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE}),
    StopReason.FAILED: frozenset({RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE}),
    StopReason.NEVER_STARTED: frozenset(RestartPolicy),  # a host that comes back starts what it had
}
"""The restart policies under which a Server that ended in that way starts again by itself."""
_HAD_RUN: Final = frozenset(
    {
        ServerPhase.ACTIVE,
        ServerPhase.PAUSED,
        ServerPhase.REBOOT,
        ServerPhase.HARD_REBOOT,
        ServerPhase.UNKNOWN,
    }
)
"""Phases from which "off" means that it ended, rather than that we have not started it yet."""


def found(domain: Domain | None) -> Found:
    """Tell what the hypervisor's answer means here."""
    if domain is None:
        return Found.ABSENT
    if domain.state is DomainState.PAUSED:
        return _PAUSED[domain.pause_reason or PauseReason.REQUESTED]
    return Found.RUNNING if domain.state is DomainState.RUNNING else Found.OFF


def is_powering_off(status: ServerStatus) -> bool:
    """Tell whether a power-off was begun and is not over."""
    condition = find(status.conditions, ConditionType.RECONCILING)
    return (
        condition is not None
        and condition.reason == POWERING_OFF
        and is_true(status.conditions, ConditionType.RECONCILING)
    )


def ended_by_itself(server: Server, domain: Domain | None) -> bool:
    """Tell whether the guest ran when we last looked, and ended without our asking."""
    return (
        found(domain) is Found.OFF
        and server.spec.state is ServerState.ACTIVE
        and server.status.phase in _HAD_RUN
        and not is_powering_off(server.status)
    )


def is_restart(server: Server, domain: Domain | None) -> bool:
    """Tell whether the Server ended by itself and its policy starts it again."""
    return (
        ended_by_itself(server, domain)
        and domain is not None
        and server.spec.restart_policy in _RESTARTS[domain.stop_reason or StopReason.FAILED]
    )


def wanted(server: Server, domain: Domain | None, *, start_asked: bool = False) -> Power:
    """Tell whether the Server should run now; ``start_asked``: a ServerAction wants it to."""
    if server.is_deleting:
        return Power.GONE
    is_on = found(domain) not in {Found.ABSENT, Found.OFF}
    if server.spec.state is ServerState.SHUTOFF or (is_powering_off(server.status) and is_on):
        return Power.OFF
    if start_asked:
        return Power.ON
    if server.status.stopped_at_generation == server.metadata.generation:
        return Power.OFF
    if ended_by_itself(server, domain) and not is_restart(server, domain):
        return Power.OFF
    return Power.ON


def stopped_at_generation(server: Server, domain: Domain | None, power: Power) -> int | None:
    """Return the generation to remember for a Server that is off although ``spec.state`` says Active."""
    if server.spec.state is not ServerState.ACTIVE:
        return None
    generation = server.metadata.generation
    is_off = found(domain) in {Found.ABSENT, Found.OFF}
    was_remembered = server.status.stopped_at_generation == generation
    if power is Power.OFF:
        return generation if is_off or was_remembered else None
    # It may have ended since it was decided that it runs: what says Shutoff says at once that it stays so.
    has_ended = power is Power.ON and ended_by_itself(server, domain) and not is_restart(server, domain)
    return generation if has_ended or (power is Power.ON and is_off and was_remembered) else None


def restart_delay_s(restarts: int) -> float:
    """Return how long a guest that keeps ending is left off before its next start, after so many restarts."""
    return 0.0 if restarts == 0 else float(min(10 * 2 ** min(restarts - 1, 10), 300))
