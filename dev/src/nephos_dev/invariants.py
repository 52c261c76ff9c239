"""What must hold of a cloud that has come to rest: API, hypervisors, kernel and disks say the same.

Nothing lost, nothing twice, nothing orphaned. `observe` reads, `violations` (pure) judges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nephos_api.identity import device_name

Document = dict[str, Any]


@dataclass(frozen=True)
class HostPicture:
    """What one host really carries."""

    name: str
    running_domains: frozenset[str]
    """UUIDs (the Servers' UIDs)."""
    stopped_domains: frozenset[str]
    """UUIDs."""
    taps: frozenset[str]
    """Names of taps, wherever they are on the host."""
    networks: frozenset[str]
    """Names of tenant bridges."""
    disks: frozenset[str]
    """UIDs of Servers that have files on the host."""
    partial_files: tuple[str, ...]
    """Half-made files in the image cache or beside disks."""


@dataclass(frozen=True)
class CloudPicture:
    """The API's objects and what the hosts carry."""

    servers: tuple[Document, ...]
    ports: tuple[Document, ...]
    networks: tuple[Document, ...]
    hosts: tuple[Document, ...]
    pictures: tuple[HostPicture, ...]


@dataclass(frozen=True)
class Naming:
    """How the agent names what it makes."""

    tap: str
    """Prefix of taps."""
    bridge: str
    """Prefix of bridges."""


def violations(cloud: CloudPicture, naming: Naming) -> tuple[str, ...]:
    """Return a sentence for everything that does not hold; nothing for a sound cloud at rest."""
    return (
        *_servers(cloud),
        *_orphans(cloud, naming),
        *_addresses(cloud.ports),
        *_network_identifiers(cloud.networks),
        *_claims(cloud),
        *(f"{picture.name}: half-made file {path}" for picture in cloud.pictures for path in picture.partial_files),
    )


def _servers(cloud: CloudPicture) -> Iterator[str]:
    pictures = {picture.name: picture for picture in cloud.pictures}
    for server in cloud.servers:
        name, uid, status = _name(server), server["metadata"]["uid"], server.get("status", {})
        running = [picture.name for picture in cloud.pictures if uid in picture.running_domains]
        stopped = [picture.name for picture in cloud.pictures if uid in picture.stopped_domains]
        match status.get("phase"):
            case "Active" if running != [status["host"]]:
                yield f"Server {name} is Active on {status['host']}, but runs on {running or 'no host'}"
            case "Shutoff" if running:
                yield f"Server {name} is Shutoff, but runs on {running}"
            case "Active" | "Shutoff" if uid not in pictures[status["host"]].disks:
                yield f"Server {name} has no disk on {status['host']}"
        if len(running) + len(stopped) > 1:
            yield f"Server {name} has several domains: running on {running}, stopped on {stopped}"


def _orphans(cloud: CloudPicture, naming: Naming) -> Iterator[str]:
    servers = {server["metadata"]["uid"] for server in cloud.servers}
    for port in cloud.ports:
        if (owner := port["spec"].get("serverUID")) and owner not in servers:
            yield f"Port {_name(port)} belongs to a Server that is gone"
    for picture in cloud.pictures:
        for uid in (picture.running_domains | picture.stopped_domains) - servers:
            yield f"{picture.name}: domain {uid} belongs to no Server"
        for uid in picture.disks - servers:
            yield f"{picture.name}: disk of {uid} belongs to no Server"
        yield from _devices(cloud, picture, naming)


def _devices(cloud: CloudPicture, picture: HostPicture, naming: Naming) -> Iterator[str]:
    bound = [port for port in cloud.ports if port["spec"].get("host") == picture.name]
    active = {
        server["metadata"]["uid"]: _name(server)
        for server in cloud.servers
        if server.get("status", {}).get("phase") == "Active" and server["status"].get("host") == picture.name
    }
    taps = {device_name(naming.tap, port["metadata"]["uid"]): port["spec"].get("serverUID") for port in bound}
    bridges = {device_name(naming.bridge, port["spec"]["networkUID"]) for port in bound}
    for tap in picture.taps - taps.keys():
        yield f"{picture.name}: tap {tap} belongs to no Port of this host"
    for bridge in picture.networks - bridges:
        yield f"{picture.name}: bridge {bridge} belongs to no Network that this host needs"
    for tap, owner in taps.items():
        if owner in active and tap not in picture.taps:
            yield f"{picture.name}: tap {tap} of Server {active[owner]} is missing"


def _addresses(ports: tuple[Document, ...]) -> Iterator[str]:
    claims = Counter(
        (allocation["subnetUID"], allocation["address"])
        for port in ports
        for allocation in port["spec"].get("allocations", [])
    )
    for (subnet, address), count in claims.items():
        if count > 1:
            yield f"address {address} of subnet {subnet} is held by {count} Ports"


def _network_identifiers(networks: tuple[Document, ...]) -> Iterator[str]:
    given = Counter(network["status"]["vni"] for network in networks if network.get("status", {}).get("vni"))
    for vni, count in given.items():
        if count > 1:
            yield f"VNI {vni} is given to {count} Networks"


def _claims(cloud: CloudPicture) -> Iterator[str]:
    for host in cloud.hosts:
        capacity, spec = host.get("status", {}).get("capacity"), host.get("spec", {})
        placed = [s for s in cloud.servers if s.get("status", {}).get("host") == host["metadata"]["name"]]
        if not capacity:
            continue
        reserved = spec.get("reserved", {}).get("memoryMiB", 512)
        ratio = spec.get("allocationRatio", {}).get("memory", 1.0)
        bound = (capacity["memoryMiB"] - reserved) * ratio
        promised = sum(server["status"]["flavor"]["memoryMiB"] for server in placed)
        if promised > bound:
            yield f"Host {host['metadata']['name']} promised {promised} MiB of {bound:.0f}"


def _name(document: Document) -> str:
    return f"{document['metadata']['namespace']}/{document['metadata']['name']}"
