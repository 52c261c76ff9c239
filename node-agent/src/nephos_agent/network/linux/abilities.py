"""Asks this host's kernel what its network can do. Blocks; changes nothing."""

from __future__ import annotations

import errno
from typing import Final

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nephos_agent.network.abilities import Abilities

_PROBE: Final = "nprobe"


def probe(underlay_address: str) -> Abilities:
    """Look, in the calling thread's namespace."""
    with IPRoute(groups=0) as route:
        return Abilities(has_vlan=_has_vlan(route), underlay_mtu=_underlay_mtu(route, underlay_address))


def _has_vlan(route: IPRoute) -> bool:
    """Ask for an 802.1Q device without a tag: a kernel that has them refuses the request, another one the kind."""
    try:
        route.link("add", ifname=_PROBE, kind="vlan")
    except NetlinkError as error:
        return bool(error.code != errno.EOPNOTSUPP)
    route.link("del", ifname=_PROBE)
    return True


def _underlay_mtu(route: IPRoute, address: str) -> int | None:
    for found in route.get_addr(address=address):
        (link,) = route.get_links(found["index"])
        return int(link.get_attr("IFLA_MTU"))
    return None
