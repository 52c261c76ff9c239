"""What the kernel says of changes inside of routers' namespaces: links, addresses, routes, forwarding, translations.

What is announced in passing (a link that comes up, an address that is new) is no harm; what goes, goes down or is
another rule set is. Our own changes are announced before they return, so that whoever makes one forgets what was said.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWLINK,
    RTM_NEWNETCONF,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV4_RULE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP

from nephos_agent.network.linux.netlink_codec import messages
from nephos_agent.network.linux.router_space import opened

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_ADD_MEMBERSHIP: Final = 1
_NFNLGRP_NFTABLES: Final = 7
_NEW_GENERATION: Final = (10 << 8) | 15
_FORWARDING: Final = (1 << 23) | (1 << 24)
"""RTNLGRP_IPV4_NETCONF and RTNLGRP_IPV6_NETCONF, as bits."""
_GROUPS: Final = (
    RTMGRP_LINK
    | RTMGRP_IPV4_IFADDR
    | RTMGRP_IPV4_ROUTE
    | RTMGRP_IPV4_RULE
    | RTMGRP_IPV6_IFADDR
    | RTMGRP_IPV6_ROUTE
    | _FORWARDING
)
_HARMFUL: Final = frozenset({RTM_DELLINK, RTM_DELADDR, RTM_DELROUTE, RTM_DELRULE, RTM_NEWNETCONF, _NEW_GENERATION})
_IFINFOMSG: Final = struct.Struct("=BxHiII")
_BUFFER_BYTES: Final = 1 << 18


@dataclass(frozen=True)
class Heard:
    """UIDs of routers of which the kernel spoke."""

    suspected: frozenset[str]
    """Something went: to be compared with what should be there."""
    changed: frozenset[str]
    """The rule set is another one."""


class RouterEvents:
    """Listens in routers' namespaces. Used by the kernel thread; ``fileno`` is readable when there is something."""

    def __init__(self) -> None:
        self._any = select.epoll()
        self._sockets: dict[str, tuple[socket.socket, ...]] = {}
        self._owners: dict[int, str] = {}
        self._namespaces: dict[str, int] = {}
        """Which namespace each router had when it was listened to, by inode."""

    def fileno(self) -> int:
        """Return what an event loop may watch."""
        return self._any.fileno()

    def listen(self, router_uid: str, path: Path) -> None:
        """Listen in the router's namespace from now on."""
        self.leave(router_uid)
        self._namespaces[router_uid] = path.stat().st_ino
        with opened(path) as space:
            self._sockets[router_uid] = space.run(_sockets)
        for each in self._sockets[router_uid]:
            self._owners[each.fileno()] = router_uid
            self._any.register(each, select.EPOLLIN)

    def is_listening(self, router_uid: str, path: Path) -> bool:
        """Tell whether somebody listens in the router's namespace, and not in one that it had before."""
        return router_uid in self._sockets and self._namespaces[router_uid] == path.stat().st_ino

    def leave(self, router_uid: str) -> None:
        """Listen there no more."""
        for each in self._sockets.pop(router_uid, ()):
            self._any.unregister(each)
            self._owners.pop(each.fileno(), None)
            each.close()
        self._namespaces.pop(router_uid, None)

    def settle(self, router_uid: str) -> None:
        """Forget what was said of the router up to now."""
        for each in self._sockets.get(router_uid, ()):
            _is_harmful(each)

    def heard(self) -> Heard:
        """Return whom somebody else changed since the last call, or may have changed."""
        ready = {self._owners[descriptor] for descriptor, _event in self._any.poll(0) if descriptor in self._owners}
        heard = {uid: tuple(_is_harmful(each) for each in self._sockets[uid]) for uid in ready}
        return Heard(
            suspected=frozenset(uid for uid, (devices, _rules) in heard.items() if devices),
            changed=frozenset(uid for uid, (_devices, rules) in heard.items() if rules),
        )

    def close(self) -> None:
        """Stop listening."""
        for router_uid in tuple(self._sockets):
            self.leave(router_uid)
        self._any.close()


def _sockets() -> tuple[socket.socket, ...]:
    flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    routes = socket.socket(socket.AF_NETLINK, flags, socket.NETLINK_ROUTE)
    routes.bind((0, _GROUPS))
    rules = socket.socket(socket.AF_NETLINK, flags, _NETLINK_NETFILTER)
    rules.bind((0, 0))
    rules.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
    return routes, rules


def _is_harmful(source: socket.socket) -> bool:
    """Read everything that was said, and tell whether any of it may be harm; what was lost may be."""
    found = False
    while True:
        try:
            said = list(_kinds(memoryview(source.recv(_BUFFER_BYTES))))
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            found = True
        else:
            found |= any(kind in _HARMFUL or is_down for kind, is_down in said)


def _kinds(datagram: memoryview) -> Iterator[tuple[int, bool]]:
    """Yield the kind of each message, and whether it shows a link that is down."""
    for kind, payload in messages(datagram):
        is_link = kind == RTM_NEWLINK
        yield kind, is_link and not _IFINFOMSG.unpack_from(payload)[3] & IFF_UP
