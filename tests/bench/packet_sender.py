"""Sends many UDP packets with few system calls (sendmmsg(2)): what is timed is their way, not this program."""

import ctypes
import socket
import time
from collections.abc import Sequence

_PAYLOAD = bytes(36)  # 64 bytes with the headers of IPv4 and UDP
_MESSAGES = 1000


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Address(ctypes.Structure):
    _fields_ = (
        ("family", ctypes.c_uint16),
        ("port", ctypes.c_uint16),
        ("address", ctypes.c_uint8 * 4),
        ("zero", ctypes.c_uint8 * 8),
    )


class _Header(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iov_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


class Burst:
    """A thousand packets from a socket to an address, to one port after the other."""

    def __init__(self, source: socket.socket, address: str, ports: Sequence[int]) -> None:
        self._descriptor = source.fileno()
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._iovec = _Iovec(_PAYLOAD, len(_PAYLOAD))
        octets = (ctypes.c_uint8 * 4)(*socket.inet_aton(address))
        self._addresses = [_Address(socket.AF_INET, socket.htons(port), octets) for port in ports]
        self._messages = (_Message * _MESSAGES)()
        for position, message in enumerate(self._messages):
            name = self._addresses[position % len(self._addresses)]
            message.header = _Header(
                ctypes.addressof(name), ctypes.sizeof(name), ctypes.addressof(self._iovec), 1, None, 0, 0
            )

    def send(self) -> float:
        """Send all; return the nanoseconds that one took."""
        started = time.perf_counter_ns()
        sent = self._send(self._descriptor, self._messages, _MESSAGES, 0)
        took = time.perf_counter_ns() - started
        if sent != _MESSAGES:
            raise OSError(ctypes.get_errno(), f"{sent} of {_MESSAGES} packets were sent")
        return took / _MESSAGES
