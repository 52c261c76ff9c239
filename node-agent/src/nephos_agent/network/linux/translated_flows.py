"""Flows that a router translates: those of an address that it gives up end with it.

A general library takes a hundred microseconds a flow and there may be many, so that of each only the addresses are read
(linux/netfilter/nfnetlink_conntrack.h).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final

from nephos_agent.network.linux.netlink_codec import attribute, attributes
from nephos_agent.network.linux.netlink_socket import NetlinkSocket

_NETLINK_NETFILTER: Final = 12
_GET: Final = (1 << 8) | 1
_DELETE: Final = (1 << 8) | 2
_HEADER: Final = struct.pack("=BBH", socket.AF_INET, 0, 0)
_ORIGINAL: Final = 1
_REPLY: Final = 2
_TUPLE_IP: Final = 1
_IPV4_DESTINATION: Final = 2
_NESTED: Final = 0x8000


class TranslatedFlows:
    """A netlink socket in the calling thread's namespace. Calls block; they raise ``OSError``."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(_NETLINK_NETFILTER, "translated flows")

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
        deletions = ((_DELETE, 0, _HEADER + attribute(_ORIGINAL | _NESTED, original)) for original in flows)
        self._socket.change(deletions, tolerated=frozenset({errno.ENOENT}))
        return len(flows)

    def _flows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the tuples of each flow, as it began and as it is answered."""
        for _kind, payload in self._socket.dump(_GET, _HEADER):
            found = dict(attributes(payload, len(_HEADER)))
            yield found.get(_ORIGINAL, b""), found.get(_REPLY, b"")


def _destination(flow: bytes) -> bytes | None:
    addresses = dict(attributes(memoryview(flow), 0)).get(_TUPLE_IP, b"")
    return dict(attributes(memoryview(addresses), 0)).get(_IPV4_DESTINATION)
