"""The host's status from what was found on it. Pure."""

from __future__ import annotations

from typing import Any, Final

from nephos_agent.compute.protocol import ComputeFacts
from nephos_agent.config import CapacityLimits, Config
from nephos_agent.network.abilities import Abilities
from nephos_api.resources.host import HostStatus, HypervisorType, Resources

_ALWAYS: Final = frozenset({"COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_NET_VIF_MODEL_VIRTIO"})
_CPU_FLAGS: Final = {
    "aes": "HW_CPU_X86_AESNI",
    "avx": "HW_CPU_X86_AVX",
    "avx2": "HW_CPU_X86_AVX2",
    "avx512f": "HW_CPU_X86_AVX512F",
    "bmi": "HW_CPU_X86_BMI",
    "bmi2": "HW_CPU_X86_BMI2",
    "fma": "HW_CPU_X86_FMA3",
    "sha_ni": "HW_CPU_X86_SHA",
    "sse4_1": "HW_CPU_X86_SSE41",
    "sse4_2": "HW_CPU_X86_SSE42",
    "ssse3": "HW_CPU_X86_SSSE3",
    "svm": "HW_CPU_X86_SVM",
    "vmx": "HW_CPU_X86_VMX",
}
"""The kernel's names of CPU features, and OpenStack's traits (os-traits)."""
_OWNED: Final = {
    "address",
    "capacity",
    "allocated",
    "hypervisor",
    "architecture",
    "machine_types",
    "firmwares",
    "traits",
    "kernel_version",
    "agent_version",
    "physical_networks",
    "has_vlan",
    "underlay_mtu",
}


def capacity(facts: ComputeFacts, disk_gib: int, limits: CapacityLimits) -> Resources:
    """Return what the host offers: what it has, or less where it is told so."""
    return Resources(
        vcpus=limits.vcpus if limits.vcpus is not None else facts.vcpus,
        memory_mib=limits.memory_mib if limits.memory_mib is not None else facts.memory_mib,
        disk_gib=limits.disk_gib if limits.disk_gib is not None else disk_gib,
    )


def traits(facts: ComputeFacts, cpu_flags: frozenset[str]) -> tuple[str, ...]:
    """Return OpenStack's trait names; the CPU's own count only where guests run on it."""
    found = set(_ALWAYS)
    if facts.hypervisor.type is HypervisorType.KVM:
        found |= {trait for flag, trait in _CPU_FLAGS.items() if flag in cpu_flags}
    if "UEFI" in facts.firmwares:
        found.add("COMPUTE_FIRMWARE_UEFI")
    return tuple(sorted(found))


def host_status(
    old: HostStatus,
    config: Config,
    facts: ComputeFacts,
    abilities: Abilities,
    *,
    size: Resources,
    allocated: Resources,
    kernel_version: str,
    cpu_flags: frozenset[str],
) -> HostStatus:
    """Return the status; equal to the old one where nothing changed."""
    return old.model_copy(
        update={
            "address": config.host_address,
            "capacity": size,
            "allocated": allocated,
            "hypervisor": facts.hypervisor,
            "architecture": facts.architecture,
            "machine_types": facts.machine_types,
            "firmwares": facts.firmwares,
            "traits": traits(facts, cpu_flags),
            "kernel_version": kernel_version,
            "agent_version": config.version,
            "physical_networks": tuple(sorted(config.provider_bridges)),
            "has_vlan": abilities.has_vlan,
            "underlay_mtu": abilities.underlay_mtu,
        }
    )


def body(status: HostStatus) -> dict[str, Any]:
    """Return the agent's part of the status, as it is applied."""
    return status.model_dump(mode="json", by_alias=True, exclude_none=True, include=_OWNED)
