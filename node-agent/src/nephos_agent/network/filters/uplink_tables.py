"""The way between an uplink and the provider's bridge, past the host's own firewall: ``uplink.nft``, filled in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Final

FAMILIES: Final = ("netdev", "bridge")
"""Of the pair of tables; both are called as the uplink's end in the host's namespace."""


def tables(uplink: str, bridge: str, mac: str, ports: Mapping[int, str]) -> str:
    """Return both tables, in nft's own language, in the place of former ones: one transaction.

    ``uplink`` is the end in the host's namespace, ``bridge`` the provider's, ``mac`` the bridge's own; ``ports`` are
    the names of the bridge's other ports, by index.
    """
    words = {"table": uplink, "uplink": uplink, "bridge": bridge, "mac": mac}
    each = _template("uplink_port.nft")
    filled = (each.substitute(words, index=index, port=name) for index, name in sorted(ports.items()))
    return removal(uplink) + _template("uplink.nft").substitute(words) + "".join(filled)


def chains(family: str, ports: Mapping[int, str]) -> frozenset[str]:
    """Return the names of the chains of one of the tables."""
    if family == "netdev":
        return frozenset({"leaving", "entering", "arriving"} | {f"from_{index}" for index in ports})
    return frozenset({"forwarded", "sent"} | {f"up_{index}" for index in ports})


def removal(uplink: str) -> str:
    """Return what removes both tables, whether they are there or not."""
    return "".join(f"add table {family} {uplink}\ndelete table {family} {uplink}\n" for family in FAMILIES)


def _template(name: str) -> Template:
    return Template(files(__package__).joinpath(name).read_text())
