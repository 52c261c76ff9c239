"""From Networks, Ports and SecurityGroups to what a host needs of them."""

from __future__ import annotations

from typing import Any

import pytest

from nephos_agent.host_network import host_network, host_port, remote_groups, routed_members
from nephos_agent.host_security_group import host_security_group
from nephos_agent.network.model import (
    AddressPair,
    GroupMember,
    HostPort,
    PortAddress,
    ProviderSegment,
    RateLimit,
    SecurityRule,
)
from nephos_agent.remote_port import RemotePort
from nephos_api.identity import mac_address
from nephos_api.resources import Network, Port, SecurityGroup
from nephos_api.resources.network import SegmentType
from nephos_api.resources.security_group import Direction, IPFamily

IN, OUT = Direction.INGRESS, Direction.EGRESS
V4, V6 = IPFamily.IPV4, IPFamily.IPV6
BOUND = {"network": "blue", "networkUID": "n1", "host": "h1", "hostAddress": "192.0.2.11"}
MAC = "52:54:00:00:00:01"


def port(uid: str = "p1", **spec: Any) -> Port:
    metadata = {"name": f"port-{uid}", "namespace": "demo", "uid": uid}
    return Port.model_validate({"metadata": metadata, "spec": BOUND | spec})


def bound(uid: str = "p1", *, port_security: bool = True, **spec: Any) -> HostPort:
    made = host_port(port(uid, **spec), port_security=port_security)
    assert made is not None
    return made


def network(spec: Any = None, **status: Any) -> Network:
    metadata = {"name": "blue", "namespace": "demo", "uid": "n1"}
    return Network.model_validate({"metadata": metadata, "spec": spec or {}, "status": status})


def group(*rules: dict[str, Any], remote: dict[str, str] | None = None, **spec: Any) -> SecurityGroup:
    found = [{"name": name, "uid": uid} for name, uid in (remote or {}).items()]
    return SecurityGroup.model_validate(
        {
            "metadata": {"name": "web", "namespace": "demo", "uid": "g1"},
            "spec": {"rules": list(rules), "defaultRules": []} | spec,
            "status": {"remoteGroups": found},
        }
    )


RULES: dict[str, tuple[dict[str, Any], set[SecurityRule]]] = {
    "everything in is both families": ({"direction": "Ingress"}, {SecurityRule(IN, V4), SecurityRule(IN, V6)}),
    "a family is kept": ({"direction": "Egress", "family": "IPv6"}, {SecurityRule(OUT, V6)}),
    "one port": (
        {"direction": "Ingress", "family": "IPv4", "protocol": "TCP", "portMin": 22},
        {SecurityRule(IN, V4, 6, 22, 22)},
    ),
    "a range of ports": (
        {"direction": "Ingress", "family": "IPv4", "protocol": "UDP", "portMin": 10, "portMax": 20},
        {SecurityRule(IN, V4, 17, 10, 20)},
    ),
    "all ports, both families": (
        {"direction": "Egress", "protocol": "SCTP"},
        {SecurityRule(OUT, V4, 132), SecurityRule(OUT, V6, 132)},
    ),
    "ICMP is IPv4's": ({"direction": "Ingress", "protocol": "ICMP"}, {SecurityRule(IN, V4, 1)}),
    "ICMPv6 is IPv6's, by its number too": ({"direction": "Ingress", "protocol": "58"}, {SecurityRule(IN, V6, 58)}),
    "type of ICMP": (
        {"direction": "Ingress", "protocol": "ICMP", "icmpType": 8},
        {SecurityRule(IN, V4, 1, 8, None)},
    ),
    "type 0 and code 0 are no absence": (
        {"direction": "Ingress", "protocol": "ICMP", "icmpType": 0, "icmpCode": 0},
        {SecurityRule(IN, V4, 1, 0, 0)},
    ),
    "a protocol's number": (
        {"direction": "Egress", "protocol": "47", "family": "IPv4"},
        {SecurityRule(OUT, V4, 47)},
    ),
    "protocol 0 is no absence": (
        {"direction": "Egress", "protocol": "0", "family": "IPv4"},
        {SecurityRule(OUT, V4, 0)},
    ),
    "a prefix says the family": (
        {"direction": "Ingress", "remoteCIDR": "fd00::/64"},
        {SecurityRule(IN, V6, remote_prefix="fd00::/64")},
    ),
    "the prefix of everything is no prefix": (
        {"direction": "Ingress", "remoteCIDR": "0.0.0.0/0"},
        {SecurityRule(IN, V4)},
    ),
    "a group is its UID": (
        {"direction": "Ingress", "family": "IPv4", "remoteGroup": "db"},
        {SecurityRule(IN, V4, remote_group="g2")},
    ),
    "a group that is not there matches nothing": ({"direction": "Ingress", "remoteGroup": "gone"}, set()),
}


@pytest.mark.parametrize("name", RULES)
def test_what_a_rule_allows(name: str) -> None:
    rule, expected = RULES[name]
    assert host_security_group(group(rule, remote={"db": "g2"})).rules == expected


def test_a_new_group_lets_everything_out_and_one_without_default_rules_nothing() -> None:
    made = SecurityGroup.model_validate({"metadata": {"name": "new", "namespace": "demo", "uid": "g9"}})
    assert host_security_group(made).rules == {SecurityRule(OUT, V4), SecurityRule(OUT, V6)}
    assert host_security_group(group()).rules == frozenset()


