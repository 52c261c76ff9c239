"""Flows that a router translates: those of an address that it gives up end with it.

A general library takes a hundred microseconds a flow and there may be many, so that of each only the addresses are read
(linux/netfilter/nfnetlink_conntrack.h).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST

from nephos_agent.network.linux.netlink_codec import attribute, attributes, message, messages

_NETLINK_NETFILTER: Final = 12
_GET: Final = (1 << 8) | 1
_DELETE: Final = (1 << 8) | 2
_NFGENMSG: Final = struct.Struct("=BBH")
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_ORIGINAL: Final = 1
_REPLY: Final = 2
_TUPLE_IP: Final = 1
_IPV4_DESTINATION: Final = 2
_NESTED: Final = 0x8000
_BUFFER_BYTES: Final = 1 << 17


class TranslatedFlows:
    """A netlink socket in the calling thread's namespace. Calls block; they raise ``OSError``."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def cut(self, addresses: frozenset[str]) -> int:
        """Forget the IPv4 flows to and from the addresses; return how many there were."""
        wanted = frozenset(ip_address(address).packed for address in addresses)
        # An answer goes where the flow came from as the world sees it: the address that was translated to.
        flows = [
            original
            for original, reply in self._flows()
            if _destination(original) in wanted or _destination(reply) in wanted
        ]
        for original in flows:
            self._delete(original)
        return len(flows)

    def _flows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the tuples of each flow, as it began and as it is answered."""
        self._send(_GET, NLM_F_REQUEST | NLM_F_DUMP, b"")
        while True:
            for kind, payload in messages(memoryview(self._socket.recv(_BUFFER_BYTES))):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    _raise(payload, tolerated=frozenset())
                else:
                    found = dict(attributes(payload, _NFGENMSG.size))
                    yield found.get(_ORIGINAL, b""), found.get(_REPLY, b"")

    def _delete(self, original: bytes) -> None:
        self._send(_DELETE, NLM_F_REQUEST | NLM_F_ACK, attribute(_ORIGINAL | _NESTED, original))
        for kind, payload in messages(memoryview(self._socket.recv(_BUFFER_BYTES))):
            if kind == _NLMSG_ERROR:
                _raise(payload, tolerated=frozenset({errno.ENOENT}))

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._sequence += 1
        self._socket.send(message(kind, flags, self._sequence, _NFGENMSG.pack(socket.AF_INET, 0, 0) + body))


def _destination(flow: bytes) -> bytes | None:
    addresses = dict(attributes(memoryview(flow), 0)).get(_TUPLE_IP, b"")
    return dict(attributes(memoryview(addresses), 0)).get(_IPV4_DESTINATION)


def _raise(payload: memoryview, tolerated: frozenset[int]) -> None:
    code = -struct.unpack_from("=i", payload)[0]
    if code and code not in tolerated:
        raise OSError(code, f"flows: {os.strerror(code)}")
