"""Which networks and routers a host needs. Pure.

A network is needed where a Port is on it, or a router that is needed has an interface on it. A router is needed where a
network that is needed lists it, or the host is its gateway: whoever carries one leg of a router carries all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from nephos_api.resources.network import Network
from nephos_api.resources.port import Port
from nephos_api.resources.router import Router

_NOBODY: Final[frozenset[str]] = frozenset()


class Reference(NamedTuple):
    """What an object is found by, and known by."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class Interfaces:
    """Where a router is."""

    legs: frozenset[Reference] = frozenset()
    """The networks that it joins."""
    outside: Reference | None = None
    """The external network, where the host needs that one for the router."""

    @property
    def networks(self) -> tuple[Reference, ...]:
        """All networks that it has an interface on."""
        return (*self.legs, *filter(None, (self.outside,)))


@dataclass(frozen=True)
class Reach:
    """What is needed, by UID."""

    networks: Mapping[str, Reference] = field(default_factory=dict)
    routers: Mapping[str, Reference] = field(default_factory=dict)
    routers_on: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """UIDs of the routers that have an interface on each network."""
    joined: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """UIDs of the networks that routers join with each network, itself left out."""

    def routers_at(self, network_uid: str) -> frozenset[str]:
        """Return the UIDs of the routers that have an interface on the network."""
        return self.routers_on.get(network_uid, _NOBODY)

    def joined_with(self, network_uid: str) -> frozenset[str]:
        """Return the UIDs of the networks that routers join with it, over one or several of them."""
        return self.joined.get(network_uid, _NOBODY)


def reach(
    local: Iterable[Reference],
    gateways: Iterable[Reference],
    routers_of: Callable[[str], Iterable[Reference]],
    interfaces_of: Callable[[str], Interfaces],
) -> Reach:
    """Return what a host needs that has Ports on the ``local`` networks, and is the gateway of the ``gateways``.

    The functions say what is known of a network and of a router; of what is not known yet, nothing.
    """
    networks: dict[str, Reference] = {}
    routers: dict[str, Reference] = {}
    interfaces: dict[str, Interfaces] = {}
    new_networks, new_routers = [*local], [*gateways]
    while new_networks or new_routers:
        for network in new_networks:
            if network.uid not in networks:
                networks[network.uid] = network
                new_routers += routers_of(network.uid)
        new_networks = []
        for router in new_routers:
            if router.uid not in routers:
                routers[router.uid] = router
                found = interfaces[router.uid] = interfaces_of(router.uid)
                new_networks += found.networks
        new_routers = []
    return Reach(networks, routers, _routers_on(interfaces), _joined(interfaces))


def network_of(port: Port) -> Reference | None:
    """Return the Port's network; None while the operator has not found it."""
    spec = port.spec
    if spec.network_uid is None:
        return None
    return Reference(spec.network_namespace or port.metadata.namespace or "", spec.network, spec.network_uid)


def routers_of(network: Network) -> tuple[Reference, ...]:
    """Return the routers that have a leg on the network."""
    return tuple(Reference(each.namespace, each.name, each.uid) for each in network.status.routers)


def interfaces_of(router: Router, *, needs_outside: bool) -> Interfaces:
    """Return where the router is."""
    namespace, external = router.metadata.namespace or "", router.status.external
    outside = None
    if external and needs_outside:
        outside = Reference(external.network_namespace, external.network, external.network_uid)
    legs = frozenset(Reference(namespace, leg.network, leg.network_uid) for leg in router.status.legs)
    return Interfaces(legs, outside)


def _routers_on(interfaces: Mapping[str, Interfaces]) -> dict[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for router_uid, each in interfaces.items():
        for network in each.networks:
            found[network.uid].add(router_uid)
    return {network_uid: frozenset(routers) for network_uid, routers in found.items()}


def _joined(interfaces: Mapping[str, Interfaces]) -> dict[str, frozenset[str]]:
    """Return with which others each network is connected: the outside joins nobody."""
    islands: dict[str, set[str]] = {}
    for each in interfaces.values():
        together = {network.uid for network in each.legs}
        for network_uid in tuple(together):
            together |= islands.get(network_uid, set())
        islands |= dict.fromkeys(together, together)
    return {network_uid: frozenset(island - {network_uid}) for network_uid, island in islands.items()}
