"""What the sender of router advertisements is told: dnsmasq in the router's namespace, which serves nothing else.

Guests get addresses, names and metadata from their network's own service (``dnsmasq``), which is no router; only this
one says that it is, in the same words about addresses.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Final

from nephos_agent.network.addresses import is_ipv6
from nephos_agent.network.model import HostRouter, RouterLeg
from nephos_agent.network.router.names import inner_name
from nephos_api.resources.network import IPv6Mode

INTERVAL_S: Final = 60
_INTERFACE: Final = "interface="
LIFETIME_S: Final = 1800
"""RFC 4861's own: guests keep their way out through long repairs."""


def configuration(router: HostRouter) -> str | None:
    """Return dnsmasq's configuration, or None for a router that has nothing to advertise."""
    legs = [leg for leg in router.legs if is_ipv6(leg.address)]
    if not legs or not router.is_enabled:
        return None
    mtus = dict(router.mtus)
    lines = [
        f"# nephos router {router.uid} ({router.namespace}/{router.name})",
        "keep-in-foreground",
        "user=root",
        "pid-file",
        "port=0",
        "except-interface=lo",
        "bind-dynamic",
        "leasefile-ro",
        "quiet-dhcp6",
        "quiet-ra",
        "dhcp-ignore=tag:!known",
        "enable-ra",
    ]
    for network_uid in sorted({leg.network_uid for leg in legs}):
        device = inner_name(network_uid, is_outside=False)
        lines.append(f"{_INTERFACE}{device}")
        lines.append(f"ra-param={device},mtu:{mtus[network_uid]},{INTERVAL_S},{LIFETIME_S}")
    lines += [_range(leg) for leg in sorted(legs, key=lambda leg: leg.subnet_uid)]
    return "\n".join(lines) + "\n"


def interfaces(configuration: str) -> frozenset[str]:
    """Return the interfaces of the router's that such a configuration advertises on."""
    lines = configuration.splitlines()
    return frozenset(line.removeprefix(_INTERFACE) for line in lines if line.startswith(_INTERFACE))


def _range(leg: RouterLeg) -> str:
    network = ip_network(leg.cidr)
    mode = {IPv6Mode.SLAAC: "ra-only", IPv6Mode.DHCPV6_STATELESS: "ra-stateless"}.get(
        leg.ipv6_mode or IPv6Mode.DHCPV6_STATEFUL, "static"
    )
    return f"dhcp-range={network.network_address},{mode},{network.prefixlen}"
