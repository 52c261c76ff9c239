"""Pings from inside a network namespace, sent from this process: no fork between two probes."""

import ctypes
import os
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_INTERVAL_S = 0.01


def socket_inside(namespace: Path) -> socket.socket:
    """Return a raw ICMP socket that lives in that network namespace (a path to its file)."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with namespace.open() as handle:
            if libc.setns(handle.fileno(), _CLONE_NEWNET):
                failed.append(OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(namespace)))
                return
        made.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))

    thread = threading.Thread(target=enter)  # a thread of its own: the process stays in its namespace
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def first_answer(icmp: socket.socket, address: str, *, timeout_s: float) -> float:
    """Send an echo request every 10 ms until one is answered; return the time of the answer (time.monotonic).

    Raises TimeoutError.
    """
    deadline = time.monotonic() + timeout_s
    identifier, sequence = os.getpid() & 0xFFFF, 0
    icmp.settimeout(_INTERVAL_S)
    while time.monotonic() < deadline:
        sequence = (sequence + 1) & 0xFFFF
        with suppress(OSError):  # no route or neighbour yet: one of the things that are waited for
            icmp.sendto(echo_request(identifier, sequence), (address, 0))
        if _answered(icmp, address, identifier):
            return time.monotonic()
    raise TimeoutError(f"{address} did not answer a ping within {timeout_s:g} s")


def _answered(icmp: socket.socket, address: str, identifier: int) -> bool:
    pause_ends = time.monotonic() + _INTERVAL_S
    while time.monotonic() < pause_ends:
        try:
            packet, sender = icmp.recvfrom(2048)
        except TimeoutError:
            return False
        kind, _, _, found, _ = struct.unpack("!BBHHH", packet[20:28])
        if sender[0] == address and kind == _ECHO_REPLY and found == identifier:
            return True
    return False


def echo_request(identifier: int, sequence: int) -> bytes:
    """Return the ICMP message."""
    header = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, sequence)
    total = sum(struct.unpack("!4H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHHH", _ECHO_REQUEST, 0, ~total & 0xFFFF, identifier, sequence)
