"""From a port's limits to what keeps them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nephos_agent.network import packet_limits
from nephos_agent.network.desired_limits import limit_facts
from nephos_agent.network.facts import Fact, GuardSet, Tap
from nephos_agent.network.filters.desired import port_filters
from nephos_agent.network.model import HostPort, RateLimit
from nephos_agent.network.names import funnel_name, tap_name
from nephos_agent.network.plan import plan
from nephos_agent.network.rate_facts import Diversion, Funnel, PacketLimit, Shaper
from nephos_api.resources.security_group import Direction

PORT = HostPort("p", "one-net0", "52:54:00:00:00:01", (), "s", "one", "h1", "192.0.2.1")
TAP, FUNNEL = tap_name("p"), funnel_name("p")
FULL = replace(PORT, ingress=RateLimit(1_000, 100), egress=RateLimit(2_000, 200))


@pytest.mark.parametrize(
    ("port", "is_open", "facts"),
    [
        (PORT, True, set()),
        (replace(FULL, is_enabled=False), True, set()),
        (replace(PORT, ingress=RateLimit(kilobits_per_second=64)), True, {Shaper(TAP, 64)}),
        (replace(PORT, ingress=RateLimit(kilobits_per_second=64)), False, set()),
        (
            replace(PORT, egress=RateLimit(kilobits_per_second=64)),
            True,
            {Funnel(FUNNEL, "p", TAP), Shaper(FUNNEL, 64), Diversion(TAP, FUNNEL)},
        ),
        (
            replace(PORT, egress=RateLimit(kilobits_per_second=64)),
            False,
            {Funnel(FUNNEL, "p", TAP), Shaper(FUNNEL, 64)},
        ),
        (
            replace(PORT, ingress=RateLimit(packets_per_second=10), egress=RateLimit(packets_per_second=20)),
            False,
            {PacketLimit(TAP, Direction.INGRESS, 10), PacketLimit(TAP, Direction.EGRESS, 20)},
        ),
        (replace(PORT, ingress=RateLimit(kilobits_per_second=400_000_000)), True, {Shaper(TAP, 34_359_738)}),
    ],
)
def test_what_keeps_the_limits_of_a_port(port: HostPort, is_open: bool, facts: set[Fact]) -> None:
    assert set(limit_facts(port, is_open=is_open)) == facts


@pytest.mark.parametrize(
    ("port", "role"),
    [
        (PORT, "from_port"),
        (replace(PORT, egress=RateLimit(kilobits_per_second=64)), "from_port"),
        (FULL, "from_limited_port"),
        (replace(PORT, port_security=False), "from_open_port"),
        (replace(FULL, port_security=False), "from_limited_open_port"),
        (replace(FULL, is_enabled=False), "from_disabled_port"),
    ],
)
def test_only_ports_with_a_limit_of_packets_pay_for_it(port: HostPort, role: str) -> None:
    elements = port_filters(port, "network", "bridge")
    assert [fact.rest for fact in elements if fact.set is GuardSet.ROLE] == [(role,)]
    assert any(fact.set is GuardSet.LIMITED for fact in elements) is ("limited" in role)


def test_an_element_is_replaced_in_the_transaction_that_takes_it_away() -> None:
    assert packet_limits.commands("add", [PacketLimit("tap1", Direction.EGRESS, 1000)]).splitlines() == [
        "add element bridge nephos limit_egress { tap1 limit rate over 1000/second burst 100 packets }",
        "delete element bridge nephos limit_egress { tap1 }",
        "add element bridge nephos limit_egress { tap1 limit rate over 1000/second burst 100 packets }",
    ]
    assert packet_limits.commands("delete", [PacketLimit("tap1", Direction.INGRESS, 10)]).splitlines() == [
        "add element bridge nephos limit_ingress { tap1 limit rate over 10/second burst 5 packets }",
        "delete element bridge nephos limit_ingress { tap1 }",
    ]


def test_elements_are_read_as_the_kernel_lists_them() -> None:
    element = {"elem": {"val": "tap1", "limit": {"rate": 1000, "burst": 100, "per": "second", "inv": True}}}
    listing = {"nftables": [{"metainfo": {}}, {"set": {"name": "limit_egress", "elem": [element]}}]}
    assert list(packet_limits.read(Direction.EGRESS, listing)) == [PacketLimit("tap1", Direction.EGRESS, 1000)]


def test_a_tap_that_is_made_anew_gets_its_queues_again() -> None:
    limits = frozenset(limit_facts(FULL, is_open=True))
    tap = Tap(TAP, "p", "bridge", 1450)
    made = plan(limits | {tap}, frozenset(fact for fact in limits if fact.device == FUNNEL))
    order = [change.kind for change in made.additions]
    assert order == [PacketLimit, Tap, Shaper, Diversion]
    assert not made.removals


def test_a_port_that_goes_takes_its_funnel_along_and_nothing_on_devices_that_go() -> None:
    limits = frozenset(limit_facts(FULL, is_open=True))
    gone = plan(frozenset(), limits | {Tap(TAP, "p", "bridge", 1450)})
    assert [change.kind for change in gone.removals] == [Tap, Funnel, PacketLimit]
