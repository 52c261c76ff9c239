"""Filters of sockets: the kernel runs a small program on each message and wakes nobody for what it refuses."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence
from typing import Final

Step = tuple[int, int, int, int]
"""Code, how many steps to skip where a test holds and where not, operand (linux/filter.h)."""
LOAD_BYTE: Final = 0x30
LOAD_HALF: Final = 0x28
IS_EQUAL: Final = 0x15
HAS_ANY_BIT: Final = 0x45
RETURN: Final = 0x06
EVERYTHING: Final = 0xFFFF_FFFF
NOTHING: Final = 0
_SO_ATTACH_FILTER: Final = 26
_STEP: Final = struct.Struct("=HBBI")


def attach(filtered: socket.socket, program: Sequence[Step]) -> None:
    """Have the socket take only messages for which the program does not return ``NOTHING``."""
    steps = ctypes.create_string_buffer(b"".join(_STEP.pack(*step) for step in program))
    filtered.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(steps)))
