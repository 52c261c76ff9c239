"""Routes and routing rules of one network namespace. Sockets belong to the namespace and thread that made them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nephos_agent.network.router.facts import Route, RoutingRule

_STATIC: Final = 4
"""RTPROT_STATIC: routes of ours; the kernel's own, of addresses, have another mark."""
_ON_LINK: Final = 4
"""RTNH_F_ONLINK: the next hop is behind the device, whatever addresses that has."""
_SCOPE_LINK: Final = 253
_GONE: Final = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})
_NO_SUPPRESSION: Final = 0xFFFFFFFF
_KERNEL_RULES: Final = frozenset({0, 32766, 32767})


class Routes:
    """A netlink socket in the calling thread's namespace. Calls block; they raise ``NetlinkError``."""

    def __init__(self) -> None:
        self._route = IPRoute(groups=0)

    def close(self) -> None:
        """Close the socket."""
        self._route.close()

    def replace(self, route: Route, index: int) -> None:
        """Make the route so; ``index`` is its device's."""
        self._route.route("replace", **_attributes(route, index))

    def delete(self, route: Route, index: int) -> None:
        """Remove the route, unless it is gone already or leads elsewhere by now."""
        _unless_gone(lambda: self._route.route("del", **_attributes(route, index)))

    def add_rule(self, rule: RoutingRule) -> None:
        """Add the rule, unless it is there."""
        try:
            self._route.rule("add", **_rule_attributes(rule))
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise

    def delete_rule(self, rule: RoutingRule) -> None:
        """Remove the rule, unless it is gone already."""
        _unless_gone(lambda: self._route.rule("del", **_rule_attributes(rule)))

    def routes(self, names: dict[int, str]) -> frozenset[Route]:
        """Return the routes that an agent made; ``names`` are those of the devices, by index."""
        return frozenset(
            Route(table, _destination(message), names[index], message.get_attr("RTA_GATEWAY"))
            for message in self._route.get_routes(proto=_STATIC)
            if (index := message.get_attr("RTA_OIF")) in names and (table := message.get_attr("RTA_TABLE"))
        )

    def rules(self) -> frozenset[RoutingRule]:
        """Return the rules for IPv4 that are not the kernel's own."""
        return frozenset(
            _rule(message)
            for message in self._route.get_rules(family=socket.AF_INET)
            if (message.get_attr("FRA_PRIORITY") or 0) not in _KERNEL_RULES
        )


def _attributes(route: Route, index: int) -> dict[str, Any]:
    version = ip_network(route.destination).version
    attributes: dict[str, Any] = {"dst": route.destination, "oif": index, "table": route.table, "proto": _STATIC}
    if route.next_hop is not None:
        return attributes | {"gateway": route.next_hop, "flags": _ON_LINK}
    return attributes | ({"scope": _SCOPE_LINK} if version == 4 else {})


def _destination(message: Any) -> str:
    anywhere = "::" if message["family"] == socket.AF_INET6 else "0.0.0.0"  # noqa: S104  # why: a route's, not a socket's
    return f"{message.get_attr('RTA_DST') or anywhere}/{message['dst_len']}"


def _rule_attributes(rule: RoutingRule) -> dict[str, Any]:
    attributes: dict[str, Any] = {"priority": rule.priority, "table": rule.table}
    if rule.source is not None:
        network = ip_network(rule.source)
        attributes |= {"src": str(network.network_address), "src_len": network.prefixlen}
    if rule.mark is not None:
        attributes["fwmark"] = rule.mark
    if rule.but_default:
        attributes["FRA_SUPPRESS_PREFIXLEN"] = 0
    return attributes


def _rule(message: Any) -> RoutingRule:
    source = message.get_attr("FRA_SRC")
    return RoutingRule(
        message.get_attr("FRA_PRIORITY"),
        message.get_attr("FRA_TABLE"),
        f"{source}/{message['src_len']}" if source else None,
        message.get_attr("FRA_FWMARK") or None,
        but_default=message.get_attr("FRA_SUPPRESS_PREFIXLEN") not in (None, _NO_SUPPRESSION),
    )


def _unless_gone(remove: Callable[[], object]) -> None:
    try:
        remove()
    except NetlinkError as error:
        if error.code not in _GONE:
            raise
