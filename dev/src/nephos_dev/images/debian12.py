"""The guest image `debian-12`: a real Debian with cloud-init, to test the cloud against."""

import shlex
import shutil
from pathlib import Path

from nephos_dev.images import debian
from nephos_dev.images.disk import BootFiles, DiskPlan, SecondPartition, build_disk, copy_plain, one_file
from nephos_dev.images.sources import DISK_PACKAGES, build_environment, guest_files, installed_versions, source_hash
from nephos_dev.images.store import BuiltImage, default_cache_dir, find_or_build, hash_tree
from nephos_dev.images.tools import Report, Tools, no_report

_NAME = "debian-12"
_SUITE = "bookworm"
_KERNEL = "linux-image-cloud-amd64"
_PACKAGES = (
    "ca-certificates", "cloud-guest-utils", "cloud-init", "curl", "dbus", "e2fsprogs", "fdisk", "iproute2",
    "iputils-ping", "isc-dhcp-client", "netbase", "openssh-server", "procps", "sudo",
    "systemd-resolved", "systemd-sysv", "udev",
)  # fmt: skip
_ENABLED_UNITS = ("systemd-networkd.service", "systemd-resolved.service")
# Nothing may wake up and load an emulated guest, or reach for a network that is not there.
_MASKED_UNITS = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "e2scrub_reap.service", "fstrim.timer", "systemd-timesyncd.service",
)  # fmt: skip
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")

_PLAN = DiskPlan(
    boot_size_mib=64,
    second=SecondPartition(size_mib=1200, uuid="6e657068-6f73-4000-8000-646562313200", label="root"),
    compressed=True,
)


def build_debian_12(cache_dir: Path | None = None, *, report: Report = no_report) -> BuiltImage:
    """Return the image `debian-12`, built if the cache has none of these packages and files. Needs root.

    Raises:
        ImageBuildError: a step failed; the message names it and its log.
    """
    cache = cache_dir or default_cache_dir()
    tools = Tools.for_image(cache, _NAME, report=report, environment=build_environment())
    # The named packages stand for all: the image is made anew when the kernel, cloud-init or sshd changes.
    selection = debian.select(tools, cache, _KERNEL, _PACKAGES)
    inputs = {
        "builder": source_hash("debian12.py", "disk.py"),
        "guestFiles": hash_tree(guest_files(_NAME)),
        **{f"package {package.file}": package.sha256 for package in selection.packages},
        **installed_versions(tools, (*DISK_PACKAGES, "mmdebstrap")),
    }

    def build(work: Path, target: Path) -> None:
        root, config = work / "root", work / "syslinux.cfg"
        report("image debian-12: installing Debian (about a minute)")
        install(tools, root)
        configure(tools, guest_files(_NAME) / "rootfs", root)
        copy_plain(guest_files(_NAME) / "syslinux.cfg", config)
        kernel = one_file(root / "boot", "vmlinuz-*")
        initrd = one_file(root / "boot", "initrd.img-*")
        report("image debian-12: writing the disk")
        build_disk(
            tools,
            _PLAN,
            boot=BootFiles(kernel=kernel, initrd=initrd, config=config),
            content=root,
            work=work,
            target=target,
        )

    return find_or_build(cache, _NAME, inputs, build, report)


def install(tools: Tools, root: Path) -> None:
    """Install Debian into an empty folder."""
    early = guest_files(_NAME) / "early" / "etc"
    tools.run(
        "install Debian",
        [
            "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", "--quiet",
            "--aptopt=APT::Install-Recommends false", f"--include={','.join((_KERNEL, *_PACKAGES))}",
            *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
            # mmdebstrap reads a hook as one line of words; its own copy-in needs no shell.
            f"--essential-hook=copy-in {shlex.quote(str(early))} /",
            _SUITE, root,
        ],
    )  # fmt: skip


def configure(tools: Tools, guest: Path, root: Path) -> None:
    """Turn a fresh installation into an image: our files, the units that run, nothing of the build host's."""
    shutil.copytree(guest, root, dirs_exist_ok=True)
    for path in guest.rglob("*"):
        (root / path.relative_to(guest)).chmod(0o755 if path.is_dir() else 0o644)
    for verb, units in (("enable", _ENABLED_UNITS), ("mask", _MASKED_UNITS)):
        tools.run(f"{verb} units", ["systemctl", f"--root={root}", verb, *units])
    (root / "etc/machine-id").write_text("")
    (root / "etc/hostname").write_text("debian\n")
    resolver = root / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    # The build host's resolver is not reachable from a guest, and asking it would cost its boot many seconds.
    resolver.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
