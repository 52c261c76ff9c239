"""Passes questions for names of the world from a service namespace to the host's resolvers, and answers back.

A service namespace has no way out, so that no guest can find one through it: dnsmasq asks on its own loopback, where
this process holds a socket, and this process asks from the host's namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast

_DNS_PORT: Final = 53
_TIMEOUT_S: Final = 3.0
_MAX_DATAGRAM_BYTES: Final = 65_535
_FLAGS: Final = slice(2, 4)
_IS_ANSWER: Final = 0x8000
_SERVER_FAILURE: Final = 2
_MAX_PENDING: Final = 256
"""Questions under way per network; more are dropped, and asked again by whoever needs them."""


def system_resolvers(path: Path = Path("/etc/resolv.conf")) -> tuple[str, ...]:
    """Return the resolvers that the host uses (resolv.conf(5))."""
    with contextlib.suppress(OSError):
        lines = (line.split() for line in path.read_text().splitlines())
        return tuple(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")
    return ()


def failure(question: bytes) -> bytes:
    """Return the answer "server failure" to a question (RFC 1035, 4.1.1)."""
    flags = int.from_bytes(question[_FLAGS], "big") | _IS_ANSWER | _SERVER_FAILURE
    return question[:2] + flags.to_bytes(2, "big") + question[4:]


@dataclass
class _Site:
    """What one network has open."""

    datagrams: asyncio.DatagramTransport
    streams: asyncio.Server


class NameRelay:
    """The relays of all networks of the host."""

    def __init__(self, resolvers: Sequence[str] = (), port: int = _DNS_PORT) -> None:
        """Without resolvers, those of the host are asked, as they are at each question."""
        self._resolvers: Callable[[], Sequence[str]] = (lambda: resolvers) if resolvers else system_resolvers
        self._port = port
        self._sites: dict[str, _Site] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, network_uid: str, datagrams: socket.socket, streams: socket.socket) -> None:
        """Relay from these sockets, from now on; those that the network had before are closed."""
        self.leave(network_uid)
        loop = asyncio.get_running_loop()
        relay = partial(self._relay, set())
        transport, _ = await loop.create_datagram_endpoint(lambda: _Questions(relay), sock=datagrams)
        server = await asyncio.start_server(self._relay_stream, sock=streams)
        self._sites[network_uid] = _Site(transport, server)

    def leave(self, network_uid: str) -> None:
        """Close the network's sockets."""
        site = self._sites.pop(network_uid, None)
        if site:
            site.datagrams.close()
            site.streams.close()

    def close(self) -> None:
        """Close everything."""
        for network_uid in tuple(self._sites):
            self.leave(network_uid)
        for task in self._tasks:
            task.cancel()

    def _relay(self, pending: set[asyncio.Task[None]], question: bytes, answer: Callable[[bytes], None]) -> None:
        """Have a question asked; ``pending`` are those of its network that are under way."""
        if len(pending) >= _MAX_PENDING or len(question) < 12:
            return
        task = asyncio.get_running_loop().create_task(self._ask_all(question, answer))
        for tasks in (pending, self._tasks):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _ask_all(self, question: bytes, answer: Callable[[bytes], None]) -> None:
        for resolver in self._resolvers():
            with contextlib.suppress(OSError, TimeoutError):
                answer(await self._ask(resolver, question))
                return
        answer(failure(question))

    async def _ask(self, resolver: str, question: bytes) -> bytes:
        """Ask from a new socket each time, so that a source port cannot be guessed (RFC 5452)."""
        loop = asyncio.get_running_loop()
        received: asyncio.Future[bytes] = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Answer(received, question[:2]), remote_addr=(resolver, self._port)
        )
        try:
            transport.sendto(question)
            async with asyncio.timeout(_TIMEOUT_S):
                return await received
        finally:
            transport.close()

    async def _relay_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join dnsmasq's connection with one to the first resolver that takes it."""
        with contextlib.closing(writer):
            for resolver in self._resolvers():
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(_TIMEOUT_S):
                        upstream_reader, upstream_writer = await asyncio.open_connection(resolver, self._port)
                    with contextlib.closing(upstream_writer):
                        await asyncio.gather(_pass(reader, upstream_writer), _pass(upstream_reader, writer))
                    return


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(_TIMEOUT_S * 10):
        while data := await reader.read(_MAX_DATAGRAM_BYTES):
            writer.write(data)
            await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


class _Questions(asyncio.DatagramProtocol):
    """What dnsmasq asks."""

    def __init__(self, relay: Callable[[bytes, Callable[[bytes], None]], None]) -> None:
        self._relay = relay
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Relay a question."""
        transport = self._transport
        if transport:
            self._relay(data, lambda answer: None if transport.is_closing() else transport.sendto(answer, addr))


class _Answer(asyncio.DatagramProtocol):
    """What a resolver answers to one question."""

    def __init__(self, received: asyncio.Future[bytes], identifier: bytes) -> None:
        self._received = received
        self._identifier = identifier

    def datagram_received(self, data: bytes, _addr: tuple[str, int]) -> None:
        """Take the answer that carries the question's identifier."""
        if data[:2] == self._identifier and not self._received.done():
            self._received.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there."""
        if not self._received.done():
            self._received.set_exception(exc)
