"""From a network's description to the facts that this host must carry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_network

from nephos_agent.network import dnsmasq
from nephos_agent.network.addresses import METADATA_IPV4, METADATA_IPV6, is_ipv6, link_local
from nephos_agent.network.facts import (
    ZERO_MAC,
    Bridge,
    BridgeEntry,
    Dnsmasq,
    Fact,
    GuardElement,
    GuardSet,
    HostsFile,
    HostsKind,
    Neighbour,
    Service,
    Tap,
    TunnelEntry,
    Vxlan,
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
    names = network_names(network.uid, context.namespace_prefix)
    result: set[Fact] = {*_network_facts(network, names, context), *flood_entries(network, context)}
    leasing = dnsmasq.leasing(network)
    for port in network.ports:
        if port.host == context.host:
            is_open = tap_name(port.uid) in open_taps
            result |= _local_port_facts(port, network.mtu, network.dns_domain, leasing, names, is_open=is_open)
        else:
            result |= _remote_port_facts(port, network.dns_domain, names)
    return frozenset(result)


def touched_ports(
    before: HostNetwork, after: HostNetwork, open_before: frozenset[str], open_after: frozenset[str]
) -> frozenset[str]:
    """Return the UIDs of the ports that one description has and the other has not, or has otherwise.

    All of them where the two differ in more than ports: what a port needs depends on the MTU, the domain and so on.
    """
    if replace(before, ports=()) != replace(after, ports=()):
        return frozenset(port.uid for network in (before, after) for port in network.ports)
    old, new = ({port.uid: port for port in network.ports} for network in (before, after))
    changed = {uid for uid in old.keys() | new.keys() if old.get(uid) != new.get(uid)}
    toggled = open_before ^ open_after
    return frozenset(changed | {uid for uid in new if toggled and tap_name(uid) in toggled})


def narrowed(network: HostNetwork, port_uids: frozenset[str]) -> HostNetwork:
    """Return the network with those ports alone."""
    return replace(network, ports=tuple(port for port in network.ports if port.uid in port_uids))


def flood_entries(network: HostNetwork, context: HostContext) -> frozenset[Fact]:
    """Return where frames for everybody go: each host that has a port of the network."""
    vxlan = network_names(network.uid, context.namespace_prefix).vxlan
    hosts = {port.host_address for port in network.ports if port.host != context.host}
    return frozenset(TunnelEntry(vxlan, ZERO_MAC, address) for address in hosts)


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
        result += [vxlan, GuardElement(names.vxlan, GuardSet.ROLE, ("from_tunnel",))]
    if dnsmasq.is_needed(network):
        config = dnsmasq.configuration(network, names, context.run_dir)
        result.append(Dnsmasq(names.service, names.unit, names.namespace, names.directory, config))
    return [
        *result,
        Bridge(names.bridge, network.uid, network.mtu),
        Service(
            names.service,
            network.uid,
            names.bridge,
            names.namespace,
            names.service_mac,
            network.mtu,
            tuple(sorted(addresses)),
        ),
        GuardElement(names.service, GuardSet.ROLE, ("from_service",)),
        BridgeEntry(names.service, names.service_mac),
    ]


@lru_cache(maxsize=65536)
def _local_port_facts(
    port: HostPort, mtu: int, dns_domain: str, leasing: frozenset[str], names: NetworkNames, *, is_open: bool
) -> frozenset[Fact]:
    """Return the facts of a port on this host. Filters and names are there before its tap is."""
    tap, mac = tap_name(port.uid), port.mac
    result: set[Fact] = {
        GuardElement(tap, GuardSet.ROLE, ("from_port",)),
        GuardElement(tap, GuardSet.MAC, (mac,)),
        GuardElement(tap, GuardSet.IPV6, (mac, link_local(mac))),
        GuardElement(tap, GuardSet.ND_TARGET, (mac, link_local(mac))),
        *_shared_port_facts(port, dns_domain, names),
    }
    for entry in port.addresses:
        if is_ipv6(entry.address):
            result.add(GuardElement(tap, GuardSet.IPV6, (mac, entry.address)))
            result.add(GuardElement(tap, GuardSet.ND_TARGET, (mac, entry.address)))
        else:
            result.add(GuardElement(tap, GuardSet.IPV4, (mac, entry.address)))
    lease = dnsmasq.dhcp_host(port, leasing)
    if lease:
        result.add(HostsFile(names.service, names.directory, HostsKind.DHCP, port.uid, lease))
    if is_open:
        result.add(Tap(tap, port.uid, names.bridge, mtu))
        result.add(BridgeEntry(tap, mac))
    return frozenset(result)


@lru_cache(maxsize=65536)
def _remote_port_facts(port: HostPort, dns_domain: str, names: NetworkNames) -> frozenset[Fact]:
    """Return the facts of a port on another host: where its frames go, what answers for it, how it is called."""
    return frozenset(
        {
            BridgeEntry(names.vxlan, port.mac),
            TunnelEntry(names.vxlan, port.mac, port.host_address),
            *_shared_port_facts(port, dns_domain, names),
        }
    )


def _shared_port_facts(port: HostPort, dns_domain: str, names: NetworkNames) -> list[Fact]:
    result: list[Fact] = [Neighbour(names.bridge, link_local(port.mac), port.mac)]
    result += [Neighbour(names.bridge, entry.address, port.mac) for entry in port.addresses]
    names_of_port = dnsmasq.dns_host(port, dns_domain)
    if names_of_port:
        result.append(HostsFile(names.service, names.directory, HostsKind.DNS, port.uid, names_of_port))
    return result
