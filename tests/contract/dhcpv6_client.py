"""The least of a DHCPv6 client (RFC 8415) that a test needs: it asks, and says what it was told."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

SOLICIT: Final = 1
ADVERTISE: Final = 2
REQUEST: Final = 3
REPLY: Final = 7
INFORMATION_REQUEST: Final = 11
_CLIENT_ID: Final = 1
_SERVER_ID: Final = 2
_IA_NA: Final = 3
_IA_ADDRESS: Final = 5
_WANTED: Final = 6
DNS_SERVERS: Final = 23
SEARCH_DOMAINS: Final = 24
SNTP_SERVERS: Final = 31
REFRESH_TIME: Final = 32
_TIMEOUT_S: Final = 1
_TRIES: Final = 5


@dataclass(frozen=True)
class Answer:
    """A server's message: its options by number."""

    options: dict[int, bytes]

    @property
    def address(self) -> str | None:
        """The leased address."""
        for number, value in _options(self.options.get(_IA_NA, b"")[12:]).items():
            if number == _IA_ADDRESS:
                return str(IPv6Address(value[:16]))
        return None

    def addresses(self, number: int) -> list[str]:
        """An option that is a list of addresses."""
        value = self.options.get(number, b"")
        return [str(IPv6Address(value[start : start + 16])) for start in range(0, len(value), 16)]

    def names(self, number: int) -> list[str]:
        """An option that is a list of names (RFC 1035, without compression)."""
        labels, names, value = list[str](), list[str](), self.options.get(number, b"")
        while value:
            size, value = value[0], value[1:]
            if size:
                labels.append(value[:size].decode())
                value = value[size:]
            else:
                names.append(".".join(labels))
                labels = []
        return names


def lease(mac: str) -> Answer | None:
    """Ask for an address on eth0; None where nobody offers one."""
    offered = _ask(SOLICIT, mac, {_IA_NA: b"\0\0\0\1" + bytes(8)}, ADVERTISE)
    if offered is None or offered.address is None:
        return offered
    return _ask(REQUEST, mac, {number: offered.options[number] for number in (_SERVER_ID, _IA_NA)}, REPLY)


def inform(mac: str) -> Answer | None:
    """Ask on eth0 for options alone; None where nobody answers."""
    return _ask(INFORMATION_REQUEST, mac, {}, REPLY)


def _ask(kind: int, mac: str, options: dict[int, bytes], awaited: int) -> Answer | None:
    wanted = struct.pack("!4H", DNS_SERVERS, SEARCH_DOMAINS, SNTP_SERVERS, REFRESH_TIME)
    client = b"\0\3\0\1" + bytes.fromhex(mac.replace(":", ""))  # DUID-LL
    body = {_CLIENT_ID: client, _WANTED: wanted} | options
    encoded = b"".join(struct.pack("!HH", number, len(value)) + value for number, value in body.items())
    request = struct.pack("!I", kind << 24 | 0x4E4550) + encoded
    interface = socket.if_nametoindex("eth0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sender.bind(("::", 546, 0, interface))
        sender.settimeout(_TIMEOUT_S)
        for _ in range(_TRIES):
            sender.sendto(request, ("ff02::1:2", 547, 0, interface))
            try:
                message = sender.recv(2048)
            except TimeoutError:
                continue
            if message[0] == awaited and message[1:4] == request[1:4]:
                return Answer(_options(message[4:]))
    return None


def _options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        number, size = struct.unpack("!HH", data[:4])
        found[number] = data[4 : 4 + size]
        data = data[4 + size :]
    return found
