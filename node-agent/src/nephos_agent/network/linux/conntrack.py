"""The kernel's table of flows, zone by zone (linux/netfilter/nfnetlink_conntrack.h)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from nephos_agent.network.filters.cutting import Flow
from nephos_agent.network.filters.judgement import WITH_TYPES
from nephos_agent.network.linux.netlink_codec import attribute, attributes
from nephos_agent.network.linux.netlink_socket import NetlinkSocket

_NETLINK_NETFILTER: Final = 12
_NFGENMSG: Final = struct.Struct("!BBH")
_NEW, _GET, _DELETE = ((1 << 8) | kind for kind in (0, 1, 2))
_NESTED: Final = 0x8000
_TUPLE_ORIG, _MARK, _ZONE = 1, 8, 18
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IPV4_SOURCE, _IPV4_DESTINATION, _IPV6_SOURCE, _IPV6_DESTINATION = 1, 2, 3, 4
_PROTO_NUMBER, _PROTO_DESTINATION_PORT = 1, 3
_ICMP_TYPE, _ICMP_CODE, _ICMPV6_TYPE, _ICMPV6_CODE = 5, 6, 8, 9
_NOBODY_ASKED: Final = 0
"""The connection mark of a flow that ``filter.nft`` lets nobody here send or get before his rules are asked."""


@dataclass(frozen=True)
class TrackedFlow:
    """A flow, and how the kernel knows it again."""

    flow: Flow
    family: int
    original: bytes


class FlowTable:
    """Flows of the namespace of the thread that makes it. Calls block."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(_NETLINK_NETFILTER, "connection tracking")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def flows(self, zone: int) -> Iterator[TrackedFlow]:
        """Yield the flows of the zone."""
        wanted = struct.pack("!H", zone)
        body = _NFGENMSG.pack(socket.AF_UNSPEC, 0, 0) + attribute(_ZONE, wanted)
        for _kind, payload in self._socket.dump(_GET, body):
            found = dict(attributes(payload, _NFGENMSG.size))
            if found.get(_ZONE) == wanted:
                yield TrackedFlow(_flow(found), payload[0], found[_TUPLE_ORIG])

    def cut(self, zone: int, flows: Iterable[TrackedFlow]) -> None:
        """Have the flows judged anew; those that ended meanwhile are no error."""
        mark = attribute(_MARK, struct.pack("!L", _NOBODY_ASKED))
        self._socket.change(((_NEW, 0, _key(zone, flow) + mark) for flow in flows), tolerated=frozenset({errno.ENOENT}))

    def end(self, zone: int, flows: Iterable[TrackedFlow]) -> None:
        """Forget the flows; those that ended meanwhile are no error."""
        self._socket.change(((_DELETE, 0, _key(zone, flow)) for flow in flows), tolerated=frozenset({errno.ENOENT}))


def _key(zone: int, flow: TrackedFlow) -> bytes:
    header = _NFGENMSG.pack(flow.family, 0, 0)
    return header + attribute(_TUPLE_ORIG | _NESTED, flow.original) + attribute(_ZONE, struct.pack("!H", zone))


def _flow(found: dict[int, bytes]) -> Flow:
    original = dict(attributes(memoryview(found[_TUPLE_ORIG]), 0))
    addresses = dict(attributes(memoryview(original[_TUPLE_IP]), 0))
    fields = dict(attributes(memoryview(original[_TUPLE_PROTO]), 0))
    protocol = fields[_PROTO_NUMBER][0]
    port, code = _selector(protocol, fields)
    return Flow(
        str(ip_address(addresses.get(_IPV4_SOURCE) or addresses[_IPV6_SOURCE])),
        str(ip_address(addresses.get(_IPV4_DESTINATION) or addresses[_IPV6_DESTINATION])),
        protocol,
        port,
        code,
        is_cut=int.from_bytes(found.get(_MARK, b"")) == _NOBODY_ASKED,
    )


def _selector(protocol: int, fields: dict[int, bytes]) -> tuple[int | None, int | None]:
    if protocol in WITH_TYPES:
        kind, code = fields.get(_ICMP_TYPE, fields.get(_ICMPV6_TYPE)), fields.get(_ICMP_CODE, fields.get(_ICMPV6_CODE))
        return (kind[0] if kind else None), (code[0] if code else None)
    port = fields.get(_PROTO_DESTINATION_PORT)
    return (int.from_bytes(port) if port else None), None
