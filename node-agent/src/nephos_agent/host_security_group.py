"""From a SecurityGroup to what its rules allow, as this host needs it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final

from nephos_agent.network.model import HostSecurityGroup, SecurityRule
from nephos_api.resources.security_group import IPFamily, SecurityGroup, SecurityGroupRule

_NUMBERS: Final = {"ICMP": 1, "TCP": 6, "UDP": 17, "ICMPv6": 58, "SCTP": 132}
"""IANA's Protocol Numbers."""
_FAMILY_OF_PROTOCOL: Final = {1: IPFamily.IPV4, 58: IPFamily.IPV6}
_FAMILY_OF_VERSION: Final = {4: IPFamily.IPV4, 6: IPFamily.IPV6}
_ICMP: Final = frozenset({1, 58})


def host_security_group(group: SecurityGroup) -> HostSecurityGroup:
    """Return the group. A rule that names a group which does not exist matches nothing, so it is left out."""
    remote_groups = {found.name: found.uid for found in group.status.remote_groups}
    rules = (*group.spec.default_rules, *group.spec.rules)
    return HostSecurityGroup(group.uid, frozenset(made for rule in rules for made in _rules(rule, remote_groups)))


def _rules(rule: SecurityGroupRule, remote_groups: dict[str, str]) -> Iterator[SecurityRule]:
    if rule.remote_group and rule.remote_group not in remote_groups:
        return
    protocol = _protocol(rule)
    port_min, port_max = _range(rule, protocol)
    for family in _families(rule, protocol):
        yield SecurityRule(
            direction=rule.direction,
            family=family,
            protocol=protocol,
            port_min=port_min,
            port_max=port_max,
            remote_prefix=_prefix(rule),
            remote_group=remote_groups[rule.remote_group] if rule.remote_group else None,
        )


def _protocol(rule: SecurityGroupRule) -> int | None:
    if rule.protocol is None:
        return None
    return _NUMBERS[rule.protocol] if rule.protocol in _NUMBERS else int(rule.protocol)


def _range(rule: SecurityGroupRule, protocol: int | None) -> tuple[int | None, int | None]:
    """Return the ports, or ICMP's type and code."""
    if protocol in _ICMP:
        return rule.icmp_type, rule.icmp_code
    return rule.port_min, rule.port_min if rule.port_max is None else rule.port_max


def _families(rule: SecurityGroupRule, protocol: int | None) -> tuple[IPFamily, ...]:
    """Return what the rule names, else what its other side or its protocol says, else both."""
    if rule.family:
        return (rule.family,)
    if rule.remote_cidr:
        return (_FAMILY_OF_VERSION[ip_network(rule.remote_cidr).version],)
    if protocol in _FAMILY_OF_PROTOCOL:
        return (_FAMILY_OF_PROTOCOL[protocol],)
    return tuple(IPFamily)


def _prefix(rule: SecurityGroupRule) -> str | None:
    """Return the other side's network; the one of all addresses says no more than none."""
    if rule.remote_cidr is None or ip_network(rule.remote_cidr).prefixlen == 0:
        return None
    return rule.remote_cidr
