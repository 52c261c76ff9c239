"""What must hold of a cloud that has come to rest: API, hypervisors, kernel and disks say the same.

Nothing lost, nothing twice, nothing orphaned. `observe` reads, `violations` (pure) judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nephos_dev import network_invariants
from nephos_dev.network_invariants import Naming, NetworkObjects, NetworkPicture

Document = dict[str, Any]


@dataclass(frozen=True)
class HostPicture:
    """What one host really carries."""

    name: str
    running_domains: frozenset[str]
    """UUIDs (the Servers' UIDs)."""
    stopped_domains: frozenset[str]
    """UUIDs."""
    disks: frozenset[str]
    """UIDs of Servers that have files on the host."""
    partial_files: tuple[str, ...]
    """Half-made files in the image cache or beside disks."""
    network: NetworkPicture


@dataclass(frozen=True)
class CloudPicture:
    """The API's objects and what the hosts carry."""

    servers: tuple[Document, ...]
    ports: tuple[Document, ...]
    networks: tuple[Document, ...]
    routers: tuple[Document, ...]
    floatingips: tuple[Document, ...]
    securitygroups: tuple[Document, ...]
    hosts: tuple[Document, ...]
    pictures: tuple[HostPicture, ...]


def violations(cloud: CloudPicture, naming: Naming) -> tuple[str, ...]:
    """Return a sentence for everything that does not hold; nothing for a sound cloud at rest."""
    return (
        *_servers(cloud),
        *_orphans(cloud),
        *_networks(cloud, naming),
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


def _orphans(cloud: CloudPicture) -> Iterator[str]:
    servers = {server["metadata"]["uid"] for server in cloud.servers}
    for port in cloud.ports:
        if (owner := port["spec"].get("serverUID")) and owner not in servers:
            yield f"Port {_name(port)} belongs to a Server that is gone"
    for picture in cloud.pictures:
        for uid in (picture.running_domains | picture.stopped_domains) - servers:
            yield f"{picture.name}: domain {uid} belongs to no Server"
        for uid in picture.disks - servers:
            yield f"{picture.name}: disk of {uid} belongs to no Server"


def _networks(cloud: CloudPicture, naming: Naming) -> Iterator[str]:
    said = NetworkObjects(
        servers=cloud.servers,
        ports=cloud.ports,
        networks=cloud.networks,
        routers=cloud.routers,
        floating_ips=cloud.floatingips,
    )
    found = {picture.name: picture.network for picture in cloud.pictures}
    yield from network_invariants.violations(said, found, naming)


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
