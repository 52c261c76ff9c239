"""A hypervisor in memory: what the real one does, without guests. It documents the semantics."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from nephos_agent.compute.domain_xml import domain_name
from nephos_agent.compute.protocol import (
    ComputeFacts,
    Domain,
    DomainListener,
    DomainSpec,
    DomainState,
    DomainStats,
    Nic,
    NicSpec,
    PauseReason,
    StopReason,
    spec_hash,
)
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.host import Hypervisor, HypervisorType

_MACHINE_TYPES: Final = ("pc", "q35")


@dataclass
class _Machine:
    spec: DomainSpec
    state: DomainState = DomainState.SHUTOFF
    stop_reason: StopReason | None = StopReason.NEVER_STARTED
    pause_reason: PauseReason | None = None
    resets: int = 0
    nics: dict[str, Nic] = field(default_factory=dict)
    """By tap; those of a machine that runs."""


class MemoryCompute:
    """``ComputeDriver`` in memory. What happens to a hypervisor from outside has methods too (``guest_…``, ``lose_…``).

    A guest obeys the power button, and lets go of a NIC, at once if ``guests_obey``; else never.
    """

    def __init__(self, *, vcpus: int = 16, memory_mib: int = 65_536, guests_obey: bool = True) -> None:
        self.guests_obey = guests_obey
        self.failing_writes: Counter[str] = Counter()
        """How often a machine's writes fail again when it goes on, by UID."""
        self._vcpus = vcpus
        self._memory_mib = memory_mib
        self._machines: dict[str, _Machine] = {}
        self._foreign: set[str] = set()
        self._is_away = False
        self._listener: DomainListener | None = None

    async def start(self, listener: DomainListener) -> None:
        """Remember the listener; say that everything is to be looked at."""
        self._listener = listener
        self._tell("")

    async def close(self) -> None:
        """Forget the listener; machines go on."""
        self._listener = None

    async def facts(self) -> ComputeFacts:
        """Return the size that it was made with."""
        self._check()
        return ComputeFacts(
            hypervisor=Hypervisor(type=HypervisorType.MEMORY),
            architecture="x86_64",
            machine_types=_MACHINE_TYPES,
            firmwares=("BIOS", "UEFI"),
            vcpus=self._vcpus,
            memory_mib=self._memory_mib,
        )

    async def domains(self) -> tuple[Domain, ...]:
        """Return all machines."""
        self._check()
        return tuple(map(_domain, self._machines.values()))

    async def domain(self, server_uid: str) -> Domain | None:
        """Return the machine, or None."""
        self._check()
        machine = self._machines.get(server_uid)
        return _domain(machine) if machine else None

    async def stats(self) -> tuple[DomainStats, ...]:
        """Return that running machines used nothing but their memory."""
        self._check()
        return tuple(_stats(machine.spec) for machine in self._machines.values() if machine.state not in _OFF)

    async def define(self, spec: DomainSpec) -> None:
        """Note the specification; a machine that runs keeps running as it was started, but for its NICs."""
        self._check()
        if spec.server_uid in self._foreign:
            raise PermanentFault("a domain with that UUID is there that is not of this cloud", reason="ForeignDomain")
        if spec.machine_type not in _MACHINE_TYPES:
            raise PermanentFault(f"machine type {spec.machine_type} is not known", reason="DomainUnsupported")
        if machine := self._machines.get(spec.server_uid):
            machine.spec = spec
            self._change_nics(machine)
        else:
            self._machines[spec.server_uid] = _Machine(spec)
        self._tell(spec.server_uid)

    async def start_paused(self, server_uid: str) -> None:
        """Power on with the CPUs stopped."""
        machine = self._machine(server_uid)
        self._undo_cut_start(machine)
        if machine.state in _OFF:
            machine.nics = {nic.tap: _nic(nic, is_linked=True) for nic in machine.spec.nics}
            self._enter(machine, DomainState.PAUSED, pause_reason=PauseReason.REQUESTED)

    async def resume(self, server_uid: str) -> None:
        """Let the CPUs run."""
        machine = self._machine(server_uid)
        if machine.state in _OFF:
            raise TemporaryFault("the domain does not run", reason="HypervisorFailed")
        machine.nics |= {nic.tap: _nic(nic, is_linked=True) for nic in machine.spec.nics if nic.tap in machine.nics}
        if machine.state is DomainState.PAUSED:
            self._enter(machine, DomainState.RUNNING)
            if self.failing_writes[server_uid]:
                self.failing_writes[server_uid] -= 1
                self.disk_fails(server_uid)

    async def request_shutdown(self, server_uid: str) -> None:
        """Press the power button."""
        if self._machine(server_uid).state is DomainState.RUNNING and self.guests_obey:
            self.guest_powers_off(server_uid)

    async def request_reboot(self, server_uid: str) -> None:
        """Ask the guest to reboot."""
        machine = self._machine(server_uid)
        if machine.state in _OFF:
            raise TemporaryFault("the domain does not run", reason="HypervisorFailed")
        if self.guests_obey:
            self.guest_reboots(server_uid)

    async def reset(self, server_uid: str) -> None:
        """Press the reset button."""
        if self._machine(server_uid).state in _OFF:
            raise TemporaryFault("the domain does not run", reason="HypervisorFailed")
        self.guest_reboots(server_uid)

    async def destroy(self, server_uid: str) -> None:
        """Cut the power."""
        self._check()
        machine = self._machines.get(server_uid)
        if machine and machine.state not in _OFF:
            self._undo_cut_start(machine)
            self._enter(machine, DomainState.SHUTOFF, stop_reason=StopReason.DESTROYED)

    async def undefine(self, server_uid: str) -> None:
        """Forget the machine."""
        self._check()
        if self._machines.pop(server_uid, None):
            self._tell(server_uid)

    def guest_powers_off(self, server_uid: str) -> None:
        """The guest shuts itself down."""
        self._enter(self._machines[server_uid], DomainState.SHUTOFF, stop_reason=StopReason.GUEST)

    def guest_reboots(self, server_uid: str) -> None:
        """The guest's machine is reset."""
        self._machines[server_uid].resets += 1
        self.guest_lets_go(server_uid)

    def guest_lets_go(self, server_uid: str) -> None:
        """The guest gives up the NICs that it was asked for."""
        machine = self._machines[server_uid]
        machine.nics = {nic.tap: machine.nics[nic.tap] for nic in machine.spec.nics if nic.tap in machine.nics}
        self._tell(server_uid)

    def guest_dies(self, server_uid: str) -> None:
        """The machine's process ends."""
        self._enter(self._machines[server_uid], DomainState.SHUTOFF, stop_reason=StopReason.FAILED)

    def disk_fails(self, server_uid: str) -> None:
        """The host can't write the machine's disk."""
        self._enter(self._machines[server_uid], DomainState.PAUSED, pause_reason=PauseReason.DISK_ERROR)

    def cut_start_off(self, server_uid: str) -> None:
        """The hypervisor dies in the machine's start, and comes back: nobody is at that start any more."""
        self._enter(self._machines[server_uid], DomainState.PAUSED, pause_reason=PauseReason.STARTING)

    def lose_connection(self) -> None:
        """The hypervisor stops answering; its machines go on."""
        self._is_away = True

    def regain_connection(self) -> None:
        """The hypervisor answers again."""
        self._is_away = False
        self._tell("")

    def switch_off_host(self) -> None:
        """The host loses its power and comes back: everything is off, and nobody remembers why."""
        for machine in self._machines.values():
            self._enter(machine, DomainState.SHUTOFF, stop_reason=StopReason.NEVER_STARTED)

    def occupy(self, server_uid: str) -> None:
        """Somebody else's domain has that UUID."""
        self._foreign.add(server_uid)

    def _undo_cut_start(self, machine: _Machine) -> None:
        if machine.pause_reason is PauseReason.STARTING:
            self._enter(machine, DomainState.SHUTOFF, stop_reason=StopReason.NEVER_STARTED)
            raise TemporaryFault("the domain's start does not come to its end", reason="StartNotOver")

    def _change_nics(self, machine: _Machine) -> None:
        if machine.state in _OFF:
            return
        wanted = {nic.tap: nic for nic in machine.spec.nics}
        for tap, nic in tuple(machine.nics.items()):
            machine.nics[tap] = replace(nic, is_linked=nic.is_linked and tap in wanted)
        machine.nics |= {tap: _nic(nic, is_linked=False) for tap, nic in wanted.items() if tap not in machine.nics}
        if self.guests_obey:
            self.guest_lets_go(machine.spec.server_uid)

    def _machine(self, server_uid: str) -> _Machine:
        self._check()
        if machine := self._machines.get(server_uid):
            return machine
        raise TemporaryFault(f"the domain of server {server_uid} is gone", reason="DomainGone")

    def _check(self) -> None:
        if self._is_away:
            raise TemporaryFault("the hypervisor does not answer", reason="HypervisorUnavailable")

    def _enter(
        self,
        machine: _Machine,
        state: DomainState,
        *,
        stop_reason: StopReason | None = None,
        pause_reason: PauseReason | None = None,
    ) -> None:
        machine.state, machine.stop_reason, machine.pause_reason = state, stop_reason, pause_reason
        if state in _OFF:
            machine.nics = {}
        self._tell(machine.spec.server_uid)

    def _tell(self, server_uid: str) -> None:
        if listener := self._listener:
            asyncio.get_running_loop().call_soon(listener, server_uid)


_OFF: Final = frozenset({DomainState.SHUTOFF, DomainState.CRASHED})
_UNUSED: Final = DomainStats("", "", "", 0.0, 0, 0, 0, 0)


def _domain(machine: _Machine) -> Domain:
    spec = machine.spec
    return Domain(
        server_uid=spec.server_uid,
        name=domain_name(spec.namespace, spec.server_name, spec.server_uid),
        namespace=spec.namespace,
        server_name=spec.server_name,
        state=machine.state,
        stop_reason=machine.stop_reason,
        spec_hash=spec_hash(spec),
        placement_epoch=spec.placement_epoch,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        pause_reason=machine.pause_reason,
        resets=machine.resets,
        nics=tuple(machine.nics.values()),
    )


def _nic(nic: NicSpec, *, is_linked: bool) -> Nic:
    return Nic(nic.tap, nic.mac, nic.mtu, is_linked)


def _stats(spec: DomainSpec) -> DomainStats:
    size = spec.memory_mib << 20
    return replace(
        _UNUSED,
        server_uid=spec.server_uid,
        namespace=spec.namespace,
        server_name=spec.server_name,
        memory_bytes=size,
        balloon_bytes=size,
    )
