"""Service namespaces: where a network's DHCP, DNS and metadata answer on this host."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nephos_agent.network.addresses import METADATA_IPV4, METADATA_IPV6
from nephos_agent.network.dnsmasq import RELAY_PORT, SERVICE_INTERFACE
from nephos_agent.network.facts import Service
from nephos_agent.network.linux import namespaces, sysctls
from nephos_agent.network.linux.links import Links
from nephos_agent.network.linux.route_reader import RouteReader, connected_by
from nephos_agent.network.services import ServiceSockets

_LOOPBACK_INDEX: Final = 1
_HTTP_PORT: Final = 80
_BACKLOG: Final = 128
_IPV6_FREEBIND: Final = 78
SYSCTLS: Final[sysctls.Values] = {**sysctls.SERVICE, **sysctls.on(SERVICE_INTERFACE, sysctls.SERVICE_LEG)}


def make(path: Path, service: Service, tenants: Links, alias: str) -> None:
    """Make the namespace and both ends of its leg, the outer one with that alias in the tenant namespace."""
    namespaces.create(path)
    with _opened(path) as descriptor:
        with namespaces.entered(descriptor):
            sysctls.make_so(SYSCTLS)
        if tenants.get(service.device) is None:
            peer = {"ifname": SERVICE_INTERFACE, "address": service.mac, "mtu": service.mtu, "net_ns_fd": descriptor}
            tenants.add(service.device, "veth", alias, service.mtu, peer=peer)
        with namespaces.entered(descriptor), Links() as links:
            _configure(links, service)


def _configure(links: Links, service: Service) -> None:
    links.set(_LOOPBACK_INDEX, state="up")
    leg = links.get(SERVICE_INTERFACE)
    if leg is None:
        raise FileNotFoundError(f"{service.namespace} has lost its leg")
    sysctls.make_so(SYSCTLS)
    links.set(leg.index, mtu=service.mtu, address=service.mac, state="up")
    wanted, found = frozenset(service.addresses), links.addresses(leg.index)
    for address in sorted(wanted):
        links.add_address(leg.index, address)
    for address in sorted(found - wanted):
        if not address.startswith("fe80:"):
            links.delete_address(leg.index, address)


@dataclass(frozen=True)
class Leg:
    """The leg inside a service namespace, as found."""

    mac: str
    mtu: int
    addresses: tuple[str, ...]
    """As of ``Service``."""
    is_up: bool


def observe(path: Path) -> Leg | None:
    """Return the leg, or None where it or its namespace is missing."""
    if not namespaces.is_namespace(path):
        return None
    with _opened(path) as descriptor, namespaces.entered(descriptor), Links() as links:
        leg = links.get(SERVICE_INTERFACE)
        if leg is None:
            return None
        own = f"{METADATA_IPV6}/64"
        connected = _connected(leg.index)
        kept = {
            address
            for address in links.addresses(leg.index)
            if (address == own or not address.startswith("fe80:")) and connected_by(address) in connected
        }
        return Leg(leg.mac or "", leg.mtu, tuple(sorted(kept)), leg.is_up)


def _connected(index: int) -> frozenset[str | None]:
    """Return what is behind the leg by its addresses; None stands for nothing, as a single address has it."""
    reader = RouteReader()
    try:
        _routes, connected = reader.routes({index: SERVICE_INTERFACE})
        return frozenset({None, *(cidr for device, cidr in connected if device)})
    finally:
        reader.close()


def sockets(path: Path) -> ServiceSockets:
    """Return new sockets in the namespace: metadata's and those of the names of the world."""
    with _opened(path) as descriptor, namespaces.entered(descriptor):
        leg = socket.if_nametoindex(SERVICE_INTERFACE)
        return ServiceSockets(
            metadata=(
                _listener(socket.AF_INET, (METADATA_IPV4, _HTTP_PORT)),
                _listener(socket.AF_INET6, (METADATA_IPV6, _HTTP_PORT, 0, leg)),
            ),
            names_udp=_bound(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", RELAY_PORT)),
            names_tcp=_listener(socket.AF_INET, ("127.0.0.1", RELAY_PORT)),
        )


def _bound(family: socket.AddressFamily, kind: socket.SocketKind, address: tuple[str | int, ...]) -> socket.socket:
    bound = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _listener(family: socket.AddressFamily, address: tuple[str | int, ...]) -> socket.socket:
    listener = _bound(family, socket.SOCK_STREAM, address)
    listener.listen(_BACKLOG)
    return listener


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
