"""Reads what a host really carries of networks: devices, routers, addresses, elements of filters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from nephos_dev.cloud import Cloud
from nephos_dev.layout import HostLayout
from nephos_dev.network_invariants import Held, Naming, NetworkPicture, Way

_TENANT_NAMESPACE = "nephos"
_OUTSIDE = "ext"
_FLOATING = "floating_in"


def observe_network(cloud: Cloud, host: HostLayout, naming: Naming) -> NetworkPicture:
    """Return what the host carries; a namespace that goes while it is read counts as gone."""
    names = (entry["name"] for entry in _read(cloud, host, "ip", "-j", "netns", "list"))
    routers = frozenset(name for name in names if name.startswith(naming.router))
    return NetworkPicture(
        devices=frozenset((*_devices(cloud, host), *_devices(cloud, host, "-n", _TENANT_NAMESPACE))),
        routers=routers,
        answering=frozenset(held for name in routers for held in _answering(cloud, host, name)),
        translated=frozenset(held for name in routers for held in _translated(cloud, host, name)),
        filtered=frozenset(_filtered(cloud, host)),
        ways=frozenset(_ways(cloud, host, naming.tunnel)),
    )


def devices_of(ruleset: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the devices that elements of sets and maps begin with, in nft's JSON; those that packets add go by time."""
    for entry in ruleset:
        kept = entry.get("set") or entry.get("map")
        if not kept or "timeout" in kept:
            continue
        kinds = kept["type"] if isinstance(kept["type"], list) else [kept["type"]]
        if kinds[0] == "ifname":
            yield from (str(first(element)) for element in kept.get("elem", ()))


def first(element: Any) -> Any:  # why: nft's JSON has a shape for each kind of element
    """Return the first part of an element's key."""
    while not isinstance(element, str | int):
        if isinstance(element, list):
            element = element[0]
        elif "elem" in element:
            element = element["elem"]["val"]
        else:
            element = element["concat"]
    return element


def _devices(cloud: Cloud, host: HostLayout, *inside: str) -> Iterator[str]:
    for link in _read(cloud, host, "ip", *inside, "-j", "link", "show"):
        yield str(link["ifname"])


def _answering(cloud: Cloud, host: HostLayout, namespace: str) -> Iterator[Held]:
    for link in _read(cloud, host, "ip", "-n", namespace, "-j", "address", "show", "scope", "global"):
        if link.get("ifname", "").startswith(_OUTSIDE):
            # ip leaves an empty entry where it leaves an address out
            yield from ((namespace, str(held["local"])) for held in link["addr_info"] if held)


def _translated(cloud: Cloud, host: HostLayout, namespace: str) -> Iterator[Held]:
    for entry in _ruleset(cloud, host, namespace):
        if entry.get("map", {}).get("name") == _FLOATING:
            yield from ((namespace, str(first(element))) for element in entry["map"].get("elem", ()))


def _filtered(cloud: Cloud, host: HostLayout) -> Iterator[str]:
    yield from devices_of(_ruleset(cloud, host, _TENANT_NAMESPACE))


def _ways(cloud: Cloud, host: HostLayout, tunnel: str) -> Iterator[Way]:
    for entry in _read(cloud, host, "ip", "netns", "exec", _TENANT_NAMESPACE, "bridge", "-j", "fdb", "show"):
        if entry.get("ifname", "").startswith(tunnel) and "dst" in entry:
            yield str(entry["ifname"]), str(entry["mac"]), str(entry["dst"])


def _ruleset(cloud: Cloud, host: HostLayout, namespace: str) -> list[dict[str, Any]]:
    found = _read(cloud, host, "ip", "netns", "exec", namespace, "nft", "-j", "list", "ruleset")
    return list(found["nftables"]) if isinstance(found, dict) else []


def _read(cloud: Cloud, host: HostLayout, *command: str) -> Any:  # why: JSON of several tools
    done = cloud.execute(host, *command)
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else []
