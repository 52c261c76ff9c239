"""Reads the links of one network namespace.

Every step asks for a link or two, and of the fifty attributes that the kernel sends a dozen matter: those are picked
out here, at a twentieth of what decoding them all costs.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ERROR
from pyroute2.netlink.rtnl import RTM_GETLINK, RTM_NEWLINK
from pyroute2.netlink.rtnl.ifinfmsg import IFF_PROMISC, IFF_UP

from nephos_agent.network.linux.netlink_codec import attribute, attributes, message, messages
from nephos_agent.network.linux.netlink_socket import dumped, raise_refusal, whole

_IFINFOMSG: Final = struct.Struct("=BxHiII")
_STATS64: Final = struct.Struct("=8Q")
_BUFFER_BYTES: Final = 1 << 17
# linux/if_link.h
_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINK: Final = 5
_IFLA_MASTER: Final = 10
_IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_STATS64: Final = 23
_IFLA_CARRIER: Final = 33
_INFO_KIND: Final = 1
_INFO_DATA: Final = 2
_INFO_SLAVE_DATA: Final = 5
_VLAN_ID: Final = 1
_VXLAN_ID: Final = 1
_VXLAN_LOCAL: Final = 4
_VXLAN_LOCAL6: Final = 17
_BRIDGE_CALLS: Final = (36, 37)
"""IFLA_BR_NF_CALL_IPTABLES and …_IP6TABLES."""
_BRIDGE_JUDGES: Final = (5, 7)
"""IFLA_BR_STP_STATE and …_VLAN_FILTERING."""
_BRPORT_LEARNING: Final = 8
_BRPORT_UNICAST_FLOOD: Final = 9
_BRPORT_NEIGH_SUPPRESS: Final = 32
_BRPORT_LOCKED: Final = 39


@dataclass(frozen=True)
class PortFlags:
    """How a bridge treats one of its ports. Nothing is learnt or flooded: the agent says where every MAC is."""

    learning: bool = False
    unicast_flood: bool = False
    neigh_suppress: bool = False
    """ARP and ND do not leave by this port; the bridge answers for what lies behind it."""
    locked: bool = False
    """Only MACs with an entry for this port may send."""


GUEST_PORT: Final = PortFlags(locked=True)
OPEN_GUEST_PORT: Final = PortFlags(unicast_flood=True)
"""Its guest may have any MAC, so it gets what nobody else is known to have."""
SERVICE_PORT: Final = PortFlags()
UPLINK_PORT: Final = PortFlags(unicast_flood=True)
"""What is nobody's here may be somebody's outside."""
TUNNEL_PORT: Final = PortFlags(neigh_suppress=True)


@dataclass(frozen=True)
class Link:
    """A network device as the kernel describes it."""

    name: str
    index: int
    kind: str | None
    alias: str | None
    mtu: int
    mac: str
    master: int | None
    is_up: bool
    has_carrier: bool
    """Of a tap: some process has it open."""
    port_flags: PortFlags | None
    vni: int | None = None
    local: str | None = None
    lower: int | None = None
    """The device that it is based on, in the namespace where it was made."""
    vlan_id: int | None = None
    is_promiscuous: bool = False
    calls_netfilter: bool = False
    """Of a bridge: netfilter's hooks for IPv4 and IPv6 see what it forwards."""
    judges_ports: bool = False
    """Of a bridge: by spanning tree or VLAN it takes from a port more, less or other than comes in there."""


@dataclass(frozen=True)
class Counters:
    """What a device sent and received since it was made."""

    index: int
    received_packets: int
    sent_packets: int
    received_bytes: int
    sent_bytes: int
    received_dropped: int
    sent_dropped: int


