"""Names of what a router is made of on a host. All derive from UIDs: a second try finds the first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nephos_api.identity import device_name, mac_address

INSIDE_PREFIX: Final = "leg"
"""Interfaces of the router's that lead to its networks."""
OUTSIDE_PREFIX: Final = "ext"
"""The interface that leads to the external network."""
TRANSIT_PREFIX: Final = "trn"
"""The interface that leads to the gateway host."""


@dataclass(frozen=True)
class RouterNames:
    """The names of one router's pieces."""

    namespace: str
    unit: str
    """The process that sends router advertisements, as the launcher knows it."""
    directory: str
    """Its files, below the run directory."""


@lru_cache(maxsize=4096)
def router_names(uid: str, namespace_prefix: str) -> RouterNames:
    """Return the names of the pieces of the router with that UID."""
    return RouterNames(
        namespace=device_name(f"{namespace_prefix}-r", uid),
        unit=device_name(f"{namespace_prefix}-advertise-", uid),
        directory=device_name("r", uid),
    )


@lru_cache(maxsize=65536)
def inner_name(network_uid: str, *, is_outside: bool) -> str:
    """Return the name of the router's interface on the network, in the router's namespace."""
    return device_name(OUTSIDE_PREFIX if is_outside else INSIDE_PREFIX, network_uid)


@lru_cache(maxsize=65536)
def leg_name(router_uid: str, network_uid: str, *, is_outside: bool) -> str:
    """Return the name of the other end of that interface, on the network's bridge in the tenant namespace."""
    return device_name("nrx" if is_outside else "nrl", f"{router_uid}/{network_uid}")


def leg_mac(router_uid: str, network_uid: str) -> str:
    """Return the MAC address of the router on one of its networks, the same on every host."""
    return mac_address(router_uid, network_uid)


def outside_mac(router_uid: str, network_uid: str, host: str) -> str:
    """Return the MAC address of the router on the external network, another one on each host."""
    return mac_address(router_uid, f"{network_uid}/{host}")


def transit_name(vni: int, local: str) -> str:
    """Return the name of the interface to the gateway host: another tunnel is another device."""
    return device_name(TRANSIT_PREFIX, f"{vni}/{local}")


def transit_mac(router_uid: str, host: str) -> str:
    """Return the MAC address of a host's end of the transit."""
    return mac_address(router_uid, f"transit/{host}")
