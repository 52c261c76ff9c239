"""Reads the routes and routing rules of one network namespace."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface
from typing import Final

from pyroute2.netlink.rtnl import RTM_GETROUTE, RTM_GETRULE, RTM_NEWROUTE, RTM_NEWRULE

from nephos_agent.network.linux.netlink_codec import attributes
from nephos_agent.network.linux.netlink_socket import NetlinkSocket, whole
from nephos_agent.network.router.facts import MAIN_TABLE, Route, RoutingRule

OURS: Final = 4
"""RTPROT_STATIC: routes that an agent made."""
KERNELS: Final = 2
"""RTPROT_KERNEL: those that come with addresses."""
_RTMSG: Final = struct.Struct("=8BI")
_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})
_RTN_UNICAST: Final = 1
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_TABLE: Final = 15
_FRA_SRC: Final = 2
_FRA_PRIORITY: Final = 6
_FRA_FWMARK: Final = 10
_FRA_SUPPRESS_PREFIXLEN: Final = 14
_FRA_TABLE: Final = 15
_NO_SUPPRESSION: Final = 0xFFFF_FFFF
_KERNELS_RULES: Final = frozenset({0, 32766, 32767})


@dataclass(frozen=True)
class FoundRoute:
    """A route, whoever made it."""

    route: Route
    protocol: int
    is_unicast: bool

    @property
    def is_ours(self) -> bool:
        """Whether an agent made it."""
        return self.protocol == OURS

    @property
    def is_connected(self) -> bool:
        """Whether it is the kernel's own, to what is behind a device by an address of that."""
        is_on_link = self.route.next_hop is None and self.route.table == MAIN_TABLE
        return self.protocol == KERNELS and self.is_unicast and is_on_link


class RouteReader:
    """A netlink socket in the calling thread's namespace. Calls block; they raise ``OSError``."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(socket.NETLINK_ROUTE, "routes")

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def routes(self, names: Mapping[int, str]) -> tuple[frozenset[Route], frozenset[tuple[str, str]]]:
        """Return the routes that an agent made, and what is behind the devices by their addresses: names and CIDRs.

        ``names`` are those of the devices, by index.
        """
        dumped = whole(lambda: self._socket.dump(RTM_GETROUTE, _RTMSG.pack(*[0] * 9)))
        found = [each for kind, payload in dumped if kind == RTM_NEWROUTE and (each := read_route(payload, names))]
        return (
            frozenset(each.route for each in found if each.is_ours and each.route.device),
            frozenset((each.route.device, each.route.destination) for each in found if each.is_connected),
        )

    def rules(self) -> frozenset[RoutingRule]:
        """Return the rules for IPv4 that are not the kernel's own."""
        dumped = whole(lambda: self._socket.dump(RTM_GETRULE, _RTMSG.pack(socket.AF_INET, *[0] * 8)))
        return frozenset(rule for kind, payload in dumped if kind == RTM_NEWRULE and (rule := read_rule(payload)))


def read_route(payload: memoryview, names: Mapping[int, str]) -> FoundRoute | None:
    """Return the route that a message describes; its device is empty where it is none of ``names``."""
    family, length, _from, _tos, table, protocol, _scope, kind, _flags = _RTMSG.unpack_from(payload)
    if family not in _FAMILIES:
        return None
    found = dict(attributes(payload, _RTMSG.size))
    destination, next_hop = found.get(_RTA_DST) or bytes(4 if family == socket.AF_INET else 16), found.get(_RTA_GATEWAY)
    route = Route(
        _number(found.get(_RTA_TABLE)) or table,
        f"{ip_address(destination)}/{length}",
        names.get(_number(found.get(_RTA_OIF)) or 0, ""),
        str(ip_address(next_hop)) if next_hop else None,
    )
    return FoundRoute(route, protocol, kind == _RTN_UNICAST)


def read_rule(payload: memoryview) -> RoutingRule | None:
    """Return the rule for IPv4 that a message describes, unless it is one of the kernel's own."""
    family, _to, length, _tos, table, *_ = _RTMSG.unpack_from(payload)
    found = dict(attributes(payload, _RTMSG.size))
    priority, source = _number(found.get(_FRA_PRIORITY)) or 0, found.get(_FRA_SRC)
    if family != socket.AF_INET or priority in _KERNELS_RULES:
        return None
    return RoutingRule(
        priority,
        _number(found.get(_FRA_TABLE)) or table,
        f"{ip_address(source)}/{length}" if source else None,
        _number(found.get(_FRA_FWMARK)) or None,
        but_default=_number(found.get(_FRA_SUPPRESS_PREFIXLEN)) not in (None, _NO_SUPPRESSION),
    )


def connected_by(address: str) -> str | None:
    """Return what an address, with prefix length, makes the kernel find behind its device; None for a single one."""
    network = ip_interface(address).network
    return str(network) if network.num_addresses > 1 else None


def _number(value: bytes | None) -> int | None:
    return int.from_bytes(value, sys.byteorder) if value is not None else None
