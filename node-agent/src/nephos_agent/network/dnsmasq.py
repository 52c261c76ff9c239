"""What dnsmasq is told: one configuration a network, one small file a port, rendered by pure functions.

The files of ports lie in folders that dnsmasq watches, so that a new port costs one file and no signal.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Final

from nephos_agent.network.addresses import METADATA_IPV4, is_ipv6
from nephos_agent.network.facts import Dnsmasq, HostsKind
from nephos_agent.network.model import HostNetwork, HostPort
from nephos_agent.network.names import NetworkNames
from nephos_api.errors import PermanentFault
from nephos_api.resources.network import IPv6Mode, SubnetView

SERVICE_INTERFACE: Final = "service"
"""The name of the leg inside the service namespace."""
RELAY_PORT: Final = 5353
"""Where questions for the world are passed on, on the service namespace's own loopback."""
LEASE_S: Final = 86_400
"""As Neutron's dhcp_lease_duration: guests outlive long repairs."""
RENEWAL_S: Final = 1_800
"""When guests renew, so that what they are told reaches them: DHCP's T1, DHCPv6's information refresh time."""
ADVERTISEMENT_S: Final = 60
"""How often guests are told of IPv6 subnets without asking."""
_MICROSOFT_CLASSLESS_ROUTES: Final = 249
_RANGE_MODES: Final = {
    IPv6Mode.SLAAC: "ra-only",
    IPv6Mode.DHCPV6_STATELESS: "ra-stateless",
    IPv6Mode.DHCPV6_STATEFUL: "static",
}
_LINES: Final = re.compile(r"([ !#-$&-~]+\n)+")
"""Neither control characters, nor quotes, nor the zone of an address."""
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def configuration(network: HostNetwork, names: NetworkNames, run_dir: str) -> str:
    """Return dnsmasq's configuration for the network on this host."""
    folder = f"{run_dir}/{names.directory}"
    lines = [
        f"# nephos network {network.uid} ({network.namespace}/{network.name})",
        "keep-in-foreground",
        "user=root",
        "pid-file",
        f"interface={SERVICE_INTERFACE}",
        "except-interface=lo",
        "bind-dynamic",
        "no-hosts",
        "no-resolv",
        f"server=127.0.0.1#{RELAY_PORT}",
        "cache-size=1000",
        f"domain={network.dns_domain}",
        f"local=/{network.dns_domain}/",
        "local-ttl=30",
        "leasefile-ro",
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
        "dhcp-authoritative",
        "dhcp-ignore=tag:!known",
        "no-ping",
        f"dhcp-hostsdir={folder}/{HostsKind.DHCP}",
        f"hostsdir={folder}/{HostsKind.DNS}",
        f"dhcp-option=option:mtu,{network.mtu}",
        f"dhcp-option=option:T1,{RENEWAL_S}",
        f"dhcp-option=option6:information-refresh-time,{RENEWAL_S}",
    ]
    if any(_is_told(subnet) and _version(subnet) == 6 for subnet in network.subnets):
        # The service is no router: lifetime 0 keeps it out of the guests' default routes.
        lines += ["enable-ra", f"ra-param={SERVICE_INTERFACE},{ADVERTISEMENT_S},0"]
    for number, subnet in enumerate(sorted(network.subnets, key=lambda subnet: subnet.uid)):
        lines += _reverse_zone(subnet)
        if _is_told(subnet):
            lines_of = _ipv6_lines if _version(subnet) == 6 else _ipv4_lines
            lines += lines_of(subnet, network.dns_domain, f"s{number}")
    return _joined(lines)


def is_needed(network: HostNetwork) -> bool:
    """Tell whether the network has addresses at which dnsmasq answers, and guests here who ask."""
    return network.serves_guests and any(subnet.service_address for subnet in network.subnets)


def leasing(network: HostNetwork) -> frozenset[str]:
    """Return the UIDs of the subnets whose addresses guests are leased, rather than making their own or being told."""
    return frozenset(
        subnet.uid
        for subnet in network.subnets
        if _is_told(subnet) and (_version(subnet) == 4 or subnet.ipv6_mode is IPv6Mode.DHCPV6_STATEFUL)
    )


def configuration_file(process: Dnsmasq) -> str:
    """Return the name of the configuration's file. It says what is in it, so another content is another process."""
    return f"dnsmasq-{hashlib.sha256(process.config.encode()).hexdigest()[:16]}.conf"


def dhcp_host(port: HostPort, leasing: frozenset[str]) -> str:
    """Return the line that leases the port its addresses, at most one of each version; empty for none.

    ``leasing`` are the subnets that lease. A port with none of their addresses is known all the same, because only
    those who are known get an answer. A client identifier is not looked at: firmware, initramfs and system of one guest
    each send their own.
    """
    if not port.addresses:
        return ""
    leased = [entry.address for entry in port.addresses if entry.subnet_uid in leasing]
    ipv4 = [address for address in leased if not is_ipv6(address)][:1]
    ipv6 = [f"[{address}]" for address in leased if is_ipv6(address)][:1]
    # A name without an address would have dnsmasq lease what the name leads to.
    names = _host_names(port) if ipv4 or ipv6 else []
    return _joined([",".join([port.mac, "id:*", *ipv4, *ipv6, *names])])


