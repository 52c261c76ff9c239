"""Makes routes and routing rules of a network namespace. Sockets belong to the namespace and thread that made them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nephos_agent.network.linux.route_reader import OURS
from nephos_agent.network.router.facts import Route, RoutingRule

_ON_LINK: Final = 4
"""RTNH_F_ONLINK: the next hop is behind the device, whatever addresses that has."""
_SCOPE_LINK: Final = 253
_GONE: Final = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV})


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


def _attributes(route: Route, index: int) -> dict[str, Any]:
    version = ip_network(route.destination).version
    attributes: dict[str, Any] = {"dst": route.destination, "oif": index, "table": route.table, "proto": OURS}
    if route.next_hop is not None:
        return attributes | {"gateway": route.next_hop, "flags": _ON_LINK}
    return attributes | ({"scope": _SCOPE_LINK} if version == 4 else {})


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


def _unless_gone(remove: Callable[[], object]) -> None:
    try:
        remove()
    except NetlinkError as error:
        if error.code not in _GONE:
            raise
