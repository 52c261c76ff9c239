"""Who has an address: told to the external network, and asked there.

Gratuitous ARP (RFC 5227, 3) and unsolicited neighbour advertisements (RFC 4861, 7.2.6) correct what routers and
switches outside remember of an address that moved; an ARP probe (RFC 5227, 2.1.1) asks whether anybody answers for one.
A last router advertisement tells guests that a router is none any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from nephos_agent.network.addresses import is_ipv6
from nephos_agent.network.linux.socket_filter import EVERYTHING, IS_EQUAL, LOAD_HALF, NOTHING, RETURN, attach

BROADCAST_MAC: Final = "ff:ff:ff:ff:ff:ff"
_NO_MAC: Final = "00:00:00:00:00:00"
_NO_ADDRESS: Final = "0.0.0.0"  # noqa: S104  # why: the sender of a probe, not what a socket is bound to
_ETH_P_ARP: Final = 0x0806
_ETH_P_ALL: Final = 0x0003
_ONLY_ARP: Final = (
    (LOAD_HALF, 0, 0, 12),  # the frame's type,
    (IS_EQUAL, 0, 1, _ETH_P_ARP),  # where it is ARP's,
    (RETURN, 0, 0, EVERYTHING),  # the whole frame,
    (RETURN, 0, 0, NOTHING),  # else nothing
)
_ETHERNET: Final = struct.Struct("!6s6sH")
_ARP: Final = struct.Struct("!HHBBH")
_ARP_BYTES: Final = 28
_HARDWARE_ETHERNET: Final = 1
_ETH_P_IP: Final = 0x0800
_ARP_REQUEST: Final = 1
_ARP_REPLY: Final = 2
_MINIMUM_BYTES: Final = 60
_ALL_NODES: Final = "ff02::1"
_ROUTER_ADVERTISEMENT: Final = 134
_ADVERTISEMENT: Final = 136
_OVERRIDE_ROUTER: Final = 0xA000_0000
"""Flags of an advertisement: it comes from a router, and replaces what was known."""
_TARGET_LINK_LAYER: Final = 2
_HOP_LIMIT: Final = 255
_REPEATS: Final = 3
"""Nobody answers an announcement; more than one is sent, in case one is lost (as Neutron does)."""


def arp_frame(operation: int, source_mac: str, source: str, target_mac: str, target: str) -> bytes:
    """Return an ARP packet for IPv4 in an Ethernet frame to everybody."""
    sender, asked = _mac(source_mac) + socket.inet_aton(source), _mac(target_mac) + socket.inet_aton(target)
    body = _ARP.pack(_HARDWARE_ETHERNET, _ETH_P_IP, 6, 4, operation) + sender + asked
    return (_ETHERNET.pack(_mac(BROADCAST_MAC), _mac(source_mac), _ETH_P_ARP) + body).ljust(_MINIMUM_BYTES, b"\0")


def answered(frame: bytes) -> tuple[str, str] | None:
    """Return address and MAC that an ARP reply speaks of, or None for any other frame."""
    if len(frame) < _ETHERNET.size + _ARP_BYTES:
        return None
    kind = _ETHERNET.unpack_from(frame)[2]
    operation = _ARP.unpack_from(frame, _ETHERNET.size)[4]
    if kind != _ETH_P_ARP or operation != _ARP_REPLY:
        return None
    sender = frame[_ETHERNET.size + _ARP.size :]
    return socket.inet_ntoa(sender[6:10]), sender[:6].hex(":")


def advertisement(address: str, mac: str) -> bytes:
    """Return the body of an unsolicited neighbour advertisement; the kernel adds the checksum."""
    head = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE_ROUTER)
    return head + socket.inet_pton(socket.AF_INET6, address) + struct.pack("!BB6s", _TARGET_LINK_LAYER, 1, _mac(mac))


def farewell() -> bytes:
    """Return the body of a router advertisement with a lifetime of 0, which says nothing else (RFC 4861, 6.2.5)."""
    return struct.pack("!BBHBBHII", _ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0)


def announce(device: str, mac: str, addresses: Iterable[str]) -> None:
    """Tell everybody behind the device, which is in the calling thread's namespace, who has the addresses now."""
    told = tuple(addresses)
    with packet_socket(device) as ethernet:
        for address in (address for address in told if not is_ipv6(address)):
            for _ in range(_REPEATS):
                ethernet.send(arp_frame(_ARP_REQUEST, mac, address, _NO_MAC, address))
    for address in (address for address in told if is_ipv6(address)):
        with _icmpv6_socket() as raw:
            raw.bind((address, 0, 0, 0))  # another host that has it still knows by the sender that it does no more
            for _ in range(_REPEATS):
                _tell_all(raw, device, advertisement(address, mac))


def withdraw(devices: Iterable[str]) -> None:
    """Tell everybody behind the devices, which are in the calling thread's namespace, that here is no router."""
    with _icmpv6_socket() as raw:
        for device in tuple(devices) * _REPEATS:
            _tell_all(raw, device, farewell())


def _icmpv6_socket() -> socket.socket:
    opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    return opened


def _tell_all(raw: socket.socket, device: str, body: bytes) -> None:
    raw.sendto(body, (_ALL_NODES, 0, 0, socket.if_nametoindex(device)))


def packet_socket(device: str) -> socket.socket:
    """Return a socket for ARP on the device, which is in the calling thread's namespace.

    It takes every protocol and filters: what comes in by a port of a bridge is seen only so.
    """
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    try:
        attach(opened, _ONLY_ARP)
        opened.bind((device, _ETH_P_ALL))
    except OSError:
        opened.close()
        raise
    return opened


class Probe:
    """Asks on a network whether one MAC answers for addresses."""

    def __init__(self, device: str, mac: str, uids: Mapping[str, str]) -> None:
        """``device`` is where to ask, in the calling thread's namespace; ``uids`` are what the addresses belong to."""
        self._socket = packet_socket(device)
        self._source = self._socket.getsockname()[4].hex(":")
        self._mac = mac
        self._uids = dict(uids)

    async def answering(self, within_s: float) -> frozenset[str]:
        """Ask once, and return whose addresses were answered for, at the latest when the time is up."""
        found: set[str] = set()
        with self._socket, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                for address in self._uids:
                    self._socket.send(arp_frame(_ARP_REQUEST, self._source, _NO_ADDRESS, _NO_MAC, address))
                while len(found) < len(self._uids):
                    frame = await asyncio.get_running_loop().sock_recv(self._socket, 2048)
                    answer = answered(frame)
                    if answer and answer[1] == self._mac and answer[0] in self._uids:
                        found.add(self._uids[answer[0]])
        return frozenset(found)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
