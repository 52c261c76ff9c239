"""A host's cables, which tests and people pull: the underlay's, by which it is managed, and the provider's."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from pyroute2 import NetNS

from nephos_dev.layout import HostLayout, Layout
from nephos_dev.underlay import index_of

_TABLE = "severed"


@contextmanager
def pulled(layout: Layout, host: HostLayout) -> Iterator[None]:
    """Cut a host off from the control plane, from the other hosts and from the outside for as long as this lasts."""
    _set(layout, host, "down")
    try:
        yield
    finally:
        _set(layout, host, "up")


@contextmanager
def severed(host: HostLayout, *others: IPv4Address) -> Iterator[None]:
    """Let nothing pass between a host and these addresses of the underlay for as long as this lasts."""
    addresses = ", ".join(map(str, others))
    _nft(
        host,
        f"""
        table ip {_TABLE} {{
            chain incoming {{ type filter hook prerouting priority raw; ip saddr {{ {addresses} }} drop; }}
            chain outgoing {{ type filter hook output priority raw; ip daddr {{ {addresses} }} drop; }}
        }}
        """,
    )
    try:
        yield
    finally:
        _nft(host, f"delete table ip {_TABLE}")


def _nft(host: HostLayout, ruleset: str) -> None:
    subprocess.run(["ip", "netns", "exec", host.netns, "nft", ruleset], check=True, capture_output=True)


def _set(layout: Layout, host: HostLayout, state: str) -> None:
    for name in (layout.underlay_netns, layout.internet_netns):
        with NetNS(name) as namespace:
            namespace.link("set", index=index_of(namespace, host.name), state=state)
