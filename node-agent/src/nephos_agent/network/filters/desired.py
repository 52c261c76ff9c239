"""From a network's ports and security groups to the elements of the filters (``guard.nft``, ``filter.nft``). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import collapse_addresses, ip_network

from nephos_agent.network.addresses import is_ipv6, link_local
from nephos_agent.network.desired_limits import has_packet_limit
from nephos_agent.network.facts import GuardElement, GuardSet
from nephos_agent.network.filters.judgement import own_addresses, shared_members
from nephos_agent.network.filters.rule_elements import rule_elements
from nephos_agent.network.model import AddressPair, HostNetwork, HostPort, SecurityRule
from nephos_agent.network.names import OPEN, NetworkNames, policy_name, tap_name


def attachment(device: str, bridge: str, role: str, policy: str = OPEN) -> frozenset[GuardElement]:
    """Return what every device on a bridge needs: who judges its frames, by which policy, and whose flows they are."""
    return frozenset(
        {
            GuardElement(device, GuardSet.ROLE, (role,)),
            GuardElement(device, GuardSet.MARK, (policy,)),
            GuardElement(device, GuardSet.ZONE, (bridge,)),
        }
    )


def network_filters(names: NetworkNames) -> frozenset[GuardElement]:
    """Return what the network needs whatever ports it has."""
    return frozenset(
        {
            GuardElement(names.bridge, GuardSet.NETWORK),
            GuardElement(names.bridge, GuardSet.SERVICE, (names.service_mac,)),
            GuardElement(names.service, GuardSet.SERVING),
            *attachment(names.service, names.bridge, "from_service"),
        }
    )


def port_filters(port: HostPort, network_uid: str, bridge: str) -> frozenset[GuardElement]:
    """Return what a port on this host needs."""
    tap = tap_name(port.uid)
    if not port.is_enabled:
        return frozenset(
            {GuardElement(tap, GuardSet.ROLE, ("from_disabled_port",)), GuardElement(tap, GuardSet.DISABLED)}
        )
    limited = {GuardElement(tap, GuardSet.LIMITED)} if has_packet_limit(port) else set()
    if not port.port_security:
        return attachment(tap, bridge, "from_limited_open_port" if limited else "from_open_port") | limited
    policy = policy_name(network_uid, port.security_groups)
    counters = (GuardSet.SPOOFED, GuardSet.REFUSED_EGRESS, GuardSet.REFUSED_INGRESS, GuardSet.CROWDED)
    return frozenset(
        {
            *attachment(tap, bridge, "from_limited_port" if limited else "from_port", policy),
            *limited,
            *(GuardElement(tap, counter) for counter in counters),
            *_own_elements(port, tap, policy),
            *_pair_elements(port.address_pairs, tap, policy),
        }
    )


def client_elements(ports: Iterable[HostPort], names: NetworkNames) -> Iterator[GuardElement]:
    """Yield as whom the ports on this host may ask for addresses; several may have one MAC (VRRP)."""
    for mac in {mac for port in ports for mac in (port.mac, *(pair.mac for pair in port.address_pairs))}:
        yield GuardElement(names.service, GuardSet.CLIENT, (mac,))


def member_elements(port: HostPort, network_uid: str, bridge: str) -> Iterator[GuardElement]:
    """Return what tells which groups are behind the port's addresses, on whichever host it is."""
    if port.security_groups:
        policy = policy_name(network_uid, port.security_groups)
        for address in own_addresses(port):
            yield _member(bridge, address, policy)


def policy_filters(network: HostNetwork, host: str, bridge: str) -> frozenset[GuardElement]:
    """Return the policies of the network's ports, the rules of those on this host, and members that are no port's."""
    behind = {member.address: member.security_groups for member in network.routed_members} | shared_members(network)
    guarded = {port.security_groups for port in network.ports if port.host == host and port.port_security}
    groups = guarded | {port.security_groups for port in network.ports if port.security_groups} | set(behind.values())
    policies = {each: policy_name(network.uid, each) for each in groups}
    members = frozenset((policy, frozenset(each)) for each, policy in policies.items() if each)
    rules = {group.uid: group.rules for group in network.security_groups}
    result = {GuardElement(policy, GuardSet.POLICY, (bridge,)) for policy in policies.values()}
    result |= {_member(bridge, address, policies[each]) for address, each in behind.items()}
    for each in guarded:
        united = _united(rules.get(uid, frozenset()) for uid in each)
        result |= {GuardElement(policies[each], name, rest) for name, rest in rule_elements(united, members)}
        result.add(GuardElement(policies[each], GuardSet.SAME_POLICY))
    return frozenset(result)


def shared_addresses(network: HostNetwork, tunnel: str) -> frozenset[GuardElement]:
    """Return for which addresses ARP and ND cross the tunnel: several ports may use them, only they know which does.

    A port without port security may use any.
    """
    usable = {pair.address for port in network.ports for pair in port.address_pairs}
    if not all(port.port_security for port in network.ports):
        usable |= {"0.0.0.0/0", "::/0"}
    prefixes = [ip_network(address, strict=False) for address in usable]
    ipv4 = collapse_addresses(prefix for prefix in prefixes if prefix.version == 4)
    ipv6 = collapse_addresses(prefix for prefix in prefixes if prefix.version == 6)
    return frozenset(
        {
            *(GuardElement(tunnel, GuardSet.SHARED_IPV4, (str(prefix),)) for prefix in ipv4),
            *(GuardElement(tunnel, GuardSet.SHARED_ND_TARGET, (str(prefix),)) for prefix in ipv6),
        }
    )


def _united(rules: Iterable[frozenset[SecurityRule]]) -> frozenset[SecurityRule]:
    return frozenset().union(*rules)


def _member(bridge: str, address: str, policy: str) -> GuardElement:
    name = GuardSet.MEMBER_IPV6 if is_ipv6(address) else GuardSet.MEMBER_IPV4
    return GuardElement(bridge, name, (address, policy))


def _own_elements(port: HostPort, tap: str, policy: str) -> Iterator[GuardElement]:
    mac = port.mac
    yield GuardElement(tap, GuardSet.MAC, (mac,))
    for address in own_addresses(port):
        if is_ipv6(address):
            yield GuardElement(tap, GuardSet.IPV6, (mac, address, policy))
            yield GuardElement(tap, GuardSet.ND_TARGET, (mac, address))
        else:
            yield GuardElement(tap, GuardSet.IPV4, (mac, address, policy))


def _pair_elements(pairs: tuple[AddressPair, ...], tap: str, policy: str) -> Iterator[GuardElement]:
    """Yield what lets the guest use other addresses too; prefixes of one MAC may not overlap in the kernel's sets."""
    for mac in {pair.mac for pair in pairs}:
        yield GuardElement(tap, GuardSet.MAC, (mac,))
        yield GuardElement(tap, GuardSet.IPV6, (mac, link_local(mac), policy))
        yield GuardElement(tap, GuardSet.ND_TARGET, (mac, link_local(mac)))
        prefixes = [ip_network(pair.address, strict=False) for pair in pairs if pair.mac == mac]
        for prefix in collapse_addresses(prefix for prefix in prefixes if prefix.version == 4):
            yield GuardElement(tap, GuardSet.PAIR_IPV4, (mac, str(prefix)))
        for prefix6 in collapse_addresses(prefix for prefix in prefixes if prefix.version == 6):
            yield GuardElement(tap, GuardSet.PAIR_IPV6, (mac, str(prefix6)))
            yield GuardElement(tap, GuardSet.PAIR_ND_TARGET, (mac, str(prefix6)))
