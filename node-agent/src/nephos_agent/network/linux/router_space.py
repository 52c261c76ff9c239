"""A router's namespace from inside: its sockets, opened when they are needed and closed together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from nephos_agent.network.linux import namespaces, sysctls
from nephos_agent.network.linux.generation import Generation
from nephos_agent.network.linux.libnftables import Nftables, NftablesError
from nephos_agent.network.linux.links import Links
from nephos_agent.network.linux.neighbours import NeighbourSocket
from nephos_agent.network.linux.route_reader import RouteReader
from nephos_agent.network.linux.routes import Routes
from nephos_agent.network.linux.translated_flows import TranslatedFlows
from nephos_agent.network.router import nat as router_nat
from nephos_agent.network.router.facts import NatElement


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
        self.commits = 0
        """How many transactions of ours changed the rule set; the kernel announces each one once."""
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
        """Makes its routes and rules."""
        return self._open(Routes)

    @cached_property
    def ways(self) -> RouteReader:
        """Reads its routes and rules."""
        return self._open(RouteReader)

    @cached_property
    def flows(self) -> TranslatedFlows:
        """The flows that it tracks."""
        return self._open(TranslatedFlows)

    @cached_property
    def nft(self) -> Nftables:
        """Its rule set."""
        return self._open(Nftables)

    @cached_property
    def generation(self) -> Generation:
        """Which state its rule set is in."""
        return self._open(Generation)

    def assert_sysctls(self, devices: Iterable[str]) -> None:
        """Set what a router relies on, with those interfaces, where it is not so; they forward as all of it does."""
        with namespaces.entered(self.namespace):
            sysctls.make_so(sysctls.ROUTER)
            forwarding = sysctls.found(sysctls.forwarding("all", forwards=True))
            for device in devices:
                sysctls.make_so(sysctls.of_router_device(device))
                sysctls.make_so({name.replace("/all/", f"/{device}/"): value for name, value in forwarding.items()})

    def set_forwarding(self, *, forwards: bool) -> None:
        """Have it forward, or not."""
        with namespaces.entered(self.namespace):
            sysctls.make_so(sysctls.forwarding("all", forwards=forwards))
            # A change of IPv4's resets what belongs to it.
            sysctls.make_so(sysctls.ROUTER)

    def forwards(self) -> bool:
        """Tell whether it forwards."""
        wanted = sysctls.forwarding("all", forwards=True)
        with namespaces.entered(self.namespace):
            return not sysctls.differing(wanted, sysctls.found(wanted))

    def commit(self, commands: str) -> None:
        """Change the rule set, in one transaction."""
        self.nft.run(commands)
        self.commits += 1

    def translations(self) -> frozenset[NatElement]:
        """Return the elements of its sets and maps."""
        return frozenset(element for family in router_nat.FAMILIES for element in self._elements(family))

    def take_back(self) -> None:
        """Speak again of addresses that another host announced."""
        if any(router_nat.is_any_listed(self.nft.run(each)) for each in router_nat.lists_of_yielded()):
            self.commit(router_nat.take_back())

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
