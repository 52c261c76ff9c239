"""What the agent says of a Server and its Ports. Pure: the same observation gives the same status, so no write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from nephos_agent.compute.protocol import Domain, StopReason
from nephos_agent.conditions import released, sentence, take_over
from nephos_agent.server.nics import PortState
from nephos_agent.server.power import (
    POWERING_OFF,
    Found,
    Power,
    found,
    stopped_at_generation,
)
from nephos_api.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    find,
    is_true,
    ready,
    reconciling,
    stalled,
)
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.port import Port, PortPhase, PortStatus
from nephos_api.resources.server import PlacementRefusal, Server, ServerPhase, ServerState, ServerStatus

_ENDED: Final = {
    StopReason.GUEST: ("GuestPoweredOff", "The guest powered itself off"),
    StopReason.DESTROYED: ("PowerCut", "Its power was cut on the host"),
    StopReason.FAILED: ("GuestFailed", "The guest crashed, or its QEMU died"),
    StopReason.NEVER_STARTED: ("Shutoff", "It was found off"),
}
_START_AGAIN: Final = "; make a ServerAction with action Start to start it again"
_OWNED: Final = {
    "phase",
    "phase_transitions",
    "conditions",
    "observed_generation",
    "stopped_at_generation",
    "placement_refused",
}
_UNSTARTED: Final = frozenset({None, ServerPhase.BUILD, ServerPhase.SHUTOFF, ServerPhase.ERROR})
_PORT_PHASES: Final = {
    PortState.PLUGGED: PortPhase.ACTIVE,
    PortState.DISABLED: PortPhase.DOWN,
    PortState.WAITING: PortPhase.BUILD,
    PortState.OFF: PortPhase.DOWN,
    PortState.LEAVING: PortPhase.DOWN,
    PortState.RELEASED: PortPhase.DOWN,
}
_PORT_RELEASED: Final = "The host holds nothing of it any more."
_REBOOTING: Final = {
    ServerPhase.REBOOT: "The guest is asked to reboot",
    ServerPhase.HARD_REBOOT: "Its power is being reset",
}


Fault = TemporaryFault | PermanentFault


@dataclass(frozen=True)
class Outcome:
    """What a reconcile found and did."""

    domain: Domain | None
    power: Power
    fault: Fault | None = None
    """Why it could not go on."""
    rebooting: ServerPhase | None = None
    """Reboot or HardReboot while a ServerAction does that."""
    powering_off: bool = False
    """The guest is asked to shut down."""
    released: bool = False
    """Nothing of it is left on this host."""
    waits_for_restart: bool = False
    """The guest keeps ending; it is left off for a while."""


def server_status(server: Server, outcome: Outcome, now: str) -> ServerStatus:
    """Return the status; equal to the old one where nothing changed."""
    phase = _phase(server, outcome)
    old = server.status
    transitions = old.phase_transitions
    if phase != old.phase and phase is not None:
        transitions = transitions | {phase.value: now}
    return old.model_copy(
        update={
            "phase": phase,
            "phase_transitions": transitions,
            "conditions": take_over(old.conditions, _conditions(server, outcome, phase, now), now),
            "observed_generation": server.metadata.generation,
            "stopped_at_generation": stopped_at_generation(server, outcome.domain, outcome.power),
            "placement_refused": None,
        }
    )


def body(status: ServerStatus) -> dict[str, Any]:
    """Return the agent's part of the status, as it is applied."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True, include=_OWNED)


def refused(epoch: int, reason: str) -> dict[str, Any]:
    """Return the body that refuses a placement."""
    return {"placementRefused": PlacementRefusal(epoch=epoch, reason=reason).to_wire()}


def port_status(port: Port, state: PortState, now: str, fault: Fault | None = None) -> PortStatus:
    """Return the status of a Server's Port; equal to the old one where nothing changed.

    ``fault``: why a Port that waits could not be plugged.
    """
    generation = port.metadata.generation
    conditions = _port_conditions(state, fault, now, generation)
    if state is PortState.RELEASED:
        conditions = (*conditions, released(_PORT_RELEASED, now, generation))
    elif is_true(port.status.conditions, ConditionType.RELEASED):
        conditions = (*conditions, released("A Server uses it.", now, generation, ConditionStatus.FALSE))
    return port.status.model_copy(
        update={
            "phase": _PORT_PHASES[state],
            "conditions": take_over(port.status.conditions, conditions, now),
            "observed_generation": generation,
        }
    )


