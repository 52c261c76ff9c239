"""Makes the facts of one router so, and takes them away. Runs in the kernel thread and blocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nephos_agent.network.facts import BridgeEntry, GuardElement, Neighbour, TunnelEntry
from nephos_agent.network.linux import sysctls
from nephos_agent.network.linux.kernel import Kernel
from nephos_agent.network.linux.libnftables import NftablesError
from nephos_agent.network.linux.link_reader import SERVICE_PORT
from nephos_agent.network.linux.neighbours import Entry, neighbour, tunnel_entry
from nephos_agent.network.linux.router_space import Space
from nephos_agent.network.names import Mark
from nephos_agent.network.router import nat as router_nat
from nephos_agent.network.router.facts import (
    Address,
    Leg,
    NatElement,
    Route,
    RouterFact,
    RouterSpace,
    RoutingRule,
    Transit,
)
from nephos_agent.network.router.names import OUTSIDE_PREFIX
from nephos_agent.network.router.plan import Step
from nephos_agent.network.settings import VXLAN_UDP_PORT
from nephos_api.errors import TemporaryFault

SPACE_KIND: Final = "router"
INSIDE_KIND: Final = "leg"
OUTSIDE_KIND: Final = "outside"
TRANSIT_KIND: Final = "transit"


class Change:
    """Carries out the steps of one plan."""

    def __init__(self, kernel: Kernel, router_uid: str, space: Space) -> None:
        self._kernel = kernel
        self._router_uid = router_uid
        self._space = space
        self._indices: dict[str, int] = {}

    def carry_out(self, step: Step) -> None:
        """Carry out one step."""
        if step.kind is NatElement:
            self._translate(step.gone, step.made)
        elif step.kind is GuardElement:
            self._guard(step.gone, step.made)
        elif step.kind in (TunnelEntry, Neighbour):
            self._space.neighbours.delete(self._entries(step.gone))
            self._space.neighbours.replace(self._entries(step.made))
        else:
            for fact in step.gone:
                self._take_away(fact)
            for fact in step.made:
                self._make(fact)

    def _make(self, fact: RouterFact) -> None:
        space, index = self._space, self._index
        match fact:
            case RouterSpace():
                space.set_forwarding(forwards=fact.forwards)
            case Leg():
                self._make_leg(fact)
            case Transit():
                self._make_transit(fact)
            case BridgeEntry():
                self._kernel.tables.make_entries([fact])
            case Route():
                space.routes.replace(fact, index(fact.device))
            case RoutingRule():
                space.routes.add_rule(fact)
            case Address():
                space.links.add_address(index(fact.device), fact.address)

    def _take_away(self, fact: RouterFact) -> None:
        space = self._space
        match fact:
            case Leg():
                self._kernel.tenants.delete(fact.device)
            case Transit():
                space.links.delete(fact.device)
            case BridgeEntry() if self._kernel.tenants.get(fact.device):
                self._kernel.tables.remove_entries([fact])
            case Route() if link := space.links.get(fact.device):
                space.routes.delete(fact, link.index)
            case RoutingRule():
                space.routes.delete_rule(fact)
            case Address() if link := space.links.get(fact.device):
                space.links.delete_address(link.index, fact.address)

    def _make_leg(self, fact: Leg) -> None:
        """Make both ends so; a leg whose other end is not there is made anew."""
        tenants, links = self._kernel.tenants, self._space.links
        bridge = tenants.get(fact.bridge)
        if bridge is None:
            raise TemporaryFault(f"network {fact.network_uid} is not on this host", reason="NetworkMissing")
        if not (tenants.get(fact.device) and links.get(fact.inner)):
            tenants.delete(fact.device)
            links.delete(fact.inner)
            peer = {
                "ifname": fact.inner,
                "address": fact.mac,
                "mtu": fact.mtu,
                "net_ns_fd": self._space.namespace,
            }
            tenants.add(fact.device, "veth", self._mark(SPACE_KIND, self._router_uid), fact.mtu, peer=peer)
            self._indices.pop(fact.inner, None)
        outer = tenants.claim(fact.device, self._mark(SPACE_KIND, self._router_uid))
        kind = OUTSIDE_KIND if fact.inner.startswith(OUTSIDE_PREFIX) else INSIDE_KIND
        inner = links.claim(fact.inner, self._mark(kind, fact.network_uid))
        links.set(inner.index, mtu=fact.mtu, address=fact.mac, state="up")
        self._space.run(lambda: sysctls.make_so(sysctls.of_router_device(fact.inner)))
        tenants.join(outer, bridge.index, SERVICE_PORT, fact.mtu)

    def _make_transit(self, fact: Transit) -> None:
        """Make the tunnel so: born in the host's namespace, where its outer packets stay, living in the router's."""
        links = self._space.links
        if links.get(fact.device) is None:
            for link in links.all():
                if link.kind == "vxlan":
                    links.delete(link.name)
            self._kernel.host.add_elsewhere(
                self._space.namespace,
                fact.device,
                "vxlan",
                fact.mtu,
                vxlan_id=fact.vni,
                vxlan_port=VXLAN_UDP_PORT,
                vxlan_learning=False,
                **{"vxlan_local6" if ":" in fact.local else "vxlan_local": fact.local},
            )
        link = links.claim(fact.device, self._mark(TRANSIT_KIND, self._router_uid))
        links.set(link.index, mtu=fact.mtu, address=fact.mac, state="up")

    def _guard(self, gone: Iterable[RouterFact], made: Iterable[RouterFact]) -> None:
        old = [fact for fact in gone if isinstance(fact, GuardElement)]
        new = [fact for fact in made if isinstance(fact, GuardElement)]
        if old:
            self._kernel.tables.remove_elements(old)
        if new:
            self._kernel.tables.make_elements(new)

    def _translate(self, gone: Iterable[RouterFact], made: Iterable[RouterFact]) -> None:
        old = frozenset(fact for fact in gone if isinstance(fact, NatElement))
        new = frozenset(fact for fact in made if isinstance(fact, NatElement))
        try:
            self._space.commit(router_nat.commands(old, new))
        except NftablesError as error:
            if not error.is_missing:
                raise
            # One of them is gone already, so nothing was done: the others go alone.
            self._space.commit(router_nat.commands(old & self._space.translations(), new))

    def _entries(self, facts: Iterable[RouterFact]) -> list[Entry]:
        entries = []
        for fact in facts:
            if isinstance(fact, Neighbour) and (link := self._link(fact.device)):
                entries.append(neighbour(link, fact.address, fact.mac))
            elif isinstance(fact, TunnelEntry) and (link := self._link(fact.device)):
                entries.append(tunnel_entry(link, fact.mac, fact.destination))
        return entries

    def _link(self, name: str) -> int | None:
        """Return the index of a device in the router's namespace."""
        if name not in self._indices:
            link = self._space.links.get(name)
            if link is None:
                return None
            self._indices[name] = link.index
        return self._indices[name]

    def _index(self, name: str) -> int:
        index = self._link(name)
        if index is None:
            raise TemporaryFault(f"router device {name} vanished", reason="DeviceVanished")
        return index

    def _mark(self, kind: str, uid: str) -> str:
        return str(Mark(self._kernel.settings.cloud_id, kind, uid))
