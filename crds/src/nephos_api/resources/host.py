"""Host: a machine that runs Servers. Its agent makes it and says what it has; people say whether to use it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from nephos_api.fields import IPAddress, Name, Sentence
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.resources.network import PhysicalNetworkName

Ratio = Annotated[float, Field(gt=0, le=100)]


class AllocationRatio(ApiModel):
    """How much may be promised of what is there: (total − reserved) × ratio. The defaults are OpenStack Placement's."""

    vcpus: Ratio = 4.0
    """Promised vCPUs for each that is there."""
    memory: Ratio = 1.0
    """Promised memory for what is there; above 1 guests may have to be swapped out."""
    disk: Ratio = 1.0
    """Promised disk for what is there."""


class Reserved(ApiModel):
    """What the host keeps for itself."""

    vcpus: Annotated[int, Field(ge=0, le=512)] = 0
    """Virtual CPUs."""
    memory_mib: Annotated[int, Field(ge=0, le=16_777_216)] = 512
    """Memory in MiB."""
    disk_gib: Annotated[int, Field(ge=0, le=1_048_576)] = 0
    """Disk in GiB."""


class HostSpec(ApiModel):
    """How the cloud should use the host. Its labels are its aggregates."""

    enabled: bool = True
    """Whether new Servers may be placed here; those that run stay."""
    disabled_reason: Sentence = ""
    """Why it is disabled, for people."""
    availability_zone: Name = "nova"
    """The zone that Servers may ask for."""
    allocation_ratio: AllocationRatio = AllocationRatio()
    """How much may be promised of what is there."""
    reserved: Reserved = Reserved()
    """What the host keeps for itself."""
    out_of_service: bool = False
    """A person's word that the host is dead: what waits for it is released."""


class Resources(ApiModel):
    """An amount of what Servers use."""

    vcpus: Annotated[int, Field(ge=0)] = 0
    """Virtual CPUs (threads of the host, or promised ones)."""
    memory_mib: Annotated[int, Field(ge=0)] = 0
    """Memory in MiB."""
    disk_gib: Annotated[int, Field(ge=0)] = 0
    """Disk in GiB."""
    servers: Annotated[int, Field(ge=0)] = 0
    """Servers; as a capacity, how many the host takes at most (0: no bound)."""


class HypervisorType(StrEnum):
    """How guests run: in hardware (KVM), or emulated by QEMU's TCG."""

    KVM = "KVM"
    TCG = "TCG"
    MEMORY = "Memory"


class Hypervisor(ApiModel):
    """What runs the guests."""

    type: HypervisorType
    """KVM, TCG, or Memory for a simulated host."""
    qemu_version: Annotated[str, Field(max_length=63)] = ""
    """Such as 7.2.0."""
    libvirt_version: Annotated[str, Field(max_length=63)] = ""
    """Such as 9.0.0."""


class HostPhase(StrEnum):
    """Where the host stands: its agent renews its Lease, or not, or people took it out of use."""

    UP = "Up"
    DOWN = "Down"
    DISABLED = "Disabled"


class HostStatus(Status):
    """What the host's agent found; phase and conditions are the operator's."""

    phase: HostPhase | None = None
    """Up, Down or Disabled."""
    address: IPAddress | None = None
    """The host's address on the underlay."""
    capacity: Resources | None = None
    """What is there, before reservation and allocation ratios."""
    allocated: Resources | None = None
    """What the Servers that run here were promised."""
    hypervisor: Hypervisor | None = None
    """What runs the guests."""
    architecture: Annotated[str | None, Field(max_length=31)] = None
    """Such as x86_64."""
    machine_types: Annotated[tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=64)] = ()
    """QEMU machine types, such as q35."""
    firmwares: Annotated[tuple[Annotated[str, Field(max_length=15)], ...], Field(max_length=4)] = ()
    """BIOS, UEFI."""
    traits: Annotated[tuple[Annotated[str, Field(max_length=255)], ...], Field(max_length=512)] = ()
    """OpenStack trait names."""
    kernel_version: Annotated[str | None, Field(max_length=127)] = None
    """Of the host."""
    agent_version: Annotated[str | None, Field(max_length=63)] = None
    """Of nephos-agent."""
    physical_networks: Annotated[tuple[PhysicalNetworkName, ...], Field(max_length=32)] = ()
    """The provider's networks that it reaches."""
    has_vlan: bool = False
    """Whether its kernel has 802.1Q devices, which external Networks of type VLAN need."""
    underlay_mtu: Annotated[int | None, Field(ge=576, le=65_535)] = None
    """MTU in bytes of the interface that carries the underlay."""


class Host(Resource):
    """A machine that runs Servers."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Host",
        plural="hosts",
        namespaced=False,
        columns=(
            Column("Phase", ".status.phase"),
            Column("Address", ".status.address"),
            Column("vCPUs", ".status.capacity.vcpus", "integer"),
            Column("Memory-MiB", ".status.capacity.memoryMiB", "integer"),
            Column("Used-MiB", ".status.allocated.memoryMiB", "integer"),
            Column("Servers", ".status.allocated.servers", "integer"),
            Column("Hypervisor", ".status.hypervisor.type"),
            Column("Zone", ".spec.availabilityZone", wide=True),
            Column("Agent", ".status.agentVersion", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
    )

    spec: HostSpec = HostSpec()
    status: HostStatus = HostStatus()
