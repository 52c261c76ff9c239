"""What goes into an image beside Debian's packages: our own files, the build's tools, one fixed time."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from nephos_dev.images.tools import Tools

EPOCH = 1_704_067_200
"""The time, in seconds, that every file in an image carries: 2024-01-01; any fixed one would do."""

DISK_PACKAGES = ("dosfstools", "e2fsprogs", "fdisk", "mtools", "qemu-utils", "syslinux", "syslinux-common")
"""The Debian packages whose programs write a disk."""

_HERE = Path(__file__).resolve().parent


def guest_files(image: str) -> Path:
    """The folder of an image's own files, dev/images/<image>."""
    return _HERE.parents[2] / "images" / image


def source_hash(*modules: str) -> str:
    """Hash modules of this package: a changed builder makes another image."""
    digest = hashlib.sha256()
    for module in sorted(modules):
        digest.update((_HERE / module).read_bytes())
    return digest.hexdigest()


def build_environment() -> Mapping[str, str]:
    """Environment under which the tools write no clock time, no time zone and no user's settings."""
    return {
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "E2FSPROGS_FAKE_TIME": str(EPOCH),
        "TZ": "UTC",
        "MTOOLSRC": "/dev/null",
        "MTOOLS_SKIP_CHECK": "1",
    }


def installed_versions(tools: Tools, packages: Sequence[str]) -> dict[str, str]:
    """The versions of installed Debian packages, as inputs of a build.

    Raises:
        ImageBuildError: one of them is not installed.
    """
    output = tools.run(
        "find the build's tools (apt-get install " + " ".join(packages) + ")",
        ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages],
    )
    return dict(sorted(f"tool {line}".rsplit(" ", 1) for line in output.decode().splitlines()))
