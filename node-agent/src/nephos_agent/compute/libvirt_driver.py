"""The compute driver on libvirt and QEMU: one persistent domain a Server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

import libvirt

from nephos_agent.compute import libvirt_cut_start, libvirt_facts, libvirt_nics, mark
from nephos_agent.compute.domain_xml import NAMESPACE, Platform, render
from nephos_agent.compute.libvirt_connection import LibvirtConnection
from nephos_agent.compute.libvirt_cut_start import CutStarts, StartNotOver
from nephos_agent.compute.protocol import (
    ComputeFacts,
    Domain,
    DomainListener,
    DomainSpec,
    DomainState,
    DomainStats,
    Nic,
    PauseReason,
    StopReason,
)
from nephos_api.errors import PermanentFault, TemporaryFault

T = TypeVar("T")
_QUICK_S: Final = 10.0
_POWER_S: Final = 90.0
"""For what starts or ends a QEMU: the first start after a package update probes it, a kill waits for dirty pages."""
_STATES: Final = {
    libvirt.VIR_DOMAIN_NOSTATE: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_RUNNING: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: DomainState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: DomainState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: DomainState.RUNNING,  # about to end; an event follows
    libvirt.VIR_DOMAIN_SHUTOFF: DomainState.SHUTOFF,
    libvirt.VIR_DOMAIN_CRASHED: DomainState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: DomainState.PAUSED,
}
_STOP_REASONS: Final = {
    libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN: StopReason.NEVER_STARTED,
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: StopReason.GUEST,
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: StopReason.DESTROYED,
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: StopReason.FAILED,
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: StopReason.DESTROYED,
    libvirt.VIR_DOMAIN_SHUTOFF_SAVED: StopReason.DESTROYED,
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: StopReason.FAILED,
    libvirt.VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT: StopReason.NEVER_STARTED,
    libvirt.VIR_DOMAIN_SHUTOFF_DAEMON: StopReason.FAILED,
}
_PAUSE_REASONS: Final = {
    libvirt.VIR_DOMAIN_PAUSED_UNKNOWN: PauseReason.REQUESTED,
    libvirt.VIR_DOMAIN_PAUSED_USER: PauseReason.REQUESTED,
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: PauseReason.STARTING,
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: PauseReason.DISK_ERROR,
}
_UNDEFINE_ALL: Final = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
_OFF: Final = frozenset({DomainState.SHUTOFF, DomainState.CRASHED})


class LibvirtDriver:
    """``ComputeDriver`` on libvirtd at ``uri``; sees only the domains that carry the mark of ``cloud_id``."""

    def __init__(self, uri: str, cloud_id: str, platform: Platform, cut_starts: CutStarts) -> None:
        self._uri = uri
        self._cloud_id = cloud_id
        self._platform = platform
        self._cut_starts = cut_starts
        self._connection: LibvirtConnection | None = None
        self._resets: Counter[str] = Counter()
        self._marks: dict[str, mark.Mark] = {}

    async def start(self, listener: DomainListener) -> None:
        """Connect, and stay connected."""

        def on_domain(server_uid: str, is_reset: bool) -> None:
            if is_reset:
                self._resets[server_uid] += 1
            listener(server_uid)

        self._connection = LibvirtConnection(self._uri, lambda: listener(""), on_domain)
        await self._connection.start()

    async def close(self) -> None:
        """Disconnect; guests go on."""
        if self._connection:
            await self._connection.close()
            self._connection = None

    async def facts(self) -> ComputeFacts:
        """Return what libvirt says of the host; the first call of a libvirtd probes QEMU, which takes seconds."""
        return await self._call(lambda it: libvirt_facts.read(it, self._platform.hypervisor), _POWER_S)

    async def domains(self) -> tuple[Domain, ...]:
        """Return the marked domains."""

        def read(connection: libvirt.virConnect) -> tuple[Domain, ...]:
            found = (self._read(domain) for domain in connection.listAllDomains())
            return tuple(domain for domain in found if domain)

        return await self._call(read)

    async def domain(self, server_uid: str) -> Domain | None:
        """Return the marked domain of that UUID, or None."""

        def read(connection: libvirt.virConnect) -> Domain | None:
            handle = _find(connection, server_uid)
            return self._read(handle) if handle else None

        return await self._call(read)

    async def stats(self) -> tuple[DomainStats, ...]:
        """Return the use of all running domains that this driver has seen the mark of; a busy domain is left out."""

        def read(connection: libvirt.virConnect) -> tuple[DomainStats, ...]:
            found = []
            for handle, values in connection.getAllDomainStats(libvirt_facts.STATS, libvirt_facts.STATS_OF):
                domain_mark = self._marks.get(handle.UUIDString())
                if domain_mark:
                    found.append(libvirt_facts.stats(domain_mark, values))
            return tuple(found)

        return await self._call(read)

    async def define(self, spec: DomainSpec) -> None:
        """Define the domain and change the NICs of one that runs.

        Raises PermanentFault where a domain without our mark has its UUID.
        """
        xml = render(spec, self._platform)

        def define(connection: libvirt.virConnect) -> None:
            handle = _find(connection, spec.server_uid)
            if handle and not self._read_mark(handle):
                raise PermanentFault(
                    f"a domain with UUID {spec.server_uid} is there that is not of this cloud; remove it by hand",
                    reason="ForeignDomain",
                )
            spec.console_log.parent.mkdir(parents=True, exist_ok=True)
            self._platform.vnc_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            defined = connection.defineXML(xml)
            self._remember(defined)
            if defined.isActive():
                libvirt_nics.change(defined, spec.nics)

        await self._call(define, _POWER_S)

    async def start_paused(self, server_uid: str) -> None:
        """Start QEMU with its CPUs stopped; a start that goes on is waited for, by trying one more."""

        def start(handle: libvirt.virDomain) -> None:
            if handle.isActive() and not libvirt_cut_start.is_starting(handle):
                return
            try:
                handle.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not handle.isActive():
                    raise

        await self._act(server_uid, start, timeout_s=_POWER_S)

    async def resume(self, server_uid: str) -> None:
        """Let the CPUs run, and NICs that were added send."""

        def resume(handle: libvirt.virDomain) -> None:
            libvirt_nics.link(handle)
            if _state(handle) is DomainState.PAUSED:
                handle.resume()

        await self._act(server_uid, resume)

    async def request_shutdown(self, server_uid: str) -> None:
        """Press the power button."""

        def shut_down(handle: libvirt.virDomain) -> None:
            if handle.isActive():
                handle.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

        await self._act(server_uid, shut_down)

    async def request_reboot(self, server_uid: str) -> None:
        """Press the power button; libvirt resets the machine instead of ending it when the guest is down."""
        await self._act(server_uid, lambda handle: handle.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN))

    async def reset(self, server_uid: str) -> None:
        """Press the reset button."""
        await self._act(server_uid, lambda handle: handle.reset(0))

    async def destroy(self, server_uid: str) -> None:
        """End QEMU."""

        def destroy(handle: libvirt.virDomain) -> None:
            try:
                handle.destroy()
            except libvirt.libvirtError as error:
                if (
                    error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID
                ):  # it does not run, perhaps since just now
                    raise

        await self._act(server_uid, destroy, timeout_s=_POWER_S, missing_is_fine=True)

    async def undefine(self, server_uid: str) -> None:
        """Forget the domain and what libvirt keeps of it."""
        await self._act(server_uid, lambda handle: handle.undefineFlags(_UNDEFINE_ALL), missing_is_fine=True)
        self._marks.pop(server_uid, None)
        self._resets.pop(server_uid, None)

    async def _call(self, function: Callable[[libvirt.virConnect], T], timeout_s: float = _QUICK_S) -> T:
        if self._connection is None:
            raise TemporaryFault("the compute driver is not started", reason="NotStarted")
        return await self._connection.call(function, timeout_s=timeout_s)

    async def _act(
        self,
        server_uid: str,
        action: Callable[[libvirt.virDomain], object],
        *,
        timeout_s: float = _QUICK_S,
        missing_is_fine: bool = False,
    ) -> None:
        def act(connection: libvirt.virConnect) -> None:
            handle = _find(connection, server_uid)
            if handle and self._read_mark(handle):
                _run(action, handle)
            elif not missing_is_fine:
                raise TemporaryFault(f"the domain of server {server_uid} is gone", reason="DomainGone")

        try:
            await self._call(act, timeout_s)
        except StartNotOver as fault:
            await self._cut_starts.undo(fault.domain_name)
            raise

    def _read(self, handle: libvirt.virDomain) -> Domain | None:
        found = self._read_mark(handle)
        if found is None:
            return None
        state, reason = handle.state()
        _, memory_kib, _, vcpus, _ = handle.info()
        domain_state = _STATES.get(state, DomainState.RUNNING)
        return Domain(
            server_uid=handle.UUIDString(),
            name=handle.name(),
            namespace=found.namespace,
            server_name=found.server_name,
            state=domain_state,
            stop_reason=_stop_reason(domain_state, reason),
            spec_hash=found.spec_hash,
            placement_epoch=found.placement_epoch,
            vcpus=vcpus,
            memory_mib=memory_kib // 1024,
            pause_reason=_pause_reason(state, reason) if domain_state is DomainState.PAUSED else None,
            resets=self._resets[handle.UUIDString()],
            nics=() if domain_state in _OFF else _nics(handle),
        )

    def _read_mark(self, handle: libvirt.virDomain) -> mark.Mark | None:
        """Return the mark if it is of this cloud, and remember it."""
        try:
            element = handle.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE)
        except libvirt.libvirtError as error:
            if error.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN}:
                return None
            raise
        found = mark.parse(element)
        if found is None or found.cloud_id != self._cloud_id:
            return None
        self._marks[handle.UUIDString()] = found
        return found

    def _remember(self, handle: libvirt.virDomain) -> None:
        self._read_mark(handle)


def _find(connection: libvirt.virConnect, server_uid: str) -> libvirt.virDomain | None:
    try:
        return connection.lookupByUUIDString(server_uid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _run(action: Callable[[libvirt.virDomain], object], handle: libvirt.virDomain) -> None:
    try:
        action(handle)
    except libvirt.libvirtError as error:
        if libvirt_cut_start.is_stuck(handle, error):
            raise StartNotOver(handle.name()) from error
        raise


def _nics(handle: libvirt.virDomain) -> tuple[Nic, ...]:
    """Return the NICs; none where the domain ended since its state was read, which an event follows."""
    try:
        return libvirt_nics.read(handle) if handle.isActive() else ()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return ()
        raise


def _state(handle: libvirt.virDomain) -> DomainState:
    return _STATES.get(handle.state()[0], DomainState.RUNNING)


def _stop_reason(state: DomainState, reason: int) -> StopReason | None:
    if state is DomainState.CRASHED:
        return StopReason.FAILED
    return _STOP_REASONS.get(reason, StopReason.FAILED) if state in _OFF else None


def _pause_reason(state: int, reason: int) -> PauseReason:
    if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        return PauseReason.OTHER
    return _PAUSE_REASONS.get(reason, PauseReason.OTHER)
