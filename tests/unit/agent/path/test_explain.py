"""Where a packet goes, and where it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.network.facts import GuardElement, GuardSet, Neighbour, Tap, TunnelEntry, Uplink, Vxlan
from nephos_agent.network.observed import Observed
from nephos_agent.network.router.facts import NatElement, RouterSpace, Transit
from nephos_agent.path.explain import explain, render
from nephos_agent.path.model import Objects, Question, Stage
from nephos_agent.path.report import Report, dump, load

from .small_cloud import DEFAULT, FIP, A, B, C, D, cloud, floating_ip, group, port, reports, router

TCP, UDP, ICMP = 6, 17, 1
OUT = "198.51.100.7"
OPEN = group("default", {"direction": "Ingress"})


def ask(source: str, destination: str, protocol: int = TCP, number: int | None = 80) -> Question:
    return Question(source, destination, protocol, number)


def same_host() -> list[Stage]:
    return [Stage.SOURCE, Stage.SOURCE_FILTER, Stage.BRIDGE, Stage.DESTINATION_FILTER, Stage.DESTINATION]


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
        [Stage.SOURCE, Stage.FLOATING_IP, Stage.BRIDGE, Stage.DESTINATION_FILTER, Stage.DESTINATION],
        None,
    ),
    "in, but no rule": (
        cloud(),
        ask(OUT, FIP.status.address or ""),
        [Stage.SOURCE, Stage.FLOATING_IP, Stage.BRIDGE, Stage.DESTINATION_FILTER, Stage.DESTINATION],
        Stage.DESTINATION_FILTER,
    ),
    "in by an address that does not answer yet": (
        cloud(floating_ips=(floating_ip(A, phase="Down"),)),
        ask(OUT, "demo/a"),
        [Stage.SOURCE, Stage.FLOATING_IP],
        Stage.FLOATING_IP,
    ),
    "in without a floating address": (
        cloud(floating_ips=()),
        ask("198.51.100.7", "10.0.0.5"),
        [Stage.SOURCE, Stage.UPLINK],
        Stage.UPLINK,
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
            Stage.FLOATING_IP,
            Stage.BRIDGE,
            Stage.DESTINATION_FILTER,
            Stage.DESTINATION,
        ],
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
        [Stage.SOURCE, Stage.UPLINK, Stage.BRIDGE, Stage.DESTINATION_FILTER, Stage.DESTINATION],
        None,
    ),
    "a member of the group that comes by the provider's network": (
        cloud(port("p", "public", "h1", "203.0.113.20"), port("q", "public", "h2", "203.0.113.21")),
        ask("demo/q", "demo/p"),
        [
            Stage.SOURCE,
            Stage.SOURCE_FILTER,
            Stage.UPLINK,
            Stage.BRIDGE,
            Stage.DESTINATION_FILTER,
            Stage.DESTINATION,
        ],
        None,
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


def without(host: str, *, kind: type[Any], where: Callable[[Any], bool] = lambda _fact: True) -> list[Report]:
    """Reports of a cloud in which that host lacks some facts of a kind."""
    return [changed(each, kind, where) if each.host == host else each for each in reports(cloud())]


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
        (ask("demo/a", OUT), without("h1", kind=NatElement), Stage.FLOATING_IP, "h1"),
        (ask("demo/d", OUT), without("h1", kind=Transit), Stage.TUNNEL, "h1"),
        (ask("demo/d", OUT), without("h2", kind=NatElement), Stage.SNAT, "h2"),
        (ask("demo/d", OUT), without("h2", kind=Uplink), Stage.UPLINK, "h2"),
    ],
)
def test_what_a_host_has_not_programmed_is_found(
    question: Question, found: list[Report], stage: Stage, host: str
) -> None:
    explanation = explain(cloud(), question, found)
    assert explanation.passes
    assert not explanation.passes_as_programmed
    refused = explanation.refused_as_programmed
    assert refused is not None
    assert (refused.stage, refused.host) == (stage, host)


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
