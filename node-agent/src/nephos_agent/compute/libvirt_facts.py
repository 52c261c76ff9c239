"""What libvirt says of the host and of what its domains use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from xml.etree import ElementTree as ET

import libvirt

from nephos_agent.compute.libvirt_errors import UNAVAILABLE
from nephos_agent.compute.mark import Mark
from nephos_agent.compute.protocol import ComputeFacts, DomainStats
from nephos_api.errors import TemporaryFault
from nephos_api.resources.host import Hypervisor, HypervisorType

ARCHITECTURE: Final = "x86_64"
_MACHINE_TYPES_SHOWN: Final = 64
_DOMAIN_TYPES: Final = {HypervisorType.KVM: "kvm", HypervisorType.TCG: "qemu"}
STATS: Final = libvirt.VIR_DOMAIN_STATS_CPU_TOTAL | libvirt.VIR_DOMAIN_STATS_BALLOON | libvirt.VIR_DOMAIN_STATS_BLOCK
"""Not the interfaces: their taps lie in the tenant namespace, where libvirtd can't count."""
STATS_OF: Final = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT


def read(connection: libvirt.virConnect, hypervisor: HypervisorType) -> ComputeFacts:
    """Return the facts; probes QEMU where libvirtd has not yet."""
    _, memory_mib, vcpus, *_ = connection.getInfo()
    capabilities = connection.getDomainCapabilities(None, ARCHITECTURE, "q35", _DOMAIN_TYPES[hypervisor])
    return ComputeFacts(
        hypervisor=Hypervisor(
            type=hypervisor,
            qemu_version=_version(connection.getVersion()),
            libvirt_version=_version(connection.getLibVersion()),
        ),
        architecture=ARCHITECTURE,
        machine_types=_machine_types(connection.getCapabilities()),
        firmwares=_firmwares(capabilities),
        vcpus=vcpus,
        memory_mib=memory_mib,
    )


def stats(mark: Mark, values: Mapping[str, Any]) -> DomainStats:
    """Return one domain's answer to a bulk request; the keys are virConnectGetAllDomainStats'."""
    disks = range(values.get("block.count", 0))
    return DomainStats(
        server_uid=mark.server_uid,
        namespace=mark.namespace,
        server_name=mark.server_name,
        cpu_seconds=values.get("cpu.time", 0) / 1e9,
        memory_bytes=values.get("balloon.rss", 0) * 1024,
        balloon_bytes=values.get("balloon.current", 0) * 1024,
        block_read_bytes=sum(values.get(f"block.{n}.rd.bytes", 0) for n in disks),
        block_write_bytes=sum(values.get(f"block.{n}.wr.bytes", 0) for n in disks),
    )


def choose(uri: str) -> HypervisorType:
    """Return KVM where libvirt offers it, else TCG. Blocks. Raises TemporaryFault while libvirtd does not answer."""
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise TemporaryFault(f"libvirtd does not answer: {error}", reason=UNAVAILABLE) from error
    try:
        connection.getDomainCapabilities(None, ARCHITECTURE, "q35", "kvm")
    except libvirt.libvirtError:
        return HypervisorType.TCG
    else:
        return HypervisorType.KVM
    finally:
        connection.close()


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _machine_types(capabilities: str) -> tuple[str, ...]:
    root = ET.fromstring(capabilities)  # noqa: S314  # why: libvirt's own answer
    found = {element.text or "" for element in root.iterfind(f"guest/arch[@name='{ARCHITECTURE}']/machine")}
    return tuple(sorted(found - {""}))[:_MACHINE_TYPES_SHOWN]


def _firmwares(domain_capabilities: str) -> tuple[str, ...]:
    root = ET.fromstring(domain_capabilities)  # noqa: S314  # why: libvirt's own answer
    values = {element.text for element in root.iterfind("os/enum[@name='firmware']/value")}
    return ("BIOS", "UEFI") if "efi" in values else ("BIOS",)
