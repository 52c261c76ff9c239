"""From what a router is on this host and what it should be to steps, in an order in which packets keep their way."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeVar

from nephos_agent.network.facts import BridgeEntry, Dnsmasq, GuardElement, Neighbour, TunnelEntry
from nephos_agent.network.router.facts import (
    FLOATING_SETS,
    Address,
    Leg,
    NatElement,
    NatSet,
    Route,
    RouterFact,
    RouterSpace,
    RoutingRule,
    Transit,
)

_ORDER: Final[tuple[type[RouterFact], ...]] = (
    RouterSpace,
    GuardElement,  # before the leg that it guards joins the bridge
    Leg,
    Transit,
    BridgeEntry,
    TunnelEntry,
    Neighbour,
    Route,
    RoutingRule,
    NatElement,  # behind the way out: a flow that once left untranslated would stay so
    Address,  # of a floating address: it answers once all else of it is there
    Dnsmasq,
)
_F = TypeVar("_F")
_RANK: Final = {kind: rank for rank, kind in enumerate(_ORDER)}


@dataclass(frozen=True)
class Step:
    """Facts of one type: those that are taken away, and those that are made so."""

    kind: type[RouterFact]
    gone: tuple[RouterFact, ...]
    made: tuple[RouterFact, ...]


@dataclass(frozen=True)
class RouterPlan:
    """First what is made so or changed, then what goes, last made first."""

    steps: tuple[Step, ...]

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.steps)

    def given_up(self) -> frozenset[str]:
        """Return the addresses that are translated no more, or otherwise."""
        translations = self.gone(NatElement)
        inward = {fact.name for fact in translations if fact.set is NatSet.FLOATING_IN}
        outward = {
            fact.value for fact in translations if fact.set in (NatSet.FLOATING_OUT, NatSet.OUTSIDE) if fact.value
        }
        return frozenset(inward | outward)

    def made(self, kind: type[_F]) -> tuple[_F, ...]:
        """Return the facts of the type that are made so."""
        return tuple(fact for step in self.steps for fact in step.made if isinstance(fact, kind))

    def gone(self, kind: type[_F]) -> tuple[_F, ...]:
        """Return the facts of the type that are taken away."""
        return tuple(fact for step in self.steps for fact in step.gone if isinstance(fact, kind))


def plan(desired: frozenset[RouterFact], observed: frozenset[RouterFact]) -> RouterPlan:
    """Return what turns ``observed`` into ``desired``.

    What is new comes before what is old goes: a device that loses its last IPv4 address loses its routes too. The
    transaction that makes translations takes those away that are in their way; one of a floating address that is given
    up goes after the address, so that nothing ever answers for it but its server.
    """
    missing, surplus = desired - observed, observed - desired
    if not missing and not surplus:
        return RouterPlan(())
    kept_keys = {fact.key for fact in missing}
    in_the_way = {
        fact
        for fact in surplus
        if isinstance(fact, NatElement) and (fact.set not in FLOATING_SETS or fact.key in kept_keys)
    }
    gone = {fact for fact in surplus if fact.key not in kept_keys} - in_the_way
    making = [
        Step(kind, _those(facts, in_the_way), _those(facts, missing)) for kind, facts in _by_kind(missing | in_the_way)
    ]
    going = [Step(kind, facts, ()) for kind, facts in reversed(_by_kind(gone))]
    return RouterPlan((*making, *going))


def keeping(
    desired: frozenset[RouterFact], observed: frozenset[RouterFact], known: frozenset[str]
) -> frozenset[RouterFact]:
    """Return what is desired where nothing may be taken away: what is there beside it stays.

    But for floating addresses of ``known`` fixed ones: of these the API knows which they have.
    """
    keys = {fact.key for fact in desired}
    elements = {fact for fact in observed if isinstance(fact, NatElement) and _floats(fact, known)}
    floating = {fact.name if fact.set is NatSet.FLOATING_IN else fact.value for fact in elements}
    addresses = {fact for fact in observed if isinstance(fact, Address) and _host_of(fact.address) in floating}
    return desired | {fact for fact in observed - elements - addresses if fact.key not in keys}


def _floats(element: NatElement, known: frozenset[str]) -> bool:
    """Tell whether the element translates between a floating address and one of those fixed ones."""
    fixed = {NatSet.FLOATING_IN: element.value, NatSet.FLOATING_OUT: element.name}.get(element.set)
    return fixed in known


def _host_of(address: str) -> str | None:
    """Return the address without its prefix length where that says that it is one alone, as floating ones are."""
    host, _, prefix_length = address.partition("/")
    return host if prefix_length == "32" else None


def _those(facts: tuple[RouterFact, ...], among: Container[RouterFact]) -> tuple[RouterFact, ...]:
    return tuple(fact for fact in facts if fact in among)


def _by_kind(facts: Iterable[RouterFact]) -> list[tuple[type[RouterFact], tuple[RouterFact, ...]]]:
    return [(_ORDER[rank], tuple(group)) for rank, group in groupby(_sorted(facts), key=_rank)]


def _sorted(facts: Iterable[RouterFact]) -> tuple[RouterFact, ...]:
    return tuple(sorted(facts, key=lambda fact: (_rank(fact), fact.key)))


def _rank(fact: RouterFact) -> int:
    return _RANK[type(fact)]
