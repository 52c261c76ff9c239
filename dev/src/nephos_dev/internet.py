"""The outside of the cloud: a namespace that stands for the internet, and the wire by which each host reaches it.

The wire is a bridge in that namespace with a leg for each host; the other end is a port of the host's provider bridge.
"""

import subprocess
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2 import NetNS

from nephos_dev import underlay
from nephos_dev.layout import HostLayout, Layout

PHYSICAL_NETWORK = "ext"
PROVIDER_BRIDGE = "br-ext"
GATEWAYS = (("203.0.113.1", 24), ("2001:db8:113::1", 64))
"""The provider's router: the gateway of the external network `public`."""
WORLD = (("198.51.100.1", 32), ("2001:db8:100::1", 128))
"""An address that is on no network of the cloud's: who reaches it has a route to the world."""
_WIRE = "wire"
_LEG = "ext0"
_NODAD = 0x02  # IFA_F_NODAD: the address is usable at once
# The provider's network belongs to guests: nobody there reaches the host, whose other addresses it would answer for.
_NO_HOST_THERE = {"net.ipv6.conf.br-ext.disable_ipv6": 1, "net.ipv4.conf.br-ext.arp_ignore": 1}

Document = Mapping[str, Any]


def ensure(layout: Layout) -> None:
    """Make the namespace with its wire and addresses, as far as they are missing."""
    underlay.ensure_namespace(layout.internet_netns)
    with NetNS(layout.internet_netns) as outside:
        if not outside.link_lookup(ifname=_WIRE):
            outside.link("add", ifname=_WIRE, kind="bridge")
        wire, loopback = (underlay.index_of(outside, name) for name in (_WIRE, "lo"))
        outside.link("set", index=wire, state="up")
        for index, addresses in ((wire, GATEWAYS), (loopback, WORLD)):
            for address, prefix_length in addresses:
                flags = {"flags": _NODAD} if ":" in address else {}
                outside.addr("replace", index=index, address=address, prefixlen=prefix_length, **flags)


def ensure_host(layout: Layout, host: HostLayout) -> None:
    """Make a host's provider bridge with its leg on the wire, as far as they are missing."""
    with NetNS(layout.internet_netns) as outside, NetNS(host.netns) as namespace:
        if not namespace.link_lookup(ifname=PROVIDER_BRIDGE):
            namespace.link("add", ifname=PROVIDER_BRIDGE, kind="bridge")
            _set_sysctls(host.netns, _NO_HOST_THERE)
        if not namespace.link_lookup(ifname=_LEG):
            outside.link("add", ifname=host.name, kind="veth", peer={"ifname": _LEG, "net_ns_fd": host.netns})
        bridge = underlay.index_of(namespace, PROVIDER_BRIDGE)
        namespace.link("set", index=bridge, state="up")
        namespace.link("set", index=underlay.index_of(namespace, _LEG), master=bridge, state="up")
        wire = underlay.index_of(outside, _WIRE)
        outside.link("set", index=underlay.index_of(outside, host.name), master=wire, state="up")


def remove(layout: Layout) -> None:
    """Remove the namespace; the hosts' legs go with it."""
    underlay.remove_namespace(layout.internet_netns)


def command(layout: Layout, *words: str) -> tuple[str, ...]:
    """Return the command line that runs a command in the outside."""
    return ("ip", "netns", "exec", layout.internet_netns, *words)


def execute(layout: Layout, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the outside and return how it ended, with its output."""
    return subprocess.run(command(layout, *words), capture_output=True, text=True, check=False)


def routes_to(routers: Iterable[Document]) -> dict[str, str]:
    """Return the next hop of each IPv6 prefix behind these Routers, as a provider's router would learn them by BGP.

    A prefix that two Routers claim is the first one's, in the order of their UIDs: the world has one route to it.
    """
    routes: dict[str, str] = {}
    for router in sorted(routers, key=lambda router: str(router["metadata"]["uid"])):
        status = router.get("status", {})
        own = [str(held["address"]) for held in (status.get("external") or {}).get("addresses", [])]
        next_hop = next((address for address in own if ip_address(address).version == 6), None)
        for leg in status.get("legs", []) if next_hop else []:
            if ip_network(leg["cidr"]).version == 6:
                routes.setdefault(str(leg["cidr"]), str(next_hop))
    return routes


def learn_routes(layout: Layout, routers: Iterable[Document]) -> dict[str, str]:
    """Make the outside send what is for the Routers' IPv6 prefixes to the Routers, and nothing else; return which."""
    routes = routes_to(routers)
    with NetNS(layout.internet_netns) as outside:
        wire = underlay.index_of(outside, _WIRE)
        for route in outside.get_routes(family=10, oif=wire):
            if route.get_attr("RTA_GATEWAY"):
                outside.route("del", dst=f"{route.get_attr('RTA_DST')}/{route['dst_len']}", oif=wire)
        for prefix, next_hop in routes.items():
            outside.route("add", dst=prefix, gateway=next_hop, oif=wire)
    return routes


def _set_sysctls(netns: str, values: Mapping[str, int]) -> None:
    settings = [f"{name}={value}" for name, value in values.items()]
    subprocess.run(["ip", "netns", "exec", netns, "sysctl", "-qw", *settings], check=True, capture_output=True)
