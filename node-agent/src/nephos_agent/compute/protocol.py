"""What the agent needs of a hypervisor. Both drivers pass ``tests/contract/test_compute.py``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from nephos_api.resources.host import Hypervisor


class DomainState(StrEnum):
    """Whether a domain runs."""

    RUNNING = "Running"
    PAUSED = "Paused"
    SHUTOFF = "Shutoff"
    CRASHED = "Crashed"


class StopReason(StrEnum):
    """How a domain that does not run came to its end."""

    GUEST = "Guest"
    """The guest powered itself off (or was asked to by ACPI)."""
    DESTROYED = "Destroyed"
    """Its power was cut from outside, by us or by others."""
    FAILED = "Failed"
    """QEMU died, or the guest crashed."""
    NEVER_STARTED = "NeverStarted"
    """It has not run since the hypervisor came up: a new domain, or one of a host that was switched off."""


class PauseReason(StrEnum):
    """Why a domain's CPUs stand still."""

    REQUESTED = "Requested"
    """Started so, or paused by somebody."""
    STARTING = "Starting"
    """Its start is not over, and may never be; ``start_paused`` waits for that, and sees to it."""
    DISK_ERROR = "DiskError"
    """The host could not read or write its disk."""
    OTHER = "Other"
    """A migration, a snapshot, a watchdog …: whoever paused it resumes it."""


@dataclass(frozen=True)
class NicSpec:
    """A NIC: an existing tap of that name becomes a virtio device with that MAC."""

    tap: str
    mac: str
    mtu: int


@dataclass(frozen=True)
class Nic:
    """A NIC that a running domain has now."""

    tap: str
    mac: str
    mtu: int
    is_linked: bool
    """False while nothing passes it: it was added to a running guest and is yet to be resumed, or is about to go."""


@dataclass(frozen=True)
class DomainSpec:
    """What a domain is made of; rendered to XML by a pure function."""

    server_uid: str
    """Also the domain's UUID."""
    server_name: str
    namespace: str
    cloud_id: str
    placement_epoch: int
    vcpus: int
    memory_mib: int
    disk: Path
    """A qcow2 overlay."""
    config_drive: Path | None
    console_log: Path
    nics: tuple[NicSpec, ...]
    machine_type: str = "q35"
    firmware: str = "BIOS"


def spec_hash(spec: DomainSpec) -> str:
    """Return what tells two specifications apart; the same in every version of the agent."""
    return hashlib.sha256(json.dumps(asdict(spec), sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Domain:
    """A domain of this cloud, as found on the hypervisor."""

    server_uid: str
    name: str
    namespace: str
    server_name: str
    state: DomainState
    stop_reason: StopReason | None
    """Only where the state is Shutoff or Crashed."""
    spec_hash: str
    """``spec_hash`` of the DomainSpec that it was defined from."""
    placement_epoch: int
    vcpus: int
    memory_mib: int
    pause_reason: PauseReason | None = None
    """Only where the state is Paused."""
    resets: int = 0
    """How often the guest's machine was reset while this driver watched; for seeing that a reboot took place."""
    nics: tuple[Nic, ...] = ()
    """Only where the domain is not off."""


@dataclass(frozen=True)
class DomainStats:
    """What a running domain has used since it was started."""

    server_uid: str
    namespace: str
    server_name: str
    cpu_seconds: float
    memory_bytes: int
    """What the domain's process holds of the host's memory."""
    balloon_bytes: int
    """What the guest is given."""
    block_read_bytes: int
    block_write_bytes: int


@dataclass(frozen=True)
class ComputeFacts:
    """What the hypervisor says of itself."""

    hypervisor: Hypervisor
    architecture: str
    machine_types: tuple[str, ...]
    firmwares: tuple[str, ...]
    vcpus: int
    memory_mib: int


DomainListener = Callable[[str], None]
"""Called in the event loop with the server UID of a domain that started, stopped, rebooted or changed."""


class ComputeDriver(Protocol):
    """Every call may be repeated: what is so already is no error. Raises ``TemporaryFault`` while libvirtd is away."""

    async def start(self, listener: DomainListener) -> None:
        """Connect (and reconnect for ever in the background); ``listener("")`` means: look at everything again."""

    async def close(self) -> None:
        """Disconnect; guests go on."""

    async def facts(self) -> ComputeFacts:
        """Return what the hypervisor is."""

    async def domains(self) -> tuple[Domain, ...]:
        """Return the domains that carry this cloud's mark."""

    async def domain(self, server_uid: str) -> Domain | None:
        """Return that domain, or None where the hypervisor knows it is not there."""

    async def stats(self) -> tuple[DomainStats, ...]:
        """Return what this cloud's running domains used, in one call to the hypervisor."""

    async def define(self, spec: DomainSpec) -> None:
        """Define the domain. The definition holds from its next start on, but its NICs change at once if it is not off.

        A NIC that is new has no link until ``resume``. One that is defined no more loses its link at once and goes
        when the guest lets go of it, which the listener is told; a guest that does not answer keeps it until it is
        reset, and calling again asks it again.
        """

    async def start_paused(self, server_uid: str) -> None:
        """Power on, with the CPUs stopped, so that taps can be moved and filtered before the first frame.

        A start that is not over is waited for. One that nobody is at any more is undone, here and by ``destroy``; that
        raises ``TemporaryFault``, and the next try starts anew.
        """

    async def resume(self, server_uid: str) -> None:
        """Let the CPUs run, and give their link to NICs that were added meanwhile."""

    async def request_shutdown(self, server_uid: str) -> None:
        """Press the power button (ACPI); the guest may take its time or ignore it."""

    async def request_reboot(self, server_uid: str) -> None:
        """Ask the guest to reboot (guest agent or ACPI)."""

    async def reset(self, server_uid: str) -> None:
        """Reset the guest's power, devices kept."""

    async def destroy(self, server_uid: str) -> None:
        """Cut the power."""

    async def undefine(self, server_uid: str) -> None:
        """Forget a domain that is off."""
