"""What the kernel says of changes in the tenant namespace: its links, and commits to its rule set."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_NEWLINK, RTMGRP_LINK
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP

from nephos_agent.network.linux.netlink_codec import attributes, messages

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NFNLGRP_NFTABLES: Final = 7
_NFT_MSG_NEWGEN: Final = (10 << 8) | 15
"""Subsystem nftables, message "a new generation": announced once for each commit."""
_IFINFOMSG: Final = struct.Struct("=BxHiII")
_IFLA_IFNAME: Final = 3
_IFLA_MASTER: Final = 10
_IFLA_CARRIER: Final = 33
_BUFFER_BYTES: Final = 1 << 20
_SO_RCVBUFFORCE: Final = 33


@dataclass(frozen=True)
class LinkEvent:
    """A link was made, changed or removed."""

    name: str
    index: int
    is_gone: bool
    is_up: bool
    has_carrier: bool
    master: int | None


class EventLost(Exception):
    """The kernel had more to say than the socket could hold: look at everything again."""


class EventSockets:
    """Listens in the namespace of the thread that makes it; read from the event loop."""

    def __init__(self) -> None:
        self._links = _listening(socket.NETLINK_ROUTE)
        self._links.bind((0, RTMGRP_LINK))
        self._rules = _listening(_NETLINK_NETFILTER)
        self._rules.bind((0, 0))
        self._rules.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)

    def watch(self, loop: asyncio.AbstractEventLoop, on_readable: Callable[[], None]) -> None:
        """Have the function called whenever there is something to read."""
        for each in (self._links, self._rules):
            loop.add_reader(each, on_readable)

    def unwatch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have nobody called any more."""
        for each in (self._links, self._rules):
            loop.remove_reader(each)

    def close(self) -> None:
        """Stop listening."""
        self._links.close()
        self._rules.close()

    def links(self) -> list[LinkEvent]:
        """Return what was said of links since the last call. Raises ``EventLost``."""
        return [
            event
            for data in _datagrams(self._links)
            for kind, payload in messages(data)
            if kind in (RTM_NEWLINK, RTM_DELLINK) and (event := _link_event(kind, payload))
        ]

    def commits(self) -> int:
        """Return how many commits to the rule set there were since the last call. Raises ``EventLost``."""
        return sum(kind == _NFT_MSG_NEWGEN for data in _datagrams(self._rules) for kind, _payload in messages(data))


def _listening(protocol: int) -> socket.socket:
    listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    return listening


def _datagrams(source: socket.socket) -> Iterator[memoryview]:
    while True:
        try:
            yield memoryview(source.recv(_BUFFER_BYTES))
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise EventLost from error
            raise


def _link_event(kind: int, payload: memoryview) -> LinkEvent | None:
    family, _type, index, flags, _change = _IFINFOMSG.unpack_from(payload)
    if family == socket.AF_BRIDGE:
        return None
    found = dict(attributes(payload, _IFINFOMSG.size))
    master, carrier = found.get(_IFLA_MASTER), found.get(_IFLA_CARRIER)
    return LinkEvent(
        name=found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(),
        index=index,
        is_gone=kind == RTM_DELLINK,
        is_up=bool(flags & IFF_UP),
        has_carrier=carrier is not None and carrier[0] == 1,
        master=int.from_bytes(master, sys.byteorder) if master else None,
    )
