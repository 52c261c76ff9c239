"""Bootable disks without loop devices or mounts: a FAT partition with kernel and boot loader, and an ext4 one."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from nephos_dev.images.tools import ImageBuildError, Tools

_MIB = 1024 * 1024
_SECTOR = 512
_BOOT_START_MIB = 1
_MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
_DISK_ID = "0x4e455048"
_FAT_ID = "4e455048"
_EXT4_HASH_SEED = "6e657068-6f73-4000-8000-68617368736d"


@dataclass(frozen=True)
class BootFiles:
    """What the boot loader reads."""

    kernel: Path
    initrd: Path
    config: Path


@dataclass(frozen=True)
class SecondPartition:
    """The partition after the boot loader's: ext4, for the guest's root or data."""

    size_mib: int
    uuid: str
    label: str


@dataclass(frozen=True)
class DiskPlan:
    """The sizes of a disk's two partitions, and whether the image's clusters are compressed."""

    boot_size_mib: int
    second: SecondPartition
    compressed: bool = False


def build_disk(
    tools: Tools, plan: DiskPlan, *, boot: BootFiles, content: Path | None, work: Path, target: Path
) -> None:
    """Write a qcow2 disk that a BIOS boots, with a folder's content (or nothing) on its second partition.

    Raises:
        ImageBuildError: a tool is missing or failed.
    """
    disk = work / "disk.raw"
    second_start_mib = _BOOT_START_MIB + plan.boot_size_mib
    with disk.open("wb") as file:
        file.truncate((second_start_mib + plan.second.size_mib + 1) * _MIB)
    _partition(tools, disk, plan.boot_size_mib, second_start_mib, plan.second.size_mib)
    _make_boot_partition(tools, disk, boot, plan.boot_size_mib)
    _make_second_partition(tools, disk, plan.second, second_start_mib, content)
    compress = ["-c"] if plan.compressed else []
    tools.run("convert the disk", ["qemu-img", "convert", *compress, "-f", "raw", "-O", "qcow2", disk, target])


def _partition(tools: Tools, disk: Path, boot_size_mib: int, second_start_mib: int, second_size_mib: int) -> None:
    table = (
        f"label: dos\nlabel-id: {_DISK_ID}\n"
        f"start={_BOOT_START_MIB}MiB, size={boot_size_mib}MiB, type=e, bootable\n"
        f"start={second_start_mib}MiB, size={second_size_mib}MiB, type=83\n"
    )
    tools.run("partition the disk", ["sfdisk", "--quiet", "--no-tell-kernel", disk], stdin=table.encode())
    if not _MBR.exists():
        raise ImageBuildError(f"write the boot loader: {_MBR} is missing; install the Debian package syslinux-common")
    with disk.open("r+b") as file:
        file.write(_MBR.read_bytes())


def _make_boot_partition(tools: Tools, disk: Path, boot: BootFiles, size_mib: int) -> None:
    start_bytes = _BOOT_START_MIB * _MIB
    first_sector = start_bytes // _SECTOR
    # --invariant fixes the times inside the file system. Big clusters make few, large reads of the BIOS.
    tools.run(
        "make the boot file system",
        ["mkfs.vfat", "-F", "16", "-s", "16", "-i", _FAT_ID, "-n", "BOOT", "--invariant",
         "--offset", str(first_sector), disk, str(size_mib * 1024)],
    )  # fmt: skip
    image = f"{disk}@@{start_bytes}"
    for source, name in ((boot.kernel, "vmlinuz"), (boot.initrd, "initrd"), (boot.config, "syslinux.cfg")):
        # -m keeps the file's time, which is fixed here so that it does not depend on when it was unpacked.
        os.utime(source, (0, int(tools.environment["SOURCE_DATE_EPOCH"])))
        tools.run("copy the kernel", ["mcopy", "-m", "-i", image, source, f"::/{name}"])
    tools.run("install the boot loader", ["syslinux", "--install", "--offset", str(start_bytes), disk])


def _make_second_partition(
    tools: Tools, disk: Path, partition: SecondPartition, start_mib: int, content: Path | None
) -> None:
    populate: list[str | Path] = [] if content is None else ["-d", content]
    # What mke2fs leaves for later, the guest's kernel would do while it boots.
    options = f"offset={start_mib * _MIB},hash_seed={_EXT4_HASH_SEED},lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    tools.run(
        "make the second file system",
        ["mke2fs", "-q", "-F", "-t", "ext4", "-U", partition.uuid, "-L", partition.label, *populate,
         "-E", options, disk, f"{partition.size_mib}M"],
    )  # fmt: skip


def one_file(folder: Path, pattern: str) -> Path:
    """Find the one file of a folder that fits a pattern.

    Raises:
        ImageBuildError: there is none, or more than one.
    """
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ImageBuildError(f"lay out the guest: {len(found)} files {pattern} in {folder}, expected one")
    return found[0]


def copy_plain(source: Path, target: Path) -> None:
    """Copy a file's bytes (following links) to a new path, making its folders."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
