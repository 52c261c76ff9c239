"""A tenant network as one host needs it."""

from __future__ import annotations

from dataclasses import dataclass

from nephos_api.resources.network import SubnetView


@dataclass(frozen=True)
class PortAddress:
    """An address of a port, without prefix, and its Subnet."""

    address: str
    subnet_uid: str
    prefix_length: int


@dataclass(frozen=True)
class HostPort:
    """A Port of a network that this host carries."""

    uid: str
    name: str
    mac: str
    addresses: tuple[PortAddress, ...]
    server_uid: str | None
    server_name: str | None
    host: str
    host_address: str
    """Of the host that has the port, on the underlay."""


@dataclass(frozen=True)
class HostNetwork:
    """A Network with all of its bound Ports, local and remote."""

    uid: str
    name: str
    namespace: str
    vni: int
    mtu: int
    dns_domain: str
    subnets: tuple[SubnetView, ...]
    ports: tuple[HostPort, ...]
    keep_unknown: bool = False
    """Add and change, but take nothing away: the API may have forgotten what runs here (restored from a backup)."""
