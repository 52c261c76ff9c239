"""Frames as a guest of ill will makes them, and a look at those that come."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable


def packet_socket(device: str) -> socket.socket:
    """Return a socket that speaks and hears whole frames on the device."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    opened.bind((device, 0))
    opened.setblocking(False)
    return opened


async def frames_until(source: socket.socket, last: Callable[[bytes], bool]) -> list[bytes]:
    """Return what comes, up to the last that is waited for."""
    received: list[bytes] = []
    async with asyncio.timeout(5):
        while not received or not last(received[-1]):
            received.append(await asyncio.get_running_loop().sock_recv(source, 2048))
    return received


def packed_mac(text: str) -> bytes:
    """Return a MAC as it stands in a frame."""
    return bytes.fromhex(text.replace(":", ""))


def arp_reply(*, sender_mac: str, sender_ip: str, target_mac: str, target_ip: str) -> bytes:
    """Return an answer that nobody asked for."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
    body += packed_mac(sender_mac) + socket.inet_aton(sender_ip) + packed_mac(target_mac) + socket.inet_aton(target_ip)
    return packed_mac(target_mac) + packed_mac(sender_mac) + b"\x08\x06" + body + bytes(18)


def udp_frame(source_mac: str, target_mac: str, source: str, target: str, source_port: int, target_port: int) -> bytes:
    """Return a datagram of 20 bytes."""
    udp = struct.pack("!HHHH", source_port, target_port, 8 + 20, 0) + bytes(20)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    header += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack("!H", checksum) + header[12:]
    return packed_mac(target_mac) + packed_mac(source_mac) + b"\x08\x00" + header + udp


def icmpv6_frame(source_mac: str, target_mac: str, source: str, target: str, kind: int, subject: str = "::") -> bytes:
    """Return a message of that type about the subject."""
    body = struct.pack("!BBHI", kind, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, subject)
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return packed_mac(target_mac) + packed_mac(source_mac) + b"\x86\xdd" + header + addresses + body
