"""From a description to changes: what is planned, in which order, and how little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.network import desired
from nephos_agent.network.facts import (
    ZERO_MAC,
    Bridge,
    BridgeEntry,
    Dnsmasq,
    Fact,
    GuardElement,
    GuardSet,
    HostsFile,
    Service,
    Tap,
    TunnelEntry,
    Vxlan,
)
from nephos_agent.network.model import AddressPair, HostNetwork, HostSecurityGroup, SecurityRule
from nephos_agent.network.names import network_names, policy_name, read_mark, tap_name
from nephos_agent.network.picture import Picture
from nephos_agent.network.plan import Plan, keeping, plan
from nephos_api.resources.security_group import Direction, IPFamily
from unit.agent.network.examples import CONTEXT, V4, V6, WEB, network, port

GOLDEN = Path(__file__).parent / "golden"
NAMES = network_names("network-1", "nephos")


def facts(described: HostNetwork, *open_ports: int) -> frozenset[Fact]:
    return desired.facts(described, CONTEXT, frozenset(tap_name(f"port-{number}") for number in open_ports))


def carried_out(changes: Plan, before: frozenset[Fact]) -> frozenset[Fact]:
    """Do as the kernel: what lies on a device goes with it, what has a key is replaced."""
    picture = Picture(before)
    for change in changes.removals:
        picture.remove(change.facts)
    for change in changes.additions:
        picture.remove(change.replaced)
        picture.add(change.facts)
    return picture.all()


def test_a_network_is_these_facts() -> None:
    described = network(port(11, ipv6=True), port(12, "h2"), port(13, "h2"), port(14), subnets=(V4, V6))
    lines = sorted(repr(fact) for fact in facts(described, 11) if not isinstance(fact, Dnsmasq))
    assert "\n".join(lines) + "\n" == (GOLDEN / "facts.txt").read_text()


def test_where_a_network_is_only_routed_nobody_is_served_until_a_guest_comes() -> None:
    routed = replace(network(port(12, "h2"), port(13, "h2")), serves_guests=False)
    before = facts(routed)
    assert not [fact for fact in before if isinstance(fact, Dnsmasq | HostsFile)]
    assert {fact.key for fact in before} < {fact.key for fact in facts(replace(routed, serves_guests=True))}
    served = network(port(11), port(12, "h2"), port(13, "h2"))
    assert desired.touched_ports(routed, served, frozenset(), frozenset()) == {"port-11", "port-12", "port-13"}


def test_packets_pass_the_filters_of_flows_where_there_are_guests_and_nowhere_else() -> None:
    guests = network(port(11), port(12, "h2"))
    routed = replace(network(port(12, "h2")), serves_guests=False)
    assert [fact.judges_flows for fact in facts(guests) if isinstance(fact, Bridge)] == [True]
    assert [fact.judges_flows for fact in facts(routed) if isinstance(fact, Bridge)] == [False]
    assert plan(facts(guests), facts(routed)).additions[0].kind is Bridge


def test_guests_that_an_api_forgot_are_filtered_as_before() -> None:
    forgotten = facts(replace(network(port(12, "h2")), serves_guests=False, keep_unknown=True))
    observed = facts(network(port(11), port(12, "h2")), 11)
    assert not plan(keeping(forgotten, observed), observed)


def test_filters_come_before_the_device_that_they_guard_and_addresses_after_it() -> None:
    changes = plan(facts(network(port(11)), 11), frozenset())
    order = [change.kind for change in changes.additions]
    assert order.index(Bridge) < order.index(GuardElement) < order.index(Vxlan) < order.index(Tap)
    assert order.index(Tap) < order.index(BridgeEntry)
    assert order[-1] is Dnsmasq


def test_what_is_removed_goes_in_the_opposite_order() -> None:
    changes = plan(frozenset(), facts(network(port(11)), 11))
    order = [change.kind for change in changes.removals]
    assert order.index(Tap) < order.index(GuardElement) < order.index(Bridge)
    assert order[0] is Dnsmasq


def test_nothing_is_planned_where_nothing_differs() -> None:
    described = facts(network(port(11), port(12, "h2")), 11)
    assert not plan(described, described)


def test_a_new_port_among_many_is_a_change_of_its_own_facts_alone() -> None:
    many = [port(number, "h2") for number in range(20, 200)]
    changes = plan(facts(network(*many, port(12), port(11)), 11), facts(network(*many, port(12))))
    touched = {fact for change in changes.additions for fact in change.facts}
    assert not changes.removals
    assert len(touched) <= 20
    assert {fact.device for fact in touched} == {tap_name("port-11"), NAMES.bridge, NAMES.service}


def test_a_tap_waits_until_a_process_has_it_open_but_its_filters_do_not() -> None:
    closed = facts(network(port(11)))
    assert not [fact for fact in closed if isinstance(fact, Tap)]
    assert {fact.device for fact in closed if isinstance(fact, GuardElement)} >= {tap_name("port-11")}
    opened = plan(facts(network(port(11)), 11), closed)
    assert [change.kind for change in opened.additions] == [Tap, BridgeEntry]


def test_a_peer_host_is_flooded_to_as_long_as_it_has_any_port() -> None:
    entry = TunnelEntry(NAMES.vxlan, ZERO_MAC, "192.0.2.2")
    two = network(port(12, "h2"), port(13, "h2"))
    one = network(port(12, "h2"))
    removed = {fact for change in plan(facts(one), facts(two)).removals for fact in change.facts}
    assert entry not in removed
    removed = {fact for change in plan(facts(network()), facts(one)).removals for fact in change.facts}
    assert entry in removed


def test_another_mtu_changes_devices_in_place() -> None:
    changes = plan(facts(network(port(11), mtu=1400), 11), facts(network(port(11)), 11))
    assert {change.kind for change in changes.additions} == {Bridge, Vxlan, Service, Tap, Dnsmasq}
    assert not [change for change in changes.removals if change.kind is not Dnsmasq]


def test_a_tunnel_that_must_be_made_anew_gets_all_of_its_entries_again() -> None:
    described = facts(network(port(12, "h2")))
    old = frozenset(
        Vxlan(fact.device, fact.network_uid, fact.bridge, 7, fact.local, fact.mtu) if isinstance(fact, Vxlan) else fact
        for fact in described
    )
    changes = plan(described, old)
    added = {fact for change in changes.additions for fact in change.facts}
    lost = {fact for fact in described if fact.device == NAMES.vxlan and not isinstance(fact, GuardElement)}
    assert added >= lost


def test_dnsmasq_starts_anew_in_a_namespace_that_was_made_anew() -> None:
    described = facts(network())
    lost = frozenset(fact for fact in described if not isinstance(fact, Service))
    changes = plan(described, lost)
    assert Dnsmasq in {change.kind for change in changes.removals}
    assert Dnsmasq in {change.kind for change in changes.additions}


def test_what_is_kept_is_not_removed_but_changed() -> None:
    before = facts(network(port(11), port(12, "h2")), 11)
    wanted = facts(network(mtu=1400))
    changes = plan(keeping(wanted, before), before)
    assert {change.kind for change in changes.removals} <= {Dnsmasq}
    assert {fact for change in changes.additions for fact in change.facts} >= wanted - before


def test_rules_that_are_kept_are_those_of_ports_that_are_not_described() -> None:
    lone = replace(port(12), security_groups=("group-lone",))
    egress = SecurityRule(Direction.EGRESS, IPFamily.IPV4)
    groups = (WEB, HostSecurityGroup("group-lone", frozenset({egress})))
    before = facts(replace(network(port(11), lone), security_groups=groups))
    ssh = SecurityRule(Direction.INGRESS, IPFamily.IPV4, 6, 22)
    fewer = (HostSecurityGroup(WEB.uid, frozenset({ssh})),)
    kept = keeping(facts(replace(network(port(11)), security_groups=fewer)), before)

    def sets_of(groups: tuple[str, ...]) -> set[GuardSet]:
        policy = policy_name("network-1", groups)
        return {fact.set for fact in kept if isinstance(fact, GuardElement) and fact.device == policy}

    assert sets_of((WEB.uid,)) == {GuardSet.POLICY, GuardSet.SAME_POLICY, GuardSet.INGRESS_IPV4_PORT}
    assert sets_of(("group-lone",)) == {GuardSet.POLICY, GuardSet.SAME_POLICY, GuardSet.EGRESS_IPV4}


def test_only_ports_that_differ_are_touched() -> None:
    before = network(port(11), port(12, "h2"), port(13))
    moved = port(12, "h3")
    after = network(port(11), moved, port(14))
    touched = desired.touched_ports(before, after, frozenset(), frozenset({tap_name("port-11")}))
    assert touched == {"port-11", "port-12", "port-13", "port-14"}
    assert desired.touched_ports(before, before, frozenset(), frozenset()) == frozenset()


@st.composite
def networks(draw: st.DrawFn) -> tuple[HostNetwork, tuple[int, ...]]:
    numbers = draw(st.lists(st.integers(2, 12), unique=True, max_size=8))
    ports = [port(number, draw(st.sampled_from(["h1", "h2", "h3"])), ipv6=draw(st.booleans())) for number in numbers]
    subnets = draw(st.sampled_from([(V4,), (V4, V6)]))
    opened = tuple(number for number in numbers if draw(st.booleans()))
    return network(*ports, subnets=subnets, mtu=draw(st.sampled_from([1400, 1450]))), opened


@given(networks(), networks())
def test_a_plan_leads_from_any_state_to_any_other(
    before: tuple[HostNetwork, tuple[int, ...]], after: tuple[HostNetwork, tuple[int, ...]]
) -> None:
    old, new = facts(before[0], *before[1]), facts(after[0], *after[1])
    assert carried_out(plan(new, old), old) == new
    assert carried_out(plan(frozenset(), new), new) == frozenset()


@given(networks(), networks())
def test_looking_at_touched_ports_alone_leads_to_the_same(
    before: tuple[HostNetwork, tuple[int, ...]], after: tuple[HostNetwork, tuple[int, ...]]
) -> None:
    old_open, new_open = (
        frozenset(tap_name(f"port-{number}") for number in opened) for _network, opened in (before, after)
    )
    touched = desired.touched_ports(before[0], after[0], old_open, new_open)
    old = desired.own_facts(desired.narrowed(before[0], touched), CONTEXT, old_open)
    new = desired.own_facts(desired.narrowed(after[0], touched), CONTEXT, new_open)
    whole_old, whole_new = facts(before[0], *before[1]), facts(after[0], *after[1])
    old |= desired.shared_facts(before[0], CONTEXT, old_open)
    new |= desired.shared_facts(after[0], CONTEXT, new_open)
    assert carried_out(plan(new, old), whole_old) == whole_new


def test_a_port_that_goes_leaves_a_mac_that_it_shared_to_the_other() -> None:
    owner = port(12)
    sharer = replace(port(11), address_pairs=(AddressPair("10.10.0.100", owner.mac),))
    before, after = network(sharer, owner), network(owner)
    touched = desired.touched_ports(before, after, frozenset(), frozenset())
    old, new = (
        desired.own_facts(desired.narrowed(each, touched), CONTEXT, frozenset())
        | desired.shared_facts(each, CONTEXT, frozenset())
        for each in (before, after)
    )
    assert carried_out(plan(new, old), facts(before)) == facts(after)
    clients = {fact.rest for fact in facts(after) if isinstance(fact, GuardElement) and fact.set is GuardSet.CLIENT}
    assert clients == {(owner.mac,)}


@pytest.mark.parametrize(
    ("alias", "cloud_id"), [("nephos/c1/port/p1", "c1"), ("eth0 uplink", None), ("nephos/c1", None), (None, None)]
)
def test_only_a_mark_of_ours_is_read_as_one(alias: str | None, cloud_id: str | None) -> None:
    mark = read_mark(alias)
    assert (mark.cloud_id if mark else None) == cloud_id
