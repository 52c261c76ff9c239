"""From a network's description to the facts that this host must carry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_network

from nephos_agent.network import dnsmasq
from nephos_agent.network.addresses import METADATA_IPV4, METADATA_IPV6, link_local
from nephos_agent.network.desired_limits import limit_facts
from nephos_agent.network.facts import (
    ZERO_MAC,
    Bridge,
    BridgeEntry,
    Dnsmasq,
    Fact,
    HostsFile,
    HostsKind,
    Neighbour,
    Service,
    Tap,
    TunnelEntry,
    Uplink,
    Vxlan,
)
from nephos_agent.network.filters.desired import (
    attachment,
    client_elements,
    member_elements,
    network_filters,
    policy_filters,
    port_filters,
    shared_addresses,
)
from nephos_agent.network.model import HostNetwork, HostPort
from nephos_agent.network.names import NetworkNames, network_names, tap_name


@dataclass(frozen=True)
class HostContext:
    """What the facts depend on beside the network."""

    host: str
    underlay_address: str
    namespace_prefix: str
    run_dir: str


def facts(network: HostNetwork, context: HostContext, open_taps: frozenset[str]) -> frozenset[Fact]:
    """Return all facts of the network on this host.

    ``open_taps`` names the taps that a process has open: only those can be moved to the bridge.
    """
    return own_facts(network, context, open_taps) | shared_facts(network, context, open_taps)


def own_facts(network: HostNetwork, context: HostContext, open_taps: frozenset[str]) -> frozenset[Fact]:
    """Return what the network needs without its ports, and what each of its ports needs whichever others there are."""
    names = network_names(network.uid, context.namespace_prefix)
    result: set[Fact] = set(_network_facts(network, names, context))
    leasing = dnsmasq.leasing(network)
    for port in network.ports:
        if port.host == context.host:
            is_open = tap_name(port.uid) in open_taps
            result |= _local_port_facts(
                port, network.uid, network.mtu, network.dns_domain, leasing, names, is_open=is_open
            )
        elif network.provider is not None:
            result |= _outside_port_facts(port, network.uid, network.dns_domain, names)
        else:
            result |= _remote_port_facts(port, network.uid, network.dns_domain, names)
    if not network.serves_guests:
        result = {fact for fact in result if not isinstance(fact, HostsFile)}
    return frozenset(result)


def touched_ports(
    before: HostNetwork, after: HostNetwork, open_before: frozenset[str], open_after: frozenset[str]
) -> frozenset[str]:
    """Return the UIDs of the ports that one description has and the other has not, or has otherwise.

    All of them where the two differ in more than ports and rules: what a port needs depends on the MTU and so on.
    """
    if _beside_ports(before) != _beside_ports(after):
        return frozenset(port.uid for network in (before, after) for port in network.ports)
    old, new = ({port.uid: port for port in network.ports} for network in (before, after))
    changed = {uid for uid in old.keys() | new.keys() if old.get(uid) != new.get(uid)}
    toggled = open_before ^ open_after
    return frozenset(changed | {uid for uid in new if toggled and tap_name(uid) in toggled})


def _beside_ports(network: HostNetwork) -> HostNetwork:
    return replace(network, ports=(), security_groups=(), routed_members=())


def narrowed(network: HostNetwork, port_uids: frozenset[str]) -> HostNetwork:
    """Return the network with those ports alone."""
    return replace(network, ports=tuple(port for port in network.ports if port.uid in port_uids))


def shared_facts(network: HostNetwork, context: HostContext, open_taps: frozenset[str]) -> frozenset[Fact]:
    """Return what all ports together need: where frames for everybody go, rules, MACs that several ports may use."""
    names = network_names(network.uid, context.namespace_prefix)
    hosts = {port.host_address for port in network.ports if port.host != context.host}
    return frozenset(
        {
            *(TunnelEntry(names.vxlan, ZERO_MAC, address) for address in hosts if network.vni is not None),
            *policy_filters(network, context.host, names.bridge),
            *(shared_addresses(network, names.vxlan) if network.vni is not None else ()),
            *_shared_mac_facts(network, names, context.host, open_taps),
            *client_elements((port for port in network.ports if port.host == context.host), names),
        }
    )


def _shared_mac_facts(
    network: HostNetwork, names: NetworkNames, host: str, open_taps: frozenset[str]
) -> Iterator[Fact]:
    """Yield where the MACs of address pairs are that are no port's own: at the first of the ports that may use them."""
    ports = [port for port in network.ports if network.provider is None or port.host == host]
    owners = {pair.mac: port for port in reversed(ports) for pair in port.address_pairs}
    if not owners:
        return
    own = {port.mac for port in network.ports}
    for mac, port in owners.items():
        if mac in own:
            continue
        if port.host != host:
            yield BridgeEntry(names.vxlan, mac)
            yield TunnelEntry(names.vxlan, mac, port.host_address)
        elif tap_name(port.uid) in open_taps:
            yield BridgeEntry(tap_name(port.uid), mac)


