"""A router's namespace from inside: its sockets, opened when they are needed and closed together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol, TypeVar

from nephos_agent.network.linux import namespaces
from nephos_agent.network.linux.libnftables import Nftables, NftablesError
from nephos_agent.network.linux.links import Links
from nephos_agent.network.linux.neighbours import NeighbourSocket
from nephos_agent.network.linux.routes import Routes
from nephos_agent.network.linux.services import set_sysctls
from nephos_agent.network.linux.translated_flows import TranslatedFlows
from nephos_agent.network.router import nat as router_nat
from nephos_agent.network.router.facts import NatElement

_FORWARDING: Final = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
_SYSCTLS: Final = {
    # Each host routes what its own guests send, so that answers come another way than questions went.
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
    # An interface speaks for its own addresses alone, and nobody is told of a better way.
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


class _Closing(Protocol):
    def close(self) -> None:
        """Close it."""


_S = TypeVar("_S", bound=_Closing)
_T = TypeVar("_T")


class Space:
    """The inside of one namespace, for the thread that opens it. Calls block."""

    def __init__(self, namespace: int, stack: ExitStack) -> None:
        self.namespace = namespace
        """A file descriptor."""
        self._stack = stack

    @cached_property
    def links(self) -> Links:
        """Its links and addresses."""
        return self._open(Links)

    @cached_property
    def neighbours(self) -> NeighbourSocket:
        """Its neighbours and tunnel entries."""
        return self._open(NeighbourSocket)

    @cached_property
    def routes(self) -> Routes:
        """Its routes and rules."""
        return self._open(Routes)

    @cached_property
    def flows(self) -> TranslatedFlows:
        """The flows that it tracks."""
        return self._open(TranslatedFlows)

    @cached_property
    def nft(self) -> Nftables:
        """Its rule set."""
        return self._open(Nftables)

    def assert_sysctls(self) -> None:
        """Set what a router relies on."""
        with namespaces.entered(self.namespace):
            set_sysctls(_SYSCTLS)

    def set_forwarding(self, *, forwards: bool) -> None:
        """Have it forward, or not."""
        with namespaces.entered(self.namespace):
            set_sysctls(dict.fromkeys(_FORWARDING, "1" if forwards else "0"))

    def forwards(self) -> bool:
        """Tell whether it forwards."""
        with namespaces.entered(self.namespace):
            return all((Path("/proc/sys") / name).read_text().strip() == "1" for name in _FORWARDING)

    def translations(self) -> frozenset[NatElement]:
        """Return the elements of its sets and maps."""
        return frozenset(element for family in router_nat.FAMILIES for element in self._elements(family))

    def _elements(self, family: str) -> frozenset[NatElement]:
        try:
            return router_nat.read_elements(self.nft.run(f"list table {family} {router_nat.TABLE}"))
        except NftablesError as error:
            if error.is_missing:
                return frozenset()
            raise

    def run(self, work: Callable[[], _T]) -> _T:
        """Do something in the namespace."""
        with namespaces.entered(self.namespace):
            return work()

    def _open(self, kind: Callable[[], _S]) -> _S:
        with namespaces.entered(self.namespace):
            opened = kind()
        self._stack.callback(opened.close)
        return opened


@contextmanager
def opened(path: Path) -> Iterator[Space]:
    """Open the namespace of that name. Raises ``OSError`` where there is none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        yield Space(descriptor, stack)
