"""Which Subnets a Router joins: those that its spec names, as far as they are there, its own, and apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from nephos_api.metadata import Key
from nephos_api.resources import FloatingIP, Router, Subnet
from nephos_api.resources.router import MOST_LEGS, RouterLeg
from nephos_api.resources.subnet import SubnetPhase
from nephos_operator.usable import usable
from nephos_operator.verdict import Problem, Stalls, Waits
from nephos_operator.wording import listed

if TYPE_CHECKING:
    from nephos_operator.store import Store


@dataclass(frozen=True)
class Legs:
    """The legs that the Router has, and what keeps others away."""

    legs: tuple[RouterLeg, ...]
    problems: tuple[Problem, ...]


def plan_legs(router: Router, outside: Sequence[str], store: Store) -> Legs:
    """Return the Router's legs; ``outside`` are the external Network's own CIDRs, which no leg may meet.

    A leg that its spec no longer names stays while a FloatingIP needs it.
    """
    legs: dict[str, RouterLeg] = {}
    problems: list[Problem] = []
    users = {leg: users_of(leg, router, store) for leg in router.status.legs if leg.subnet not in router.spec.subnets}
    kept = {leg: who for leg, who in users.items() if who}
    held = {leg.subnet for leg in router.status.legs}
    for name in sorted(router.spec.subnets, key=lambda name: name not in held):  # what it has stays its own
        leg = _leg(router, name, store)
        problem = leg if isinstance(leg, Waits | Stalls) else _overlap(leg, (*kept, *legs.values()), outside)
        if problem is None and len(legs) + len(kept) >= MOST_LEGS:
            problem = _no_room(name)
        if problem is not None:
            problems.append(problem)
        elif isinstance(leg, RouterLeg):
            legs[name] = leg
    legs |= {leg.subnet: leg for leg in kept}
    problems += [_in_use(leg, who) for leg, who in kept.items()]
    order = {name: place for place, name in enumerate(router.spec.subnets)}
    return Legs(
        tuple(sorted(legs.values(), key=lambda leg: (order.get(leg.subnet, len(order)), leg.subnet))), tuple(problems)
    )


def users_of(leg: RouterLeg, router: Router, store: Store) -> tuple[FloatingIP, ...]:
    """Return the FloatingIPs that stand for an address behind the leg."""
    behind = ip_network(leg.cidr)
    return tuple(
        floating_ip
        for floating_ip in store.floating_ips.by("router_uid", router.uid)
        if floating_ip.status.fixed_address and ip_address(floating_ip.status.fixed_address) in behind
    )


def route_problem(router: Router, legs: Iterable[RouterLeg], outside: Sequence[str]) -> Stalls | None:
    """Return which extra route has a next hop that the Router can't reach, or None."""
    reached = [ip_network(cidr) for cidr in (*(leg.cidr for leg in legs), *outside)]
    for route in router.spec.routes:
        if not any(ip_address(route.next_hop) in network for network in reached):
            return Stalls(
                "NextHopOutside",
                f"spec.routes: next hop {route.next_hop} of {route.destination} is neither on a Subnet of"
                " spec.subnets nor on the external Network; name one that is",
            )
    return None


def _leg(router: Router, name: str, store: Store) -> RouterLeg | Problem:
    key = Key("Subnet", router.metadata.namespace, name)
    found = store.subnets.find(key)
    if found is None or not _has_leg(router, found):
        found_or_problem = usable(found, key, "spec.subnets")
        if isinstance(found_or_problem, Waits):
            return found_or_problem
        found = found_or_problem
        if found.status.phase is not SubnetPhase.ACTIVE:
            return Waits("SubnetNotActive", f"waits for {key}, which spec.subnets names, to become Active")
    network = store.networks.get(found.spec.network, router.metadata.namespace)
    if network is None or found.status.gateway is None:
        return Waits("SubnetNotActive", f"waits for the Network of {key}, which spec.subnets names")
    if network.spec.external is not None:
        return Stalls(
            "SubnetIsExternal",
            f"spec.subnets: {key} is of the external {network.key}; name that one in spec.externalNetwork instead",
        )
    if (other := _better_router(router, found, store)) is not None:
        return Stalls(
            "GatewayTaken",
            f"spec.subnets: {other.key} has {key} already, and a Subnet's gateway is one Router's;"
            " take it out of one of the two",
        )
    return RouterLeg(
        subnet=name,
        subnet_uid=found.uid,
        cidr=found.spec.cidr,
        address=found.status.gateway,
        network=network.metadata.name,
        network_uid=network.uid,
    )


def _has_leg(router: Router, subnet: Subnet) -> bool:
    return any(leg.subnet_uid == subnet.uid for leg in router.status.legs)


def _better_router(router: Router, subnet: Subnet, store: Store) -> Router | None:
    """Return the Router that has the better claim to the Subnet's gateway: one that is there, then the older."""

    def rank(other: Router) -> tuple[bool, str, str]:
        return not _has_leg(other, subnet), other.metadata.creation_timestamp or "~", other.uid

    claimants = [
        other
        for other in store.routers.by("subnet", (subnet.metadata.namespace, subnet.metadata.name))
        if other.uid != router.uid
        and (_has_leg(other, subnet) or (subnet.metadata.name in other.spec.subnets and not other.is_deleting))
    ]
    best = min(claimants, key=rank, default=None)
    return best if best is not None and rank(best) < rank(router) else None


def _overlap(leg: RouterLeg, others: Iterable[RouterLeg], outside: Sequence[str]) -> Stalls | None:
    own = ip_network(leg.cidr)
    named = [(other.cidr, f"Subnet {other.subnet}") for other in others]
    for cidr, whose in (*named, *((cidr, "the external Network") for cidr in outside)):
        other = ip_network(cidr)
        if own.version == other.version and own.overlaps(other):
            return Stalls(
                "Overlaps",
                f"spec.subnets: {own} of Subnet {leg.subnet} overlaps {other} of {whose}, and the Router can't tell"
                " them apart; take one of the two out",
            )
    return None


def _no_room(name: str) -> Waits:
    return Waits(
        "TooManyLegs",
        f"spec.subnets: {name} waits for one of the legs that are no longer named to go: a Router has at most"
        f" {MOST_LEGS}",
    )


def _in_use(leg: RouterLeg, users: Sequence[FloatingIP]) -> Waits:
    return Waits(
        "LegInUse",
        f"spec.subnets no longer names {leg.subnet}, but its leg stays: held by"
        f" {listed([user.key for user in users])};"
        " unbind or delete those first, or name it again",
    )
