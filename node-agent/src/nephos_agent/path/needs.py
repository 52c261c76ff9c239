"""Which of the facts that a host should have a packet depends on, place by place: a part of the driver's own facts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nephos_agent.network.desired import HostContext, facts
from nephos_agent.network.facts import (
    BridgeEntry,
    Fact,
    GuardElement,
    GuardSet,
    Neighbour,
    Service,
    Tap,
    TunnelEntry,
    Uplink,
    Vxlan,
)
from nephos_agent.network.model import HostNetwork, HostPort, HostRouter
from nephos_agent.network.names import network_names, tap_name
from nephos_agent.network.router.desired import neighbour_facts, router_facts
from nephos_agent.network.router.facts import (
    BY_DEVICE,
    FLOATING_TABLE,
    MAIN_TABLE,
    Address,
    Leg,
    NatElement,
    Route,
    RouterFact,
    RouterSpace,
    RoutingRule,
    Transit,
)
from nephos_agent.network.router.names import inner_name
from nephos_agent.path.view import contains, prefix_length

_ATTACHED: Final = frozenset({GuardSet.ROLE, GuardSet.MARK, GuardSet.ZONE})
_ASKED: Final = frozenset({GuardSet.SHARED_IPV4, GuardSet.SHARED_ND_TARGET})
_SENDERS: Final = frozenset({GuardSet.MAC, GuardSet.IPV4, GuardSet.IPV6})


@dataclass(frozen=True)
class Place:
    """A network on a host."""

    network: HostNetwork
    host: str
    host_address: str
    namespace_prefix: str

    @property
    def context(self) -> HostContext:
        """What names on this host depend on."""
        return HostContext(self.host, self.host_address, self.namespace_prefix, "")


@lru_cache(maxsize=256)
def _all(place: Place) -> frozenset[Fact]:
    taps = frozenset(tap_name(port.uid) for port in place.network.ports)
    return facts(place.network, place.context, taps)


def attached(place: Place, port: HostPort) -> frozenset[Fact]:
    """Return what puts the port's NIC on its network."""
    tap = tap_name(port.uid)
    return frozenset(
        fact
        for fact in _all(place)
        if fact.device == tap and (isinstance(fact, Tap) or (isinstance(fact, GuardElement) and fact.set in _ATTACHED))
    )


def sender(place: Place, port: HostPort, address: str) -> frozenset[Fact]:
    """Return what lets the port send from the address."""
    tap = tap_name(port.uid)
    return frozenset(
        fact
        for fact in _all(place)
        if isinstance(fact, GuardElement)
        and fact.device == tap
        and fact.set in _SENDERS
        and fact.rest[:2] in {(port.mac,), (port.mac, address)}
    )


def delivered(place: Place, port: HostPort, mac: str) -> frozenset[Fact]:
    """Return what brings frames for that MAC of the port's to its NIC on this host."""
    return attached(place, port) | {fact for fact in _all(place) if isinstance(fact, BridgeEntry) and fact.mac == mac}


def answered(place: Place, address: str, mac: str) -> frozenset[Fact]:
    """Return what answers ARP and ND for an address of another host, or lets them cross where no Port holds it."""
    names = network_names(place.network.uid, place.namespace_prefix)
    known = {fact for fact in _all(place) if fact == Neighbour(names.bridge, address, mac)}
    return frozenset(known) or frozenset(
        fact
        for fact in _all(place)
        if isinstance(fact, GuardElement)
        and fact.device == names.vxlan
        and fact.set in _ASKED
        and contains(fact.rest[0], address)
    )


def tunnelled(place: Place, mac: str) -> frozenset[Fact]:
    """Return what sends frames for the MAC to its host."""
    return frozenset(
        fact
        for fact in _all(place)
        if isinstance(fact, Vxlan)
        or (isinstance(fact, (BridgeEntry, TunnelEntry)) and fact.mac == mac)
        or _attaches(fact, network_names(place.network.uid, place.namespace_prefix).vxlan)
    )


def tunnel_end(place: Place) -> frozenset[Fact]:
    """Return what takes frames in from other hosts."""
    vxlan = network_names(place.network.uid, place.namespace_prefix).vxlan
    return frozenset(fact for fact in _all(place) if isinstance(fact, Vxlan) or _attaches(fact, vxlan))


def service(place: Place) -> frozenset[Fact]:
    """Return what answers DHCP, names and metadata."""
    names = network_names(place.network.uid, place.namespace_prefix)
    return frozenset(
        fact
        for fact in _all(place)
        if isinstance(fact, Service)
        or (isinstance(fact, GuardElement) and (fact.device, fact.set) == (names.bridge, GuardSet.SERVICE))
        or _attaches(fact, names.service)
    )


