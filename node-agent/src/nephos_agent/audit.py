"""Compares all that a host has programmed with all that the objects demand of it, fact by fact. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nephos_agent.host_router import carried
from nephos_agent.network.desired import HostContext, facts
from nephos_agent.network.facts import Fact, Tap
from nephos_agent.network.model import HostNetwork
from nephos_agent.network.names import tap_name
from nephos_agent.network.observed import Observed
from nephos_agent.network.router.desired import neighbour_facts, on_bridges, router_facts
from nephos_agent.network.router.facts import RouterFact
from nephos_agent.path.model import Objects
from nephos_agent.path.report import AnyFact, Report
from nephos_agent.path.view import View
from nephos_agent.watches.reach import Interfaces, Reach, Reference, interfaces_of, network_of, reach, routers_of
from nephos_api.resources.port import PortPhase


def audit(objects: Objects, report: Report, context: HostContext) -> tuple[str, ...]:
    """Return a sentence for every fact that the host lacks, has otherwise, or has and nothing demands."""
    found = report.observed
    bridged = frozenset(fact.device for fact in found.networks if isinstance(fact, Tap))
    demanded = demand(objects, context, bridged)
    result = list(_differences(demanded.networks, found.networks))
    for uid in sorted(demanded.routers.keys() | found.routers.keys()):
        inside = _differences(demanded.routers.get(uid, frozenset()), found.routers.get(uid, frozenset()))
        result += [f"router {uid} {difference}" for difference in inside]
    return tuple(f"{report.host}: {difference}" for difference in result)


def demand(objects: Objects, context: HostContext, bridged: frozenset[str] = frozenset()) -> Observed:
    """Return all that the host should have.

    A tap is demanded of each Port that is said to be Active; one that is ``bridged`` already is right on any Port here.
    """
    view = View(objects)
    here = [port for port in objects.ports if port.spec.host == context.host]
    active = {tap_name(port.uid) for port in here if port.status.phase == PortPhase.ACTIVE}
    needed = _needed(objects, view, context.host)
    routers = {uid: _router_facts(view, uid, context) for uid in needed.routers if uid in view.routers}
    networks: set[Fact] = {fact for inside in routers.values() for fact in on_bridges(inside)}
    for uid in needed.networks:
        if network := _described(view, needed, uid, context.host):
            networks |= facts(network, context, bridged | active)
    return Observed(frozenset(networks), routers)


def _needed(objects: Objects, view: View, host: str) -> Reach:
    local = [reference for port in objects.ports if port.spec.host == host and (reference := network_of(port))]
    gateways = [
        Reference(router.metadata.namespace or "", router.metadata.name, router.uid)
        for router in objects.routers
        if router.status.gateway_host == host
    ]
    floating = {each.status.router_uid for each in objects.floating_ips if each.status.host == host and carried(each)}

    def routers_on(network_uid: str) -> Iterable[Reference]:
        network = view.network(network_uid)
        return routers_of(network) if network else ()

    def interfaces(router_uid: str) -> Interfaces:
        router = view.routers.get(router_uid)
        if router is None:
            return Interfaces()
        return interfaces_of(router, needs_outside=router.status.gateway_host == host or router_uid in floating)

    return reach(local, gateways, routers_on, interfaces)


def _described(view: View, needed: Reach, uid: str, host: str) -> HostNetwork | None:
    network = view.network(uid)
    if network is None:
        return None
    here = [port for port in view.host_ports(uid) if port.host == host]
    groups = view.groups({group for port in here for group in port.security_groups})
    return view.describe(network, groups, needed.joined_with(uid), serves_guests=bool(here))


def _router_facts(view: View, uid: str, context: HostContext) -> frozenset[RouterFact]:
    router = view.host_router(view.routers[uid], context.host)
    return router_facts(router, context) | neighbour_facts(router.neighbours)


def _differences(demanded: frozenset[AnyFact], found: frozenset[AnyFact]) -> Iterator[str]:
    there, wanted = {fact.key: fact for fact in found}, {fact.key for fact in demanded}
    for fact in _sorted(demanded - found):
        yield f"has {there[fact.key]} instead of {fact}" if fact.key in there else f"lacks {fact}"
    for fact in _sorted(found - demanded):
        if fact.key not in wanted:
            yield f"has {fact}, which nothing demands"


def _sorted(differing: frozenset[AnyFact]) -> list[AnyFact]:
    return sorted(differing, key=lambda fact: (type(fact).__name__, fact.key))
