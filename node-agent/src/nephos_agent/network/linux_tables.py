"""The tables behind tenant networks: forwarding entries, neighbours, and the guard's elements. One batch a change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nephos_agent.network import guard
from nephos_agent.network.facts import BridgeEntry, Fact, GuardElement, Neighbour, TunnelEntry
from nephos_agent.network.libnftables import Nftables, NftablesError
from nephos_agent.network.linux_neighbours import (
    Entry,
    NeighbourSocket,
    bridge_entry,
    neighbour,
    tunnel_entry,
)

Entries = BridgeEntry | TunnelEntry | Neighbour


class Tables:
    """Tables of the tenant namespace. Calls block; they belong to the thread that makes them."""

    def __init__(self, neighbours: NeighbourSocket, nft: Nftables, index: Callable[[str], int]) -> None:
        """``index`` returns the index of a device of the tenant namespace."""
        self._neighbours = neighbours
        self._nft = nft
        self._index = index
        self.commits = 0
        """How many transactions of ours changed the rule set; the kernel announces each one once."""

    def load_guard(self) -> None:
        """Load the guard's chains, in one transaction; elements stay."""
        self._commit(guard.skeleton())

    def guard_listing(self) -> dict[str, Any]:
        """Return the guard's table as libnftables lists it; empty where it is missing."""
        try:
            return self._nft.run(f"list table {guard.FAMILY} {guard.TABLE}")
        except NftablesError as error:
            if error.is_missing:
                return {"nftables": []}
            raise

    def make_elements(self, facts: Iterable[GuardElement]) -> None:
        """Add the elements, in one transaction."""
        self._commit(guard.commands("add", facts))

    def remove_elements(self, facts: Iterable[GuardElement]) -> None:
        """Remove the elements that are there, in one transaction."""
        wanted = frozenset(facts)
        try:
            self._commit(guard.commands("delete", wanted))
        except NftablesError as error:
            if not error.is_missing:
                raise
            # One of them is gone already, so none was removed: the others go alone.
            present = guard.read_elements(self.guard_listing()) & wanted
            if present:
                self._commit(guard.commands("delete", present))

    def _commit(self, commands: str) -> None:
        self._nft.run(commands)
        self.commits += 1

    def make_entries(self, facts: Iterable[Entries]) -> None:
        """Make forwarding entries and neighbours so."""
        self._neighbours.replace(self._entries(facts))

    def remove_entries(self, facts: Iterable[Entries]) -> None:
        """Remove forwarding entries and neighbours."""
        self._neighbours.delete(self._entries(facts))

    def _entries(self, facts: Iterable[Entries]) -> list[Entry]:
        wanted = tuple(facts)
        indices = {device: self._index(device) for device in {fact.device for fact in wanted}}
        return [_entry(fact, indices[fact.device]) for fact in wanted]


def _entry(fact: Fact, index: int) -> Entry:
    match fact:
        case BridgeEntry():
            return bridge_entry(index, fact.mac)
        case TunnelEntry():
            return tunnel_entry(index, fact.mac, fact.destination)
        case Neighbour():
            return neighbour(index, fact.address, fact.mac)
        case _:
            raise TypeError(f"{fact!r} is no entry of a table")
