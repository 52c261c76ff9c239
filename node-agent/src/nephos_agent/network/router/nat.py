"""Elements of a router's sets and maps, as libnftables' JSON (libnftables-json(5))."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from ipaddress import ip_network
from typing import Any, Final

from nephos_agent.network.router.facts import BY_DEVICE, NatElement, NatSet

FAMILIES: Final = ("ip", "ip6", "arp")
"""Each has a table."""
TABLE: Final = "nephos"
_INTERVALS: Final = frozenset({NatSet.INSIDE, NatSet.KNOWN, NatSet.KNOWN_IPV6, NatSet.TRANSLATED}) | BY_DEVICE
_FAMILY: Final = {
    **dict.fromkeys((NatSet.KNOWN_IPV6, NatSet.BEHIND_IPV6, NatSet.HELD_IPV6, NatSet.OWN_MAC_IPV6), "ip6"),
    **dict.fromkeys((NatSet.HELD, NatSet.OWN_MAC), "arp"),
}
_YIELDED: Final = {"arp": "yielded", "ip6": "yielded_ipv6"}
"""Sets of addresses that another host announced, by family; the kernel fills them."""


def skeleton() -> str:
    """Return the tables with their chains and empty sets, in nft's own language: constant, and read by people too."""
    return files(__package__).joinpath("router.nft").read_text()


def commands(gone: Iterable[NatElement], made: Iterable[NatElement]) -> str:
    """Return one transaction that takes elements away and adds others."""
    return json.dumps({"nftables": [*_verbs("delete", gone), *_verbs("add", made)]})


def read_elements(listing: dict[str, Any]) -> frozenset[NatElement]:
    """Return the elements in a listing of a table."""
    known = set(NatSet)
    return frozenset(
        _from_json(NatSet(body["name"]), value)
        for entry in listing["nftables"]
        for kind, body in entry.items()
        if kind in ("set", "map") and body["name"] in known
        for value in body.get("elem", ())
    )


def take_back() -> str:
    """Return one transaction after which the router speaks again of addresses that another host announced."""
    return "\n".join(f"flush set {family} {TABLE} {name}" for family, name in _YIELDED.items())


def lists_of_yielded() -> tuple[str, ...]:
    """Return what lists the addresses that another host announced; the library lists one family at a time."""
    return tuple(f"list set {family} {TABLE} {name}" for family, name in _YIELDED.items())


def is_any_listed(listing: dict[str, Any]) -> bool:
    """Tell whether a listing of sets has an element."""
    return any(body.get("elem") for entry in listing["nftables"] for body in entry.values())


def _verbs(verb: str, elements: Iterable[NatElement]) -> list[dict[str, Any]]:
    by_set: dict[NatSet, list[Any]] = {}
    for element in elements:
        by_set.setdefault(element.set, []).append(_to_json(element))
    return [
        {verb: {"element": {"family": _family(name), "table": TABLE, "name": name, "elem": values}}}
        for name, values in sorted(by_set.items())
    ]


def _family(name: NatSet) -> str:
    return _FAMILY.get(name, "ip")


def _to_json(element: NatElement) -> Any:
    if element.set in _INTERVALS:
        network = ip_network(element.name)
        prefix = {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
        return prefix if element.value is None else {"concat": [prefix, element.value]}
    return element.name if element.value is None else [element.name, element.value]


def _from_json(name: NatSet, value: Any) -> NatElement:
    if name in BY_DEVICE:
        prefix, device = value["concat"]
        return NatElement(name, _prefix(prefix), device)
    if name in _INTERVALS:
        return NatElement(name, _prefix(value))
    if isinstance(value, list):
        return NatElement(name, value[0], value[1])
    return NatElement(name, value)


def _prefix(value: Any) -> str:
    if isinstance(value, str):
        return str(ip_network(value))
    return f"{value['prefix']['addr']}/{value['prefix']['len']}"