def test_a_port_as_hosts_need_it() -> None:
    made = bound(
        macAddress=MAC,
        allocations=[{"subnet": "s", "subnetUID": "s1", "address": "10.0.0.5", "prefixLength": 24}],
        server="one",
        serverUID="u1",
    )
    assert made == HostPort(
        uid="p1",
        name="port-p1",
        mac=MAC,
        addresses=(PortAddress("10.0.0.5", "s1", 24),),
        server_uid="u1",
        server_name="one",
        host="h1",
        host_address="192.0.2.11",
    )


def test_a_port_of_another_host_is_read_as_one_of_this_host_is() -> None:
    body = port(
        allocations=[{"subnet": "s", "subnetUID": "s1", "address": "10.0.0.5", "prefixLength": 24}],
        allowedAddressPairs=[{"address": "10.0.0.100"}],
        enabled=False,
        portSecurity=True,
        qos={"ingress": {"kilobitsPerSecond": 1000}},
        securityGroupReferences=[{"name": "web", "namespace": "demo", "uid": "g1"}],
        server="one",
        serverUID="u1",
    ).to_wire()
    whole, lean = Port.model_validate(body), RemotePort.model_validate(body)
    assert host_port(whole) == host_port(lean)
    for spec in ({}, {"macAddress": MAC}):
        body["spec"] = BOUND | spec
        assert host_port(Port.model_validate(body)) == host_port(RemotePort.model_validate(body))


def test_a_port_without_a_host_is_nobody_s() -> None:
    assert host_port(port(host=None)) is None
    assert host_port(port(hostAddress=None)) is None


def test_groups_are_their_uids_in_order() -> None:
    references = [{"name": uid, "namespace": "demo", "uid": uid} for uid in ("g3", "g1", "g2")]
    assert bound(securityGroupReferences=references).security_groups == ("g1", "g2", "g3")


@pytest.mark.parametrize(
    ("of_network", "of_port", "filtered"),
    [
        (True, None, True),
        (False, None, False),
        (True, False, False),
        (False, True, True),
    ],
)
def test_a_port_says_whether_it_is_filtered_or_else_its_network_does(
    of_network: bool, of_port: bool | None, filtered: bool
) -> None:
    spec: dict[str, Any] = {} if of_port is None else {"portSecurity": of_port}
    assert bound(port_security=of_network, **spec).port_security is filtered


def test_an_address_pair_has_the_port_s_mac_unless_it_has_its_own() -> None:
    pairs = [{"address": "10.0.0.100"}, {"address": "10.1.0.0/16", "macAddress": MAC}]
    assert bound(allowedAddressPairs=pairs).address_pairs == (
        AddressPair("10.0.0.100", mac_address("p1")),
        AddressPair("10.1.0.0/16", MAC),
    )


def test_limits_and_the_admin_s_state() -> None:
    made = bound(enabled=False, qos={"ingress": {"kilobitsPerSecond": 1000}, "egress": {"packetsPerSecond": 50}})
    assert (made.is_enabled, made.ingress, made.egress) == (False, RateLimit(1000, None), RateLimit(None, 50))


def test_a_network_is_not_known_before_it_has_an_mtu_and_a_vni() -> None:
    assert host_network(network(mtu=1450), ()) is None
    assert host_network(network(vni=7), ()) is None
    made = host_network(network(vni=7, mtu=1450), (bound("p2"), bound("p1")))
    assert made is not None
    assert (made.vni, made.provider) == (7, None)
    assert [each.uid for each in made.ports] == ["p1", "p2"]


@pytest.mark.parametrize(
    ("external", "provider"),
    [
        ({"physicalNetwork": "ext"}, ProviderSegment("ext")),
        ({"physicalNetwork": "ext", "type": "VLAN", "vlanID": 7}, ProviderSegment("ext", SegmentType.VLAN, 7)),
    ],
)
def test_a_network_of_the_provider_s_has_no_vni(external: dict[str, Any], provider: ProviderSegment) -> None:
    made = host_network(network({"external": external}, mtu=1500), ())
    assert made is not None
    assert (made.vni, made.provider) == (None, provider)


def test_members_on_other_networks_are_those_whom_a_rule_may_name() -> None:
    def member(uid: str, address: str, *groups: str) -> HostPort:
        return bound(
            uid,
            allocations=[{"subnet": "s", "subnetUID": "s1", "address": address, "prefixLength": 24}],
            securityGroupReferences=[{"name": each, "namespace": "demo", "uid": each} for each in groups],
        )

    rules = ({"direction": "Ingress", "remoteGroup": "db"}, {"direction": "Ingress", "remoteGroup": "gone"})
    named = remote_groups([host_security_group(group(*rules, remote={"db": "g2"}))])
    assert named == {"g2"}
    ports = (member("p1", "10.1.0.5", "g2", "g1"), member("p2", "10.1.0.6", "g1"), member("p3", "10.1.0.7"))
    assert routed_members(ports, named) == {GroupMember("10.1.0.5", ("g1", "g2"))}
    made = host_network(network(vni=7, mtu=1450), (), (), routed_members(ports, named))
    assert made is not None
    assert made.routed_members == (GroupMember("10.1.0.5", ("g1", "g2")),)
