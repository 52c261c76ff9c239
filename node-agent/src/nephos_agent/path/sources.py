"""Whom a router takes for inside, asked of the sets that it has for that."""

from __future__ import annotations

from ipaddress import ip_address

from nephos_agent.network.model import HostRouter
from nephos_agent.network.router.sources import Prefix, behind


def is_inside(router: HostRouter, address: str) -> bool:
    """Tell whether the router takes the sender for one behind a leg, and so not from outside."""
    return any(_holds(prefixes, address) for prefixes in _behind(router).values())


def is_taken(router: HostRouter, network_uid: str, address: str) -> bool:
    """Tell whether the router takes the sender by its leg on the network."""
    return _holds(_behind(router).get(network_uid, ()), address) or not is_inside(router, address)


def _behind(router: HostRouter) -> dict[str, tuple[Prefix, ...]]:
    return behind(router.legs, router.routes, router.members)


def _holds(prefixes: tuple[Prefix, ...], address: str) -> bool:
    return any(ip_address(address) in prefix for prefix in prefixes)
