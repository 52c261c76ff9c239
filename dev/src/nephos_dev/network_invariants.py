"""What must hold of the networks of a cloud at rest: each host carries what its Ports need, and nothing else.

Pure: `violations` judges what was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nephos_api.identity import device_name

Document = dict[str, Any]
Held = tuple[str, str]
"""A namespace of a router's on a host, and an address."""
Way = tuple[str, str, str]
"""A tunnel on a host, a MAC, and the other host's address."""
EVERYBODY = "00:00:00:00:00:00"
"""In a tunnel: what is for all."""


@dataclass(frozen=True)
class NetworkPicture:
    """What one host really carries."""

    devices: frozenset[str] = frozenset()
    """Names of devices, in the host's and in the tenant namespace."""
    routers: frozenset[str] = frozenset()
    """Names of routers' namespaces."""
    answering: frozenset[Held] = frozenset()
    """Addresses on the routers' interfaces to external networks."""
    translated: frozenset[Held] = frozenset()
    """Floating addresses that are translated."""
    filtered: frozenset[str] = frozenset()
    """Devices that elements of the filters' sets and maps speak of."""
    ways: frozenset[Way] = frozenset()
    """By which host each MAC is reached."""


@dataclass(frozen=True)
class Naming:
    """How the agent names what it makes."""

    tap: str
    """Prefix of taps."""
    bridge: str
    """Prefix of bridges."""
    router: str
    """Prefix of routers' namespaces."""
    leg: str
    """Prefix of what joins a router to a bridge."""
    tunnel: str
    """Prefix of what leads to the other hosts of a network."""


@dataclass(frozen=True)
class NetworkObjects:
    """What the API says."""

    servers: tuple[Document, ...]
    ports: tuple[Document, ...]
    networks: tuple[Document, ...]
    routers: tuple[Document, ...]
    floating_ips: tuple[Document, ...]


def violations(said: NetworkObjects, found: dict[str, NetworkPicture], naming: Naming) -> Iterator[str]:
    """Yield a sentence for everything that does not hold; `found` is by host."""
    yield from _claimed_twice(said)
    for host, picture in found.items():
        for sentence in _of_host(said, host, picture, naming):
            yield f"{host}: {sentence}"


def _of_host(said: NetworkObjects, host: str, picture: NetworkPicture, naming: Naming) -> Iterator[str]:
    networks, routers = _carried(said, host)
    yield from _taps(said, host, picture, naming)
    bridges = {device_name(naming.bridge, uid) for uid in networks}
    for bridge in _starting(picture.devices, naming.bridge) - bridges:
        yield f"bridge {bridge} belongs to no Network that this host needs"
    namespaces = {device_name(naming.router, router["metadata"]["uid"]): router for router in routers}
    for namespace in picture.routers - namespaces.keys():
        yield f"namespace {namespace} belongs to no Router that this host needs"
    legs = _starting(picture.devices, naming.leg)
    if legs and not namespaces:
        yield f"{sorted(legs)} lead to no Router"
    yield from _addresses(said, host, picture, {uid: name for name, uid in _uids(namespaces).items()})
    yield from _ways(said, host, picture, naming)
    for device in picture.filtered - picture.devices:
        yield f"filters speak of {device}, which is not there"


def _taps(said: NetworkObjects, host: str, picture: NetworkPicture, naming: Naming) -> Iterator[str]:
    active = {
        server["metadata"]["uid"]: server["metadata"]["name"]
        for server in said.servers
        if server.get("status", {}).get("phase") == "Active" and server["status"].get("host") == host
    }
    bound = [port for port in said.ports if port["spec"].get("host") == host]
    taps = {device_name(naming.tap, port["metadata"]["uid"]): port["spec"].get("serverUID") for port in bound}
    there = _starting(picture.devices, naming.tap)
    for tap in there - taps.keys():
        yield f"tap {tap} belongs to no Port of this host"
    for tap, owner in taps.items():
        if owner in active and tap not in there:
            yield f"tap {tap} of Server {active[owner]} is missing"


