"""Packs a folder into an initramfs whose bytes depend on names, modes and contents alone."""

import os
from pathlib import Path

from nephos_dev.images.tools import Tools


def pack(tools: Tools, root: Path, target: Path) -> None:
    """Write a folder as a compressed newc archive, owned by root, sorted, with one fixed time."""
    epoch = int(tools.environment["SOURCE_DATE_EPOCH"])
    # The root itself comes first: without it the guest's / would be open to everybody.
    paths = [Path(), *sorted(path.relative_to(root) for path in root.rglob("*"))]
    for path in paths:
        os.utime(root / path, (epoch, epoch), follow_symlinks=False)
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    archive = tools.run(
        "pack the initramfs",
        ["cpio", "--null", "--create", "--quiet", "--format=newc", "--owner=+0:+0", "--reproducible"],
        stdin=names,
        cwd=root,
    )
    # The kernel reads LZ4's legacy format; of none, gzip and LZ4 it boots an emulated guest fastest.
    target.write_bytes(tools.run("compress the initramfs", ["lz4", "-l", "-9", "-c"], stdin=archive))
