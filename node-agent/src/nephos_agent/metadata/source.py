"""What the metadata of a guest is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nephos_api.resources.network import Network
from nephos_api.resources.port import Port
from nephos_api.resources.server import Server


@dataclass(frozen=True)
class GuestNic:
    """A NIC of the guest."""

    port: Port
    network: Network


@dataclass(frozen=True)
class Guest:
    """A Server on this host."""

    server: Server
    nics: tuple[GuestNic, ...]
    """In the order of the Server's spec.networks."""
    availability_zone: str


class MetadataSource(Protocol):
    """What the agent knows of its guests, without asking anybody."""

    def guest(self, port_uid: str) -> Guest | None:
        """Return the guest that has the port, or None while it is not known."""
