"""The way between an uplink and the provider's bridge, past the host's own firewall: ``uplink.nft``, filled in."""

from __future__ import annotations

from importlib.resources import files
from string import Template
from typing import Final

FAMILIES: Final = ("netdev", "bridge")
"""Of the pair of tables; both are called as the uplink's end in the host's namespace."""


def tables(uplink: str, bridge: str, mac: str) -> str:
    """Return both tables, in nft's own language, in the place of former ones: one transaction.

    ``uplink`` is the end in the host's namespace, ``bridge`` the provider's, ``mac`` the bridge's own.
    """
    template = Template(files(__package__).joinpath("uplink.nft").read_text())
    filled = template.safe_substitute(table=uplink, uplink=uplink, bridge=bridge, mac=mac)
    return removal(uplink) + filled


def removal(uplink: str) -> str:
    """Return what removes both tables, whether they are there or not."""
    return "".join(f"add table {family} {uplink}\ndelete table {family} {uplink}\n" for family in FAMILIES)
