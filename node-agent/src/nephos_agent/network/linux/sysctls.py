"""The sysctls that the data plane relies on: where, which, what value, and why. Made and checked from the same tables.

The kernel announces some of them (forwarding, reverse path filters, proxying); the others are compared whenever
everything is. ``{device}`` stands for a device's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nephos_agent.network.router.names import INSIDE_PREFIX

Values = Mapping[str, str]
_ROOT: Final = Path("/proc/sys")

TENANTS: Final[Values] = {
    # The second stage of the filters (filter.nft) sees the packets of those bridges alone that ask for it.
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    # Nothing of a guest's enters an IP stack of the host's.
    "net/bridge/bridge-nf-call-arptables": "0",
    "net/ipv4/conf/all/forwarding": "0",
    "net/ipv4/conf/all/arp_ignore": "8",
    "net/ipv6/conf/all/forwarding": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",
    "net/ipv6/conf/default/accept_ra": "0",
}
"""Of the tenant namespace."""

SERVICE: Final[Values] = {
    # An end, never a way: it forwards nothing, and its addresses are its own.
    "net/ipv4/conf/all/forwarding": "0",
    "net/ipv6/conf/all/forwarding": "0",
    "net/ipv4/conf/all/rp_filter": "1",
    "net/ipv4/conf/default/rp_filter": "1",
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    # Addresses are unique by allocation: they answer at once.
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/dad_transmits": "0",
}
"""Of a service namespace."""

SERVICE_LEG: Final[Values] = {
    "net/ipv4/conf/{device}/forwarding": "0",
    "net/ipv4/conf/{device}/proxy_arp": "0",
    "net/ipv4/conf/{device}/accept_redirects": "0",
    "net/ipv6/conf/{device}/disable_ipv6": "0",
    "net/ipv6/conf/{device}/forwarding": "0",
    "net/ipv6/conf/{device}/accept_ra": "0",
}
"""Of its leg, whose settings may be changed alone."""

ROUTER: Final[Values] = {
    # Each host routes what its own guests send, so that answers come another way than questions went.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
    # An interface speaks for its own addresses alone, and nobody is told of a better way.
    "net/ipv4/conf/all/proxy_arp": "0",
    "net/ipv4/conf/all/arp_ignore": "1",
    "net/ipv4/conf/all/arp_announce": "2",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    "net/ipv6/conf/all/accept_redirects": "0",
    "net/ipv6/conf/default/accept_redirects": "0",
    "net/ipv4/conf/all/promote_secondaries": "1",
    # Hardly anything is for the router itself, so that no socket is looked for before a route is.
    "net/ipv4/ip_early_demux": "0",
    # An error says by which of its addresses the packet came in: outside, a floating one.
    "net/ipv4/icmp_errors_use_inbound_ifaddr": "1",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/dad_transmits": "0",
}
"""Of a router's namespace, forwarding apart, which is a fact of its own."""

ROUTER_DEVICE: Final[Values] = {
    "net/ipv4/conf/{device}/rp_filter": "0",
    "net/ipv4/conf/{device}/proxy_arp": "0",
    "net/ipv4/conf/{device}/send_redirects": "0",
    "net/ipv4/conf/{device}/accept_redirects": "0",
    "net/ipv6/conf/{device}/disable_ipv6": "0",
    "net/ipv6/conf/{device}/proxy_ndp": "0",
    "net/ipv6/conf/{device}/accept_ra": "0",
    "net/ipv6/conf/{device}/accept_redirects": "0",
}
"""Of each interface of a router: the kernel takes the stricter, or the laxer, of ``all`` and the interface's own."""

ROUTER_LEG: Final[Values] = {
    # Where ports are is told. Who sends to addresses that nobody has makes entries that wait for an answer, in a table
    # that all namespaces of the host share (gc_thresh3, 1,024 unless told otherwise): they wait a tenth of a second.
    "net/ipv4/neigh/{device}/mcast_solicit": "1",
    "net/ipv4/neigh/{device}/retrans_time_ms": "100",
    "net/ipv6/neigh/{device}/mcast_solicit": "1",
    "net/ipv6/neigh/{device}/retrans_time_ms": "100",
}
"""Of an interface of a router on one of its own networks, besides."""

FORWARDING: Final = ("net/ipv4/conf/{device}/forwarding", "net/ipv6/conf/{device}/forwarding")
"""Of ``all`` and of each interface of a router: as the router is, enabled or not."""

HOST_DEVICE: Final[Values] = {
    # Nothing but guests, and who is outside, may speak there: no IPv6 of the host's own.
    "net/ipv6/conf/{device}/disable_ipv6": "1",
}
"""Of what is in the host's own namespace: taps that QEMU is yet to open, outer ends of uplinks."""


def on(device: str, values: Values) -> dict[str, str]:
    """Return what the values are on a device."""
    return {name.format(device=device): value for name, value in values.items()}


def of_router_device(device: str) -> dict[str, str]:
    """Return what an interface of a router needs."""
    return on(device, ROUTER_DEVICE) | (on(device, ROUTER_LEG) if device.startswith(INSIDE_PREFIX) else {})


def forwarding(device: str, *, forwards: bool) -> dict[str, str]:
    """Return what says whether the device, or ``all``, forwards."""
    return on(device, dict.fromkeys(FORWARDING, "1" if forwards else "0"))


def found(values: Values) -> dict[str, str]:
    """Return what the calling thread's namespace has of these; what its kernel does not know is left out."""
    paths = {name: _ROOT / name for name in values}
    return {name: path.read_text().strip() for name, path in paths.items() if path.exists()}


def differing(values: Values, seen: Values) -> dict[str, str]:
    """Return those of the values that are seen otherwise; what was not seen is not judged."""
    return {name: value for name, value in values.items() if seen.get(name, value) != value}


def make_so(values: Values) -> None:
    """Set sysctls of the calling thread's namespace, in their order; those that are so already are left alone."""
    for name, value in values.items():
        path = _ROOT / name
        if path.exists() and path.read_text().strip() != value:
            path.write_text(value)
