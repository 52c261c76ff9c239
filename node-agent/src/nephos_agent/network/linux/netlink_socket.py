"""Many changes in few system calls, and dumps, over a netlink socket of the calling thread's namespace. Calls block."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, TypeVar

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR

from nephos_agent.network.linux.netlink_codec import flagged_messages, message, messages

T = TypeVar("T")

_BATCH_BYTES: Final = 64 * 1024
_BUFFER_BYTES: Final = 1 << 20
_DUMP_TRIES: Final = 5
_SEQUENCE_IN_ERROR: Final = 4 + 8
"""Behind the code, in the header of the message that is answered."""

Request = tuple[int, int, bytes]
"""Type, flags beside NLM_F_REQUEST, and body."""


def dumped(receive: Callable[[], bytes], subject: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and payload of the answers to a dump that was asked for.

    Raises ``OSError``, which is ``InterruptedError`` at the end where what is listed changed meanwhile and some may be
    missing (NLM_F_DUMP_INTR in linux/netlink.h).
    """
    seen = 0
    while True:
        for kind, flags, payload in flagged_messages(memoryview(receive())):
            seen |= flags
            if kind == NLMSG_DONE:
                if seen & NLM_F_DUMP_INTR:
                    raise InterruptedError(errno.EINTR, "what a netlink dump lists changed meanwhile")
                return
            if kind == NLMSG_ERROR:
                raise_refusal(payload, subject)
            else:
                yield kind, payload


def raise_refusal(payload: memoryview, subject: str, tolerated: frozenset[int] = frozenset()) -> None:
    """Raise ``OSError`` for the error that a message tells, unless it is none or one of ``tolerated``."""
    code = -struct.unpack_from("=i", payload)[0]
    if code and code not in tolerated:
        raise OSError(code, f"{subject}: {os.strerror(code)}")


def whole(dump: Callable[[], Iterable[T]]) -> tuple[T, ...]:
    """Return a dump that nothing interrupted. Raises ``InterruptedError`` after some tries."""
    for _ in range(_DUMP_TRIES - 1):
        with suppress(InterruptedError):
            return tuple(dump())
    return tuple(dump())


class NetlinkSocket:
    """A socket of one netlink protocol; ``subject`` begins the text of its errors."""

    def __init__(self, protocol: int, subject: str) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        self._socket.bind((0, 0))
        self._subject = subject
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def change(self, requests: Iterable[Request], tolerated: frozenset[int] = frozenset()) -> None:
        """Send in batches, each acknowledged by its last message; the kernel reports every refusal.

        Raises ``OSError`` with the first refusal that is none of ``tolerated`` (error numbers).
        """
        batch: list[Request] = []
        size = 0
        for request in requests:
            batch.append(request)
            size += len(request[2])
            if size >= _BATCH_BYTES:
                self._flush(batch, tolerated)
                batch, size = [], 0
        if batch:
            self._flush(batch, tolerated)

    def dump(self, kind: int, body: bytes) -> Iterator[tuple[int, memoryview]]:
        """Yield type and payload of the answers, as ``dumped``."""
        self._sequence += 1
        self._socket.send(message(kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, body))
        yield from dumped(lambda: self._socket.recv(_BUFFER_BYTES), self._subject)

    def ask(self, kind: int, body: bytes) -> tuple[tuple[int, memoryview], ...]:
        """Return type and payload of the answers to a question that is no dump. Raises ``OSError``."""
        self._sequence += 1
        self._socket.send(message(kind, NLM_F_REQUEST | NLM_F_ACK, self._sequence, body))
        answers: list[tuple[int, memoryview]] = []
        while True:
            for answer, payload in self._receive():
                if answer == NLMSG_ERROR:
                    raise_refusal(payload, self._subject)
                    return tuple(answers)
                answers.append((answer, payload))

    def _flush(self, batch: list[Request], tolerated: frozenset[int]) -> None:
        buffer = bytearray()
        for position, (kind, flags, body) in enumerate(batch):
            self._sequence += 1
            acknowledged = NLM_F_ACK if position == len(batch) - 1 else 0
            buffer += message(kind, NLM_F_REQUEST | flags | acknowledged, self._sequence, body)
        self._socket.send(buffer)
        last, refusal = self._sequence, None
        while True:
            for _kind, payload in self._receive_answers():
                try:
                    raise_refusal(payload, self._subject, tolerated)
                except OSError as error:
                    refusal = refusal or error
                if struct.unpack_from("=L", payload, _SEQUENCE_IN_ERROR)[0] == last:
                    if refusal:
                        raise refusal
                    return

    def _receive_answers(self) -> Iterator[tuple[int, memoryview]]:
        return ((kind, payload) for kind, payload in self._receive() if kind == NLMSG_ERROR)

    def _receive(self) -> Iterator[tuple[int, memoryview]]:
        return messages(memoryview(self._socket.recv(_BUFFER_BYTES)))
