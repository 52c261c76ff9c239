"""Netlink's framing: messages in a datagram, attributes in a message (netlink(7))."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

HEADER: Final = struct.Struct("=LHHLL")
_ATTRIBUTE: Final = struct.Struct("=HH")
_TYPE_MASK: Final = 0x3FFF
"""Without the flags "nested" and "network byte order"."""


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a message."""
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def messages(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and payload of the messages in a datagram."""
    return ((kind, payload) for kind, _flags, payload in flagged_messages(data))


def flagged_messages(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield type, flags and payload of the messages in a datagram."""
    offset = 0
    while offset + HEADER.size <= len(data):
        length, kind, flags, _sequence, _port = HEADER.unpack_from(data, offset)
        yield kind, flags, data[offset + HEADER.size : offset + length]
        offset += _aligned(length)


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute, padded."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(_aligned(length) - length)


def attributes(payload: memoryview, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of the attributes in a payload, behind its fixed part."""
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        yield kind & _TYPE_MASK, bytes(payload[offset + _ATTRIBUTE.size : offset + length])
        offset += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
