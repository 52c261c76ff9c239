"""Makes and changes the links of one network namespace. Sockets belong to the namespace and thread that made them."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nephos_agent.network.linux.link_reader import Counters, Link, LinkReader, PortFlags
from nephos_agent.network.linux.route_reader import KERNELS, connected_by
from nephos_api.errors import PermanentFault

_GONE: Final = frozenset({errno.ENODEV, errno.ENOENT, errno.EADDRNOTAVAIL})
_IFA_F_NODAD: Final = 0x02
_SCOPE_LINK: Final = 253
_IPV6_PRIORITY: Final = 256
"""Of routes that the kernel makes (IP6_RT_PRIO_ADDRCONF)."""


class Links:
    """Netlink sockets in the calling thread's namespace. Calls block; they raise ``NetlinkError``."""

    def __init__(self) -> None:
        self._route = IPRoute(groups=0)
        self._reader = LinkReader()

    def __enter__(self) -> Links:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the socket."""
        self.close()

    def close(self) -> None:
        """Close the sockets."""
        self._route.close()
        self._reader.close()

    def get(self, name: str) -> Link | None:
        """Return the link, or None where there is none of that name."""
        return self._reader.get(name)

    def all(self) -> tuple[Link, ...]:
        """Return every link."""
        return self._reader.all()

    def counters(self) -> dict[str, Counters]:
        """Return what every link has counted, by its name."""
        return self._reader.counters()

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
        """Give the link an address, at once: it is unique by allocation, so nobody is asked (no DAD).

        Where it is there already, what comes with it is made so again.
        """
        host, length = address.split("/")
        nodad: Mapping[str, Any] = {"flags": _IFA_F_NODAD} if ":" in host else {}
        try:
            self._route.addr("add", index=index, address=host, prefixlen=int(length), **nodad)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            self._connect(index, address)

    def _connect(self, index: int, address: str) -> None:
        """Make the route that the kernel makes with an address, unless it is there."""
        destination, host = connected_by(address), address.split("/")[0]
        if destination is None:
            return
        own: Mapping[str, Any] = (
            {"priority": _IPV6_PRIORITY} if ":" in host else {"scope": _SCOPE_LINK, "prefsrc": host}
        )
        try:
            self._route.route("add", dst=destination, oif=index, proto=KERNELS, **own)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise

    def delete_address(self, index: int, address: str) -> None:
        """Take an address from the link."""
        host, length = address.split("/")
        self._route.addr("del", index=index, address=host, prefixlen=int(length))
