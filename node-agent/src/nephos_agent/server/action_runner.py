"""Carries out ServerActions and says in them what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from nephos_agent.compute.protocol import ComputeDriver, Domain
from nephos_agent.server.actions import Asked, Decision, Move, decide, pending
from nephos_agent.server.memory import Memory
from nephos_agent.server.power import Found, found
from nephos_agent.watches import Watches
from nephos_api.kube.protocol import FieldManager, Kubernetes
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources.server import Server, ServerPhase
from nephos_api.resources.server_action import ServerAction, ServerActionPhase

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Ask:
    """What an action wants of this reconcile."""

    action: ServerAction | None = None
    start: bool = False
    """The Server should run, whatever stopped it."""
    rebooting: ServerPhase | None = None
    """A reboot is under way."""
    result: Result = field(default_factory=Done)


class ActionRunner:
    """Does one action of a Server at a time, the oldest first."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        watches: Watches,
        compute: ComputeDriver,
        *,
        now: Callable[[], str],
        reboot_timeout_s: float,
    ) -> None:
        self._kubernetes = kubernetes
        self._watches = watches
        self._compute = compute
        self._now = now
        self._reboot_timeout_s = reboot_timeout_s

    async def before(self, server: Server, domain: Domain | None, memory: Memory) -> Ask:
        """Carry the oldest action on, before the Server's own plan."""
        action = None if server.is_deleting else pending(self._watches.actions_of(server.uid), server)
        if action is None:
            return Ask()
        loop_time = asyncio.get_running_loop().time()
        decision = decide(action, server, domain, memory.asked.get(action.uid), now=loop_time)
        match decision.move:
            case Move.START:
                await self._begin(action)
                return Ask(action, start=True)
            case Move.ASK:
                return await self._ask(action, server, domain, memory)
            case Move.WAIT:
                left_s = memory.asked[action.uid].deadline - loop_time
                return Ask(action, rebooting=ServerPhase.REBOOT, result=Wait("the guest to reboot", left_s))
            case Move.RESET:
                return await self._reset(action, server, decision, memory)
            case Move.SUCCEED | Move.FAIL:
                await self._finish(action, decision, memory)
                return Ask()

    async def after(self, ask: Ask, domain: Domain | None) -> None:
        """Finish a start whose Server runs now."""
        if ask.action and ask.start and found(domain) is Found.RUNNING:
            await self._finish(ask.action, Decision(Move.SUCCEED, "The Server runs."), None)

    async def _ask(self, action: ServerAction, server: Server, domain: Domain | None, memory: Memory) -> Ask:
        # said first: should the agent end now, its successor does not ask a second time
        await self._begin(action)
        deadline = asyncio.get_running_loop().time() + self._reboot_timeout_s
        memory.asked[action.uid] = Asked(domain.resets if domain else 0, deadline)
        await self._compute.request_reboot(server.uid)
        return Ask(action, rebooting=ServerPhase.REBOOT, result=Wait("the guest to reboot", self._reboot_timeout_s))

    async def _reset(self, action: ServerAction, server: Server, decision: Decision, memory: Memory) -> Ask:
        await self._begin(action)
        await self._compute.reset(server.uid)
        await self._compute.resume(server.uid)
        message = decision.message or "Its power was reset."
        await self._finish(action, Decision(Move.SUCCEED, message), memory)
        # the Server's next reconcile says Active again
        return Ask(action, rebooting=ServerPhase.HARD_REBOOT, result=Wait("the reset to show", 0.0))

    async def _begin(self, action: ServerAction) -> None:
        if action.status.phase is not ServerActionPhase.RUNNING:
            await self._write(action, {"phase": ServerActionPhase.RUNNING, "startedAt": self._now()})

    async def _finish(self, action: ServerAction, decision: Decision, memory: Memory | None) -> None:
        phase = ServerActionPhase.FAILED if decision.move is Move.FAIL else ServerActionPhase.SUCCEEDED
        now = self._now()
        begun = next(
            (it for it in self._watches.actions_of(action.status.server_uid or "") if it.uid == action.uid), action
        )
        started_at = begun.status.started_at or now
        message = decision.message
        await self._write(action, {"phase": phase, "startedAt": started_at, "finishedAt": now, "message": message})
        log.info("server action finished", action=str(action.key), phase=phase.value, message=message)
        if memory:
            memory.asked.pop(action.uid, None)

    async def _write(self, action: ServerAction, body: dict[str, Any]) -> None:
        body["observedGeneration"] = action.metadata.generation
        written = await self._kubernetes.apply_status(action, body, FieldManager.AGENT)
        self._watches.learn_action(written)
