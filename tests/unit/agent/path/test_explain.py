"""Where a packet goes, and where it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.network.facts import BridgeEntry, GuardElement, GuardSet, Neighbour, Tap, TunnelEntry, Uplink, Vxlan
from nephos_agent.network.observed import Observed
from nephos_agent.network.router.facts import (
    BY_DEVICE,
    FLOATING_SETS,
    Leg,
    NatElement,
    Route,
    RouterSpace,
    RoutingRule,
    Transit,
)
from nephos_agent.path.explain import explain, render
from nephos_agent.path.model import Objects, Question, Stage
from nephos_agent.path.report import Report, dump, load

from .small_cloud import (
    DEFAULT,
    FIP,
    NETWORKS,
    WEB,
    A,
    B,
    C,
    D,
    cloud,
    floating_ip,
    group,
    network,
    port,
    reports,
    router,
)

TCP, UDP, ICMP = 6, 17, 1
OUT = "198.51.100.7"
OPEN = group("default", {"direction": "Ingress"})
REACHED = cloud(groups=(OPEN, WEB))
PAIR = {"allowedAddressPairs": [{"address": "10.0.0.48/29"}]}
VIRTUAL = {"allowedAddressPairs": [{"address": "10.0.0.50", "macAddress": "00:00:5e:00:01:05"}]}


def ask(source: str, destination: str, protocol: int = TCP, number: int | None = 80) -> Question:
    return Question(source, destination, protocol, number)


def sent() -> list[Stage]:
    return [Stage.SOURCE, Stage.SOURCE_FILTER]


def received() -> list[Stage]:
    return [Stage.BRIDGE, Stage.DESTINATION_FILTER, Stage.DESTINATION]


def tunnelled() -> list[Stage]:
    return [Stage.BRIDGE, Stage.TUNNEL, Stage.TUNNEL, *received()]


def same_host() -> list[Stage]:
    return [*sent(), *received()]


CASES: dict[str, tuple[Objects, Question, list[Stage], Stage | None]] = {
    "on one host": (cloud(), ask("demo/a", "demo/d"), same_host(), None),
    "a rule is missing": (cloud(), ask("demo/a", "demo/d", TCP, 81), same_host(), Stage.DESTINATION_FILTER),
    "members of one group": (
        cloud(),
        ask("demo/a", "demo/b", UDP, 53),
        [
            Stage.SOURCE,
            Stage.SOURCE_FILTER,
            Stage.BRIDGE,
            Stage.TUNNEL,
            Stage.TUNNEL,
            Stage.BRIDGE,
            Stage.DESTINATION_FILTER,
            Stage.DESTINATION,
        ],
        None,
    ),
    "no member of the group": (cloud(), ask("demo/d", "demo/a"), same_host(), Stage.DESTINATION_FILTER),
    "through a router to another host": (
        cloud(),
        ask("demo/a", "demo/c"),
        [
            Stage.SOURCE,
            Stage.SOURCE_FILTER,
            Stage.ROUTER,
            Stage.BRIDGE,
            Stage.TUNNEL,
            Stage.TUNNEL,
            Stage.BRIDGE,
            Stage.DESTINATION_FILTER,
            Stage.DESTINATION,
        ],
        None,
    ),
    "IPv6 through a router": (
        cloud(A, C),
        ask("demo/c", "fd00:a::5"),
        [
            Stage.SOURCE,
            Stage.SOURCE_FILTER,
            Stage.ROUTER,
            Stage.BRIDGE,
            Stage.TUNNEL,
            Stage.TUNNEL,
            Stage.BRIDGE,
            Stage.DESTINATION_FILTER,
            Stage.DESTINATION,
        ],
        Stage.DESTINATION_FILTER,
    ),
    "a router that is switched off": (
        cloud(routers=(router("blue", "green", spec={"enabled": False}),)),
        ask("demo/a", "demo/c"),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER],
        Stage.ROUTER,
    ),
    "no router": (
        cloud(routers=()),
        ask("demo/a", "demo/c"),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER],
        Stage.ROUTER,
    ),
    "no gateway": (
        cloud(port("l", "lonely", "h1", "10.0.2.5")),
        ask("demo/l", OUT),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER],
        Stage.ROUTER,
    ),
    "no leg on the other network": (
        cloud(routers=(router("blue", external=False),)),
        ask("demo/a", "demo/c"),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER],
        Stage.ROUTER,
    ),
    "a port that is switched off": (
        cloud(port("a", "blue", "h1", "10.0.0.5", enabled=False), B),
        ask("demo/a", "demo/b"),
        [Stage.SOURCE],
        Stage.SOURCE,
    ),
    "the other port is switched off": (
        cloud(A, port("e", "blue", "h1", "10.0.0.9", enabled=False)),
        ask("demo/a", "demo/e"),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.BRIDGE, Stage.DESTINATION],
        Stage.DESTINATION,
    ),
    "a server that is not placed": (
        cloud(port("a", "blue", None, "10.0.0.5"), B),
        ask("demo/a", "demo/b"),
        [Stage.SOURCE],
        Stage.SOURCE,
    ),
    "the other server is not placed": (
        cloud(A, port("e", "blue", None, "10.0.0.9")),
        ask("demo/a", "demo/e"),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.BRIDGE],
        Stage.BRIDGE,
    ),
    "an address that nobody has": (
        cloud(),
        ask("demo/a", "10.0.0.99"),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.BRIDGE],
        Stage.BRIDGE,
    ),
    "a name that nobody has": (cloud(), ask("demo/nobody", "demo/b"), [Stage.SOURCE], Stage.SOURCE),
    "no egress": (
        cloud(port("a", "blue", "h1", "10.0.0.5", groups=[]), D),
        ask("demo/a", "demo/d"),
        same_host(),
        Stage.SOURCE_FILTER,
    ),
    "without port security": (
        cloud(A, port("e", "blue", "h1", "10.0.0.9", groups=[], portSecurity=False)),
        ask("demo/a", "demo/e", UDP, 9),
        same_host(),
        None,
    ),
    "out by a floating address": (
        cloud(),
        ask("demo/a", OUT, ICMP, 8),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER, Stage.FLOATING_IP, Stage.UPLINK, Stage.DESTINATION],
        None,
    ),
    "out by the gateway host": (
        cloud(),
        ask("demo/d", OUT),
        [
            Stage.SOURCE,
            Stage.SOURCE_FILTER,
            Stage.ROUTER,
            Stage.TUNNEL,
            Stage.TUNNEL,
            Stage.SNAT,
            Stage.UPLINK,
            Stage.DESTINATION,
        ],
        None,
    ),
    "out from the gateway host itself": (
        cloud(),
        ask("demo/b", OUT),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER, Stage.SNAT, Stage.UPLINK, Stage.DESTINATION],
        None,
    ),
    "no gateway host": (
        cloud(routers=(router("blue", gatewayHost=None),)),
        ask("demo/d", OUT),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER, Stage.SNAT],
        Stage.SNAT,
    ),
    "no way out": (
        cloud(routers=(router("blue", external=False),), floating_ips=()),
        ask("demo/d", OUT),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER],
        Stage.ROUTER,
    ),
    "no gateway outside": (
        cloud(routers=(router("blue", next_hops=()),), floating_ips=()),
        ask("demo/d", OUT),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER],
        Stage.ROUTER,
    ),
    "no gateway outside, but a route": (
        cloud(
            routers=(
                router(
                    "blue",
                    next_hops=(),
                    spec={"routes": [{"destination": "198.51.100.0/24", "nextHop": "203.0.113.2"}]},
                ),
            ),
            floating_ips=(),
        ),
        ask("demo/b", OUT),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER, Stage.SNAT, Stage.UPLINK, Stage.DESTINATION],
        None,
    ),
    "in by a floating address": (
        cloud(groups=(OPEN,)),
        ask(OUT, "demo/a"),
        [Stage.SOURCE, Stage.UPLINK, Stage.FLOATING_IP, *received()],
        None,
    ),
    "in, but no rule": (
        cloud(),
        ask(OUT, FIP.status.address or ""),
        [Stage.SOURCE, Stage.UPLINK, Stage.FLOATING_IP, *received()],
        Stage.DESTINATION_FILTER,
    ),
    "in by an address that does not answer yet": (
        cloud(floating_ips=(floating_ip(A, phase="Down"),)),
        ask(OUT, "demo/a"),
        [Stage.SOURCE, Stage.FLOATING_IP],
        Stage.FLOATING_IP,
    ),
    "in to an address that nobody has": (
        cloud(floating_ips=()),
        ask(OUT, "10.0.0.99"),
        [Stage.SOURCE, Stage.UPLINK],
        Stage.UPLINK,
    ),
    "in where no router leads out": (
        cloud(floating_ips=(), routers=(router("blue", "green", external=False),)),
        ask(OUT, "10.0.0.5"),
        [Stage.SOURCE, Stage.UPLINK],
        Stage.UPLINK,
    ),
    "in to a private address that the provider routes": (
        cloud(floating_ips=()),
        ask(OUT, "10.0.0.5"),
        [Stage.SOURCE, Stage.UPLINK, Stage.ROUTER, *tunnelled()],
        Stage.DESTINATION_FILTER,
    ),
    "in to a private address that the provider routes, by a rule": (
        cloud(groups=(OPEN,)),
        ask(OUT, "10.0.0.6"),
        [Stage.SOURCE, Stage.UPLINK, Stage.ROUTER, *received()],
        None,
    ),
    "in by routed IPv6": (
        cloud(groups=(OPEN,), floating_ips=()),
        ask("2001:db8::7", "demo/a"),
        [Stage.SOURCE, Stage.UPLINK, Stage.ROUTER, *tunnelled()],
        None,
    ),
    "in by a router that is switched off": (
        cloud(routers=(router("blue", "green", spec={"enabled": False}),)),
        ask("2001:db8::7", "demo/a"),
        [Stage.SOURCE, Stage.UPLINK, Stage.ROUTER],
        Stage.ROUTER,
    ),
    "from outside with an address of inside": (
        cloud(groups=(OPEN,)),
        ask("10.0.1.5", "10.0.0.6"),
        [Stage.SOURCE, Stage.UPLINK, Stage.ROUTER],
        Stage.ROUTER,
    ),
    "by one leg with an address that is behind another": (
        cloud(
            port("x", "blue", "h1", "10.0.9.5"),
            C,
            networks=(
                network("blue", "10.0.9.0/24", routes=[{"destination": "10.0.1.0/24", "nextHop": "10.0.0.1"}]),
                *NETWORKS[1:],
            ),
            routers=(
                router("green", "blue", spec={"routes": [{"destination": "10.0.9.0/24", "nextHop": "10.0.1.5"}]}),
            ),
        ),
        ask("demo/x", "demo/c"),
        [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.ROUTER],
        Stage.ROUTER,
    ),
    "to a neighbour's floating address on one host": (
        cloud(groups=(OPEN,)),
        ask("demo/d", FIP.status.address or ""),
        [
            Stage.SOURCE,
            Stage.SOURCE_FILTER,
            Stage.ROUTER,
            Stage.FLOATING_IP,
            Stage.BRIDGE,
            Stage.DESTINATION_FILTER,
            Stage.DESTINATION,
        ],
        Stage.SOURCE_FILTER,
    ),
    "to a floating address of another host": (
        cloud(groups=(OPEN, group("web"))),
        ask("demo/b", FIP.status.address or ""),
        [
            Stage.SOURCE,
            Stage.SOURCE_FILTER,
            Stage.ROUTER,
            Stage.SNAT,
            Stage.UPLINK,
            Stage.UPLINK,
            Stage.FLOATING_IP,
            *received(),
        ],
        None,
    ),
    "to a floating address of the gateway host": (
        cloud(groups=(OPEN, group("web")), floating_ips=(floating_ip(B),)),
        ask("demo/d", FIP.status.address or ""),
        [*sent(), Stage.ROUTER, Stage.TUNNEL, Stage.TUNNEL, Stage.FLOATING_IP, *received()],
        None,
    ),
    "out by the user's route, which is asked before a floating address": (
        cloud(
            routers=(router("blue", spec={"routes": [{"destination": "198.51.100.0/24", "nextHop": "203.0.113.2"}]}),)
        ),
        ask("demo/a", OUT),
        [*sent(), Stage.ROUTER, Stage.TUNNEL, Stage.TUNNEL, Stage.SNAT, Stage.UPLINK, Stage.DESTINATION],
        None,
    ),
    "to the router itself": (
        cloud(),
        ask("demo/a", "10.0.0.1", ICMP, 8),
        [*sent(), Stage.DESTINATION],
        None,
    ),
    "by a route of the router's": (
        cloud(
            routers=(
                router("blue", "green", spec={"routes": [{"destination": "172.16.0.0/12", "nextHop": "10.0.1.5"}]}),
            )
        ),
        ask("demo/a", "172.16.1.1"),
        [
            Stage.SOURCE,
            Stage.SOURCE_FILTER,
            Stage.ROUTER,
            Stage.BRIDGE,
            Stage.TUNNEL,
            Stage.TUNNEL,
            Stage.BRIDGE,
            Stage.DESTINATION_FILTER,
            Stage.DESTINATION,
        ],
        None,
    ),
    "metadata without any group": (
        cloud(port("a", "blue", "h1", "10.0.0.5", groups=[])),
        ask("demo/a", "169.254.169.254"),
        [Stage.SOURCE, Stage.DESTINATION],
        None,
    ),
    "metadata": (
        cloud(),
        ask("demo/a", "169.254.169.254"),
        [Stage.SOURCE, Stage.DESTINATION],
        None,
    ),
    "a server on the provider's network": (
        cloud(port("p", "public", "h1", "203.0.113.20"), groups=(OPEN,)),
        ask(OUT, "demo/p"),
        [Stage.SOURCE, Stage.UPLINK, *received()],
        None,
    ),
    "a member of the group that comes by the provider's network": (
        cloud(port("p", "public", "h1", "203.0.113.20"), port("q", "public", "h2", "203.0.113.21")),
        ask("demo/q", "demo/p"),
        [*sent(), Stage.UPLINK, Stage.UPLINK, *received()],
        None,
    ),
    "through a router to a server on the provider's network": (
        cloud(B, port("p", "public", "h1", "203.0.113.20")),
        ask("demo/b", "demo/p"),
        [*sent(), Stage.ROUTER, Stage.SNAT, Stage.UPLINK, Stage.UPLINK, *received()],
        Stage.DESTINATION_FILTER,
    ),
    "through a router to a server on the provider's network and this host, by a rule": (
        cloud(B, port("p", "public", "h2", "203.0.113.20"), groups=(OPEN, WEB)),
        ask("demo/b", "demo/p"),
        [*sent(), Stage.ROUTER, Stage.SNAT, *received()],
        None,
    ),
    "by a floating address to a server on the provider's network": (
        cloud(A, port("p", "public", "h2", "203.0.113.20")),
        ask("demo/a", "demo/p"),
        [*sent(), Stage.ROUTER, Stage.FLOATING_IP, Stage.UPLINK, Stage.UPLINK, *received()],
        Stage.DESTINATION_FILTER,
    ),
    "from the provider's network to a floating address": (
        cloud(A, port("p", "public", "h2", "203.0.113.20")),
        ask("demo/p", "demo/a"),
        [*sent(), Stage.UPLINK, Stage.UPLINK, Stage.FLOATING_IP, *received()],
        Stage.DESTINATION_FILTER,
    ),
    "from the provider's network to a floating address on this host, by a rule": (
        cloud(A, port("p", "public", "h1", "203.0.113.20"), groups=(OPEN,)),
        ask("demo/p", "demo/a"),
        [*sent(), Stage.FLOATING_IP, *received()],
        None,
    ),
    "from the provider's network to a neighbour outside": (
        cloud(port("p", "public", "h1", "203.0.113.20")),
        ask("demo/p", "203.0.113.99"),
        [*sent(), Stage.UPLINK, Stage.DESTINATION],
        None,
    ),
    "from the provider's network by the provider's router": (
        cloud(port("p", "public", "h1", "203.0.113.20")),
        ask("demo/p", OUT),
        [*sent(), Stage.UPLINK, Stage.DESTINATION],
        None,
    ),
    "from the provider's network by a neighbour that is a server": (
        cloud(port("p", "public", "h1", "203.0.113.20"), port("q", "public", "h1", "203.0.113.1"), groups=(OPEN,)),
        ask("demo/p", OUT),
        [*sent(), *received()],
        None,
    ),
    "to an address pair": (
        cloud(D, port("e", "blue", "h1", "10.0.0.9", **PAIR)),
        ask("demo/d", "10.0.0.50"),
        same_host(),
        Stage.DESTINATION_FILTER,
    ),
    "to an address pair with a MAC of its own on another host": (
        cloud(A, port("e", "blue", "h2", "10.0.0.9", **VIRTUAL)),
        ask("demo/a", "10.0.0.50"),
        [*sent(), *tunnelled()],
        None,
    ),
    "to an address that a port without port security may have": (
        cloud(A, port("e", "blue", "h1", "10.0.0.9", groups=[], portSecurity=False)),
        ask("demo/a", "10.0.0.60"),
        same_host(),
        None,
    ),
    "to a neighbour of a server without port security on the provider's network": (
        cloud(
            port("p", "public", "h1", "203.0.113.20"),
            port("q", "public", "h1", "203.0.113.21", groups=[], portSecurity=False),
        ),
        ask("demo/p", "203.0.113.99"),
        [*sent(), Stage.UPLINK, Stage.DESTINATION],
        None,
    ),
    "through a router to an address pair": (
        cloud(A, port("e", "green", "h1", "10.0.1.9", allowedAddressPairs=[{"address": "10.0.1.50"}])),
        ask("demo/a", "10.0.1.50"),
        [*sent(), Stage.ROUTER, *received()],
        None,
    ),
    "through a router to an address pair on another host": (
        cloud(A, port("e", "green", "h2", "10.0.1.9", allowedAddressPairs=[{"address": "10.0.1.50"}])),
        ask("demo/a", "10.0.1.50"),
        [*sent(), Stage.ROUTER, Stage.BRIDGE],
        Stage.BRIDGE,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_packet_is_followed_hop_by_hop(name: str) -> None:
    objects, question, stages, refused = CASES[name]
    found = explain(objects, question)
    assert [hop.stage for hop in found.hops] == stages, found
    assert (found.refused_by_objects.stage if found.refused_by_objects else None) is refused, found


@pytest.mark.parametrize("name", CASES)
def test_hosts_that_have_all_they_should_do_as_the_objects_say(name: str) -> None:
    objects, question, _, _ = CASES[name]
    for hop in explain(objects, question, reports(objects)).hops:
        assert not hop.differences
        assert hop.as_programmed is None or hop.as_programmed.passes == hop.by_objects.passes, hop


def without(
    host: str, *, kind: type[Any], where: Callable[[Any], bool] = lambda _fact: True, objects: Objects = REACHED
) -> list[Report]:
    """Reports of a cloud in which that host lacks some facts of a kind."""
    return [changed(each, kind, where) if each.host == host else each for each in reports(objects)]


def changed(
    report: Report,
    kind: type[Any],
    where: Callable[[Any], bool],
    instead: Callable[[Any], Any] | None = None,
) -> Report:
    def change(facts: Iterable[Any]) -> frozenset[Any]:
        hit = {fact for fact in facts if isinstance(fact, kind) and where(fact)}
        return frozenset(facts) - hit | frozenset(map(instead, hit) if instead else ())

    routers = {uid: change(facts) for uid, facts in report.observed.routers.items()}
    return Report(report.host, Observed(change(report.observed.networks), routers))


def is_translation(element: NatElement) -> bool:
    return element.set in FLOATING_SETS


def says_who_is_behind(element: NatElement) -> bool:
    return element.set in BY_DEVICE


def is_outside(leg: Leg) -> bool:
    return leg.network_uid == "uid-public"


@pytest.mark.parametrize(
    ("question", "found", "stage", "host"),
    [
        (ask("demo/a", "demo/b"), without("h1", kind=TunnelEntry), Stage.TUNNEL, "h1"),
        (ask("demo/a", "demo/b"), without("h2", kind=Vxlan), Stage.TUNNEL, "h2"),
        (ask("demo/a", "demo/b"), without("h2", kind=Tap), Stage.BRIDGE, "h2"),
        (ask("demo/a", "demo/b"), without("h1", kind=Neighbour), Stage.BRIDGE, "h1"),
        (
            ask("demo/a", "demo/b"),
            without("h1", kind=GuardElement, where=lambda it: it.set is GuardSet.IPV4),
            Stage.SOURCE,
            "h1",
        ),
        (
            ask("demo/a", "demo/b"),
            without("h2", kind=GuardElement, where=lambda it: it.set.startswith("ingress")),
            Stage.DESTINATION_FILTER,
            "h2",
        ),
        (ask("demo/a", "demo/c"), without("h1", kind=RouterSpace), Stage.ROUTER, "h1"),
        (ask("demo/a", OUT), without("h1", kind=NatElement, where=is_translation), Stage.FLOATING_IP, "h1"),
        (ask("demo/a", OUT), without("h1", kind=NatElement, where=says_who_is_behind), Stage.ROUTER, "h1"),
        (ask("demo/a", "demo/c"), without("h1", kind=Neighbour), Stage.ROUTER, "h1"),
        (ask("demo/a", OUT), without("h1", kind=Route), Stage.FLOATING_IP, "h1"),
        (ask("demo/a", OUT), without("h1", kind=RoutingRule), Stage.FLOATING_IP, "h1"),
        (ask("demo/d", OUT), without("h1", kind=Transit), Stage.TUNNEL, "h1"),
        (ask("demo/d", OUT), without("h2", kind=NatElement), Stage.SNAT, "h2"),
        (ask("demo/d", OUT), without("h2", kind=Uplink), Stage.UPLINK, "h2"),
        (ask("demo/d", OUT), without("h1", kind=Route), Stage.ROUTER, "h1"),
        (ask("demo/d", OUT), without("h2", kind=Route), Stage.TUNNEL, "h2"),
        (ask("demo/b", OUT), without("h2", kind=Route), Stage.ROUTER, "h2"),
        (ask(OUT, "demo/a"), without("h1", kind=Uplink), Stage.UPLINK, "h1"),
        (ask(OUT, "demo/a"), without("h1", kind=RoutingRule), Stage.FLOATING_IP, "h1"),
        (ask(OUT, "demo/a"), without("h1", kind=Route), Stage.FLOATING_IP, "h1"),
        (ask(OUT, "demo/a"), without("h1", kind=Leg, where=is_outside), Stage.FLOATING_IP, "h1"),
        (ask("2001:db8::7", "demo/a"), without("h2", kind=Uplink), Stage.UPLINK, "h2"),
        (ask("2001:db8::7", "demo/a"), without("h2", kind=Leg, where=is_outside), Stage.ROUTER, "h2"),
    ],
)
def test_what_a_host_has_not_programmed_is_found(
    question: Question, found: list[Report], stage: Stage, host: str
) -> None:
    explanation = explain(REACHED, question, found)
    assert explanation.passes
    assert not explanation.passes_as_programmed
    refused = explanation.refused_as_programmed
    assert refused is not None
    assert (refused.stage, refused.host) == (stage, host)


@pytest.mark.parametrize(
    ("source", "destination", "next_hop"),
    [("demo/a", "172.16.1.1", "10.0.1.5"), ("demo/b", OUT, "203.0.113.2"), ("demo/d", OUT, "203.0.113.2")],
)
def test_a_route_of_the_users_that_a_host_has_not_programmed_is_found(
    source: str, destination: str, next_hop: str
) -> None:
    routes = [{"destination": f"{destination}/24", "nextHop": next_hop}]
    objects = cloud(routers=(router("blue", "green", spec={"routes": routes}),), floating_ips=())
    question = ask(source, destination)
    assert explain(objects, question, reports(objects)).passes_as_programmed
    host = "h2" if source == "demo/b" else "h1"
    found = without(host, kind=Route, where=lambda it: it.destination.endswith("/24"), objects=objects)
    refused = explain(objects, question, found).refused_as_programmed
    assert refused is not None
    assert (refused.stage, refused.host) == (Stage.ROUTER, host)


@pytest.mark.parametrize("kind", [BridgeEntry, TunnelEntry])
def test_the_way_to_an_address_pairs_own_mac_is_needed(kind: type[Any]) -> None:
    objects, question, _, _ = CASES["to an address pair with a MAC of its own on another host"]
    found = without("h1", kind=kind, where=lambda it: it.mac == "00:00:5e:00:01:05", objects=objects)
    told = [hop.stage for hop in explain(objects, question, found).hops if hop.differences]
    assert told == [Stage.TUNNEL]


def test_a_stale_entry_is_shown_beside_the_right_one() -> None:
    stale = [
        changed(
            each, TunnelEntry, lambda it: it.mac == B.spec.mac_address, lambda it: replace(it, destination="192.0.2.9")
        )
        for each in reports(cloud())
    ]
    explanation = explain(cloud(), ask("demo/a", "demo/b"), stale)
    refused = explanation.refused_as_programmed
    assert refused is not None
    assert refused.stage is Stage.TUNNEL
    (difference,) = refused.differences
    assert "192.0.2.9" in difference
    assert "192.0.2.2" in difference
    assert "192.0.2.9" in render(explanation)


def test_a_rule_that_a_host_still_has_lets_pass_what_the_objects_refuse() -> None:
    before, now = cloud(), cloud(groups=(DEFAULT, group("web")))
    explanation = explain(now, ask("demo/a", "demo/d"), reports(before))
    assert not explanation.passes
    assert explanation.passes_as_programmed


def test_a_host_that_says_nothing_is_taken_to_do_as_it_should() -> None:
    explanation = explain(cloud(), ask("demo/a", "demo/b"), [each for each in reports(cloud()) if each.host == "h1"])
    assert explanation.passes_as_programmed
    assert {hop.host for hop in explanation.hops if hop.as_programmed} == {"h1"}


def test_a_report_survives_its_json() -> None:
    for each in reports(cloud()):
        assert load(dump(each)) == each
        assert dump(load(dump(each))) == dump(each)


def test_facts_of_a_later_version_are_left_out() -> None:
    document = json.loads(dump(Report("h1")))
    document["networks"] = [{"fact": "Teleporter", "device": "x"}]
    assert load(json.dumps(document)) == Report("h1")


@given(st.sampled_from(list(CASES)), st.sampled_from([TCP, UDP, ICMP]), st.integers(1, 100))
def test_filters_as_programmed_are_those_of_the_objects(name: str, protocol: int, number: int) -> None:
    objects, question, _, _ = CASES[name]
    asked = replace(question, protocol=protocol, port=number)
    for hop in explain(objects, asked, reports(objects)).hops:
        if hop.stage in {Stage.SOURCE_FILTER, Stage.DESTINATION_FILTER}:
            assert hop.as_programmed is not None
            assert hop.as_programmed.passes == hop.by_objects.passes
