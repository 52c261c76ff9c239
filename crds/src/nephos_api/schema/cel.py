"""CEL expressions that several rules are made of. Kubernetes' CEL can test addresses, but not compare or count them."""

from __future__ import annotations

from typing import Final

_SIZES: Final = "[" + ", ".join(str(2 ** (32 - bits)) for bits in range(8, 30)) + "]"
"""How many addresses IPv4 networks from /8 to /29 have (CEL has no powers)."""


def family(network: str) -> str:
    """Return the IP version of a network, given an expression that is its string."""
    return f"cidr({network}).ip().family()"


def is_ipv4(address: str) -> str:
    """Return a test of an expression that is a string: whether it is an IPv4 address."""
    return f"(isIP({address}) && ip({address}).family() == 4)"


def ipv4_number(address: str) -> str:
    """Return the number of an IPv4 address, given an expression that is its string."""
    octets = (f"int({address}.split('.')[{index}]) * {256 ** (3 - index)}" for index in range(4))
    return f"({' + '.join(octets)})"


def is_usable(address: str, network: str) -> str:
    """Return a test whether an IPv4 address lies in a network (/8 to /29) and is neither its first nor its last."""
    number, first = ipv4_number(address), ipv4_number(f"{network}.split('/')[0]")
    size = f"{_SIZES}[cidr({network}).prefixLength() - 8]"
    return f"({number} > {first} && {number} < {first} + {size} - 1)"


def is_subnet_range(network: str) -> str:
    """Return a test of an expression that is a string: whether it is an IPv4 network from /8 to /29."""
    size = f"cidr({network}).prefixLength()"
    return f"(isCIDR({network}) && cidr({network}).ip().family() == 4 && {size} >= 8 && {size} <= 29)"
