"""Which flows end when a rule, a membership or a port goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nephos_agent.network import desired
from nephos_agent.network.addresses import link_local
from nephos_agent.network.filters.cutting import Fate, Flow, FlowJudge, given_up, holders, observed_holders
from nephos_agent.network.model import AddressPair, HostNetwork, HostSecurityGroup, SecurityRule
from nephos_agent.network.names import network_names
from nephos_api.resources.security_group import Direction, IPFamily
from unit.agent.network.examples import CONTEXT, V4, network, port

TCP, UDP, ICMP = 6, 17, 1
OUTSIDE = "198.51.100.1"
SSH_IN = SecurityRule(Direction.INGRESS, IPFamily.IPV4, TCP, 22)
PING_IN = SecurityRule(Direction.INGRESS, IPFamily.IPV4, ICMP, 8)
DNS_OUT = SecurityRule(Direction.EGRESS, IPFamily.IPV4, UDP, 53)
MEMBERS_IN = SecurityRule(Direction.INGRESS, IPFamily.IPV4, UDP, remote_group="group-web")


def described(*rules: SecurityRule) -> HostNetwork:
    """Ports 11 and 12 on this host, 13 on another, all of one group; port 14 here has no port security."""
    open_port = replace(port(14), security_groups=(), port_security=False)
    group = HostSecurityGroup("group-web", frozenset(rules))
    return replace(network(port(11), port(12), port(13, "h2"), open_port), security_groups=(group,))


def fate(flow: Flow, *rules: SecurityRule, gone: frozenset[str] = frozenset()) -> Fate:
    return FlowJudge(described(*rules), "h1", gone).fate(flow)


SSH = Flow(OUTSIDE, "10.10.0.11", TCP, 22, None)
WEB = Flow(OUTSIDE, "10.10.0.11", TCP, 80, None)
PING = Flow(OUTSIDE, "10.10.0.11", ICMP, 8, 0)
NAMES = Flow("10.10.0.11", OUTSIDE, UDP, 53, None)
BETWEEN = Flow("10.10.0.11", "10.10.0.12", UDP, 53, None)
FROM_AFAR = Flow("10.10.0.13", "10.10.0.12", UDP, 7000, None)


@pytest.mark.parametrize(
    ("flow", "rules", "expected"),
    [
        (SSH, (SSH_IN,), Fate.STAYS),
        (SSH, (), Fate.IS_CUT),
        (WEB, (SSH_IN,), Fate.IS_CUT),
        (PING, (PING_IN,), Fate.STAYS),
        (PING, (SSH_IN,), Fate.IS_CUT),
        (NAMES, (DNS_OUT,), Fate.STAYS),
        (NAMES, (SSH_IN,), Fate.IS_CUT),
        (BETWEEN, (DNS_OUT, MEMBERS_IN), Fate.STAYS),
        (BETWEEN, (DNS_OUT,), Fate.IS_CUT),
        (BETWEEN, (MEMBERS_IN,), Fate.IS_CUT),
        (FROM_AFAR, (MEMBERS_IN,), Fate.STAYS),
        (FROM_AFAR, (), Fate.IS_CUT),
    ],
    ids=repr,
)
def test_a_flow_stays_while_all_of_its_ports_here_allow_it(
    flow: Flow, rules: tuple[SecurityRule, ...], expected: Fate
) -> None:
    assert fate(flow, *rules) is expected


def test_what_nobody_here_filters_stays() -> None:
    for flow in (
        Flow("10.10.0.13", OUTSIDE, TCP, 80, None),
        Flow(OUTSIDE, "10.10.0.14", TCP, 80, None),
        Flow("10.10.0.14", OUTSIDE, TCP, 80, None),
    ):
        assert fate(flow) is Fate.STAYS


def test_what_goes_to_the_networks_own_service_stays_whatever_the_rules_say() -> None:
    assert V4.service_address is not None
    for address in (V4.service_address, "169.254.169.254"):
        assert fate(Flow("10.10.0.11", address, TCP, 80, None)) is Fate.STAYS


def test_a_flow_that_is_cut_is_not_cut_again() -> None:
    assert fate(replace(SSH, is_cut=True)) is Fate.STAYS


def test_flows_of_an_address_that_is_gone_end() -> None:
    before = described(SSH_IN)
    after = replace(before, ports=before.ports[1:])
    gone = given_up(holders(before, "h1"), holders(after, "h1"))
    assert gone == {"10.10.0.11", link_local(port(11).mac)}
    assert FlowJudge(after, "h1", gone).fate(SSH) is Fate.ENDS
    assert FlowJudge(after, "h1", gone).fate(Flow(OUTSIDE, "10.10.0.12", TCP, 22, None)) is Fate.STAYS


def test_an_address_that_goes_from_one_port_to_another_is_given_up() -> None:
    before = described()
    after = replace(before, ports=(replace(before.ports[0], uid="port-new"), *before.ports[1:]))
    assert given_up(holders(before, "h1"), holders(after, "h1")) == {"10.10.0.11", link_local(port(11).mac)}
    assert not given_up(holders(before, "h1"), holders(replace(before, security_groups=()), "h1"))


def test_an_agent_that_begins_reads_off_the_filters_who_had_which_address() -> None:
    pair = AddressPair("10.10.0.96/28", "52:54:00:00:00:63")
    before = network(replace(port(11, ipv6=True), address_pairs=(pair,)), port(12), port(13, "h2"))
    found = observed_holders(desired.facts(before, CONTEXT, frozenset()))
    assert found == {network_names(before.uid, "nephos").bridge: holders(before, "h1")}


def test_a_flow_of_an_address_that_several_may_use_stays_while_one_of_them_allows_it() -> None:
    pair = (AddressPair("10.10.0.96/28", "52:54:00:00:00:63"),)
    one, two = replace(port(11), address_pairs=pair), replace(port(12), address_pairs=pair, security_groups=())
    both = replace(network(one, two), security_groups=(HostSecurityGroup("group-web", frozenset({SSH_IN})),))
    judge = FlowJudge(both, "h1", frozenset())
    assert judge.fate(Flow(OUTSIDE, "10.10.0.100", TCP, 22, None)) is Fate.STAYS
    assert judge.fate(Flow(OUTSIDE, "10.10.0.100", TCP, 23, None)) is Fate.IS_CUT
