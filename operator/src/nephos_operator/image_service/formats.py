"""What the first bytes of an image say, before any tool opens it. Pure.

qemu-img opens the files that an image names, so images that name any are found here first. Sources: QEMU's
docs/interop/qcow2.txt; VMware's Virtual Disk Format 5.0; ECMA-119 for ISO 9660.
"""

from __future__ import annotations

import struct
from typing import Final

HEAD_BYTES: Final = 64 << 10
"""As much of the file's start as is looked at here."""
TAIL_BYTES: Final = 512
"""As much of its end."""

_QCOW2_MAGIC: Final = b"QFI\xfb"
_QCOW2_EXTERNAL_DATA: Final = 1 << 2
_VMDK_SPARSE_MAGIC: Final = b"KDMV"
_VMDK_DESCRIPTOR: Final = b"# Disk DescriptorFile"
_VHD_COOKIE: Final = b"conectix"
_ISO_MAGIC: Final = b"CD001"
_ISO_MAGIC_OFFSET: Final = 32_769


def outside_reference(head: bytes) -> str | None:
    """Return what outside of itself the image refers to, or None."""
    if head.startswith(_QCOW2_MAGIC):
        return _qcow2_reference(head)
    if head.startswith(_VMDK_SPARSE_MAGIC) and len(head) >= 20:
        (capacity,) = struct.unpack_from("<Q", head, 12)
        return None if capacity else "extents in other files"
    if head.lstrip().startswith(_VMDK_DESCRIPTOR):
        return "extents in other files"
    return None


def is_iso(head: bytes) -> bool:
    """Tell whether it is an ISO 9660 file system."""
    return head[_ISO_MAGIC_OFFSET : _ISO_MAGIC_OFFSET + len(_ISO_MAGIC)] == _ISO_MAGIC


def is_fixed_vhd(tail: bytes) -> bool:
    """Tell whether the end of the file is the footer of a fixed VHD, which has nothing at its start to know it by."""
    return tail.startswith(_VHD_COOKIE)


def _qcow2_reference(head: bytes) -> str | None:
    if len(head) < 72:
        return None
    version, backing_offset, backing_length = struct.unpack_from(">IQI", head, 4)
    if backing_offset or backing_length:
        return "a backing file"
    (incompatible,) = struct.unpack_from(">Q", head, 72) if version >= 3 and len(head) >= 80 else (0,)
    return "an external data file" if incompatible & _QCOW2_EXTERNAL_DATA else None
