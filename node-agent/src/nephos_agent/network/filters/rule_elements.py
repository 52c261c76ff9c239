"""From the rules of a port's groups to elements of the sets that the kernel looks a new flow up in. Pure.

The kernel takes no two elements of which one holds a corner of the other, and rules may overlap as they like. So the
rules of one policy are cut into ranges that do not: within a range of ports (or protocols) only the widest prefixes
stay. A rule beside others mostly is one element; a removed one takes its own element alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from typing import Final, TypeVar

from nephos_agent.network.facts import GuardSet
from nephos_agent.network.filters.judgement import selectors_of
from nephos_agent.network.model import SecurityRule
from nephos_api.resources.security_group import Direction, IPFamily

RuleElement = tuple[GuardSet, tuple[str, ...]]
"""The set, and what follows the policy in the key."""
Span = tuple[int, int]
_ALL_PROTOCOLS: Final = (0, 255)
_EVERYBODY: Final = {IPFamily.IPV4: "0.0.0.0/0", IPFamily.IPV6: "::/0"}
_T = TypeVar("_T")
_Group = tuple[GuardSet, tuple[str, ...]]
"""Elements that could overlap: the set, and the parts of the key that are single values."""


@lru_cache(maxsize=1024)
def rule_elements(
    rules: frozenset[SecurityRule], members: frozenset[tuple[str, frozenset[str]]]
) -> frozenset[RuleElement]:
    """Return the elements of a policy with these rules.

    ``members`` has each policy that ports of the network have, with its groups: rules name groups, the sets policies.
    """
    result: set[RuleElement] = set()
    prefixes: dict[_Group, list[tuple[Span, str]]] = {}
    policies: dict[_Group, list[tuple[Span, str]]] = {}
    for rule in rules:
        selectors, protocols = selectors_of(rule), _protocols(rule)
        fixed = () if selectors is None else (str(rule.protocol),)
        span = protocols if selectors is None else selectors
        if rule.remote_group is None:
            remote = rule.remote_prefix or _EVERYBODY[rule.family]
            prefixes.setdefault((_prefix_set(rule, selectors), fixed), []).append((span, remote))
        else:
            group = (_policy_set(rule, selectors), (rule.family.value, *fixed))
            remotes = [policy for policy, groups in members if rule.remote_group in groups]
            policies.setdefault(group, []).extend((span, policy) for policy in remotes)
    for (name, parts), spans in prefixes.items():
        result |= {(name, (*parts, _text(span), remote)) for span, remote in disjoint(spans, _widest)}
    for (name, parts), spans in policies.items():
        result |= {(name, (*parts, _text(span), remote)) for span, remote in disjoint(spans, _each)}
    return frozenset(result)


def disjoint(spans: Iterable[tuple[Span, _T]], widest: Callable[[Iterable[_T]], Iterable[_T]]) -> set[tuple[Span, _T]]:
    """Cut the spans so that what is on common ground is no more than ``widest`` leaves of it; join what stays whole."""
    result: set[tuple[Span, _T]] = set()
    running: dict[_T, int] = {}
    for start, present in _steps(spans):
        now = set(widest(present))
        for gone in running.keys() - now:
            result.add(((running.pop(gone), start - 1), gone))
        for come in now - running.keys():
            running[come] = start
    return result


def _steps(spans: Iterable[tuple[Span, _T]]) -> Iterator[tuple[int, tuple[_T, ...]]]:
    """Yield each place where something begins or has ended, with what is there from then on."""
    changes: dict[int, list[tuple[_T, int]]] = {}
    for (first, last), what in spans:
        changes.setdefault(first, []).append((what, 1))
        changes.setdefault(last + 1, []).append((what, -1))
    present: Counter[_T] = Counter()
    for place in sorted(changes):
        for what, step in changes[place]:
            present[what] += step
        present = +present
        yield place, tuple(present)


def _widest(prefixes: Iterable[str]) -> Iterator[str]:
    """Leave out prefixes inside of others; two halves become a whole."""
    parsed = [_parsed(prefix) for prefix in prefixes]
    if len(parsed) == 1:
        return iter((str(parsed[0]),))
    return (str(prefix) for prefix in collapse_addresses(parsed))  # type: ignore[type-var]  # why: all of one family


def _each(policies: Iterable[str]) -> Iterable[str]:
    return policies


@lru_cache(maxsize=65536)
def _parsed(prefix: str) -> IPv4Network | IPv6Network:
    return ip_network(prefix)


def _protocols(rule: SecurityRule) -> Span:
    return _ALL_PROTOCOLS if rule.protocol is None else (rule.protocol, rule.protocol)


def _text(span: Span) -> str:
    return f"{span[0]}-{span[1]}" if span[0] != span[1] else str(span[0])


def _prefix_set(rule: SecurityRule, selectors: Span | None) -> GuardSet:
    return GuardSet(f"{_side(rule)}_{rule.family.value.lower()}{'' if selectors is None else '_port'}")


def _policy_set(rule: SecurityRule, selectors: Span | None) -> GuardSet:
    return GuardSet(f"{_side(rule)}_group{'' if selectors is None else '_port'}")


def _side(rule: SecurityRule) -> str:
    return "ingress" if rule.direction is Direction.INGRESS else "egress"
