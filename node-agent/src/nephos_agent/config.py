"""What the agent is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path

from nephos_agent.storage.source import TlsFiles


class Acceleration(StrEnum):
    """How guests' CPUs are run."""

    AUTO = "auto"
    """KVM where libvirt offers it, else TCG."""
    KVM = "kvm"
    TCG = "tcg"


class LauncherKind(StrEnum):
    """What keeps long-lived processes running."""

    SUPERVISOR = "supervisor"
    SYSTEMD = "systemd"


class DriverKind(StrEnum):
    """Whether the host is real."""

    REAL = "real"
    MEMORY = "memory"


@dataclass(frozen=True)
class CapacityLimits:
    """What the host offers at most; None means what it has."""

    vcpus: int | None = None
    memory_mib: int | None = None
    disk_gib: int | None = None


@dataclass(frozen=True)
class Config:
    """The agent's configuration."""

    cloud_id: str
    host_name: str
    host_address: str
    """On the underlay, where other hosts send this host's frames."""
    state_dir: Path = Path("/var/lib/nephos")
    run_dir: Path = Path("/run/nephos")
    limits: CapacityLimits = CapacityLimits()
    provider_bridges: Mapping[str, str] = field(default_factory=dict)
    """The bridge, in the host's own namespace, by which each physical network is reached, by its name."""
    sweep_every_s: float = 600.0
    """How often everything is compared, though no event asked for it."""
    shutdown_timeout_s: float = 60.0
    """How long a guest may take to shut down before its power is cut; Nova's default shutdown_timeout."""
    reboot_timeout_s: float = 120.0
    """How long it may take to reboot before its power is reset; Nova's default wait_soft_reboot_seconds."""
    version: str = version("nephos-agent")


@dataclass(frozen=True)
class RealHost:
    """What only a real host needs."""

    libvirt_uri: str
    acceleration: Acceleration
    image_service_url: str
    tls: TlsFiles
    launcher: LauncherKind
    launcher_socket: Path
    launcher_dir: Path
