"""Names that derive from UIDs, so that a second try finds what the first one made."""

from __future__ import annotations

import hashlib
from typing import Final

_LOCALLY_ADMINISTERED: Final = "52:54:00"
"""QEMU's prefix for guests; tools know it as such."""
_UNIVERSAL_BIT: Final = 0x02


def port_name(server_name: str, interface_name: str) -> str:
    """Return the name of the Port of a Server's NIC."""
    return f"{server_name}-{interface_name}"


def mac_address(uid: str, interface_name: str = "") -> str:
    """Return the MAC address of the NIC ``interface_name`` of the object with that UID."""
    digest = hashlib.sha256(f"{uid}/{interface_name}".encode()).hexdigest()
    return f"{_LOCALLY_ADMINISTERED}:{digest[0:2]}:{digest[2:4]}:{digest[4:6]}"


def interface_id(mac: str) -> int:
    """Return the lower half of the IPv6 addresses that an interface with that MAC makes (modified EUI-64, RFC 4291)."""
    octets = bytearray.fromhex(mac.replace(":", ""))
    octets[0] ^= _UNIVERSAL_BIT
    return int.from_bytes(bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:]))


def device_name(prefix: str, uid: str) -> str:
    """Return a name for a network device of the object: prefix (≤ 4 characters) and 11 of its UID's digest.

    The kernel takes 15 characters (IFNAMSIZ − 1, if.h).
    """
    return f"{prefix}{hashlib.sha256(uid.encode()).hexdigest()[:11]}"
