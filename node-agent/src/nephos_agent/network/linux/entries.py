"""Entries of the kernel's tables as facts, and facts as entries."""

from __future__ import annotations

import socket

from nephos_agent.network.facts import BridgeEntry, Fact, Neighbour, TunnelEntry
from nephos_agent.network.linux.neighbours import Entry, bridge_entry, neighbour, tunnel_entry

EntryFact = BridgeEntry | TunnelEntry | Neighbour


def fact_of(entry: Entry, device: str) -> EntryFact | None:
    """Return the fact that an entry on the device is, or None for one such as no agent makes."""
    if entry.family == socket.AF_BRIDGE:
        is_ours = entry.is_static_bridge_entry or entry.is_tunnel_entry
    else:
        is_ours = entry.is_permanent and entry.destination is not None
    return subject_of(entry, device) if is_ours else None


def subject_of(entry: Entry, device: str) -> EntryFact:
    """Return a fact with the key of what the entry is about, whether such a fact holds or not."""
    if entry.family != socket.AF_BRIDGE:
        return Neighbour(device, entry.destination or "", entry.mac)
    if entry.is_tunnel_entry:
        return TunnelEntry(device, entry.mac, entry.destination or "")
    return BridgeEntry(device, entry.mac)


def entry_of(fact: Fact, index: int) -> Entry:
    """Return the entry that the fact is on the device with that index."""
    match fact:
        case BridgeEntry():
            return bridge_entry(index, fact.mac)
        case TunnelEntry():
            return tunnel_entry(index, fact.mac, fact.destination)
        case Neighbour():
            return neighbour(index, fact.address, fact.mac)
        case _:
            raise TypeError(f"{fact!r} is no entry of a table")
