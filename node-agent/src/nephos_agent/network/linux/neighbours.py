"""Many FDB and neighbour entries in few system calls.

A message is a constant header and two attributes (rtnetlink(7)), and a network may have tens of thousands of them, so
they are packed here by ``struct`` rather than one at a time through a general library. Sockets belong to the namespace
in which they are made.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from pyroute2.netlink import NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ndmsg import NTF_MASTER, NTF_SELF, NUD_NOARP, NUD_PERMANENT

from nephos_agent.network.linux.netlink_codec import attribute, attributes
from nephos_agent.network.linux.netlink_socket import NetlinkSocket, whole

FAMILIES: Final = (socket.AF_BRIDGE, socket.AF_INET, socket.AF_INET6)
_NDMSG: Final = struct.Struct("=BxxxiHBB")
_NDA_DST: Final = 1
_NDA_LLADDR: Final = 2


@dataclass(frozen=True)
class Entry:
    """An entry of a table of the kernel. ``mac`` and ``destination`` are what the family makes of them."""

    family: int
    """AF_BRIDGE, AF_INET or AF_INET6."""
    index: int
    """The device's."""
    mac: str
    destination: str | None
    flags: int
    """NTF_MASTER: the bridge's FDB; NTF_SELF: the tunnel's."""
    state: int

    @property
    def is_permanent(self) -> bool:
        """Whether it stays until somebody removes it."""
        return bool(self.state & NUD_PERMANENT)

    @property
    def is_static_bridge_entry(self) -> bool:
        """Whether it is a bridge's entry that an agent made (a port's own address is permanent, a learnt one stale)."""
        return self.family == socket.AF_BRIDGE and self.flags == 0 and self.state == NUD_NOARP

    @property
    def is_tunnel_entry(self) -> bool:
        """Whether it is an entry of a vxlan device."""
        return self.family == socket.AF_BRIDGE and bool(self.flags & NTF_SELF) and self.destination is not None


def bridge_entry(index: int, mac: str) -> Entry:
    """Return a static entry of the bridge that the device is a port of."""
    return Entry(socket.AF_BRIDGE, index, mac, None, NTF_MASTER, NUD_NOARP)


def tunnel_entry(index: int, mac: str, destination: str) -> Entry:
    """Return an entry of a vxlan device: frames for the MAC go to that host."""
    return Entry(socket.AF_BRIDGE, index, mac, destination, NTF_SELF, NUD_NOARP | NUD_PERMANENT)


def neighbour(index: int, address: str, mac: str) -> Entry:
    """Return a permanent neighbour."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return Entry(family, index, mac, address, 0, NUD_PERMANENT)


class NeighbourSocket:
    """A netlink socket in the calling thread's namespace. Calls block."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(socket.NETLINK_ROUTE, "neighbour table")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def replace(self, entries: Iterable[Entry]) -> None:
        """Make the entries so. Raises ``OSError`` with the first refusal."""
        self._socket.change(
            (RTM_NEWNEIGH, NLM_F_CREATE | (NLM_F_APPEND if _is_flood(entry) else NLM_F_REPLACE), _encode(entry))
            for entry in entries
        )

    def delete(self, entries: Iterable[Entry]) -> None:
        """Remove the entries; those that are not there count as removed."""
        self._socket.change(
            ((RTM_DELNEIGH, 0, _encode(entry)) for entry in entries),
            tolerated=frozenset({errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL}),
        )

    def dump(self, family: int) -> Iterator[Entry]:
        """Yield all entries of the family."""
        for kind, payload in whole(lambda: self._socket.dump(RTM_GETNEIGH, _NDMSG.pack(family, 0, 0, 0, 0))):
            if kind == RTM_NEWNEIGH:
                yield read_entry(payload)


def _is_flood(entry: Entry) -> bool:
    """Tell whether the entry is one of several destinations of one MAC."""
    return bool(entry.flags & NTF_SELF) and entry.mac == "00:00:00:00:00:00"


def _encode(entry: Entry) -> bytes:
    body = _NDMSG.pack(entry.family, entry.index, entry.state, entry.flags, 0)
    body += attribute(_NDA_LLADDR, bytes.fromhex(entry.mac.replace(":", "")))
    if entry.destination is not None:
        body += attribute(_NDA_DST, ip_address(entry.destination).packed)
    return body


def read_entry(payload: memoryview) -> Entry:
    """Return the entry that a message describes."""
    family, index, state, flags, _type = _NDMSG.unpack_from(payload)
    found = dict(attributes(payload, _NDMSG.size))
    destination = found.get(_NDA_DST)
    return Entry(
        family,
        index,
        found.get(_NDA_LLADDR, b"").hex(":"),
        str(ip_address(destination)) if destination else None,
        flags,
        state,
    )
