"""Security groups: what the compiled sets decide, and what the model says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.network.facts import GuardElement, GuardSet
from nephos_agent.network.filters.desired import member_elements, policy_filters
from nephos_agent.network.filters.judgement import WITH_PORTS, WITH_TYPES, Packet, allowed, memberships, selector_of
from nephos_agent.network.filters.rule_elements import disjoint, rule_elements
from nephos_agent.network.model import (
    AddressPair,
    GroupMember,
    HostNetwork,
    HostPort,
    HostSecurityGroup,
    PortAddress,
    SecurityRule,
)
from nephos_agent.network.names import network_names, policy_name
from nephos_api.resources.security_group import Direction, IPFamily
from unit.agent.network.examples import network, port

NAMES = network_names("network-1", "nephos")
IN, OUT = Direction.INGRESS, Direction.EGRESS
V4, V6 = IPFamily.IPV4, IPFamily.IPV6
PREFIXES = {
    V4: [None, "0.0.0.0/0", "10.0.0.0/8", "10.10.0.0/24", "10.10.0.0/25", "10.10.0.128/25", "10.10.0.12/32"],
    V6: [None, "::/0", "fd00::/8", "fd00:10::/64", "fd00:10::c/128"],
}
ADDRESSES = {
    V4: ["10.10.0.11", "10.10.0.12", "10.10.0.200", "10.20.0.1", "198.51.100.1", "10.30.0.9"],
    V6: ["fd00:10::b", "fd00:10::c", "fd00:20::1", "2001:db8::1"],
}
GROUPS = ["group-a", "group-b", "group-c"]
PORTS = [1, 22, 79, 80, 81, 443, 65535]


def number(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def holds(span: str, value: int) -> bool:
    first, last = number(span)
    return first <= value <= last


@dataclass(frozen=True)
class Sets:
    """Decides as ``filter.nft`` does, by the elements alone."""

    elements: frozenset[GuardElement]

    def allow(self, policy: str, direction: Direction, packet: Packet) -> bool:
        side = "ingress" if direction is IN else "egress"
        family = V6 if ":" in packet.remote else V4
        selector = selector_of(packet) if packet.protocol in WITH_PORTS | WITH_TYPES else None
        own = [element for element in self.elements if element.device == policy]
        behind = GuardSet.MEMBER_IPV6 if family is V6 else GuardSet.MEMBER_IPV4
        member = next((e.rest[1] for e in self.elements if e.set is behind and e.rest[0] == packet.remote), None)
        for element in own:
            match element.set.removeprefix(f"{side}_"), element.rest:
                case ("ipv4" | "ipv6", (protocols, prefix)):
                    spans = holds(protocols, packet.protocol)
                    if spans and ip_address(packet.remote) in ip_network(prefix):
                        return True
                case ("ipv4_port" | "ipv6_port", (protocol, selectors, prefix)):
                    spans = protocol == str(packet.protocol) and selector is not None and holds(selectors, selector)
                    if spans and ip_address(packet.remote) in ip_network(prefix):
                        return True
                case ("group", (proper, protocols, remote)):
                    if proper == family and remote == member and holds(protocols, packet.protocol):
                        return True
                case ("group_port", (proper, protocol, selectors, remote)):
                    spans = protocol == str(packet.protocol) and selector is not None and holds(selectors, selector)
                    if spans and proper == family and remote == member:
                        return True
        return False


@st.composite
def rules(draw: st.DrawFn) -> SecurityRule:
    family = draw(st.sampled_from(IPFamily))
    icmp = 1 if family is V4 else 58
    protocol = draw(st.sampled_from([None, 6, 17, 132, icmp, 47]))
    first = last = None
    if protocol in WITH_PORTS and draw(st.booleans()):
        first, last = sorted((draw(st.sampled_from(PORTS)), draw(st.sampled_from(PORTS))))
    elif protocol == icmp and draw(st.booleans()):
        first, last = draw(st.sampled_from([0, 8, 128])), draw(st.sampled_from([None, 0, 3]))
    remote = draw(st.sampled_from(["prefix", "group"]))
    return SecurityRule(
        draw(st.sampled_from(Direction)),
        family,
        protocol,
        first,
        last,
        draw(st.sampled_from(PREFIXES[family])) if remote == "prefix" else None,
        draw(st.sampled_from(GROUPS)) if remote == "group" else None,
    )


@st.composite
def networks(draw: st.DrawFn) -> HostNetwork:
    groups = tuple(
        HostSecurityGroup(uid, draw(st.frozensets(rules(), max_size=6 if uid != "group-a" else 12))) for uid in GROUPS
    )
    some = st.lists(st.sampled_from(GROUPS), unique=True).map(lambda chosen: tuple(sorted(chosen)))
    ports = (
        replace(port(11, ipv6=True), security_groups=draw(some)),
        replace(port(12, "h2", ipv6=True), security_groups=draw(some)),
        replace(port(13), security_groups=draw(some), address_pairs=(AddressPair("10.30.0.9", "52:54:00:00:00:0d"),)),
    )
    members = (GroupMember("10.20.0.1", draw(some.filter(bool))), GroupMember("fd00:20::1", draw(some.filter(bool))))
    return replace(network(*ports), security_groups=groups, routed_members=members)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    family = draw(st.sampled_from(IPFamily))
    protocol = draw(st.sampled_from([6, 17, 132, 1 if family is V4 else 58, 47, 255]))
    remote = draw(st.sampled_from(ADDRESSES[family]))
    if protocol in WITH_PORTS:
        return Packet(remote, protocol, draw(st.sampled_from(PORTS)))
    if protocol in WITH_TYPES:
        return Packet(remote, protocol, draw(st.sampled_from([0, 8, 128])), draw(st.sampled_from([0, 3])))
    return Packet(remote, protocol)


def filters(described: HostNetwork) -> frozenset[GuardElement]:
    own = {element for each in described.ports for element in member_elements(each, described.uid, NAMES.bridge)}
    return policy_filters(described, "h1", NAMES.bridge) | own


@given(networks(), st.lists(packets(), min_size=8, max_size=8))
def test_the_sets_decide_as_the_rules_say(described: HostNetwork, asked: list[Packet]) -> None:
    sets = Sets(filters(described))
    for local in (described.ports[0], described.ports[2]):
        policy = policy_name(described.uid, local.security_groups)
        for direction in Direction:
            for packet in asked:
                rule = allowed(described, local, direction, packet)
                assert sets.allow(policy, direction, packet) == (rule is not None), (packet, rule)


@given(st.frozensets(rules(), max_size=20))
def test_no_two_elements_share_any_ground(some: frozenset[SecurityRule]) -> None:
    members = frozenset({("npo1", frozenset({"group-a", "group-b"})), ("npo2", frozenset({"group-b"}))})
    found = sorted(rule_elements(some, members))
    for position, (name, key) in enumerate(found):
        for other_name, other in found[position + 1 :]:
            assert name != other_name or not _overlap(key, other), (key, other)


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    *parts, remote = one
    *others, other_remote = other
    if "/" in remote:
        if not ip_network(remote).overlaps(ip_network(other_remote)):
            return False
    elif remote != other_remote:
        return False
    return all(_touch(part, others[position]) for position, part in enumerate(parts))


def _touch(one: str, other: str) -> bool:
    if one.startswith("IP"):
        return one == other
    (first, last), (other_first, other_last) = number(one), number(other)
    return first <= other_last and other_first <= last


@given(
    st.lists(
        st.tuples(
            st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda pair: tuple(sorted(pair))),
            st.sampled_from("abc"),
        )
    )
)
def test_spans_that_are_cut_cover_what_they_covered(spans: list[tuple[tuple[int, int], str]]) -> None:
    found = disjoint(spans, lambda present: present)
    for place in range(22):
        before = {what for (first, last), what in spans if first <= place <= last}
        after = [what for (first, last), what in found if first <= place <= last]
        assert sorted(before) == sorted(after)


def one_port(*some: SecurityRule) -> HostNetwork:
    return replace(
        network(replace(port(11), security_groups=("group-a",))),
        security_groups=(HostSecurityGroup("group-a", frozenset(some)),),
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (SecurityRule(OUT, V4), (GuardSet.EGRESS_IPV4, ("0-255", "0.0.0.0/0"))),
        (SecurityRule(IN, V6), (GuardSet.INGRESS_IPV6, ("0-255", "::/0"))),
        (SecurityRule(IN, V4, 47), (GuardSet.INGRESS_IPV4, ("47", "0.0.0.0/0"))),
        (SecurityRule(IN, V4, 6, 22, 22, "10.0.0.0/8"), (GuardSet.INGRESS_IPV4_PORT, ("6", "22", "10.0.0.0/8"))),
        (SecurityRule(IN, V4, 132, 80, 90), (GuardSet.INGRESS_IPV4_PORT, ("132", "80-90", "0.0.0.0/0"))),
        (SecurityRule(IN, V4, 1, 8), (GuardSet.INGRESS_IPV4_PORT, ("1", "2048-2303", "0.0.0.0/0"))),
        (SecurityRule(IN, V6, 58, 128, 0), (GuardSet.INGRESS_IPV6_PORT, ("58", "32768", "::/0"))),
        (SecurityRule(IN, V4, remote_group="group-a"), (GuardSet.INGRESS_GROUP, ("IPv4", "0-255", "npo1"))),
        (
            SecurityRule(OUT, V6, 17, 53, remote_group="group-a"),
            (GuardSet.EGRESS_GROUP_PORT, ("IPv6", "17", "53", "npo1")),
        ),
    ],
    ids=repr,
)
def test_a_rule_is_one_element(rule: SecurityRule, expected: tuple[GuardSet, tuple[str, ...]]) -> None:
    assert rule_elements(frozenset({rule}), frozenset({("npo1", frozenset({"group-a"}))})) == {expected}


def test_a_rule_within_another_is_no_element_of_its_own() -> None:
    wide, narrow = SecurityRule(IN, V4, 6, 22), SecurityRule(IN, V4, 6, 22, 22, "10.0.0.0/8")
    assert rule_elements(frozenset({wide, narrow}), frozenset()) == rule_elements(frozenset({wide}), frozenset())


def test_one_rule_more_in_a_group_of_thousands_is_one_element_more() -> None:
    def described(*some: SecurityRule) -> HostNetwork:
        members = [
            HostPort(
                uid=f"p{n}",
                name=f"p{n}",
                mac=f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}",
                addresses=(PortAddress(f"10.10.{n >> 8}.{n & 255}", "subnet-1", 16),),
                server_uid=None,
                server_name=None,
                host="h1" if n % 2 else "h2",
                host_address="192.0.2.1",
                security_groups=("group-a",),
            )
            for n in range(2000)
        ]
        return replace(network(*members), security_groups=(HostSecurityGroup("group-a", frozenset(some)),))

    many = [SecurityRule(IN, V4, 6, n, n) for n in range(1000, 2000, 2)]
    before = policy_filters(described(*many), "h1", NAMES.bridge)
    for rule in (SecurityRule(IN, V4, 6, 22), SecurityRule(IN, V4, remote_group="group-a")):
        assert len(policy_filters(described(*many, rule), "h1", NAMES.bridge) ^ before) == 1


def test_nothing_is_allowed_by_a_port_without_groups() -> None:
    described = replace(network(replace(port(11), security_groups=())), security_groups=())
    for direction in Direction:
        assert allowed(described, described.ports[0], direction, Packet("10.10.0.12", 6, 22)) is None


def test_the_rule_that_allows_is_named() -> None:
    ssh, web = SecurityRule(IN, V4, 6, 22), SecurityRule(IN, V4, 6, 80)
    described = one_port(ssh, web)
    assert allowed(described, described.ports[0], IN, Packet("198.51.100.1", 6, 80)) == web
    assert allowed(described, described.ports[0], OUT, Packet("198.51.100.1", 6, 80)) is None


def test_an_address_that_several_ports_may_use_is_of_all_of_their_groups() -> None:
    pair = (AddressPair("10.10.0.100", "52:54:00:00:00:63"),)
    one = replace(port(11), security_groups=("group-a",), address_pairs=pair)
    two = replace(port(12, "h2"), security_groups=("group-b",), address_pairs=pair)
    described = replace(network(one, two), security_groups=())
    assert memberships(described).of("10.10.0.100") == {"group-a", "group-b"}
    assert memberships(described).of("10.10.0.12") == {"group-b"}
