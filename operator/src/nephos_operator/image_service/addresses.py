"""Which addresses images may be fetched from. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""


@dataclass(frozen=True)
class AddressPolicy:
    """Only addresses of the public Internet are allowed, and those of ``allowed``; never those of ``denied``.

    Loopback, link-local, multicast, unspecified and private addresses are not public, and so neither are a cluster's,
    as a rule; where Pods or Services have public addresses, ``denied`` names them.
    """

    allowed: tuple[Network, ...] = ()
    denied: tuple[Network, ...] = ()

    def permits(self, text: str) -> bool:
        """Tell whether a connection to that address may be made; what is no plain address is not permitted."""
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return all(self._permits(meant) for meant in _meant(address))

    def _permits(self, address: Address) -> bool:
        if _is_in(address, self.denied):
            return False
        return _is_in(address, self.allowed) or (address.is_global and not address.is_multicast)


def parse_networks(text: str) -> tuple[Network, ...]:
    """Return the networks of a comma-separated list. Raises ``ValueError`` where one is none."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(network.version == address.version and address in network for network in networks)


def _meant(address: Address) -> Iterator[Address]:
    """Yield the address, or what it stands for where it only carries others."""
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped:
        yield address.ipv4_mapped
    elif address.sixtofour:
        yield address.sixtofour
    elif address.teredo:
        yield from address.teredo
    elif address in _NAT64:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
    else:
        yield address
