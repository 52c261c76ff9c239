"""From a router's description to facts and steps: what each host carries, in which order it comes, and how little."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeGuard

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.network.facts import Dnsmasq, GuardElement, Key
from nephos_agent.network.filters import uplink_tables
from nephos_agent.network.linux.announce import advertisement, answered, arp_frame, farewell
from nephos_agent.network.model import HostFloatingIP, HostRouter, RouterGateway, RouterLeg, RouterNeighbour
from nephos_agent.network.router import advertiser as router_advertiser
from nephos_agent.network.router import nat as router_nat
from nephos_agent.network.router.desired import neighbour_facts, router_facts
from nephos_agent.network.router.facts import (
    FLOATING_TABLE,
    MAIN_TABLE,
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
from nephos_agent.network.router.names import inner_name, leg_mac, outside_mac, router_names
from nephos_agent.network.router.plan import RouterPlan, keeping, plan
from nephos_agent.network.router.sources import behind
from nephos_api.resources.network import HostRoute, IPv6Mode
from unit.agent.network.examples import CONTEXT

GOLDEN = Path(__file__).parent / "golden"
GATEWAY = RouterGateway(
    network_uid="public",
    addresses=("203.0.113.10/24", "2001:db8::10/64"),
    next_hops=("203.0.113.1", "2001:db8::1"),
    cidrs=("203.0.113.0/24", "2001:db8::/64"),
    transit_vni=7777,
    gateway_host="h1",
    gateway_host_address="192.0.2.1",
)
ROUTER = HostRouter(
    uid="router-1",
    name="edge",
    namespace="web",
    legs=(
        RouterLeg("network-1", "subnet-1", "10.10.0.0/24", "10.10.0.1"),
        RouterLeg("network-1", "subnet-2", "fd00:10::/64", "fd00:10::1", IPv6Mode.SLAAC),
        RouterLeg("network-2", "subnet-3", "10.20.0.0/16", "10.20.0.1"),
        RouterLeg("network-2", "subnet-4", "fd00:20::/64", "fd00:20::1", IPv6Mode.DHCPV6_STATEFUL),
    ),
    mtus=(("network-1", 1450), ("network-2", 1400), ("public", 1500)),
    neighbours=frozenset({RouterNeighbour("network-1", "10.10.0.11", "52:54:00:00:00:0b")}),
    routes=(
        HostRoute(destination="10.99.0.0/16", next_hop="10.20.0.7"),
        HostRoute(destination="198.51.100.0/24", next_hop="203.0.113.9"),
    ),
    gateway=GATEWAY,
    floating_ips=(HostFloatingIP("fip-1", "203.0.113.21", "10.10.0.11"),),
)
ELSEWHERE = replace(CONTEXT, host="h2", underlay_address="192.0.2.2")
CONTEXTS = {"gateway-host": CONTEXT, "other-host": ELSEWHERE}


def facts(router: HostRouter, host: str = "gateway-host") -> frozenset[RouterFact]:
    return router_facts(router, CONTEXTS[host]) | neighbour_facts(router.neighbours)


def carried_out(changes: RouterPlan, before: frozenset[RouterFact]) -> frozenset[RouterFact]:
    """Do as the kernel: what has a key is replaced."""
    found: dict[Key, RouterFact] = {fact.key: fact for fact in before}
    for step in changes.steps:
        for fact in step.gone:
            found.pop(fact.key, None)
        found |= {fact.key: fact for fact in step.made}
    return frozenset(found.values())


@pytest.mark.parametrize("host", CONTEXTS)
def test_a_router_is_these_facts(host: str) -> None:
    lines = sorted(repr(fact) for fact in facts(ROUTER, host) if not isinstance(fact, Dnsmasq))
    assert "\n".join(lines) + "\n" == (GOLDEN / f"router-{host}.txt").read_text()


def test_advertisements_are_sent_for_ipv6_alone() -> None:
    assert router_advertiser.configuration(ROUTER) == (GOLDEN / "router-advertiser.conf").read_text()
    assert router_advertiser.configuration(replace(ROUTER, is_enabled=False)) is None
    ipv4 = replace(ROUTER, legs=tuple(leg for leg in ROUTER.legs if ":" not in leg.cidr))
    assert router_advertiser.configuration(ipv4) is None


def test_where_it_is_advertised_is_read_from_what_the_process_is_told() -> None:
    told = router_advertiser.configuration(ROUTER) or ""
    assert router_advertiser.interfaces(told) == {
        inner_name(uid, is_outside=False) for uid in ("network-1", "network-2")
    }


def test_a_farewell_advertises_nothing_for_no_time() -> None:
    kind, code, _checksum, _hops, flags, lifetime_s = struct.unpack("!BBHBBH8x", farewell())
    assert (kind, code, flags, lifetime_s) == (134, 0, 0, 0)


def test_translations_are_these_elements_and_are_read_as_they_were_written() -> None:
    elements = frozenset(fact for fact in facts(ROUTER) if isinstance(fact, NatElement))
    commands = json.loads(router_nat.commands((), sorted(elements, key=lambda element: element.key)))
    assert json.dumps(commands, indent=2) + "\n" == (GOLDEN / "router-translations.json").read_text()
    listing = {
        "nftables": [
            {"map": {"name": command["add"]["element"]["name"], "elem": command["add"]["element"]["elem"]}}
            for command in commands["nftables"]
        ]
    }
    assert router_nat.read_elements(listing) == elements


def test_inside_every_host_is_the_same_and_outside_each_is_its_own() -> None:
    one, two = ({leg.network_uid: leg for leg in _legs(facts(ROUTER, host))} for host in CONTEXTS)
    assert one["network-1"] == two["network-1"]
    assert one["network-1"].mac == leg_mac("router-1", "network-1")
    assert one["public"].mac == outside_mac("router-1", "public", "h1")
    assert one["public"].mac != two["public"].mac


def test_a_host_without_gateway_and_floating_ips_has_nothing_outside_but_its_way_to_the_gateway_host() -> None:
    found = facts(replace(ROUTER, floating_ips=()), "other-host")
    assert {leg.network_uid for leg in _legs(found)} == {"network-1", "network-2"}
    assert not [fact for fact in found if isinstance(fact, RoutingRule)]
    transit = next(fact.device for fact in found if isinstance(fact, Transit))
    defaults = {fact.destination: fact.device for fact in found if isinstance(fact, Route)}
    assert defaults["0.0.0.0/0"] == defaults["::/0"] == transit


def test_a_disabled_router_keeps_its_own_addresses_and_forwards_nothing() -> None:
    found = facts(replace(ROUTER, is_enabled=False))
    addresses = {fact.address for fact in found if isinstance(fact, Address)}
    assert {"10.10.0.1/24", "203.0.113.10/24"} <= addresses
    assert "203.0.113.21/32" not in addresses
    assert RouterSpace(router_names("router-1", "nephos").namespace, forwards=False) in found


def test_without_snat_nothing_but_floating_ips_is_translated() -> None:
    found = facts(replace(ROUTER, gateway=replace(GATEWAY, snat=False)))
    sets = {fact.set for fact in found if isinstance(fact, NatElement)}
    assert not sets & {NatSet.TRANSLATED, NatSet.OUTSIDE}
    assert sets >= {NatSet.FLOATING_IN, NatSet.FLOATING_OUT}


def test_who_is_behind_a_leg_is_its_subnets_and_where_routes_lead_from_there() -> None:
    routes = (*ROUTER.routes, HostRoute(destination="10.20.5.0/24", next_hop="10.10.0.7"))
    found = behind(ROUTER.legs, (*routes, HostRoute(destination="0.0.0.0/0", next_hop="10.10.0.8")))
    texts = {uid: [str(prefix) for prefix in prefixes] for uid, prefixes in found.items()}
    assert texts == {
        "network-1": ["10.10.0.0/24", "10.20.5.0/24", "fd00:10::/64"],
        "network-2": ["10.20.0.0/16", "10.99.0.0/16", "fd00:20::/64"],
    }
    known = {fact.name for fact in facts(replace(ROUTER, routes=routes)) if _is_of(fact, NatSet.KNOWN)}
    assert known == {"10.10.0.0/24", "10.20.0.0/16", "10.99.0.0/16"}


def test_what_lies_in_a_subnet_is_behind_its_leg_whoever_elsewhere_may_use_it_too() -> None:
    members = [("network-1", each) for each in ("10.77.0.7/32", "10.10.0.5/32", "10.20.0.5/32", "10.0.0.0/8")]
    found = behind(ROUTER.legs, (), (*members, ("network-2", "fd00:10::5/128"), ("network-9", "10.88.0.1/32")))
    texts = {uid: [str(prefix) for prefix in prefixes] for uid, prefixes in found.items()}
    assert texts == {
        "network-1": ["10.10.0.0/24", "10.77.0.7/32", "fd00:10::/64"],
        "network-2": ["10.20.0.0/16", "fd00:20::/64"],
    }


def _is_of(fact: RouterFact, name: NatSet) -> TypeGuard[NatElement]:
    return isinstance(fact, NatElement) and fact.set is name


def test_an_extra_route_to_everywhere_takes_the_place_of_the_gateway() -> None:
    found = facts(replace(ROUTER, routes=(HostRoute(destination="0.0.0.0/0", next_hop="10.20.0.7"),)))
    main = {fact.destination: fact for fact in found if isinstance(fact, Route) and fact.table == MAIN_TABLE}
    floating = {fact.destination: fact for fact in found if isinstance(fact, Route) and fact.table == FLOATING_TABLE}
    assert main["0.0.0.0/0"].next_hop == "10.20.0.7"
    assert floating["0.0.0.0/0"].next_hop == "203.0.113.1"


def test_a_route_whose_next_hop_is_nowhere_is_left_out() -> None:
    found = facts(replace(ROUTER, routes=(HostRoute(destination="10.99.0.0/16", next_hop="192.168.0.1"),)))
    assert "10.99.0.0/16" not in {fact.destination for fact in found if isinstance(fact, Route)}


def test_a_fixed_address_has_one_floating_ip() -> None:
    twice = (*ROUTER.floating_ips, HostFloatingIP("fip-2", "203.0.113.22", "10.10.0.11"))
    assert facts(replace(ROUTER, floating_ips=twice)) == facts(ROUTER)


def test_a_floating_ip_costs_its_own_elements_and_its_address() -> None:
    more = replace(ROUTER, floating_ips=(*ROUTER.floating_ips, HostFloatingIP("fip-2", "203.0.113.22", "10.20.0.5")))
    changes = plan(facts(more), facts(ROUTER))
    assert [step.kind for step in changes.steps] == [NatElement, Address]
    assert len(changes.made(NatElement)) == 2
    assert len(changes.made(Address)) == 1


def test_a_floating_ip_is_given_up_before_its_translation_goes() -> None:
    changes = plan(facts(replace(ROUTER, floating_ips=())), facts(ROUTER))
    order = [step.kind for step in changes.steps if step.gone]
    assert order.index(Address) < order.index(NatElement)
    assert changes.given_up() == {"203.0.113.21"}


def test_a_floating_ip_that_gets_another_server_is_exchanged_in_one_transaction() -> None:
    other = replace(ROUTER, floating_ips=(HostFloatingIP("fip-1", "203.0.113.21", "10.20.0.5"),))
    changes = plan(facts(other), facts(ROUTER))
    inward = NatElement(NatSet.FLOATING_IN, "203.0.113.21", "10.20.0.5")
    first = next(step for step in changes.steps if step.kind is NatElement)
    assert inward in first.made
    assert NatElement(NatSet.FLOATING_IN, "203.0.113.21", "10.10.0.11") in first.gone
    assert changes.given_up() == {"203.0.113.21"}


def test_the_gateways_new_address_comes_before_the_old_one_goes() -> None:
    moved = replace(ROUTER, gateway=replace(GATEWAY, addresses=("203.0.113.11/24", "2001:db8::10/64")))
    changes = plan(facts(moved), facts(ROUTER))
    steps = [(step.kind, bool(step.made), bool(step.gone)) for step in changes.steps if step.kind is Address]
    assert steps == [(Address, True, False), (Address, False, True)]
    assert changes.given_up() == {"203.0.113.10"}


def test_filters_come_before_the_leg_that_they_guard_and_go_after_it() -> None:
    coming, going = plan(facts(ROUTER), frozenset()), plan(frozenset(), facts(ROUTER))
    order = [step.kind for step in coming.steps]
    assert order.index(RouterSpace) < order.index(GuardElement) < order.index(Leg) < order.index(Address)
    order = [step.kind for step in going.steps if step.kind is not NatElement]
    assert order.index(Address) < order.index(Leg) < order.index(GuardElement)


def test_nothing_is_planned_where_nothing_differs() -> None:
    assert not plan(facts(ROUTER), facts(ROUTER))


def test_what_may_not_be_taken_away_stays() -> None:
    bare = facts(replace(ROUTER, legs=ROUTER.legs[:1], gateway=None, floating_ips=(), neighbours=frozenset()))
    kept = keeping(bare, facts(ROUTER), frozenset())
    assert not [step for step in plan(kept, facts(ROUTER)).steps if step.gone]


def test_a_floating_ip_of_a_known_port_goes_even_where_nothing_else_may() -> None:
    (known,) = ROUTER.floating_ips
    unknown = HostFloatingIP("fip-9", "203.0.113.29", "10.10.0.29")
    before = facts(replace(ROUTER, floating_ips=(known, unknown)))
    kept = keeping(facts(replace(ROUTER, floating_ips=())), before, frozenset({known.fixed_address}))
    assert plan(kept, before).given_up() == {known.address}
    assert kept == facts(replace(ROUTER, floating_ips=(unknown,)))


def test_a_floating_ip_that_another_known_port_has_now_is_not_taken_from_it() -> None:
    first, *rest = ROUTER.floating_ips
    moved = facts(replace(ROUTER, floating_ips=(replace(first, fixed_address="10.10.0.99"), *rest)))
    assert keeping(moved, facts(ROUTER), frozenset({first.fixed_address, "10.10.0.99"})) == moved


_LEGS = st.sets(st.sampled_from(ROUTER.legs)).map(lambda legs: tuple(sorted(legs, key=lambda leg: leg.subnet_uid)))
_FLOATING = st.lists(
    st.builds(
        lambda number, last, fixed: HostFloatingIP(f"fip-{number}", f"203.0.113.{last}", f"10.10.0.{fixed}"),
        st.integers(1, 4),
        st.integers(20, 23),
        st.integers(11, 14),
    ),
    max_size=3,
    unique_by=(lambda each: each.uid, lambda each: each.address, lambda each: each.fixed_address),
).map(tuple)
_ROUTERS = st.builds(
    lambda legs, floating, gateway, host, snat, is_enabled: replace(
        ROUTER,
        legs=legs,
        floating_ips=floating if gateway else (),
        gateway=replace(GATEWAY, gateway_host=host, snat=snat) if gateway else None,
        is_enabled=is_enabled,
    ),
    _LEGS,
    _FLOATING,
    st.booleans(),
    st.sampled_from(["h1", "h2"]),
    st.booleans(),
    st.booleans(),
)


@given(_ROUTERS, _ROUTERS)
def test_a_plan_leads_from_any_router_to_any_other(before: HostRouter, after: HostRouter) -> None:
    assert carried_out(plan(facts(after), facts(before)), facts(before)) == facts(after)


# The way past the host's own firewall


def test_an_uplink_passes_the_hosts_firewall_by_these_tables() -> None:
    rendered = uplink_tables.tables("nuh0123", "br-ex", "52:54:00:00:00:01", {7: "eth1"})
    assert rendered == (GOLDEN / "uplink.nft").read_text()
    assert rendered.startswith(uplink_tables.removal("nuh0123"))


# Announcements


@given(st.integers(0, 2**32 - 1).map(IPv4Address).map(str))
def test_an_answer_is_read_for_whom_it_speaks(address: str) -> None:
    mac = "52:54:00:12:34:56"
    assert answered(arp_frame(2, mac, address, "00:00:00:00:00:00", "0.0.0.0")) == (address, mac)
    assert answered(arp_frame(1, mac, address, "00:00:00:00:00:00", "0.0.0.0")) is None


@given(st.binary(max_size=80))
def test_no_frame_whatever_breaks_the_probe(frame: bytes) -> None:
    answered(frame)


def test_an_advertisement_names_target_and_mac_and_replaces_what_was_known() -> None:
    body = advertisement("2001:db8::10", "52:54:00:12:34:56")
    assert body[0] == 136
    assert body[4] == 0xA0
    assert body[8:24].hex() == "20010db8000000000000000000000010"
    assert body[24:] == bytes.fromhex("0201525400123456")


def _legs(found: frozenset[RouterFact]) -> list[Leg]:
    return [fact for fact in found if isinstance(fact, Leg)]