def _port_conditions(state: PortState, fault: Fault | None, now: str, generation: int) -> tuple[Condition, ...]:
    match state:
        case PortState.PLUGGED:
            return ready("Active", now=now, generation=generation)
        case PortState.DISABLED:
            return ready("Disabled", "Nothing passes while spec.enabled is false.", now=now, generation=generation)
        case PortState.OFF:
            return ready("Down", "Its Server is off.", now=now, generation=generation)
        case PortState.RELEASED:
            return ready("Unplugged", "Its Server uses it no more.", now=now, generation=generation)
        case PortState.LEAVING:
            message = "The guest is asked to let go of it, and does so while it runs, or when it is rebooted."
            return reconciling("Unplugging", message, now=now, generation=generation)
        case PortState.WAITING:
            reason, message = (fault.reason, sentence(fault.message)) if fault else ("Plugging", "It is plugged in.")
            return reconciling(reason, message, now=now, generation=generation)


def port_body(status: PortStatus) -> dict[str, Any]:
    """Return the agent's part of a Port's status, as it is applied."""
    return status.to_wire()


def _phase(server: Server, outcome: Outcome) -> ServerPhase | None:
    old, state = server.status.phase, found(outcome.domain)
    if outcome.power is Power.GONE:
        return ServerPhase.DELETING
    if state is Found.RUNNING:
        return outcome.rebooting or ServerPhase.ACTIVE
    if isinstance(outcome.fault, PermanentFault):
        return ServerPhase.ERROR
    if state in {Found.ABSENT, Found.OFF}:
        is_building = outcome.power is Power.ON and old in {None, ServerPhase.BUILD, ServerPhase.ERROR}
        if outcome.fault and outcome.power is Power.OFF and old in {None, ServerPhase.BUILD}:
            is_building = True
        return ServerPhase.BUILD if is_building else ServerPhase.SHUTOFF
    return (old or ServerPhase.BUILD) if old in _UNSTARTED else ServerPhase.PAUSED


def _conditions(server: Server, outcome: Outcome, phase: ServerPhase | None, now: str) -> tuple[Condition, ...]:
    generation = server.metadata.generation
    if phase is ServerPhase.DELETING:
        return _deleting(outcome, now, generation)
    if outcome.fault and phase is not ServerPhase.ACTIVE:
        make = stalled if isinstance(outcome.fault, PermanentFault) else reconciling
        return make(outcome.fault.reason, sentence(outcome.fault.message), now=now, generation=generation)
    if phase is ServerPhase.ACTIVE and outcome.powering_off:
        message = "The guest is asked to shut down; its power is cut if it takes too long."
        return reconciling(POWERING_OFF, message, now=now, generation=generation)
    if phase is ServerPhase.ACTIVE:
        return ready("Active", now=now, generation=generation)
    if phase in _REBOOTING:
        return reconciling(phase.value, _REBOOTING[phase] + ".", now=now, generation=generation)
    if phase is ServerPhase.SHUTOFF:
        return _shutoff(server, outcome, now)
    if phase is ServerPhase.PAUSED:
        return _paused(outcome, now, generation)
    return reconciling("Building", "The host builds the Server.", now=now, generation=generation)


def _deleting(outcome: Outcome, now: str, generation: int) -> tuple[Condition, ...]:
    reason, message = ("Deleting", "The host removes the Server.")
    if outcome.fault:
        reason, message = outcome.fault.reason, sentence(outcome.fault.message)
    conditions = reconciling(reason, message, now=now, generation=generation)
    if not outcome.released:
        return conditions
    return (*conditions, released("The host holds nothing of the Server any more.", now, generation))


def _shutoff(server: Server, outcome: Outcome, now: str) -> tuple[Condition, ...]:
    generation, old = server.metadata.generation, server.status
    if outcome.waits_for_restart:
        message = "The guest keeps ending; it is started again in a while."
        return reconciling("RestartBackoff", message, now=now, generation=generation)
    if outcome.power is Power.ON:
        return reconciling("Starting", "The host starts the Server.", now=now, generation=generation)
    if server.spec.state is ServerState.SHUTOFF:
        return ready("Shutoff", now=now, generation=generation)
    kept = find(old.conditions, ConditionType.READY)
    if kept and old.phase is ServerPhase.SHUTOFF and old.stopped_at_generation == generation:
        # how it ended is known only until libvirtd restarts
        return ready(kept.reason, kept.message, now=now, generation=generation)
    stop_reason = outcome.domain.stop_reason if outcome.domain else None
    reason, message = _ENDED[stop_reason or StopReason.NEVER_STARTED]
    return ready(reason, f"{message}{_START_AGAIN}.", now=now, generation=generation)


def _paused(outcome: Outcome, now: str, generation: int) -> tuple[Condition, ...]:
    if found(outcome.domain) is Found.DISK_ERROR:
        message = "Its disk can't be read or written on the host (is it full?); it goes on when that works again."
        return reconciling("DiskError", message, now=now, generation=generation)
    return reconciling("Paused", "It is paused on the host.", now=now, generation=generation)
