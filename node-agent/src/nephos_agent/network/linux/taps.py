"""Persistent taps (Documentation/networking/tuntap.rst)."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000


def open_tap(name: str) -> int:
    """Attach to the tap as QEMU does, making it if there is none; return the file descriptor.

    Raises ``OSError`` (EBUSY) where another process has it.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def create_tap(name: str) -> None:
    """Make a tap in the calling thread's namespace that stays when nobody has it open."""
    descriptor = open_tap(name)
    try:
        fcntl.ioctl(descriptor, _TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)