def dns_host(port: HostPort, dns_domain: str) -> str:
    """Return the lines that name the port's addresses, fully qualified first; empty for a port without a name."""
    return "".join(
        f"{entry.address} {name}.{dns_domain} {name}\n" for name in _host_names(port) for entry in port.addresses
    )


def _host_names(port: HostPort) -> list[str]:
    """Return the port's host name: its server's, or its own where that is one label."""
    name = port.server_name or port.name
    return [name] if _LABEL.fullmatch(name) and len(name) <= 63 else []


def _is_told(subnet: SubnetView) -> bool:
    """Tell whether guests are told of the subnet, by DHCP or by router advertisements."""
    return subnet.dhcp and subnet.service_address is not None


def _version(subnet: SubnetView) -> int:
    return ip_network(subnet.cidr).version


def _ipv4_lines(subnet: SubnetView, dns_domain: str, tag: str) -> list[str]:
    network = ip_network(subnet.cidr)
    service = str(subnet.service_address)
    routes = [(METADATA_IPV4 + "/32", service)]
    routes += [(route.destination, route.next_hop) for route in subnet.host_routes if not is_ipv6(route.next_hop)]
    lines = [f"dhcp-range=set:{tag},{network.network_address},static,{network.netmask},{LEASE_S}"]
    # A client that takes classless routes ignores the router option (RFC 3442): the default route is in both.
    if subnet.gateway:
        routes.insert(0, ("0.0.0.0/0", subnet.gateway))
        lines.append(f"dhcp-option=tag:{tag},option:router,{subnet.gateway}")
    else:
        lines.append(f"dhcp-option=tag:{tag},option:router")
    flat = ",".join(f"{ip_network(destination)},{ip_address(next_hop)}" for destination, next_hop in routes)
    lines.append(f"dhcp-option=tag:{tag},option:classless-static-route,{flat}")
    lines.append(f"dhcp-option=tag:{tag},{_MICROSOFT_CLASSLESS_ROUTES},{flat}")
    servers = _of_version(4, subnet.dns_servers) or [service]
    lines.append(_option(tag, "option:dns-server", servers))
    lines.append(_option(tag, "option:domain-search", subnet.search_domains or [dns_domain]))
    times = _of_version(4, subnet.ntp_servers)
    return [*lines, _option(tag, "option:ntp-server", times)] if times else lines


def _ipv6_lines(subnet: SubnetView, dns_domain: str, tag: str) -> list[str]:
    network = ip_network(subnet.cidr)
    mode = _RANGE_MODES[subnet.ipv6_mode or IPv6Mode.SLAAC]
    lines = [f"dhcp-range=set:{tag},{network.network_address},{mode},{network.prefixlen},{LEASE_S}"]
    servers = _of_version(6, subnet.dns_servers) or _of_version(6, [str(subnet.service_address)])
    lines.append(_option(tag, "option6:dns-server", [f"[{server}]" for server in servers]))
    lines.append(_option(tag, "option6:domain-search", subnet.search_domains or [dns_domain]))
    times = [f"[{server}]" for server in _of_version(6, subnet.ntp_servers)]
    # RFC 5908 is what clients ask for now, RFC 4075 what older ones do.
    names = ("option6:ntp-server", "option6:sntp-server") if times else ()
    return [*lines, *(_option(tag, name, times) for name in names)]


def _of_version(version: int, addresses: Iterable[str]) -> list[str]:
    return [str(address) for address in map(ip_address, addresses) if address.version == version]


def _option(tag: str, name: str, values: Iterable[str]) -> str:
    return f"dhcp-option=tag:{tag},{name},{','.join(values)}"


def _joined(lines: Iterable[str]) -> str:
    """Return the lines as one text. A value that would break out of its line reaches no file."""
    text = "".join(f"{line}\n" for line in lines)
    if not _LINES.fullmatch(text):
        raise PermanentFault("a value for dnsmasq has characters that no address and no name has", reason="BadValue")
    return text


def _reverse_zone(subnet: SubnetView) -> list[str]:
    """Return the line that keeps questions for the subnet's own addresses from leaving the host."""
    network = ip_network(subnet.cidr)
    step = 4 if network.version == 6 else 8
    if network.prefixlen % step:
        return []
    return [f"local=/{_reverse_name(subnet.cidr)}/"]


def _reverse_name(cidr: str) -> str:
    network = ip_network(cidr)
    labels = network.network_address.reverse_pointer.split(".")
    kept = network.prefixlen // (4 if network.version == 6 else 8)
    total = 32 if network.version == 6 else 4
    return ".".join(labels[total - kept :])
