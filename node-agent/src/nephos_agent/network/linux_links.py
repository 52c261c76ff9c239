"""The links of one network namespace, typed. Sockets belong to the namespace and thread in which they are made."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP

from nephos_api.errors import PermanentFault

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT, errno.EADDRNOTAVAIL})
_IFA_F_NODAD: Final = 0x02


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
SERVICE_PORT: Final = PortFlags()
TUNNEL_PORT: Final = PortFlags(neigh_suppress=True)


@dataclass(frozen=True)
class Link:
    """A network device as the kernel describes it."""

    name: str
    index: int
    kind: str | None
    alias: str | None
    mtu: int
    mac: str | None
    master: int | None
    is_up: bool
    has_carrier: bool
    """Of a tap: some process has it open."""
    port_flags: PortFlags | None
    vni: int | None = None
    local: str | None = None
    has_peer_elsewhere: bool = False
    """Of a veth: the other end lies in a namespace that still exists."""


class Links:
    """A netlink socket in the calling thread's namespace. Calls block; they raise ``NetlinkError``."""

    def __init__(self) -> None:
        self._route = IPRoute(groups=0)

    def __enter__(self) -> Links:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the socket."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._route.close()

    def get(self, name: str) -> Link | None:
        """Return the link, or None where there is none of that name."""
        try:
            messages = tuple(self._route.link("get", ifname=name))
        except NetlinkError as error:
            if error.code in _GONE:
                return None
            raise
        return read_link(messages[0]) if messages else None

    def all(self) -> Iterator[Link]:
        """Yield every link."""
        return (read_link(message) for message in self._route.get_links())

    def add(self, name: str, kind: str, alias: str, mtu: int, **attributes: Any) -> Link:
        """Make a link, down, and return it; one that is there is returned as it is.

        Raises ``PermanentFault`` where the name is taken by a link with another alias.
        """
        try:
            self._route.link("add", ifname=name, kind=kind, mtu=mtu, **attributes)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
        return self.claim(name, alias)

    def claim(self, name: str, alias: str) -> Link:
        """Give the link its alias, which the kernel does not take at its birth, and return it.

        Raises ``PermanentFault`` where it has another one.
        """
        link = self.get(name)
        if link is None:
            raise OSError(errno.ENODEV, f"{name} went away while it was made")
        if link.alias is None:
            self._route.link("set", index=link.index, ifalias=alias)
        elif link.alias != alias:
            raise PermanentFault(f"the network device {name} belongs to {link.alias}", reason="DeviceTaken")
        return link

    def add_elsewhere(self, namespace: int, name: str, kind: str, mtu: int, **attributes: Any) -> None:
        """Make a link in another namespace; what it remembers as its home is this one."""
        self._route.link("add", ifname=name, kind=kind, mtu=mtu, net_ns_fd=namespace, **attributes)

    def set(self, index: int, **attributes: Any) -> None:
        """Change attributes of a link."""
        self._route.link("set", index=index, **attributes)

    def delete(self, name: str) -> None:
        """Remove the link, unless it is gone already."""
        try:
            self._route.link("del", ifname=name)
        except NetlinkError as error:
            if error.code not in _GONE:
                raise

    def join(self, link: Link, bridge: int, flags: PortFlags, mtu: int) -> None:
        """Make the link a port of the bridge with those flags, then bring it up."""
        if link.master != bridge:
            self._route.link("set", index=link.index, state="down", master=bridge, mtu=mtu)
        elif link.mtu != mtu:
            self._route.link("set", index=link.index, mtu=mtu)
        self._route.brport(
            "set",
            index=link.index,
            learning=flags.learning,
            unicast_flood=flags.unicast_flood,
            neigh_suppress=flags.neigh_suppress,
            locked=flags.locked,
        )
        self._route.link("set", index=link.index, state="up")

    def addresses(self, index: int) -> frozenset[str]:
        """Return the addresses of a link, with prefix lengths."""
        return frozenset(
            f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}" for message in self._route.get_addr(index=index)
        )

    def add_address(self, index: int, address: str) -> None:
        """Give the link an address, at once: it is unique by allocation, so nobody is asked (no DAD)."""
        host, length = address.split("/")
        nodad: Mapping[str, Any] = {"flags": _IFA_F_NODAD} if ":" in host else {}
        self._route.addr("replace", index=index, address=host, prefixlen=int(length), **nodad)

    def delete_address(self, index: int, address: str) -> None:
        """Take an address from the link."""
        host, length = address.split("/")
        self._route.addr("del", index=index, address=host, prefixlen=int(length))


def read_link(message: Any) -> Link:
    """Return the link that a message describes."""
    info = message.get_attr("IFLA_LINKINFO")
    data: Any = info.get_attr("IFLA_INFO_DATA") if info else None
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
    slave = info.get_attr("IFLA_INFO_SLAVE_DATA") if info else None
    is_vxlan = kind == "vxlan" and data is not None
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        index=message["index"],
        kind=kind,
        alias=message.get_attr("IFLA_IFALIAS"),
        mtu=message.get_attr("IFLA_MTU") or 0,
        mac=message.get_attr("IFLA_ADDRESS"),
        master=message.get_attr("IFLA_MASTER"),
        is_up=bool(message["flags"] & IFF_UP),
        has_carrier=bool(message.get_attr("IFLA_CARRIER")),
        port_flags=_port_flags(slave) if slave is not None else None,
        vni=data.get_attr("IFLA_VXLAN_ID") if is_vxlan else None,
        local=(data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6")) if is_vxlan else None,
        has_peer_elsewhere=message.get_attr("IFLA_LINK_NETNSID") is not None,
    )


def _port_flags(slave: Any) -> PortFlags | None:
    if slave.get_attr("IFLA_BRPORT_LEARNING") is None:
        return None
    return PortFlags(
        learning=bool(slave.get_attr("IFLA_BRPORT_LEARNING")),
        unicast_flood=bool(slave.get_attr("IFLA_BRPORT_UNICAST_FLOOD")),
        neigh_suppress=bool(slave.get_attr("IFLA_BRPORT_NEIGH_SUPPRESS")),
        locked=bool(slave.get_attr("IFLA_BRPORT_LOCKED")),
    )
