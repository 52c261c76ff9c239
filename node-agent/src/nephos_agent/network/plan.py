"""From what is and what should be to the changes between them, in an order that lets no frame pass unfiltered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from nephos_agent.network.facts import (
    DEVICES,
    INTERVALS,
    OUTLIVING,
    Bridge,
    BridgeEntry,
    Dnsmasq,
    Fact,
    GuardElement,
    HostsFile,
    Key,
    Neighbour,
    Service,
    Tap,
    TunnelEntry,
    Uplink,
    Vxlan,
)
from nephos_agent.network.rate_facts import Diversion, Funnel, PacketLimit, Shaper

_ORDER: Final[tuple[type[Fact], ...]] = (
    Bridge,
    GuardElement,  # before the device that it guards joins the bridge
    PacketLimit,
    Vxlan,
    Uplink,
    Service,
    TunnelEntry,
    Neighbour,
    HostsFile,
    Funnel,
    Tap,
    Shaper,
    Diversion,  # into a funnel that has its queue
    BridgeEntry,
    Dnsmasq,
)
_RANK: Final = {kind: rank for rank, kind in enumerate(_ORDER)}


@dataclass(frozen=True)
class Changes:
    """Facts of one type to take away, or to make so."""

    kind: type[Fact]
    facts: tuple[Fact, ...]
    replaced: tuple[Fact, ...] = ()
    """Elements of the filters that go as these come, in one transaction: nothing passes in between, or is refused."""


@dataclass(frozen=True)
class Plan:
    """First the removals, last made first; then what is to be made so."""

    removals: tuple[Changes, ...]
    additions: tuple[Changes, ...]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.removals or self.additions)

    @property
    def may_forbid(self) -> bool:
        """Whether elements of the filters go, so that something may be forbidden that was allowed."""
        return any(change.kind is GuardElement for change in self.removals) or any(
            change.replaced for change in self.additions
        )


def keeping(desired: frozenset[Fact], observed: frozenset[Fact]) -> frozenset[Fact]:
    """Return what is desired where nothing may be taken away: what is there beside it stays.

    Of rules and address pairs, those of other ports stay: where some are described, they are all that there is.
    """
    keys = {fact.key for fact in desired}
    described = {fact.device for fact in desired if isinstance(fact, GuardElement) and fact.set in INTERVALS}
    return desired | {fact for fact in observed if fact.key not in keys and not _is_interval_of(fact, described)}


def _is_interval_of(fact: Fact, devices: set[str]) -> bool:
    return isinstance(fact, GuardElement) and fact.set in INTERVALS and fact.device in devices


def plan(desired: frozenset[Fact], observed: frozenset[Fact]) -> Plan:
    """Return what turns ``observed`` into ``desired``.

    A fact whose key stays is made so in place. What goes with a device is not removed one by one, and is made anew
    where its device is.
    """
    missing, surplus = desired - observed, observed - desired
    if not missing and not surplus:
        return Plan((), ())
    wanted_keys, found_keys = {fact.key for fact in missing}, {fact.key for fact in surplus}
    gone = {fact for fact in surplus if fact.key not in wanted_keys}
    gone_devices = {fact.device for fact in gone if isinstance(fact, DEVICES)}
    fresh_devices = {fact.device for fact in missing if isinstance(fact, DEVICES) and fact.key not in found_keys}
    replaced = _replaced(missing, surplus)
    removals = {fact for fact in gone - replaced if _removed_by_itself(fact) or fact.device not in gone_devices}
    additions = missing | {
        fact
        for fact in desired
        if fact.device in fresh_devices and not isinstance(fact, (GuardElement, PacketLimit, HostsFile))
    }
    # A process lives in its namespace: it has to end with the old one before it starts in the new one.
    removals |= {
        fact for fact in observed if isinstance(fact, Dnsmasq) and fact.device in (fresh_devices | gone_devices)
    }
    return Plan(
        _grouped(removals, descending=True),
        tuple(
            replace(change, replaced=tuple(sorted(replaced, key=_in_order))) if change.kind is GuardElement else change
            for change in _grouped(additions, descending=False)
        ),
    )


def _replaced(missing: frozenset[Fact], surplus: frozenset[Fact]) -> frozenset[Fact]:
    """Return the elements that go where others of the same device or policy come."""
    coming = {fact.device for fact in missing if isinstance(fact, GuardElement)}
    return frozenset(fact for fact in surplus if isinstance(fact, GuardElement) and fact.device in coming)


def _removed_by_itself(fact: Fact) -> bool:
    """Tell whether the kernel leaves the fact behind when its device goes."""
    return isinstance(fact, DEVICES + OUTLIVING)


def _in_order(fact: Fact) -> tuple[int, Key]:
    return _rank(fact), fact.key


def _rank(fact: Fact) -> int:
    return _RANK[type(fact)]


def _grouped(facts: Iterable[Fact], *, descending: bool) -> tuple[Changes, ...]:
    ordered = sorted(facts, key=_in_order, reverse=descending)
    return tuple(Changes(_ORDER[position], tuple(group)) for position, group in groupby(ordered, key=_rank))
