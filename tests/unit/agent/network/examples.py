"""Networks that several tests look at."""

from __future__ import annotations

from nephos_agent.network.desired import HostContext
from nephos_agent.network.model import HostNetwork, HostPort, HostSecurityGroup, PortAddress, SecurityRule
from nephos_api.resources.network import HostRoute, IPv6Mode, SubnetView
from nephos_api.resources.security_group import Direction, IPFamily

CONTEXT = HostContext("h1", "192.0.2.1", "nephos", "/run/nephos/network")
V4 = SubnetView(
    name="blue-v4",
    uid="subnet-1",
    cidr="10.10.0.0/24",
    gateway="10.10.0.1",
    service_address="10.10.0.254",
    host_routes=(HostRoute(destination="10.20.0.0/16", next_hop="10.10.0.2"),),
)
V6 = SubnetView(
    name="blue-v6",
    uid="subnet-2",
    cidr="fd00:10::/64",
    service_address="fd00:10::ffff",
    ipv6_mode=IPv6Mode.DHCPV6_STATEFUL,
)
LONELY = SubnetView(
    name="lonely", uid="subnet-3", cidr="10.30.0.0/16", service_address="10.30.255.254", dns_servers=("10.30.0.53",)
)
RICH = SubnetView(
    name="rich",
    uid="subnet-5",
    cidr="10.50.0.0/24",
    gateway="10.50.0.1",
    service_address="10.50.0.254",
    dns_servers=("9.9.9.9", "2620:fe::fe"),
    ntp_servers=("10.50.0.123", "fd00:20::123"),
    search_domains=("example.org", "a.example.org"),
)
SLAAC = SubnetView(
    name="slaac",
    uid="subnet-6",
    cidr="fd00:20::/64",
    service_address="fd00:20::ffff",
    ipv6_mode=IPv6Mode.SLAAC,
    dns_servers=("9.9.9.9", "2620:fe::fe"),
    search_domains=("example.org",),
)
STATELESS = SubnetView(
    name="stateless",
    uid="subnet-7",
    cidr="fd00:30::/64",
    service_address="fd00:30::ffff",
    ipv6_mode=IPv6Mode.DHCPV6_STATELESS,
    ntp_servers=("10.50.0.123", "fd00:20::123"),
)
MANUAL = SubnetView(name="manual", uid="subnet-4", cidr="10.40.0.0/20", service_address="10.40.15.254", dhcp=False)
WEB = HostSecurityGroup(
    "group-web",
    frozenset(
        {
            SecurityRule(Direction.EGRESS, IPFamily.IPV4),
            SecurityRule(Direction.EGRESS, IPFamily.IPV6),
            SecurityRule(Direction.INGRESS, IPFamily.IPV4, protocol=6, port_min=80, port_max=89),
            SecurityRule(Direction.INGRESS, IPFamily.IPV6, protocol=6, port_min=22, remote_prefix="fd00::/8"),
            SecurityRule(Direction.INGRESS, IPFamily.IPV4, protocol=1, port_min=8),
            SecurityRule(Direction.INGRESS, IPFamily.IPV4, remote_group="group-web"),
            SecurityRule(Direction.INGRESS, IPFamily.IPV6, protocol=17, port_min=53, remote_group="group-web"),
        }
    ),
)


def port(number: int, host: str = "h1", *, ipv6: bool = False) -> HostPort:
    """Return port ``number`` with the address 10.10.0.<number>."""
    addresses = [PortAddress(f"10.10.0.{number}", "subnet-1", 24)]
    if ipv6:
        addresses.append(PortAddress(f"fd00:10::{number:x}", "subnet-2", 64))
    return HostPort(
        uid=f"port-{number}",
        name=f"web-{number}-net0",
        mac=f"52:54:00:00:00:{number:02x}",
        addresses=tuple(addresses),
        server_uid=f"server-{number}",
        server_name=f"web-{number}",
        host=host,
        host_address=f"192.0.2.{host.removeprefix('h')}",
        security_groups=(WEB.uid,),
    )


def network(*ports: HostPort, subnets: tuple[SubnetView, ...] = (V4,), mtu: int = 1450) -> HostNetwork:
    """Return the network ``blue`` with those ports."""
    domain = "blue.first.nephos.internal"
    return HostNetwork("network-1", "blue", "first", 1001, mtu, domain, subnets, ports, security_groups=(WEB,))
