"""Packets in fragments are judged as whole ones."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import pytest

from contract.group_lab import EVERYTHING_OUT, IN, UDP, V4, V6, Guests
from contract.guest_sockets import datagrams, hears_bytes
from contract.network_lab import inside
from nephos_agent.network.model import (
    SecurityRule,
)
from nephos_api.resources.security_group import IPFamily

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


@pytest.mark.parametrize(
    ("family", "source", "target"), [(V4, "10.10.0.11", "10.10.0.12"), (V6, "fd00:10::11", "fd00:10::12")]
)
async def test_fragments_are_judged_as_the_packet_that_they_are_of(
    guests: Guests, family: IPFamily, source: str, target: str
) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, family, UDP, 53))
    sender = datagrams(guests.a, source, 4000)
    for number, expected in ((53, True), (54, False)):
        receiver = datagrams(guests.b, target, number)
        sender.socket.sendto(b"x" * 4000, receiver.socket.getsockname())
        assert await hears_bytes(receiver.socket, 4000) == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("3c 00", "3a 00 01 04 00 00 00 00 | 86 00 00 00 00 00 07 08 00 00 00 00 00 00 00 00"),
        ("3c 00", "3a 00 01 04 00 00 00 00 | 89 00 00 00 00 00 00 00 {stranger} {stranger}"),
        ("3c 00", "3a 00 01 04 00 00 00 00 | 88 00 00 00 60 00 00 00 {stranger}"),
        ("3a 00", "88 00 00 00 60 00 00 00 | {stranger}"),
        ("3c 00", "11 00 01 04 00 00 00 00 | 02 23 02 22 00 10 00 00 07 00 00 00 00 00 00 00"),
    ],
    ids=["router advertisement", "redirect", "neighbour advertisement", "cut advertisement", "DHCPv6 server"],
)
async def test_what_no_guest_may_say_it_may_not_say_in_fragments_either(
    guests: Guests, first: str, second: str
) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V6))
    parts = second.format(stranger=socket.inet_pton(socket.AF_INET6, "fd00:10::1").hex()).split("|")
    fine = "0f a0 00 35 00 10 00 00", "66 69 6e 65 00 00 00 00"
    speaker, hearer = (inside(guest.namespace, _frames) for guest in (guests.a, guests.c))
    guests.a.sockets += [speaker, hearer]
    header = bytes.fromhex(first)[:1]
    for number, (kind, said) in enumerate(((header, parts), (b"\x11", fine)), start=1):
        for frame in _in_fragments(guests, kind, *map(bytes.fromhex, said), number=number):
            speaker.send(frame)
    heard = [await _next_from(hearer, guests.a.mac)]
    while b"fine" not in heard[-1]:
        heard.append(await _next_from(hearer, guests.a.mac))
    assert not [frame.hex() for frame in heard if bytes.fromhex(parts[1]) in frame]


def _frames() -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
    opened.bind(("eth0", 0x86DD))
    opened.setblocking(False)
    return opened


def _in_fragments(guests: Guests, kind: bytes, first: bytes, second: bytes, *, number: int) -> list[bytes]:
    """Return frames from a to c: what begins with a header of that kind, cut in two."""
    macs = b"".join(bytes.fromhex(guest.mac.replace(":", "")) for guest in (guests.c, guests.a))
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, each) for each in ("fd00:10::11", "fd00:10::13"))
    frames = []
    for part, offset, more in ((first, 0, 1), (second, len(first), 0)):
        fragment = kind + b"\0" + struct.pack("!HI", offset | more, number) + part
        frames.append(macs + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(fragment), 44, 255) + addresses + fragment)
    return frames


async def _next_from(hearer: socket.socket, mac: str) -> bytes:
    async with asyncio.timeout(5):
        while True:
            frame = await asyncio.get_running_loop().sock_recv(hearer, 2048)
            if frame[6:12] == bytes.fromhex(mac.replace(":", "")):
                return frame
