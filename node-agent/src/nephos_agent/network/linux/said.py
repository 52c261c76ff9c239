"""What the kernel says when something changes in a namespace (rtnetlink(7)), put as the driver's picture is.

An announcement is a fact that holds from now on, or a key that has no fact of ours any more; whoever compares it with
the picture sees whether that is news. So it makes no difference who made the change, and our own ones cost a look-up.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWNETCONF,
    RTM_NEWROUTE,
    RTM_NEWRULE,
)
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP

from nephos_agent.network.facts import Fact, Key
from nephos_agent.network.linux.entries import fact_of, subject_of
from nephos_agent.network.linux.neighbours import read_entry
from nephos_agent.network.linux.netlink_codec import attributes
from nephos_agent.network.linux.route_reader import KERNELS, read_route, read_rule
from nephos_agent.network.router.facts import Address, RouterFact

_IFINFOMSG: Final = struct.Struct("=BxHiII")
_IFLA_IFNAME: Final = 3
_IFLA_CARRIER: Final = 33
_IFADDRMSG: Final = struct.Struct("=BBBBI")
_IFA_ADDRESS: Final = 1
_LINK_LOCAL: Final = b"\xfe\x80"
_NETCONFMSG: Final = struct.Struct("=Bxxx")
_NETCONFA_IFINDEX: Final = 1
_NETCONF: Final = {
    socket.AF_INET: ("ipv4", {2: "forwarding", 3: "rp_filter", 5: "proxy_arp"}),
    socket.AF_INET6: ("ipv6", {2: "forwarding", 5: "proxy_ndp"}),
}
"""Settings that are announced, by address family: the sysctls' folder, and their names by attribute."""
EVERY_DEVICE: Final = {-1: "all", -2: "default"}
"""What settings of no device of its own are called, by index (linux/netconf.h)."""


@dataclass(frozen=True)
class LinkEvent:
    """A link was made, changed or removed."""

    name: str
    index: int
    is_gone: bool
    is_up: bool
    has_carrier: bool


@dataclass
class Said:
    """Everything that was said of one namespace; of what was said twice the last."""

    links: list[LinkEvent] = field(default_factory=list)
    ports: set[str] = field(default_factory=set)
    """Devices of which was said how they are ports of a bridge."""
    facts: dict[Key, Fact | RouterFact | None] = field(default_factory=dict)
    """None where there is nothing any more, or nothing such as an agent makes."""
    severed: set[tuple[str, str]] = field(default_factory=set)
    """What is not behind a device any more although its addresses say so: the device's name, and a CIDR."""
    sysctls: dict[str, str] = field(default_factory=dict)
    """Values by name, as in ``sysctls``."""
    commits: int = 0
    """Changes of the rule set."""
    is_lost: bool = False
    """Whether the kernel had more to say than could be held: everything may be otherwise."""

    def last_links(self) -> tuple[LinkEvent, ...]:
        """Return what was said last of each link; one that is gone is not up."""
        return tuple({link.name: link for link in self.links}.values())

    def take(self, kind: int, payload: memoryview, names: dict[int, str]) -> None:
        """Take a message in. ``names`` are those of the devices, by index; they are kept up to date."""
        reader = _READERS.get(kind)
        if reader:
            reader(self, kind, payload, names)


def _take_link(said: Said, kind: int, payload: memoryview, names: dict[int, str]) -> None:
    family, _type, index, flags, _change = _IFINFOMSG.unpack_from(payload)
    if family == socket.AF_BRIDGE:
        said.ports |= {names[index]} if index in names else set()
        return
    found = dict(attributes(payload, _IFINFOMSG.size))
    name = found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace")
    is_gone = kind in _REMOVALS
    former = names.pop(index, name)
    if former != name:
        said.links.append(LinkEvent(former, index, is_gone=True, is_up=False, has_carrier=False))
    if not is_gone:
        names[index] = name
    carrier = found.get(_IFLA_CARRIER)
    has_carrier = carrier is not None and carrier[0] == 1
    said.links.append(LinkEvent(name, index, is_gone, bool(flags & IFF_UP) and not is_gone, has_carrier))


def _take_entry(said: Said, kind: int, payload: memoryview, names: dict[int, str]) -> None:
    entry = read_entry(payload)
    device = names.get(entry.index)
    if device is not None:
        said.facts[subject_of(entry, device).key] = None if kind in _REMOVALS else fact_of(entry, device)


def _take_address(said: Said, kind: int, payload: memoryview, names: dict[int, str]) -> None:
    _family, length, _flags, _scope, index = _IFADDRMSG.unpack_from(payload)
    address = dict(attributes(payload, _IFADDRMSG.size)).get(_IFA_ADDRESS)
    device = names.get(index)
    if address and device is not None:
        fact = Address(device, f"{ip_address(address)}/{length}")
        said.facts[fact.key] = None if kind in _REMOVALS else fact
        if kind == RTM_NEWADDR and address.startswith(_LINK_LOCAL):
            # The kernel makes them when it pleases; only that one goes may be news.
            del said.facts[fact.key]


def _take_route(said: Said, kind: int, payload: memoryview, names: dict[int, str]) -> None:
    found = read_route(payload, names)
    if found and found.is_connected:
        way = (found.route.device, found.route.destination)
        (said.severed.add if kind in _REMOVALS else said.severed.discard)(way)
    elif found and found.protocol != KERNELS:
        said.facts[found.route.key] = found.route if found.is_ours and kind not in _REMOVALS else None


def _take_rule(said: Said, kind: int, payload: memoryview, _names: dict[int, str]) -> None:
    rule = read_rule(payload)
    if rule:
        said.facts[rule.key] = None if kind in _REMOVALS else rule


def _take_settings(said: Said, _kind: int, payload: memoryview, names: dict[int, str]) -> None:
    folder, settings = _NETCONF.get(_NETCONFMSG.unpack_from(payload)[0], ("", {}))
    found = {number: int.from_bytes(value, sys.byteorder, signed=True) for number, value in attributes(payload, 4)}
    index = found.get(_NETCONFA_IFINDEX, 0)
    device = EVERY_DEVICE.get(index) or names.get(index)
    if device is not None:
        said.sysctls |= {
            f"net/{folder}/conf/{device}/{name}": str(found[number])
            for number, name in settings.items()
            if number in found
        }


_REMOVALS: Final = frozenset({RTM_DELLINK, RTM_DELNEIGH, RTM_DELADDR, RTM_DELROUTE, RTM_DELRULE})
_READERS: Final[dict[int, Callable[[Said, int, memoryview, dict[int, str]], None]]] = {
    RTM_NEWLINK: _take_link,
    RTM_DELLINK: _take_link,
    RTM_NEWNEIGH: _take_entry,
    RTM_DELNEIGH: _take_entry,
    RTM_NEWADDR: _take_address,
    RTM_DELADDR: _take_address,
    RTM_NEWROUTE: _take_route,
    RTM_DELROUTE: _take_route,
    RTM_NEWRULE: _take_rule,
    RTM_DELRULE: _take_rule,
    RTM_NEWNETCONF: _take_settings,
}
