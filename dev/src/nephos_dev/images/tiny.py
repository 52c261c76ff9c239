"""The guest image `tiny`: Debian's cloud kernel, busybox and dropbear, in a few tens of MB."""

import shutil
from pathlib import Path

from nephos_dev.images import debian, initramfs
from nephos_dev.images.disk import BootFiles, DiskPlan, SecondPartition, build_disk, copy_plain, one_file
from nephos_dev.images.sources import DISK_PACKAGES, build_environment, guest_files, installed_versions, source_hash
from nephos_dev.images.store import BuiltImage, default_cache_dir, find_or_build, hash_tree
from nephos_dev.images.tools import ImageBuildError, Report, Tools, no_report

_KERNEL = "linux-image-cloud-amd64"
# dropbear's libraries come with it; busybox-static needs none, and has no DHCPv6 client, which dhcpcd is.
_PACKAGES = (
    "busybox-static", "dhcpcd-base", "dropbear-bin",
    "libc6", "libcrypt1", "libgmp10", "libtomcrypt1", "libtommath1", "zlib1g",
)  # fmt: skip

MODULES = (
    "drivers/virtio/virtio_ring", "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci",
    "net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net",
    "drivers/block/virtio_blk", "drivers/cdrom/cdrom", "fs/isofs/isofs",
    "drivers/char/hw_random/virtio-rng", "drivers/input/evdev", "drivers/acpi/button",
)  # fmt: skip
"""Kernel modules in the initramfs; rootfs/etc/boot/network loads them by name, in order."""

_PROGRAMS = {
    "bin/busybox": "bin/busybox",
    "usr/sbin/dhcpcd": "bin/dhcpcd",
    "usr/sbin/dropbear": "bin/dropbear",
    "usr/bin/dropbearkey": "bin/dropbearkey",
}
_LIBRARIES = ("libc.so.6", "libcrypt.so.1", "libgmp.so.10", "libtomcrypt.so.1", "libtommath.so.1", "libz.so.1")
_LOADER = "ld-linux-x86-64.so.2"
# What init and the boot scripts start by its path; the guest links the other applets itself, after it has booted.
_EARLY_APPLETS = ("acpid", "getty", "login", "poweroff", "reboot", "sh")
_EMPTY_FOLDERS = (
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "data",
    "root/.ssh",
    "run/dhcpcd",
    "sbin",
    "usr",
    "var/lib/dhcpcd",
    "var/log",
)

_PLAN = DiskPlan(
    boot_size_mib=32,
    second=SecondPartition(size_mib=24, uuid="6e657068-6f73-4000-8000-74696e790000", label="data"),
)


def build_tiny(cache_dir: Path | None = None, *, report: Report = no_report) -> BuiltImage:
    """Return the image `tiny`, built if the cache has none of these packages and files.

    Raises:
        ImageBuildError: a step failed; the message names it and its log.
    """
    cache = cache_dir or default_cache_dir()
    tools = Tools.for_image(cache, "tiny", report=report, environment=build_environment())
    selection = debian.select(tools, cache, _KERNEL, _PACKAGES)
    inputs = {
        "builder": source_hash("tiny.py", "disk.py", "initramfs.py"),
        "guestFiles": hash_tree(guest_files("tiny")),
        **{f"package {package.file}": package.sha256 for package in selection.packages},
        **installed_versions(tools, (*DISK_PACKAGES, "cpio", "lz4")),
    }

    def build(work: Path, target: Path) -> None:
        unpacked = work / "packages"
        debian.unpack(tools, debian.download(tools, selection, cache / "debs"), unpacked)
        root = work / "root"
        assemble_root(unpacked, guest_files("tiny") / "rootfs", root)
        initrd, config = work / "initrd", work / "syslinux.cfg"
        initramfs.pack(tools, root, initrd)
        copy_plain(guest_files("tiny") / "syslinux.cfg", config)
        build_disk(
            tools,
            _PLAN,
            boot=BootFiles(kernel=one_file(unpacked / "boot", "vmlinuz-*"), initrd=initrd, config=config),
            content=None,
            work=work,
            target=target,
        )

    return find_or_build(cache, "tiny", inputs, build, report)


def assemble_root(packages: Path, guest: Path, root: Path) -> None:
    """Lay out the guest's root from unpacked packages and our own files.

    Raises:
        ImageBuildError: a package lacks a file that the guest needs.
    """
    shutil.copytree(guest, root)
    for folder in _EMPTY_FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for source, target in _PROGRAMS.items():
        _copy(packages / source, root / target)
    for library in _LIBRARIES:
        _copy(_find_library(packages, library), root / "lib" / library)
    _copy(_find_library(packages, _LOADER), root / "lib64" / _LOADER)
    for module in MODULES:
        name = f"{module.rpartition('/')[2]}.ko"
        _copy(_modules_folder(packages) / "kernel" / f"{module}.ko", root / "lib" / "modules" / name)
    for applet in _EARLY_APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "init").symlink_to("bin/busybox")
    (root / "usr" / "bin").symlink_to("../bin")
    (root / "www").symlink_to("data/www")
    _set_modes(root)


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise ImageBuildError(f"lay out the guest: the packages hold no {source.name}")
    copy_plain(source, target)
    target.chmod(0o755)


def _find_library(packages: Path, name: str) -> Path:
    folders = (packages / "lib/x86_64-linux-gnu", packages / "usr/lib/x86_64-linux-gnu")
    return next((folder / name for folder in folders if (folder / name).exists()), folders[0] / name)


def _modules_folder(packages: Path) -> Path:
    return one_file(packages / "lib" / "modules", "*")


def _set_modes(root: Path) -> None:
    # Git keeps the executable bit alone; the umask of whoever checked the files out must not decide the rest.
    for path in root.rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
    root.chmod(0o755)
    for private in ("root", "root/.ssh"):
        (root / private).chmod(0o700)
    (root / "etc" / "shadow").chmod(0o600)
    (root / "tmp").chmod(0o1777)