class LinkReader:
    """A netlink socket in the calling thread's namespace. Calls block; they raise ``OSError``."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def get(self, name: str) -> Link | None:
        """Return the link, or None where there is none of that name."""
        self._send(NLM_F_REQUEST, attribute(_IFLA_IFNAME, name.encode() + b"\0"))
        for kind, payload in messages(memoryview(self._socket.recv(_BUFFER_BYTES))):
            if kind == RTM_NEWLINK:
                return read_link(payload)
            if kind == NLMSG_ERROR:
                raise_refusal(payload, f"link {name}", frozenset({errno.ENODEV}))
        return None

    def all(self) -> tuple[Link, ...]:
        """Return every link."""
        return tuple(map(read_link, whole(self._dump)))

    def counters(self) -> dict[str, Counters]:
        """Return what every link has counted, by its name."""
        return dict(map(_read_counters, whole(self._dump)))

    def _send(self, flags: int, body: bytes) -> None:
        self._sequence += 1
        header = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        self._socket.send(message(RTM_GETLINK, flags, self._sequence, header + body))

    def _dump(self) -> Iterator[memoryview]:
        self._send(NLM_F_REQUEST | NLM_F_DUMP, b"")
        answers = dumped(lambda: self._socket.recv(_BUFFER_BYTES), "links")
        return (payload for kind, payload in answers if kind == RTM_NEWLINK)


def _read_counters(payload: memoryview) -> tuple[str, Counters]:
    index = _IFINFOMSG.unpack_from(payload)[2]
    found = dict(attributes(payload, _IFINFOMSG.size))
    # packets, bytes, errors, dropped, each received and sent (struct rtnl_link_stats64)
    rx, tx, rx_bytes, tx_bytes, _, _, rx_dropped, tx_dropped = _STATS64.unpack_from(found[_IFLA_STATS64])
    return _text(found.get(_IFLA_IFNAME)) or "", Counters(index, rx, tx, rx_bytes, tx_bytes, rx_dropped, tx_dropped)


def read_link(payload: memoryview) -> Link:
    """Return the link that a message describes."""
    _family, _type, index, flags, _change = _IFINFOMSG.unpack_from(payload)
    found = dict(attributes(payload, _IFINFOMSG.size))
    info = _nested(found.get(_IFLA_LINKINFO, b""))
    kind = _text(info.get(_INFO_KIND))
    data = _nested(info.get(_INFO_DATA, b"")) if kind in ("vxlan", "vlan", "bridge") else {}
    slave = _nested(info.get(_INFO_SLAVE_DATA, b""))
    is_tunnel = kind == "vxlan"
    local = (data.get(_VXLAN_LOCAL) or data.get(_VXLAN_LOCAL6)) if is_tunnel else None
    return Link(
        name=_text(found.get(_IFLA_IFNAME)) or "",
        index=index,
        kind=kind,
        alias=_text(found.get(_IFLA_IFALIAS)),
        mtu=_number(found.get(_IFLA_MTU)) or 0,
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        master=_number(found.get(_IFLA_MASTER)),
        is_up=bool(flags & IFF_UP),
        has_carrier=bool(_number(found.get(_IFLA_CARRIER))),
        port_flags=_port_flags(slave) if _BRPORT_LEARNING in slave else None,
        vni=_number(data.get(_VXLAN_ID)) if is_tunnel else None,
        local=str(ip_address(local)) if local else None,
        lower=_number(found.get(_IFLA_LINK)),
        vlan_id=_number(data.get(_VLAN_ID)) if kind == "vlan" else None,
        is_promiscuous=bool(flags & IFF_PROMISC),
        calls_netfilter=kind == "bridge" and all(map(_number, map(data.get, _BRIDGE_CALLS))),
        judges_ports=kind == "bridge" and any(map(_number, map(data.get, _BRIDGE_JUDGES))),
    )


def _port_flags(slave: dict[int, bytes]) -> PortFlags:
    return PortFlags(
        learning=bool(_number(slave.get(_BRPORT_LEARNING))),
        unicast_flood=bool(_number(slave.get(_BRPORT_UNICAST_FLOOD))),
        neigh_suppress=bool(_number(slave.get(_BRPORT_NEIGH_SUPPRESS))),
        locked=bool(_number(slave.get(_BRPORT_LOCKED))),
    )


def _nested(value: bytes) -> dict[int, bytes]:
    return dict(attributes(memoryview(value), 0))


def _text(value: bytes | None) -> str | None:
    return value.rstrip(b"\0").decode() if value is not None else None


def _number(value: bytes | None) -> int | None:
    return int.from_bytes(value, sys.byteorder) if value is not None else None
