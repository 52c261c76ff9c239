"""Elements of the guard's sets, as libnftables' JSON (libnftables-json(5))."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from ipaddress import IPv6Address
from typing import Any, Final

from nephos_agent.network.facts import GuardElement, GuardSet

FAMILY: Final = "bridge"
TABLE: Final = "nephos"


def skeleton() -> str:
    """Return the table with its chains and empty sets, in nft's own language: constant, and read by people too."""
    return files(__package__).joinpath("guard.nft").read_text()


def commands(verb: str, elements: Iterable[GuardElement]) -> str:
    """Return one transaction that does ``add`` or ``delete`` with the elements."""
    by_set: dict[GuardSet, list[Any]] = {}
    for element in elements:
        by_set.setdefault(element.set, []).append(_to_json(element))
    return json.dumps(
        {
            "nftables": [
                {verb: {"element": {"family": FAMILY, "table": TABLE, "name": name, "elem": values}}}
                for name, values in sorted(by_set.items())
            ]
        }
    )


def read_elements(listing: dict[str, Any]) -> frozenset[GuardElement]:
    """Return the elements in a listing of the table; those of sets that are not a port's are left out."""
    known = set(GuardSet)
    return frozenset(
        _from_json(GuardSet(body["name"]), value)
        for entry in listing["nftables"]
        for kind, body in entry.items()
        if kind in ("set", "map") and body["name"] in known
        for value in body.get("elem", ())
    )


def _to_json(element: GuardElement) -> Any:
    if element.set is GuardSet.ROLE:
        return [element.device, {"goto": {"target": element.rest[0]}}]
    if element.set is GuardSet.ND_TARGET:
        mac, address = element.rest
        return {"concat": [element.device, mac, f"{int(IPv6Address(address)):#034x}"]}
    return {"concat": [element.device, *element.rest]}


def _from_json(name: GuardSet, value: Any) -> GuardElement:
    if name is GuardSet.ROLE:
        device, verdict = value
        return GuardElement(device, name, (next(iter(verdict.values()))["target"],))
    device, *rest = value["concat"]
    if name is GuardSet.ND_TARGET:
        rest[1] = str(IPv6Address(int(rest[1], 16)))
    return GuardElement(device, name, tuple(rest))