def _ways(said: NetworkObjects, host: str, picture: NetworkPicture, naming: Naming) -> Iterator[str]:
    """A host that carries a network knows of each of its Ports elsewhere on which host that is, and of nothing else."""
    owed: set[Way] = set()
    shared: set[str] = set()
    for spec in (port["spec"] for port in said.ports if port["spec"].get("host") not in {None, host}):
        tunnel = device_name(naming.tunnel, spec["networkUID"])
        if tunnel in picture.devices:
            owed |= {(tunnel, mac, spec["hostAddress"]) for mac in (spec["macAddress"].lower(), EVERYBODY)}
            shared |= {str(pair.get("macAddress", "")).lower() for pair in spec.get("allowedAddressPairs", [])}
    for tunnel, mac, address in owed - picture.ways:
        yield f"{tunnel} does not lead to {mac} by {address}"
    for tunnel, mac, address in picture.ways - owed:
        if mac not in shared:
            yield f"{tunnel} leads to {mac} by {address}, where no Port has it"


def _addresses(said: NetworkObjects, host: str, picture: NetworkPicture, namespaces: dict[str, str]) -> Iterator[str]:
    floating = {
        (namespaces[status["routerUID"]], status["address"])
        for status in (floating_ip.get("status", {}) for floating_ip in said.floating_ips)
        if status.get("host") == host and status.get("routerUID") in namespaces
    }
    own = {
        (namespaces[router["metadata"]["uid"]], held["address"])
        for router in said.routers
        if router.get("status", {}).get("gatewayHost") == host and router["metadata"]["uid"] in namespaces
        for held in (router["status"].get("external") or {}).get("addresses", [])
    }
    for namespace, address in picture.answering - floating - own:
        yield f"{address} answers in {namespace}, and is not this host's"
    for namespace, address in (floating | own) - picture.answering:
        yield f"{address} does not answer in {namespace}"
    for namespace, address in picture.translated ^ floating:
        yield f"{address} is translated in {namespace} and not bound here, or the other way round"


def _carried(said: NetworkObjects, host: str) -> tuple[set[str], list[Document]]:
    """Return the UIDs of the networks that a host may carry, and the routers: each brings its other networks along."""
    networks = {port["spec"]["networkUID"] for port in said.ports if port["spec"].get("host") == host}
    outsides: set[str] = set()
    routers: dict[str, Document] = {}
    grew = True
    while grew:
        grew = False
        for router in said.routers:
            status, uid = router.get("status", {}), router["metadata"]["uid"]
            joined = {leg["networkUID"] for leg in status.get("legs", [])}
            if uid in routers or not (joined & networks or status.get("gatewayHost") == host):
                continue
            routers[uid], grew = router, True
            networks |= joined
            outsides |= {status["external"]["networkUID"]} if status.get("external") else set()
    return networks | outsides, list(routers.values())


def _claimed_twice(said: NetworkObjects) -> Iterator[str]:
    claims = [
        (allocation["subnetUID"], allocation["address"])
        for port in said.ports
        for allocation in port["spec"].get("allocations", [])
    ]
    claims += [
        (held["subnetUID"], held["address"])
        for router in said.routers
        for held in (router.get("status", {}).get("external") or {}).get("addresses", [])
    ]
    claims += [
        (floating_ip["status"]["subnetUID"], floating_ip["status"]["address"])
        for floating_ip in said.floating_ips
        if floating_ip.get("status", {}).get("address")
    ]
    for (subnet, address), count in Counter(claims).items():
        if count > 1:
            yield f"address {address} of subnet {subnet} is held by {count} objects"
    given = Counter(
        vni
        for document in (*said.networks, *said.routers)
        if (vni := document.get("status", {}).get("vni") or document.get("status", {}).get("transitVNI"))
    )
    for vni, count in given.items():
        if count > 1:
            yield f"VNI {vni} is given to {count} objects"


def _uids(namespaces: dict[str, Document]) -> dict[str, str]:
    return {name: router["metadata"]["uid"] for name, router in namespaces.items()}


def _starting(names: frozenset[str], prefix: str) -> set[str]:
    return {name for name in names if name.startswith(prefix)}
