"""Reads off the kernel which facts of routers hold on this host. Runs in the kernel thread and blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nephos_agent.network.facts import BridgeEntry, Dnsmasq, Fact, GuardElement
from nephos_agent.network.linux import hosts_files, namespaces
from nephos_agent.network.linux.entries import fact_of
from nephos_agent.network.linux.kernel import Kernel
from nephos_agent.network.linux.link_reader import SERVICE_PORT, Link
from nephos_agent.network.linux.neighbours import FAMILIES
from nephos_agent.network.linux.route_reader import connected_by
from nephos_agent.network.linux.router_change import INSIDE_KIND, OUTSIDE_KIND, SPACE_KIND, TRANSIT_KIND
from nephos_agent.network.linux.router_kernel import RouterKernel
from nephos_agent.network.linux.router_space import Space, opened
from nephos_agent.network.names import Mark, read_mark
from nephos_agent.network.router.facts import Address, Leg, RouterFact, RouterSpace, Transit
from nephos_agent.network.router.names import leg_name, router_names


class RouterObserver:
    """One look at the tenant namespace, and then at any number of routers."""

    def __init__(self, kernel: Kernel, routers: RouterKernel, tenants: Iterable[Fact]) -> None:
        """``tenants`` are the facts found in the tenant namespace."""
        self._settings = kernel.settings
        self._routers = routers
        self._links = {link.name: link for link in kernel.tenants.all()}
        self._names = {link.index: link.name for link in self._links.values()}
        self._tenants: dict[str, set[RouterFact]] = {}
        for fact in tenants:
            if isinstance(fact, (GuardElement, BridgeEntry)):
                self._tenants.setdefault(fact.device, set()).add(fact)

    def uids(self) -> frozenset[str]:
        """Return the UIDs of the routers of which there is anything."""
        named = self._settings.netns_dir.glob(f"{self._settings.namespace_prefix}-r*")
        owners = {owner for path in named if (owner := self._routers.owner(path))}
        marks = (read_mark(link.alias) for link in self._links.values())
        return frozenset(
            owners
            | {
                mark.uid
                for mark in marks
                if mark and mark.kind == SPACE_KIND and mark.cloud_id == self._settings.cloud_id
            }
        )

    def facts(self, router_uid: str, units: frozenset[str]) -> frozenset[RouterFact]:
        """Return what holds of the router; ``units`` are the processes that the launcher has."""
        facts = set(self._inside_of(router_uid))
        devices = {fact.device for fact in facts if isinstance(fact, Leg)} | {
            name for name, link in self._links.items() if link.alias == self._routers.mark(SPACE_KIND, router_uid)
        }
        facts |= {fact for device in devices for fact in self._tenants.get(device, ())}
        names = router_names(router_uid, self._settings.namespace_prefix)
        config = hosts_files.read_configuration(self._settings.run_dir, names.directory)
        if config is not None and names.unit in units:
            facts.add(Dnsmasq(names.unit, names.unit, names.namespace, names.directory, config))
        return frozenset(facts)

    def _inside_of(self, router_uid: str) -> frozenset[RouterFact]:
        """Return what lies in the router's namespace."""
        path = self._routers.path(router_uid)
        if not namespaces.is_namespace(path) or self._routers.owner(path) != router_uid:
            return frozenset()
        with opened(path) as space:
            return frozenset(self._inside(router_uid, space))

    def _inside(self, router_uid: str, space: Space) -> set[RouterFact]:
        links = space.links.all()
        marked = {link.index: (link, mark) for link in links if (mark := read_mark(link.alias))}
        names = {index: link.name for index, (link, mark) in marked.items() if self._is_device(mark)}
        facts: set[RouterFact] = {RouterSpace(self._routers.path(router_uid).name, space.forwards())}
        for link, mark in marked.values():
            if mark.kind in (INSIDE_KIND, OUTSIDE_KIND) and self._is_device(mark):
                facts |= self._leg(router_uid, link, mark)
            elif mark.kind == TRANSIT_KIND and self._is_device(mark):
                facts.add(Transit(link.name, link.vni or 0, link.local or "", link.mac, link.mtu, intact=link.is_up))
        routes, connected = space.ways.routes(names)
        facts |= routes
        facts |= _addresses(space, names, connected)
        facts |= _entries(space, names)
        facts |= space.ways.rules()
        facts |= space.translations()
        return facts

    def _leg(self, router_uid: str, inner: Link, mark: Mark) -> set[RouterFact]:
        device = leg_name(router_uid, mark.uid, is_outside=mark.kind == OUTSIDE_KIND)
        outer = self._links.get(device)
        if outer is None:
            return set()
        bridge = self._names.get(outer.master, "") if outer.master is not None else ""
        intact = outer.is_up and outer.port_flags == SERVICE_PORT and inner.is_up and outer.mtu == inner.mtu
        return {Leg(device, inner.name, mark.uid, bridge, inner.mac, inner.mtu, intact)}

    def _is_device(self, mark: Mark) -> bool:
        return mark.cloud_id == self._settings.cloud_id and mark.kind in (INSIDE_KIND, OUTSIDE_KIND, TRANSIT_KIND)


def _entries(space: Space, names: Mapping[int, str]) -> set[RouterFact]:
    """Return the entries on the devices; a router's own namespace has no bridge."""
    entries = (entry for family in FAMILIES for entry in space.neighbours.dump(family) if entry.index in names)
    return {fact for entry in entries if (fact := fact_of(entry, names[entry.index]))}


def _addresses(space: Space, names: Mapping[int, str], connected: frozenset[tuple[str, str]]) -> set[RouterFact]:
    """Return the addresses of the devices by which is reached what they say is there."""
    found = {(name, address) for index, name in names.items() for address in space.links.addresses(index)}
    return {
        Address(name, address)
        for name, address in found
        if not address.startswith("fe80:") and (name, connected_by(address)) in connected | {(name, None)}
    }
