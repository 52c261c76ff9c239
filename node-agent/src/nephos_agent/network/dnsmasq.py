"""What dnsmasq is told: one configuration a network, one small file a port, rendered by pure functions.

The files of ports lie in folders that dnsmasq watches, so that a new port costs one file and no signal.
"""

from __future__ import annotations

import hashlib
import re
from ipaddress import ip_network
from typing import Final

from nephos_agent.network.addresses import METADATA_IPV4, is_ipv6
from nephos_agent.network.facts import Dnsmasq, HostsKind
from nephos_agent.network.model import HostNetwork, HostPort
from nephos_agent.network.names import NetworkNames
from nephos_api.resources.network import SubnetView

SERVICE_INTERFACE: Final = "service"
"""The name of the leg inside the service namespace."""
RELAY_PORT: Final = 5353
"""Where questions for the world are passed on, on the service namespace's own loopback."""
LEASE_S: Final = 86_400
"""As Neutron's dhcp_lease_duration: guests outlive long repairs."""
_MICROSOFT_CLASSLESS_ROUTES: Final = 249
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
        f"dhcp-option=option:domain-search,{network.dns_domain}",
    ]
    for number, subnet in enumerate(sorted(network.subnets, key=lambda subnet: subnet.uid)):
        lines += _reverse_zone(subnet)
        if subnet.dhcp and subnet.service_address:
            lines_of = _ipv6_lines if is_ipv6(subnet.service_address) else _ipv4_lines
            lines += lines_of(subnet, subnet.service_address, f"s{number}")
    return "\n".join(lines) + "\n"


def configuration_file(process: Dnsmasq) -> str:
    """Return the name of the configuration's file. It says what is in it, so another content is another process."""
    return f"dnsmasq-{hashlib.sha256(process.config.encode()).hexdigest()[:16]}.conf"


def dhcp_host(port: HostPort) -> str:
    """Return the line that leases the port its addresses, at most one of each version; empty for none.

    A client identifier is not looked at: firmware, initramfs and system of one guest each send their own.
    """
    ipv4 = [entry.address for entry in port.addresses if not is_ipv6(entry.address)][:1]
    ipv6 = [f"[{entry.address}]" for entry in port.addresses if is_ipv6(entry.address)][:1]
    if not ipv4 and not ipv6:
        return ""
    return ",".join([port.mac, "id:*", *ipv4, *ipv6, *_host_names(port)]) + "\n"


def dns_host(port: HostPort, dns_domain: str) -> str:
    """Return the lines that name the port's addresses, fully qualified first; empty for a port without a name."""
    return "".join(
        f"{entry.address} {name}.{dns_domain} {name}\n" for name in _host_names(port) for entry in port.addresses
    )


def _host_names(port: HostPort) -> list[str]:
    """Return the port's host name: its server's, or its own where that is one label."""
    name = port.server_name or port.name
    return [name] if _LABEL.fullmatch(name) and len(name) <= 63 else []


def _ipv4_lines(subnet: SubnetView, service_address: str, tag: str) -> list[str]:
    network = ip_network(subnet.cidr)
    routes = [(METADATA_IPV4 + "/32", service_address)]
    routes += [(route.destination, route.next_hop) for route in subnet.host_routes if not is_ipv6(route.next_hop)]
    lines = [f"dhcp-range=set:{tag},{network.network_address},static,{network.netmask},{LEASE_S}"]
    # A client that takes classless routes ignores the router option (RFC 3442): the default route is in both.
    if subnet.gateway:
        routes.insert(0, ("0.0.0.0/0", subnet.gateway))
        lines.append(f"dhcp-option=tag:{tag},option:router,{subnet.gateway}")
    else:
        lines.append(f"dhcp-option=tag:{tag},option:router")
    flat = ",".join(f"{destination},{next_hop}" for destination, next_hop in routes)
    lines.append(f"dhcp-option=tag:{tag},option:classless-static-route,{flat}")
    lines.append(f"dhcp-option=tag:{tag},{_MICROSOFT_CLASSLESS_ROUTES},{flat}")
    servers = ",".join(server for server in subnet.dns_servers if not is_ipv6(server)) or service_address
    lines.append(f"dhcp-option=tag:{tag},option:dns-server,{servers}")
    return lines


def _ipv6_lines(subnet: SubnetView, service_address: str, tag: str) -> list[str]:
    network = ip_network(subnet.cidr)
    servers = ",".join(f"[{server}]" for server in subnet.dns_servers if is_ipv6(server)) or f"[{service_address}]"
    return [
        "enable-ra",
        # The service is no router: lifetime 0 keeps it out of the guests' default routes.
        f"ra-param={SERVICE_INTERFACE},60,0",
        f"dhcp-range=set:{tag},{network.network_address},static,{network.prefixlen},{LEASE_S}",
        f"dhcp-option=tag:{tag},option6:dns-server,{servers}",
    ]


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
