"""Root disks: qcow2 overlays, made by qemu-img in about 10 ms whatever their size."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from nephos_agent.storage.durable import TENANTS_MODE, partial_of
from nephos_api.errors import PermanentFault, TemporaryFault
from nephos_api.resources.image import ImageFormat
from nephos_api.resources.server import ServerImage

_GIB: Final = 1 << 30
_QEMU_DRIVERS: Final = {ImageFormat.VHD: "vpc", ImageFormat.ISO: "raw"}
"""Formats that QEMU knows by another name."""


def qemu_driver(image_format: ImageFormat) -> str:
    """Return QEMU's name of a format."""
    return _QEMU_DRIVERS.get(image_format, image_format.value)


def check_size(image: ServerImage, size_gib: int) -> None:
    """Raise ``PermanentFault`` where the image does not fit on a disk of that size: a disk is never shrunk."""
    if size_gib * _GIB < image.virtual_size_bytes:
        needed_gib = -(-image.virtual_size_bytes // _GIB)
        raise PermanentFault(
            f"image {image.name} needs a disk of {needed_gib} GiB and the flavor has {size_gib} GiB; "
            "use a flavor with a larger disk",
            reason="DiskTooSmall",
        )


async def create_overlay(path: Path, base_name: str, image: ServerImage, size_gib: int) -> None:
    """Make a disk over ``base_name``, a file in the same folder.

    The name is relative, so that the folder can be moved; ``-u`` leaves the base unopened: it was inspected already.
    """
    partial = partial_of(path)
    process = await asyncio.create_subprocess_exec(
        "qemu-img", "create", "-q", "-u", "-f", "qcow2",
        "-b", base_name, "-F", qemu_driver(image.format), str(partial), f"{size_gib}G",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        partial.unlink(missing_ok=True)
        raise TemporaryFault(
            f"qemu-img can't make the disk: {errors.decode(errors='replace').strip()[-500:]}", reason="DiskNotMade"
        )
    partial.chmod(TENANTS_MODE)
    partial.replace(path)
