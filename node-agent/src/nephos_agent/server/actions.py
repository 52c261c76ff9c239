"""What a ServerAction asks for now. Pure; each is carried out at most once, across restarts of the agent too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from nephos_agent.compute.protocol import Domain
from nephos_agent.server.power import Found, found
from nephos_api.resources.server import Server, ServerState
from nephos_api.resources.server_action import ActionType, RebootType, ServerAction, ServerActionPhase

_FINISHED = frozenset({ServerActionPhase.SUCCEEDED, ServerActionPhase.FAILED})


class Move(StrEnum):
    """What to do about the action."""

    START = "Start"
    """Have the Server run."""
    ASK = "Ask"
    """Ask the guest to reboot, and wait for it."""
    RESET = "Reset"
    """Reset its power."""
    WAIT = "Wait"
    """The guest was asked and has time left."""
    SUCCEED = "Succeed"
    FAIL = "Fail"


@dataclass(frozen=True)
class Asked:
    """A guest that was asked to reboot by this process."""

    resets_before: int
    deadline: float
    """Of the loop's clock."""


@dataclass(frozen=True)
class Decision:
    """A move, and what to tell the user about it."""

    move: Move
    message: str = ""


def pending(actions: Iterable[ServerAction], server: Server) -> ServerAction | None:
    """Return the oldest action of the Server that is not finished."""
    open_actions = [
        action
        for action in actions
        if action.status.server_uid == server.uid and action.status.phase not in _FINISHED and not action.is_deleting
    ]
    return min(open_actions, key=lambda action: (action.metadata.creation_timestamp or "", action.uid), default=None)


def decide(action: ServerAction, server: Server, domain: Domain | None, asked: Asked | None, *, now: float) -> Decision:
    """Tell what to do. ``asked`` is this process's memory of a reboot that waits for the guest."""
    state = found(domain)
    is_off = state in {Found.ABSENT, Found.OFF}
    if is_off and server.spec.state is ServerState.SHUTOFF:
        return Decision(Move.FAIL, "spec.state is Shutoff; set it to Active to start the Server.")
    if action.spec.action is ActionType.START:
        return Decision(Move.START if is_off else Move.SUCCEED, "" if is_off else "The Server runs.")
    is_soft = action.spec.reboot is None or action.spec.reboot.type is RebootType.SOFT
    if asked:
        return _decide_asked(domain, asked, now, is_off=is_off)
    has_begun = action.status.phase is ServerActionPhase.RUNNING
    if is_off:
        if is_soft and not has_begun:
            return Decision(Move.FAIL, "A soft reboot needs a Server that is Active; use reboot.type Hard.")
        return Decision(Move.START)
    if has_begun:
        return Decision(Move.SUCCEED, "The reboot was begun; the agent restarted before it saw the end.")
    return Decision(Move.ASK if is_soft else Move.RESET)


def _decide_asked(domain: Domain | None, asked: Asked, now: float, *, is_off: bool) -> Decision:
    if is_off:
        return Decision(Move.START)
    if domain and domain.resets > asked.resets_before:
        return Decision(Move.SUCCEED, "The guest rebooted.")
    if now >= asked.deadline:
        return Decision(Move.RESET, "The guest did not reboot in time; its power was reset.")
    return Decision(Move.WAIT)
