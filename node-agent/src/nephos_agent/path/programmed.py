"""Judges a place by what its host has programmed, and says how that differs from what it should have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from nephos_agent.network.addresses import is_ipv6
from nephos_agent.network.facts import ZERO_MAC, Fact, GuardElement, GuardSet, TunnelEntry
from nephos_agent.network.filters.judgement import selector_of
from nephos_agent.network.names import OPEN
from nephos_agent.path.model import Judgement
from nephos_agent.path.report import AnyFact, Report
from nephos_agent.path.steps import FilterCheck, Step
from nephos_api.resources.security_group import Direction


def judge(step: Step, report: Report | None) -> tuple[Judgement | None, tuple[str, ...]]:
    """Return what the host does with the packet, and what it lacks; None where it did not report."""
    if report is None:
        return None, ()
    if step.check:
        return _filter(step.check, report.observed.networks), ()
    if not step.needs and not step.router_needs:
        return None, ()
    there = report.observed.routers.get(step.router_uid or "", frozenset())
    lacks = (*_lacks(step.needs, report.observed.networks), *_lacks(step.router_needs, there))
    differences = tuple(lack.text for lack in lacks)
    if not step.passes:
        return None, differences  # the way ends here, whatever is programmed
    if any(lack.is_fatal for lack in lacks):
        return Judgement(False, "the host has not programmed what this needs"), differences
    return Judgement(True, "everything that this needs is programmed"), differences


@dataclass(frozen=True)
class _Lack:
    text: str
    is_fatal: bool = True


def _lacks(needed: frozenset[AnyFact], found: frozenset[AnyFact]) -> Iterator[_Lack]:
    by_key = {fact.key: fact for fact in found}
    for fact in sorted(needed - found, key=lambda fact: (type(fact).__name__, fact.key)):
        if fact.key in by_key:
            yield _Lack(f"has {by_key[fact.key]} instead of {fact}")
        else:
            # a MAC without an entry of its own goes wherever frames for everybody go
            floods = isinstance(fact, TunnelEntry) and replace(fact, mac=ZERO_MAC) in found
            yield _Lack(f"lacks {fact}", is_fatal=not floods)


def _filter(check: FilterCheck, facts: Iterable[Fact]) -> Judgement:
    """Do as filter.nft does: policy of the device, rules by address, rules by the other side's policy."""
    elements = [fact for fact in facts if isinstance(fact, GuardElement)]
    policy = next((it.rest[0] for it in elements if it.set is GuardSet.MARK and it.device == check.tap), None)
    if policy is None:
        return Judgement(False, f"{check.tap} has no policy: it is switched off, or not there")
    if policy == OPEN:
        return Judgement(True, f"{check.tap} is open")
    members = (GuardSet.MEMBER_IPV4, GuardSet.MEMBER_IPV6)
    behind = {it.rest[0]: it.rest[1] for it in elements if it.set in members and it.device == check.bridge}
    remote_policy = behind.get(check.packet.remote)
    for element in elements:
        if element.device == policy and _allows(element, check, remote_policy):
            return Judgement(True, f"element {element.set} {' . '.join(element.rest)} of {policy} allows it")
    return Judgement(False, f"no element of {policy} allows it")


def _allows(element: GuardElement, check: FilterCheck, remote_policy: str | None) -> bool:
    side = "ingress" if check.direction is Direction.INGRESS else "egress"
    family = "IPv6" if is_ipv6(check.packet.remote) else "IPv4"
    selector, protocol = selector_of(check.packet), check.packet.protocol
    rest = element.rest
    match element.set.value.removeprefix(f"{side}_").split("_"):
        case ["ipv4" | "ipv6" as name] if name == family.lower():
            return _spans(rest[0], protocol) and _holds(rest[1], check.packet.remote)
        case ["ipv4" | "ipv6" as name, "port"] if name == family.lower():
            return _spans(rest[0], protocol) and _spans(rest[1], selector) and _holds(rest[2], check.packet.remote)
        case ["group"]:
            return (rest[0], rest[2]) == (family, remote_policy) and _spans(rest[1], protocol)
        case ["group", "port"]:
            return (
                (rest[0], rest[3]) == (family, remote_policy)
                and _spans(rest[1], protocol)
                and _spans(rest[2], selector)
            )
        case _:
            return False


def _spans(span: str, number: int | None) -> bool:
    first, _, last = span.partition("-")
    return number is not None and int(first) <= number <= int(last or first)


def _holds(prefix: str, address: str) -> bool:
    return ip_address(address) in ip_network(prefix)
