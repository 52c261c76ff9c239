"""Listens to what the kernel says of changes in namespaces: the tenants', those of services and of routers.

Used by the kernel thread, which makes changes there too: what it reads is what holds by then. An event loop watches
``fileno``.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pyroute2.netlink.rtnl import (
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV4_RULE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
    RTMGRP_NEIGH,
)
from pyroute2.netlink.rtnl.ndmsg import NUD_NOARP, NUD_PERMANENT

from nephos_agent.network.linux import namespaces
from nephos_agent.network.linux.link_reader import LinkReader
from nephos_agent.network.linux.netlink_codec import messages
from nephos_agent.network.linux.said import EVERY_DEVICE, Said
from nephos_agent.network.linux.socket_filter import (
    EVERYTHING,
    HAS_ANY_BIT,
    IS_EQUAL,
    LOAD_BYTE,
    NOTHING,
    RETURN,
    Step,
    attach,
)

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_ADD_MEMBERSHIP: Final = 1
_NFNLGRP_NFTABLES: Final = 7
_NFNL_SUBSYS_NFTABLES: Final = 10
_NFT_MSG_NEWGEN: Final = 15
"""A new generation: announced once for each commit, in a datagram of its own."""
_NETCONF: Final = (1 << 23) | (1 << 24)
"""RTNLGRP_IPV4_NETCONF and RTNLGRP_IPV6_NETCONF, as bits."""
_SWITCHING: Final = RTMGRP_LINK | RTMGRP_NEIGH | _NETCONF
_ADDRESSES: Final = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
_ROUTING: Final = RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_RULE
_BUFFER_BYTES: Final = 32 << 20
"""Not memory, but a limit: a network of ten thousand ports, made or removed at once, is announced entry by entry."""
_DATAGRAM_BYTES: Final = 1 << 15
_SO_RCVBUFFORCE: Final = 33
_LOW_BYTE: Final = 0 if sys.byteorder == "little" else 1
_ONLY_STATIC_ENTRIES: Final[tuple[Step, ...]] = (
    # What a bridge learns and forgets, and how a neighbour that is asked for fares, is nobody's work.
    (LOAD_BYTE, 0, 0, 4 + _LOW_BYTE),  # the message's type
    (IS_EQUAL, 3, 0, RTM_NEWNEIGH),
    (IS_EQUAL, 0, 4, RTM_DELNEIGH),
    (LOAD_BYTE, 0, 0, 16),  # the entry's family: a neighbour that is removed does not say what it was
    (IS_EQUAL, 0, 2, socket.AF_BRIDGE),
    (LOAD_BYTE, 0, 0, 24 + _LOW_BYTE),  # its state
    (HAS_ANY_BIT, 0, 1, NUD_NOARP | NUD_PERMANENT),
    (RETURN, 0, 0, EVERYTHING),
    (RETURN, 0, 0, NOTHING),
)
_ONLY_COMMITS: Final[tuple[Step, ...]] = (
    # Not what a commit consists of, element by element.
    (LOAD_BYTE, 0, 0, 4 + _LOW_BYTE),
    (IS_EQUAL, 0, 3, _NFT_MSG_NEWGEN),
    (LOAD_BYTE, 0, 0, 5 - _LOW_BYTE),
    (IS_EQUAL, 0, 1, _NFNL_SUBSYS_NFTABLES),
    (RETURN, 0, 0, EVERYTHING),
    (RETURN, 0, 0, NOTHING),
)


class Events:
    """Listens in any number of namespaces, each known by a name."""

    def __init__(self) -> None:
        self._any = select.epoll()
        self._ears: dict[str, _Ear] = {}
        self._owners: dict[int, str] = {}

    def fileno(self) -> int:
        """Return what an event loop may watch: it is readable when there is something."""
        return self._any.fileno()

    def listen(self, place: str, *, routes: bool = False, rules: bool = True) -> bool:
        """Listen in the calling thread's namespace from now on, unless that is so already; tell whether it was not.

        Links, entries and settings are heard always; ``routes`` adds addresses and ways, ``rules`` the rule set.
        """
        if self.is_listening(place, namespaces.own_namespace()):
            return False
        self.leave(place)
        self._ears[place] = ear = _Ear(_SWITCHING | _ADDRESSES | _ROUTING if routes else _SWITCHING, rules=rules)
        for each in ear.sockets:
            self._owners[each.fileno()] = place
            self._any.register(each, select.EPOLLIN)
        return True

    def is_listening(self, place: str, path: Path) -> bool:
        """Tell whether somebody listens in that very namespace, and missed nothing."""
        return place in self._ears and self._ears[place].namespace == path.stat().st_ino

    def leave(self, place: str) -> None:
        """Listen there no more."""
        ear = self._ears.pop(place, None)
        for each in ear.sockets if ear else ():
            self._any.unregister(each)
            self._owners.pop(each.fileno(), None)
            each.close()

    def said(self) -> dict[str, Said]:
        """Return what was said since the last call, by place. Where something was lost nobody listens any more."""
        ready = {self._owners[descriptor] for descriptor, _event in self._any.poll(0) if descriptor in self._owners}
        heard = {place: self._ears[place].said() for place in ready}
        for place, said in heard.items():
            if said.is_lost:
                self.leave(place)
        return heard

    def close(self) -> None:
        """Stop listening."""
        for place in tuple(self._ears):
            self.leave(place)
        self._any.close()


class _Ear:
    """Sockets in the namespace of the thread that makes it."""

    def __init__(self, groups: int, *, rules: bool) -> None:
        self.namespace = namespaces.own_namespace().stat().st_ino
        devices = _listening(socket.NETLINK_ROUTE)
        attach(devices, _ONLY_STATIC_ENTRIES)
        devices.bind((0, groups))
        self.sockets = (devices, _rules()) if rules else (devices,)
        self._names = EVERY_DEVICE | _names()

    def said(self) -> Said:
        """Return what was said since the last call."""
        said = Said()
        try:
            for each in self.sockets:
                for kind, payload in _messages(each):
                    if kind == (_NFNL_SUBSYS_NFTABLES << 8) | _NFT_MSG_NEWGEN:
                        said.commits += 1
                    else:
                        said.take(kind, payload, self._names)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            said.is_lost = True
        return said


def _names() -> dict[int, str]:
    reader = LinkReader()
    try:
        return {link.index: link.name for link in reader.all()}
    finally:
        reader.close()


def _rules() -> socket.socket:
    rules = _listening(_NETLINK_NETFILTER)
    attach(rules, _ONLY_COMMITS)
    rules.bind((0, 0))
    rules.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    return rules


def _listening(protocol: int) -> socket.socket:
    listening = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, protocol)
    listening.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
    return listening


def _messages(source: socket.socket) -> Iterator[tuple[int, memoryview]]:
    while True:
        try:
            datagram = source.recv(_DATAGRAM_BYTES)
        except BlockingIOError:
            return
        yield from messages(memoryview(datagram))
