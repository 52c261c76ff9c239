"""A domain's specification as libvirt's XML. Pure: the same specification gives the same text.

Source of the elements: https://libvirt.org/formatdomain.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from nephos_agent.compute.protocol import DomainSpec, NicSpec, spec_hash
from nephos_api.resources.host import HypervisorType

NAMESPACE: Final = "https://nephos.cloud/xmlns/domain/1"
"""Of our element in a domain's ``<metadata>``: the mark without which a domain is not ours."""
_BALLOON_PERIOD_S: Final = 10
_NIC_SLOTS: Final = 16
"""As many as a Server may list; a NIC can be plugged into a running q35 machine only where a slot is free, and libvirt
by itself makes one a device. They cost a boot under TCG a few tenths of a second at most."""
_OTHER_PCI_DEVICES: Final = ("virtio-serial", "memballoon", "rng")
_GUEST_AGENT: Final = "org.qemu.guest_agent.0"

ET.register_namespace("nephos", NAMESPACE)


@dataclass(frozen=True)
class Platform:
    """What the host adds to every domain."""

    hypervisor: HypervisorType
    vnc_folder: Path
    version: str = ""
    """Shown to the guest as its machine's version."""


def domain_name(namespace: str, server_name: str, server_uid: str) -> str:
    """Return the name for tools on the host: whose it is, and 8 digits of the UID, for two lives of one name."""
    return f"{namespace}.{server_name}.{server_uid[:8]}"


def render(spec: DomainSpec, platform: Platform) -> str:
    """Return the domain's XML."""
    root = ET.Element("domain", type="kvm" if platform.hypervisor is HypervisorType.KVM else "qemu")
    _text(root, "name", domain_name(spec.namespace, spec.server_name, spec.server_uid))
    _text(root, "uuid", spec.server_uid)
    _add_mark(root, spec)
    _text(root, "memory", str(spec.memory_mib), unit="MiB")
    _text(root, "vcpu", str(spec.vcpus), placement="static")
    _add_system(root, spec, platform)
    _add_processor(root, platform)
    for event, reaction in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "destroy")):
        _text(root, event, reaction)
    power = ET.SubElement(root, "pm")
    ET.SubElement(power, "suspend-to-mem", enabled="no")
    ET.SubElement(power, "suspend-to-disk", enabled="no")
    _add_devices(root, spec, platform)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def render_nic(nic: NicSpec, *, is_linked: bool) -> str:
    """Return the XML of a NIC to be plugged into a running domain."""
    interface = _nic(nic)
    ET.SubElement(interface, "link", state="up" if is_linked else "down")
    return ET.tostring(interface, encoding="unicode")


def _add_mark(root: ET.Element, spec: DomainSpec) -> None:
    mark = ET.SubElement(ET.SubElement(root, "metadata"), f"{{{NAMESPACE}}}server")
    for name, value in (
        ("cloud", spec.cloud_id),
        ("uid", spec.server_uid),
        ("namespace", spec.namespace),
        ("name", spec.server_name),
        ("epoch", str(spec.placement_epoch)),
        ("hash", spec_hash(spec)),
    ):
        _text(mark, f"{{{NAMESPACE}}}{name}", value)


def _add_system(root: ET.Element, spec: DomainSpec, platform: Platform) -> None:
    system = ET.SubElement(root, "os")
    if spec.firmware == "UEFI":
        system.set("firmware", "efi")
    _text(system, "type", "hvm", arch="x86_64", machine=spec.machine_type)
    ET.SubElement(system, "boot", dev="hd")
    ET.SubElement(system, "bootmenu", enable="no")
    if spec.firmware == "BIOS":
        ET.SubElement(system, "bios", useserial="no")
    ET.SubElement(system, "smbios", mode="sysinfo")
    information = ET.SubElement(ET.SubElement(root, "sysinfo", type="smbios"), "system")
    for name, value in (
        ("manufacturer", "OpenStack Foundation"),
        ("product", "OpenStack Nova"),  # cloud-init's ds-identify looks for it
        ("version", platform.version),
        ("serial", spec.server_uid),
        ("uuid", spec.server_uid),
        ("family", "Virtual Machine"),
    ):
        if value:
            _text(information, "entry", value, name=name)


def _add_processor(root: ET.Element, platform: Platform) -> None:
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    ET.SubElement(features, "vmport", state="off")
    is_kvm = platform.hypervisor is HypervisorType.KVM
    ET.SubElement(root, "cpu", mode="host-model" if is_kvm else "maximum")
    clock = ET.SubElement(root, "clock", offset="utc")
    if is_kvm:
        ET.SubElement(clock, "timer", name="pit", tickpolicy="delay")
        ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    ET.SubElement(clock, "timer", name="hpet", present="no")


def _add_devices(root: ET.Element, spec: DomainSpec, platform: Platform) -> None:
    devices = ET.SubElement(root, "devices")
    _add_disk(devices, spec.disk, "qcow2", "vda")
    if spec.config_drive:
        _add_disk(devices, spec.config_drive, "raw", "vdb", read_only=True)
    for nic in spec.nics:
        devices.append(_nic(nic))
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "log", file=str(spec.console_log), append="on")
    ET.SubElement(serial, "target", port="0")
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name=_GUEST_AGENT)
    ET.SubElement(devices, "graphics", type="vnc", socket=str(platform.vnc_folder / f"{spec.server_uid}.sock"))
    ET.SubElement(ET.SubElement(devices, "video"), "model", type="vga", vram="8192")
    ET.SubElement(devices, "controller", type="usb", model="none")
    balloon = ET.SubElement(devices, "memballoon", model="virtio")
    ET.SubElement(balloon, "stats", period=str(_BALLOON_PERIOD_S))
    _text(ET.SubElement(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")
    _add_slots(devices, spec)


def _add_disk(devices: ET.Element, path: Path, disk_format: str, target: str, *, read_only: bool = False) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    if read_only:
        ET.SubElement(disk, "driver", name="qemu", type=disk_format)
    else:
        # writeback honours the guest's flushes, and lets guests of one image share it in the host's page cache
        ET.SubElement(disk, "driver", name="qemu", type=disk_format, cache="writeback", discard="unmap")
    ET.SubElement(disk, "source", file=str(path))
    ET.SubElement(disk, "target", dev=target, bus="virtio")
    if read_only:
        ET.SubElement(disk, "readonly")


def _nic(nic: NicSpec) -> ET.Element:
    interface = ET.Element("interface", type="ethernet")
    ET.SubElement(interface, "mac", address=nic.mac)
    ET.SubElement(interface, "target", dev=nic.tap, managed="no")
    ET.SubElement(interface, "model", type="virtio")
    ET.SubElement(interface, "mtu", size=str(nic.mtu))
    ET.SubElement(interface, "rom", enabled="no")  # network boot would only delay the disk
    return interface


def _add_slots(devices: ET.Element, spec: DomainSpec) -> None:
    """Add the slots of a PCI Express machine: one a device, and those for NICs to come."""
    if not spec.machine_type.startswith(("q35", "pc-q35")):
        return
    disks = len(devices.findall("disk"))
    slots = disks + max(_NIC_SLOTS, len(spec.nics)) + len(_OTHER_PCI_DEVICES)
    ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for _ in range(slots):
        ET.SubElement(devices, "controller", type="pci", model="pcie-root-port")


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, tag, attributes).text = text
