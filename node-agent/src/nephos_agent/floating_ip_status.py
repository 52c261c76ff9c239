"""What the agent says of a FloatingIP that is bound to its host. Pure: the same observation gives the same status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from nephos_agent.conditions import released, sentence, take_over
from nephos_agent.network.model import HostRouter
from nephos_api.conditions import Condition, ConditionType, find, ready, reconciling, stalled
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.floating_ip import HOST_DOWN, FloatingIP, FloatingIPPhase, FloatingIPStatus

_OWNED: Final = {"phase", "conditions"}


@dataclass(frozen=True)
class Observation:
    """What was found of a router here."""

    router: HostRouter | None
    """As the host carries it; None where it does not."""
    answering: frozenset[str] = frozenset()
    """UIDs of the floating IPs that answer."""
    fault: TemporaryFault | PermanentFault | None = None
    """Why the router could not be brought to what it should be."""

    def is_carried(self, floating_ip: FloatingIP) -> bool:
        """Tell whether the host answers for it, or may."""
        if self.fault:
            return True
        if self.router is None:
            return False
        is_described = any(each.uid == floating_ip.uid for each in self.router.floating_ips)
        return is_described or self._is_kept(self.router, floating_ip)

    def _is_kept(self, router: HostRouter, floating_ip: FloatingIP) -> bool:
        """Tell whether the router keeps it though the API does not name it: nothing is known of its fixed address."""
        return router.keep_unknown and floating_ip.status.fixed_address not in router.known_addresses()

    def is_settled(self, floating_ip: FloatingIP) -> bool:
        """Tell whether nothing of it is on its way: it answers, or can't for a reason that stays, or is let go."""
        if floating_ip.is_deleting:
            return not self.is_carried(floating_ip)
        is_off = self.router is not None and not self.router.is_enabled
        return floating_ip.uid in self.answering or is_off or isinstance(self.fault, PermanentFault)


def is_the_operators(floating_ip: FloatingIP) -> bool:
    """Tell whether the operator takes this host for lost: until it sees it again, phase and conditions are its own.

    That the host has let go of one that is being deleted is always for it to say.
    """
    said = find(floating_ip.status.conditions, ConditionType.READY)
    return said is not None and said.reason == HOST_DOWN and not floating_ip.is_deleting


def floating_ip_status(floating_ip: FloatingIP, seen: Observation, now: str) -> FloatingIPStatus:
    """Return the status; equal to the old one where nothing changed."""
    phase, conditions = _judge(floating_ip, seen, now)
    old = floating_ip.status
    return old.model_copy(
        update={
            "phase": phase,
            "conditions": take_over(old.conditions, conditions, now),
        }
    )


def body(status: FloatingIPStatus) -> dict[str, Any]:
    """Return the agent's part of the status, as it is applied."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True, include=_OWNED)


def _judge(floating_ip: FloatingIP, seen: Observation, now: str) -> tuple[FloatingIPPhase, tuple[Condition, ...]]:
    generation = floating_ip.metadata.generation
    if floating_ip.is_deleting:
        return FloatingIPPhase.DOWN, _deleting(is_carried=seen.is_carried(floating_ip), now=now, generation=generation)
    if floating_ip.uid in seen.answering:
        return FloatingIPPhase.ACTIVE, ready("Active", now=now, generation=generation)
    if isinstance(seen.fault, PermanentFault):
        message = sentence(seen.fault.message)
        return FloatingIPPhase.ERROR, stalled(seen.fault.reason, message, now=now, generation=generation)
    reason, message = _why_down(floating_ip, seen)
    return FloatingIPPhase.DOWN, reconciling(reason, message, now=now, generation=generation)


def _why_down(floating_ip: FloatingIP, seen: Observation) -> tuple[str, str]:
    router = floating_ip.status.router or "its router"
    if seen.fault:
        return seen.fault.reason, sentence(seen.fault.message)
    if seen.router is None:
        return "WaitingForRouter", f"Router {router} is not on the host of its port yet."
    if not seen.router.is_enabled:
        return "RouterDisabled", f"Router {router} forwards nothing; set its spec.enabled to true."
    return "NotAnswering", "The address does not answer on the host of its port yet; the host keeps trying."


def _deleting(*, is_carried: bool, now: str, generation: int) -> tuple[Condition, ...]:
    conditions = reconciling("Deleting", "The host takes the address away.", now=now, generation=generation)
    if is_carried:
        return conditions
    message = "The host does not answer for the address any more."
    return (*conditions, released(message, now, generation))
