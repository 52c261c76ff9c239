"""Addresses that derive from others."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

from nephos_api.identity import interface_id

METADATA_IPV4: Final = "169.254.169.254"
METADATA_IPV6: Final = "fe80::a9fe:a9fe"
"""Where OpenStack's guests look for metadata without IPv4."""
_LINK_LOCAL_PREFIX: Final = 0xFE80 << 112


@lru_cache(maxsize=65536)
def link_local(mac: str) -> str:
    """Return the IPv6 link-local address that an interface with that MAC gives itself (modified EUI-64, RFC 4291)."""
    return str(IPv6Address(_LINK_LOCAL_PREFIX | interface_id(mac)))


def is_ipv6(address: str) -> bool:
    """Tell whether the address, without prefix, is an IPv6 address."""
    return ip_address(address).version == 6