def local_ports(network: HostNetwork, host: str) -> dict[str, str]:
    """Return the UIDs of the ports on this host by each address that they may use, link-local ones included."""
    return {
        address: port.uid
        for port in network.ports
        if port.host == host
        for address in (*(entry.address for entry in port.addresses), link_local(port.mac))
    }


def _network_facts(network: HostNetwork, names: NetworkNames, context: HostContext) -> list[Fact]:
    addresses = {f"{METADATA_IPV4}/32", f"{METADATA_IPV6}/64"} | {
        f"{subnet.service_address}/{ip_network(subnet.cidr).prefixlen}"
        for subnet in network.subnets
        if subnet.service_address
    }
    result: list[Fact] = []
    if network.vni is not None:
        vxlan = Vxlan(names.vxlan, network.uid, names.bridge, network.vni, context.underlay_address, network.mtu)
        result += [vxlan, *attachment(names.vxlan, names.bridge, "from_tunnel")]
    if network.provider is not None:
        segment = network.provider
        uplink = Uplink(names.uplink, network.uid, names.bridge, segment.physical_network, segment.vlan_id, network.mtu)
        result += [uplink, *attachment(names.uplink, names.bridge, "from_uplink")]
    if dnsmasq.is_needed(network):
        config = dnsmasq.configuration(network, names, context.run_dir)
        result.append(Dnsmasq(names.service, names.unit, names.namespace, names.directory, config))
    return [
        *result,
        # Guests that an API forgot stay, so what they hear by stays too.
        Bridge(names.bridge, network.uid, network.mtu, judges_flows=network.serves_guests or network.keep_unknown),
        Service(
            names.service,
            network.uid,
            names.bridge,
            names.namespace,
            names.service_mac,
            network.mtu,
            tuple(sorted(addresses)),
        ),
        *network_filters(names),
        BridgeEntry(names.service, names.service_mac),
    ]


@lru_cache(maxsize=65536)
def _local_port_facts(
    port: HostPort,
    network_uid: str,
    mtu: int,
    dns_domain: str,
    leasing: frozenset[str],
    names: NetworkNames,
    *,
    is_open: bool,
) -> frozenset[Fact]:
    """Return the facts of a port on this host. Filters and names are there before its tap is."""
    tap = tap_name(port.uid)
    result: set[Fact] = {
        *port_filters(port, network_uid, names.bridge),
        *_shared_port_facts(port, network_uid, dns_domain, names),
        *limit_facts(port, is_open=is_open),
    }
    lease = dnsmasq.dhcp_host(port, leasing)
    if lease:
        result.add(HostsFile(names.service, names.directory, HostsKind.DHCP, port.uid, lease))
    if is_open:
        result.add(Tap(tap, port.uid, names.bridge, mtu, takes_any_mac=not port.port_security))
        result.add(BridgeEntry(tap, port.mac))
    return frozenset(result)


@lru_cache(maxsize=65536)
def _remote_port_facts(port: HostPort, network_uid: str, dns_domain: str, names: NetworkNames) -> frozenset[Fact]:
    """Return the facts of a port on another host: where its frames go, what answers for it, how it is called."""
    return frozenset(
        {
            BridgeEntry(names.vxlan, port.mac),
            TunnelEntry(names.vxlan, port.mac, port.host_address),
            *_shared_port_facts(port, network_uid, dns_domain, names),
        }
    )


@lru_cache(maxsize=65536)
def _outside_port_facts(port: HostPort, network_uid: str, dns_domain: str, names: NetworkNames) -> frozenset[Fact]:
    """Return the facts of a port on another host of a provider's network, which knows itself where each MAC is."""
    result: set[Fact] = set(member_elements(port, network_uid, names.bridge))
    names_of_port = dnsmasq.dns_host(port, dns_domain)
    if names_of_port:
        result.add(HostsFile(names.service, names.directory, HostsKind.DNS, port.uid, names_of_port))
    return frozenset(result)


def _shared_port_facts(port: HostPort, network_uid: str, dns_domain: str, names: NetworkNames) -> list[Fact]:
    result: list[Fact] = [Neighbour(names.bridge, link_local(port.mac), port.mac)]
    result += [Neighbour(names.bridge, entry.address, port.mac) for entry in port.addresses]
    return [*result, *_outside_port_facts(port, network_uid, dns_domain, names)]