def uplink(place: Place) -> frozenset[Fact]:
    """Return what joins the network to the provider's."""
    device = network_names(place.network.uid, place.namespace_prefix).uplink
    return frozenset(fact for fact in _all(place) if isinstance(fact, Uplink) or _attaches(fact, device))


def _attaches(fact: Fact, device: str) -> bool:
    return isinstance(fact, GuardElement) and fact.device == device and fact.set in _ATTACHED


def leg_entries(router: HostRouter, network_uids: frozenset[str], context: HostContext) -> frozenset[Fact]:
    """Return what brings frames of the networks to the router on this host, and the router's to them."""
    found = router_facts(router, context)
    devices = {fact.device for fact in found if isinstance(fact, Leg) and fact.network_uid in network_uids}
    return frozenset(fact for fact in found if isinstance(fact, (BridgeEntry, GuardElement)) and fact.device in devices)


def routed(router: HostRouter, network_uids: frozenset[str], context: HostContext) -> frozenset[RouterFact]:
    """Return what lets the router pass packets between the networks."""
    found = router_facts(router, context)
    inner = {inner_name(uid, is_outside=False) for uid in network_uids}
    return frozenset(
        fact
        for fact in found
        if isinstance(fact, RouterSpace)
        or (isinstance(fact, Leg) and fact.network_uid in network_uids)
        or (isinstance(fact, Address) and fact.device in inner)
    )


def neighbour(router: HostRouter, network_uid: str, address: str) -> frozenset[RouterFact]:
    """Return how the router finds the port with the address."""
    device = inner_name(network_uid, is_outside=False)
    return frozenset(
        fact
        for fact in neighbour_facts(router.neighbours)
        if isinstance(fact, Neighbour) and (fact.device, fact.address) == (device, address)
    )


def taken(router: HostRouter, network_uid: str, address: str, context: HostContext) -> frozenset[RouterFact]:
    """Return what has the router take the sender for one behind its leg on the network."""
    device = inner_name(network_uid, is_outside=False)
    return frozenset(
        fact
        for fact in router_facts(router, context)
        if isinstance(fact, NatElement)
        and fact.set in BY_DEVICE
        and fact.value == device
        and contains(fact.name, address)
    )


def routes(router: HostRouter, address: str, context: HostContext) -> frozenset[RouterFact]:
    """Return the route that leads to the address; none where a link of the router's own does."""
    found = router_facts(router, context)
    links = [each.address for each in found if isinstance(each, Address) and contains(each.address, address)]
    nearest = _nearest(found, MAIN_TABLE, address)
    is_on_link = nearest is None or any(prefix_length(link) >= prefix_length(nearest.destination) for link in links)
    return frozenset() if nearest is None or is_on_link else frozenset({nearest})


def floating_routes(router: HostRouter, address: str, context: HostContext) -> frozenset[RouterFact]:
    """Return what leads packets of floating addresses to that address, answers too, out by this host."""
    found = router_facts(router, context)
    nearest = _nearest(found, FLOATING_TABLE, address)
    rules = {fact for fact in found if isinstance(fact, RoutingRule)}
    return frozenset(rules | ({nearest} if nearest else set()))


def _nearest(found: frozenset[RouterFact], table: int, address: str) -> Route | None:
    routes = (fact for fact in found if isinstance(fact, Route) and fact.table == table)
    matching = (fact for fact in routes if contains(fact.destination, address))
    return max(matching, key=lambda fact: prefix_length(fact.destination), default=None)


def transit(router: HostRouter, context: HostContext) -> frozenset[RouterFact]:
    """Return what carries packets to the gateway host."""
    found = router_facts(router, context)
    ends = {fact.device for fact in found if isinstance(fact, Transit)}
    return frozenset(
        fact
        for fact in found
        if isinstance(fact, Transit) or (isinstance(fact, (TunnelEntry, Neighbour)) and fact.device in ends)
    )


def translated(router: HostRouter, names: frozenset[str], context: HostContext) -> frozenset[RouterFact]:
    """Return the translations whose key or value is one of the names, and the addresses that answer for them."""
    return frozenset(
        fact
        for fact in router_facts(router, context)
        if (isinstance(fact, NatElement) and names & {fact.name, fact.value})
        or (isinstance(fact, Address) and fact.address.partition("/")[0] in names)
    )
