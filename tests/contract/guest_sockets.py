"""Sockets of guests: what one says and another hears."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from contract.network_lab import Guest, inside

SILENCE_S = 0.3
"""Within this time a datagram is there, on a path of a few devices in one kernel."""
_TURNS = 30
"""Of the loop, which carries the frames between hosts: one that was held up has not listened yet."""
_CONNECT_S = 5.0
"""A SYN that was lost comes again after a second."""


@dataclass
class Datagrams:
    """A UDP socket in a guest."""

    socket: socket.socket

    async def reaches(self, other: Datagrams, message: bytes = b"hello") -> bool:
        """Send the other one a message; tell whether it came."""
        self.socket.sendto(message, other.socket.getsockname())
        return await other.hears(message)

    async def hears(self, message: bytes) -> bool:
        """Tell whether the message comes."""
        return await _comes(self.socket, lambda heard: heard == message)


async def _comes(receiver: socket.socket, is_it: Callable[[bytes], bool]) -> bool:
    """Tell whether something comes that is it."""
    for _ in range(_TURNS):
        with suppress(BlockingIOError):
            while heard := receiver.recv(65_536):
                if is_it(heard):
                    return True
        await asyncio.sleep(SILENCE_S / _TURNS)
    return False


def datagrams(guest: Guest, address: str, port: int) -> Datagrams:
    """Return a UDP socket in the guest, bound to the address and port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def make() -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.setblocking(False)
        made.bind((address, port))
        return made

    guest.sockets.append(inside(guest.namespace, make))
    return Datagrams(guest.sockets[-1])


@dataclass
class Connection:
    """Both ends of a TCP connection."""

    client: socket.socket
    server: socket.socket

    async def carries(self, message: bytes, *, answer: bool = False) -> bool:
        """Send a message from the client to the server (the other way if it is an answer); tell whether it came."""
        sender, receiver = (self.server, self.client) if answer else (self.client, self.server)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sender, message)
        received = bytearray()

        def ends_with_it(heard: bytes) -> bool:
            received.extend(heard)
            return received.endswith(message)

        return await _comes(receiver, ends_with_it)


async def connect(client: Guest, server: Guest, address: str, port: int, *, within_s: float = _CONNECT_S) -> Connection:
    """Connect the client to the server's address and port. Raises ``TimeoutError`` where nobody answers."""

    def listen() -> socket.socket:
        made = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
        made.setblocking(False)
        return made

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        return made

    loop = asyncio.get_running_loop()
    with inside(server.namespace, listen) as listener:
        client.sockets.append(inside(client.namespace, make))
        async with asyncio.timeout(within_s):
            await loop.sock_connect(client.sockets[-1], (address, port))
            accepted, _ = await loop.sock_accept(listener)
    server.sockets.append(accepted)
    return Connection(client.sockets[-1], accepted)


async def hears_bytes(receiver: socket.socket, size: int) -> bool:
    """Tell whether a message of that size comes."""
    return await _comes(receiver, lambda heard: len(heard) == size)
