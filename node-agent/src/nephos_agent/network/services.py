"""What serves guests inside a network's service namespace, beside dnsmasq."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ServiceSockets:
    """Sockets of one service namespace; whoever takes them closes them."""

    metadata: tuple[socket.socket, ...]
    """Listening on 169.254.169.254 and fe80::a9fe:a9fe, port 80."""
    names_udp: socket.socket
    """Where dnsmasq asks for names of the world."""
    names_tcp: socket.socket
    """The same, listening, for answers that do not fit a datagram."""


class GuestServices(Protocol):
    """Answers guests; a network is known by its UID. Every call may be repeated."""

    def is_serving(self, network_uid: str) -> bool:
        """Tell whether the network has its listeners."""

    async def serve(self, network_uid: str, listeners: Sequence[socket.socket]) -> None:
        """Serve metadata on these sockets from now on; those that the network had before are closed."""

    def describe(self, network_uid: str, ports: Mapping[str, str]) -> None:
        """Say which port (UID) has which address on this host; the filters see to it that nobody else uses it."""

    async def leave(self, network_uid: str) -> None:
        """Close the network's sockets and forget its ports."""
