"""One Server of this host: observe, plan, act, say what is."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from nephos_agent.compute.protocol import Domain
from nephos_agent.config import Config
from nephos_agent.networks import WAITING as WAITING_FOR_NETWORK
from nephos_agent.server import status
from nephos_agent.server.action_runner import ActionRunner
from nephos_agent.server.admission import Admission
from nephos_agent.server.domain_spec import own_ports
from nephos_agent.server.memory import Memory
from nephos_agent.server.nics import Nics, PortState, is_released, port_state
from nephos_agent.server.nics import nics as nics_of
from nephos_agent.server.plan import Step, Steps, plan
from nephos_agent.server.power import Found, Power, found, is_powering_off, is_restart, wanted
from nephos_agent.server.status import Outcome
from nephos_agent.server.steps import Drivers, StepRunner, Work
from nephos_api.conditions import ConditionType, find, is_true
from nephos_api.errors import Conflict, PermanentFault, TemporaryFault
from nephos_api.kube.events import EventRecorder
from nephos_api.kube.protocol import FieldManager, Kubernetes
from nephos_api.reconcile.result import Done, Failed, Result, Retry, Wait
from nephos_api.resources.port import Port, PortPhase, PortStatus
from nephos_api.resources.server import Server, ServerPhase, ServerStatus

log = structlog.get_logger(__name__)
_DISK_ERROR_RETRY_S: Final = 30.0
_STALE_S: Final = 1.0
"""Our picture of the object was old; the watch brings the new one, or this time does."""


@dataclass(frozen=True)
class Situation:
    """What was found, and what follows for the power."""

    server: Server
    domain: Domain | None
    start_asked: bool = False

    @property
    def power(self) -> Power:
        """What should be."""
        return wanted(self.server, self.domain, start_asked=self.start_asked)

    @property
    def found(self) -> Found:
        """What is."""
        return found(self.domain)


_WAITING: Final = frozenset({"WaitingForPort", "WaitingForPlacement", WAITING_FOR_NETWORK})
"""Reasons that mostly are over in a moment: they are said only when they last."""

_NOTEWORTHY: Final = frozenset({ServerPhase.SHUTOFF, ServerPhase.PAUSED})


class ServerReconciler:
    """Brings one Server at a time, by UID, to what its spec says, and its status to what is."""

    def __init__(
        self,
        config: Config,
        kubernetes: Kubernetes,
        drivers: Drivers,
        steps: StepRunner,
        admission: Admission,
        events: EventRecorder,
        *,
        now: Callable[[], str],
    ) -> None:
        self._host_name = config.host_name
        self._kubernetes = kubernetes
        self._drivers = drivers
        self._steps = steps
        self._admission = admission
        self._now = now
        self._events = events
        self._shutdown_timeout_s = config.shutdown_timeout_s
        self._memory: defaultdict[str, Memory] = defaultdict(Memory)
        self._actions = ActionRunner(
            kubernetes, drivers.watches, drivers.compute, now=now, reboot_timeout_s=config.reboot_timeout_s
        )

    async def reconcile(self, server_uid: str) -> Result:
        """Do what the Server needs now. A Server that is not placed here any more is left to the collection."""
        server = self._drivers.watches.server(server_uid)
        if server is None or server.status.host != self._host_name:
            return await self._leave(server_uid)
        if is_true(server.status.conditions, ConditionType.RELEASED):
            return Done()
        domain = await self._drivers.compute.domain(server_uid)
        self._admission.note_domain(server_uid, domain)
        if self._is_refused(server):
            return Done()
        if reason := self._refusal(server, domain):
            return await self._refuse(server, reason)
        return await self._serve(server, domain)

    async def _leave(self, server_uid: str) -> Result:
        """Forget what is not placed here; as long as its domain is here, its Ports stay known and its network whole."""
        self._forget(server_uid)
        domain = await self._drivers.compute.domain(server_uid)
        self._admission.note_domain(server_uid, domain)
        if domain is None:
            self._drivers.watches.forget_ports(server_uid)
        return Done()

    async def _serve(self, server: Server, domain: Domain | None) -> Result:
        memory = self._memory[server.uid]
        ask = await self._actions.before(server, domain, memory)
        situation = Situation(server, domain, start_asked=ask.start)
        if ask.rebooting:
            return await self._report(situation, Outcome(domain, situation.power, rebooting=ask.rebooting), ask.result)
        if (delay_s := self._restart_delay_s(situation, memory)) > 0:
            outcome = Outcome(domain, situation.power, waits_for_restart=True)
            return await self._report(situation, outcome, Wait("the guest keeps ending", delay_s))
        outcome, result = await self._act(situation, memory)
        if outcome.fault is None:
            await self._actions.after(ask, outcome.domain)
        return await self._report(situation, outcome, result)

    async def _act(self, situation: Situation, memory: Memory) -> tuple[Outcome, Result]:
        """Carry out the plan; a fault becomes part of the outcome."""
        server, power = situation.server, situation.power
        try:
            nics = self._nics(server)
            ports = self._ports(situation, nics)
            steps = await self._plan(situation, nics, ports, memory)
            if steps == ((Step.POWER_BUTTON,),):
                return await self._power_off(situation, memory)
            await self._steps.run(Work(server, ports, kept=nics.unknown(situation.domain)), steps)
            if steps and situation.found is Found.DISK_ERROR:
                memory.resume_at = asyncio.get_running_loop().time() + _DISK_ERROR_RETRY_S
            domain = await self._drivers.compute.domain(server.uid) if steps else situation.domain
            self._admission.note_domain(server.uid, domain)
            await self._let_go(nics, domain)
        except (TemporaryFault, PermanentFault) as fault:
            return await self._faulty(situation, fault)
        outcome = Outcome(domain, power, released=power is Power.GONE)
        return outcome, self._note(outcome, nics, memory)

    async def _plan(self, situation: Situation, nics: Nics, ports: tuple[Port, ...], memory: Memory) -> Steps:
        plugged = await self._drivers.network.plugged()
        uids, now = {port.uid for port in ports}, asyncio.get_running_loop().time()
        return plan(
            situation.power,
            situation.found,
            resumable=now >= memory.resume_at,
            plugged=uids <= plugged,
            unplugged=not uids & plugged and all(port.status.phase is not PortPhase.ACTIVE for port in ports),
            wired=nics.fit(situation.domain) or (nics.is_up_to_guest(situation.domain) and now < memory.ask_again_at),
            deadline_passed=memory.off_by is not None and now >= memory.off_by,
        )

    async def _let_go(self, nics: Nics, domain: Domain | None) -> None:
        """Remove what is left of Ports that the Server uses no more, once its guest has let go of them."""
        for port in nics.leaving:
            if port_state(port, domain, leaving=True) is PortState.RELEASED and not is_released(port):
                await self._drivers.network.unplug(port.uid)

    def _note(self, outcome: Outcome, nics: Nics, memory: Memory) -> Result:
        """Remember what was found, and tell when to look again."""
        state = found(outcome.domain)
        if state in {Found.ABSENT, Found.OFF}:
            memory.off_by = None
        if state is Found.RUNNING:
            memory.note_running(asyncio.get_running_loop().time())
        if state is Found.DISK_ERROR:
            return Wait("its disk can't be written", max(0.0, memory.resume_at - asyncio.get_running_loop().time()))
        if outcome.power is Power.ON and nics.is_up_to_guest(outcome.domain):
            return Wait("the guest to let go of a NIC", memory.wait_for_guest(asyncio.get_running_loop().time()))
        return Done()

    async def _power_off(self, situation: Situation, memory: Memory) -> tuple[Outcome, Result]:
        """Press the power button once, and come back at the deadline; the domain's end is an event."""
        loop, server = asyncio.get_running_loop(), situation.server
        if not is_powering_off(server.status):
            # said first: should the agent end now, its successor knows that the guest's end was asked for
            outcome = Outcome(situation.domain, situation.power, powering_off=True)
            return outcome, Wait("the power-off to be known", 0.0)
        if memory.off_by is None:
            memory.off_by = loop.time() + self._shutdown_timeout_s
            await self._steps.run(Work(server, ()), ((Step.POWER_BUTTON,),))
        outcome = Outcome(situation.domain, situation.power, powering_off=True)
        return outcome, Wait("the guest to shut down", max(0.0, memory.off_by - loop.time()))

    async def _faulty(self, situation: Situation, fault: TemporaryFault | PermanentFault) -> tuple[Outcome, Result]:
        """Look again where that is possible: a start that failed may have left the domain otherwise than it was."""
        memory = self._memory[situation.server.uid]
        if fault.reason in _WAITING and memory.is_new_wait(asyncio.get_running_loop().time()):
            raise fault
        log.warning("step failed", server=str(situation.server.key), reason=fault.reason, message=fault.message)
        domain = await self._drivers.compute.domain(situation.server.uid)
        self._admission.note_domain(situation.server.uid, domain)
        self._events.warning(situation.server, fault.reason, fault.message)
        outcome = Outcome(domain, situation.power, fault=fault)
        if isinstance(fault, PermanentFault):
            return outcome, Failed(fault.reason, fault.message)
        return outcome, Retry(fault.reason, fault.message)

    async def _report(self, situation: Situation, outcome: Outcome, result: Result) -> Result:
        """Write the statuses that changed: one apply for the Server, one for each Port."""
        server, now = situation.server, self._now()
        if not self._is_still_ours(server):
            return Done()
        writes = [self._write(server, status.server_status(server, outcome, now))]
        writes += [self._write_port(*told) for told in await self._tell_ports(server, outcome, now)]
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        for error in outcomes:
            if isinstance(error, Conflict):
                return Wait("the newest version of the object", _STALE_S)
            if isinstance(error, BaseException):
                raise error
        if outcome.released:
            self._forget(server.uid)
            self._drivers.watches.forget_ports(server.uid)
        return result

    async def _write(self, server: Server, new: ServerStatus) -> None:
        if new != server.status:
            body = status.body(new)
            written = await self._kubernetes.apply_status(server, body, FieldManager.AGENT, guard=True)
            self._drivers.watches.learn_server(written)
            self._tell(server, new)

    def _tell(self, server: Server, new: ServerStatus) -> None:
        """Record an event where the Server entered a phase that nobody asked for."""
        condition = find(new.conditions, ConditionType.READY)
        if new.phase != server.status.phase and new.phase in _NOTEWORTHY and condition and condition.message:
            self._events.normal(server, condition.reason, condition.message)

    async def _tell_ports(self, server: Server, outcome: Outcome, now: str) -> list[tuple[Port, PortStatus]]:
        """Return what there is to say of its Ports: nothing while they are on their way, or all of it goes."""
        if outcome.power is Power.GONE:
            return []
        nics, plugged = self._nics(server), await self._drivers.network.plugged()
        told = []
        for port in () if outcome.fault and not _is_up(outcome) else nics.listed:
            state = port_state(port, outcome.domain, plugged=plugged)
            if state is not PortState.WAITING or outcome.fault:
                told.append((port, status.port_status(port, state, now, outcome.fault)))
        for port in nics.leaving:
            state = port_state(port, outcome.domain, leaving=True)
            if state is PortState.LEAVING or not self._drivers.watches.forget_port(port):
                told.append((port, status.port_status(port, state, now)))
        return told

    async def _write_port(self, port: Port, new: PortStatus) -> None:
        if new != port.status:
            written = await self._kubernetes.apply_status(port, status.port_body(new), FieldManager.AGENT)
            self._drivers.watches.learn_port(written)

    def _nics(self, server: Server) -> Nics:
        return nics_of(server, self._drivers.watches.ports_of(server.uid))

    def _ports(self, situation: Situation, nics: Nics) -> tuple[Port, ...]:
        """Return the Ports to work on; for tearing down, all that are there."""
        if situation.power is not Power.ON:
            return (*nics.listed, *nics.leaving)
        if situation.found in {Found.ABSENT, Found.OFF}:
            return own_ports(situation.server, self._drivers.watches.ports_of(situation.server.uid))
        return nics.listed

    def _restart_delay_s(self, situation: Situation, memory: Memory) -> float:
        now = asyncio.get_running_loop().time()
        if situation.start_asked or situation.power is not Power.ON:
            return 0.0
        if is_restart(situation.server, situation.domain) or (memory.start_at and situation.found is Found.OFF):
            return memory.note_restart(now)
        return 0.0

    def _refusal(self, server: Server, domain: Domain | None) -> str | None:
        if domain is not None or server.is_deleting:
            return None
        return self._admission.refusal(server)

    async def _refuse(self, server: Server, reason: str) -> Result:
        log.info("placement refused", server=str(server.key), reason=reason)
        self._events.warning(server, "PlacementRefused", f"{self._host_name} has no room: {reason}.")
        body = status.refused(server.status.placement_epoch or 1, reason)
        written = await self._kubernetes.apply_status(server, body, FieldManager.AGENT, guard=True)
        self._drivers.watches.learn_server(written)
        return Done()

    def _is_refused(self, server: Server) -> bool:
        refused = server.status.placement_refused
        return refused is not None and refused.epoch == server.status.placement_epoch and not server.is_deleting

    def _is_still_ours(self, server: Server) -> bool:
        """Tell whether the newest picture places the Server here, by the same decision."""
        newest = self._drivers.watches.server(server.uid)
        return (
            newest is not None
            and newest.status.host == self._host_name
            and newest.status.placement_epoch == server.status.placement_epoch
        )

    def _forget(self, server_uid: str) -> None:
        self._memory.pop(server_uid, None)
        self._admission.release(server_uid)


def _is_up(outcome: Outcome) -> bool:
    return found(outcome.domain) not in {Found.ABSENT, Found.OFF}
