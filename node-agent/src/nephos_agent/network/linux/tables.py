"""The tables behind tenant networks: forwarding entries, neighbours, the filters' elements, flows. A batch a change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import structlog

from nephos_agent.network import packet_limits
from nephos_agent.network.facts import DROP_COUNTERS, GuardElement, GuardSet
from nephos_agent.network.filters import guard
from nephos_agent.network.filters.cutting import Fate, Flow
from nephos_agent.network.filters.numbering import Numbering
from nephos_agent.network.linux.conntrack import FlowTable
from nephos_agent.network.linux.entries import EntryFact, entry_of
from nephos_agent.network.linux.generation import Generation
from nephos_agent.network.linux.libnftables import Nftables, NftablesError
from nephos_agent.network.linux.neighbours import Entry, NeighbourSocket
from nephos_agent.network.rate_facts import PacketLimit
from nephos_api.resources.security_group import Direction

_log = structlog.get_logger(__name__)


class Tables:
    """Tables of the tenant namespace. Calls block; they belong to the thread that makes them."""

    def __init__(
        self,
        neighbours: NeighbourSocket,
        nft: Nftables,
        generation: Generation,
        flows: FlowTable,
        index: Callable[[str], int],
    ) -> None:
        """``index`` returns the index of a device of the tenant namespace."""
        self._neighbours = neighbours
        self._nft = nft
        self._generation = generation
        self._flows = flows
        self._index = index
        self._numbering = Numbering()
        self.commits = 0
        """How many transactions of ours changed the rule set; the kernel announces each one once."""
        self._others: int | None = None
        """How many transactions were not ours, from some number on, when the chains were loaded."""

    def load_guard(self) -> None:
        """Load the filters' chains, in one transaction, unless they are as they were loaded; elements stay.

        Where sets are of another shape, as an older agent made them, all begins anew: nothing passes until the
        networks are applied. Raises ``NftablesError`` where anything else is refused; then all is as it was.
        """
        others = self._generation.number() - self.commits
        if others == self._others:
            return
        try:
            self._commit(guard.skeleton())
        except NftablesError as error:
            if not error.is_of_another_shape:
                raise
            _log.warning("filters of another shape are replaced", error=str(error))
            self._commit(guard.removal() + guard.skeleton())
        self._others = others

    def read_elements(self) -> frozenset[GuardElement]:
        """Return all elements, and learn the numbers of what they are about; none where the tables are missing."""
        self._numbering = Numbering()
        listings = [self._listing(f"list table {family} {guard.TABLE}")["nftables"] for family in guard.FAMILIES]
        return guard.read_elements({"nftables": [entry for listing in listings for entry in listing]}, self._numbering)

    def read_drops(self) -> dict[tuple[str, GuardSet], int]:
        """Return how many packets were dropped, by device and reason."""
        listings = [self._listing(f"list set {guard.family(name)} {guard.TABLE} {name}") for name in DROP_COUNTERS]
        return {key: count for listing in listings for key, count in guard.read_drops(listing, self._numbering).items()}

    def judge_flows(self, bridge: str, fate: Callable[[Flow], Fate]) -> None:
        """Cut and end flows of the network with that bridge, as the judge says."""
        zone = self._numbering.networks.known(bridge)
        if zone is None:
            return
        judged = [(fate(tracked.flow), tracked) for tracked in self._flows.flows(zone)]
        self._flows.cut(zone, (tracked for outcome, tracked in judged if outcome is Fate.IS_CUT))
        self._flows.end(zone, (tracked for outcome, tracked in judged if outcome is Fate.ENDS))

    def _listing(self, command: str) -> dict[str, Any]:
        try:
            return self._nft.run(command)
        except NftablesError as error:
            if error.is_missing:
                return {"nftables": []}
            raise

    def make_elements(self, facts: Iterable[GuardElement], replaced: Iterable[GuardElement] = ()) -> None:
        """Add the elements, in one transaction with the removal of those that they replace."""
        self._commit(guard.commands((("delete", replaced), ("add", facts)), self._numbering))

    def remove_elements(self, facts: Iterable[GuardElement]) -> None:
        """Remove the elements that are there, in one transaction."""
        wanted = frozenset(facts)
        try:
            self._commit(guard.commands((("delete", wanted),), self._numbering))
        except NftablesError as error:
            if not error.is_missing:
                raise
            # One of them is gone already, so none was removed: the others go alone.
            present = self.read_elements() & wanted
            if present:
                self._commit(guard.commands((("delete", present),), self._numbering))
        self._forget(wanted)

    def _forget(self, gone: Iterable[GuardElement]) -> None:
        """Give back the numbers of what is gone for good; whatever else bore them went before or with it."""
        for fact in gone:
            match fact.set:
                case GuardSet.MARK:
                    self._numbering.devices.forget(fact.device)
                case GuardSet.NETWORK:
                    # The next network with this number begins with no flows.
                    self.judge_flows(fact.device, lambda _flow: Fate.ENDS)
                    self._numbering.networks.forget(fact.device)
                case GuardSet.POLICY:
                    self._numbering.policies.forget(fact.device)

    def read_limits(self) -> frozenset[PacketLimit]:
        """Return the limits of packets a second."""
        return frozenset(
            limit
            for direction in Direction
            for limit in packet_limits.read(direction, self._listing(packet_limits.listing(direction)))
        )

    def make_limits(self, facts: Iterable[PacketLimit]) -> None:
        """Make the limits so, in one transaction: a packet meets the old one or the new one."""
        self._commit(packet_limits.commands("add", facts))

    def remove_limits(self, facts: Iterable[PacketLimit]) -> None:
        """Remove the limits, in one transaction."""
        self._commit(packet_limits.commands("delete", facts))

    def _commit(self, commands: str) -> None:
        self._nft.run(commands)
        self.commits += 1

    def make_entries(self, facts: Iterable[EntryFact]) -> None:
        """Make forwarding entries and neighbours so."""
        self._neighbours.replace(self._entries(facts))

    def remove_entries(self, facts: Iterable[EntryFact]) -> None:
        """Remove forwarding entries and neighbours."""
        self._neighbours.delete(self._entries(facts))

    def _entries(self, facts: Iterable[EntryFact]) -> list[Entry]:
        wanted = tuple(facts)
        indices = {device: self._index(device) for device in {fact.device for fact in wanted}}
        return [entry_of(fact, indices[fact.device]) for fact in wanted]
