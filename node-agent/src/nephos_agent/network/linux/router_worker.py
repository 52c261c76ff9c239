"""What the kernel thread does for routers: keeps a picture of each, plans against it, carries plans out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from nephos_agent.network.desired import HostContext
from nephos_agent.network.facts import Dnsmasq, Fact, GuardElement, Key, Neighbour
from nephos_agent.network.linux import announce as linux_announce
from nephos_agent.network.linux import hosts_files, namespaces, sysctls
from nephos_agent.network.linux.events import Events
from nephos_agent.network.linux.kernel import Kernel
from nephos_agent.network.linux.link_reader import SERVICE_PORT
from nephos_agent.network.linux.route_reader import connected_by
from nephos_agent.network.linux.router_kernel import RouterKernel
from nephos_agent.network.linux.router_observe import RouterObserver
from nephos_agent.network.linux.router_space import opened
from nephos_agent.network.linux.said import Said
from nephos_agent.network.model import HostRouter, RouterGateway
from nephos_agent.network.names import network_names
from nephos_agent.network.router.advertiser import interfaces
from nephos_agent.network.router.desired import floating_ips, neighbour_facts, own_gateway, router_facts
from nephos_agent.network.router.facts import Address, Leg, RouterFact, RouterSpace, Transit
from nephos_agent.network.router.names import (
    INSIDE_PREFIX,
    OUTSIDE_PREFIX,
    inner_name,
    leg_name,
    outside_mac,
    router_names,
)
from nephos_agent.network.router.plan import RouterPlan, keeping, plan
from nephos_api.errors import TemporaryFault


@dataclass
class RouterPicture:
    """What holds of one router; the ports behind its legs, which are many, apart."""

    own: dict[Key, RouterFact] = field(default_factory=dict)
    neighbours: dict[Key, RouterFact] = field(default_factory=dict)

    def learn(self, facts: Iterable[RouterFact]) -> None:
        """Take the facts in; each replaces the one with its key."""
        for fact in facts:
            self._side(fact)[fact.key] = fact

    def forget(self, facts: Iterable[RouterFact]) -> None:
        """Forget the facts."""
        for fact in facts:
            self._side(fact).pop(fact.key, None)

    def own_facts(self) -> frozenset[RouterFact]:
        """Return all but the neighbours."""
        return frozenset(self.own.values())

    def all(self) -> frozenset[RouterFact]:
        """Return everything."""
        return frozenset((*self.own.values(), *self.neighbours.values()))

    def get(self, key: Key) -> RouterFact | None:
        """Return the fact with that key, if there is one."""
        return self.own.get(key) or self.neighbours.get(key)

    def forwards(self) -> bool:
        """Tell whether the router is one that forwards."""
        return any(isinstance(fact, RouterSpace) and fact.forwards for fact in self.own.values())

    def connected(self) -> frozenset[tuple[str, str | None]]:
        """Return what is behind the router's interfaces by their addresses: names and CIDRs."""
        addresses = (fact for fact in self.own.values() if isinstance(fact, Address))
        return frozenset((fact.device, connected_by(fact.address)) for fact in addresses)

    def devices(self) -> frozenset[str]:
        """Return the names of the router's interfaces in its namespace."""
        inner = (fact.inner for fact in self.own.values() if isinstance(fact, Leg))
        return frozenset((*inner, *(fact.device for fact in self.own.values() if isinstance(fact, Transit))))

    def legs(self) -> tuple[Leg, ...]:
        """Return the router's interfaces on networks."""
        return tuple(fact for fact in self.own.values() if isinstance(fact, Leg))

    def _side(self, fact: RouterFact) -> dict[Key, RouterFact]:
        is_many = isinstance(fact, Neighbour) and fact.device.startswith(INSIDE_PREFIX)
        return self.neighbours if is_many else self.own


class RouterWorker:
    """Owned by the thread that owns ``Kernel``; every call blocks."""

    def __init__(self, kernel: Kernel, context: HostContext, events: Events) -> None:
        self._settings = kernel.settings
        self._kernel = kernel
        self._context = context
        self._routers = RouterKernel(kernel)
        self._pictures: dict[str, RouterPicture] = {}
        self._described: dict[str, HostRouter] = {}
        """As last carried out; of a router without an entry, everything is compared."""
        self._asked_for: dict[str, HostRouter] = {}
        """As last described, whatever was learnt since: whose addresses are asked for."""
        self._owners: dict[str, str] = {}
        """Whose each leg is, by its device in the tenant namespace."""
        self._learnt = 0
        """How often everything was learnt; a plan that is older than that does not say what holds."""
        self._planned_at: dict[str, int] = {}
        self._untold: dict[str, set[str]] = {}
        """Addresses, with prefix lengths, that are new here and yet to be announced, by router."""
        self._events = events
        self._commits_seen: dict[str, int] = {}
        self.is_stale = False
        """Whether the pictures cannot be trusted, because a change failed half-way."""
        self.uids: frozenset[str] = frozenset()
        """UIDs of the routers that the host carries; other threads may read it at any time."""

    def refresh(self, tenants: Iterable[Fact], units: frozenset[str]) -> frozenset[str]:
        """Learn everything anew; return the UIDs of the routers that were found other than they were thought to be.

        ``tenants`` are the facts found in the tenant namespace, ``units`` the processes that the launcher has.
        """
        observer = RouterObserver(self._kernel, self._routers, tenants)
        before, self._pictures = self._pictures, {}
        for uid in observer.uids():
            if self._routers.owner(self._routers.path(uid)) == uid:
                self._listen(uid)
                self._routers.prepare(uid)
            self._pictures[uid] = RouterPicture()
            self._pictures[uid].learn(observer.facts(uid, units))
        self._owners = {leg.device: uid for uid, picture in self._pictures.items() for leg in picture.legs()}
        self._described.clear()
        self._learnt += 1
        self.is_stale = False
        self.uids = frozenset(self._pictures)
        nothing = RouterPicture()
        uids = before.keys() | self._pictures.keys()
        return frozenset(uid for uid in uids if before.get(uid, nothing) != self._pictures.get(uid, nothing))

    def observed(self, tenants: Iterable[Fact], units: frozenset[str]) -> dict[str, frozenset[RouterFact]]:
        """Return what the kernel has of each router; arguments as of ``refresh``."""
        observer = RouterObserver(self._kernel, self._routers, tenants)
        return {uid: observer.facts(uid, units) for uid in observer.uids()}

    def plan(self, router: HostRouter) -> RouterPlan:
        """Return the changes that make this host carry the router as described.

        Raises ``TemporaryFault`` where a network of its is not here. Where the last description was carried out, only
        neighbours that differ between the two are looked at.
        """
        for network_uid in sorted(router.networks_on(self._context.host)):
            if self._kernel.tenants.get(network_names(network_uid, self._context.namespace_prefix).bridge) is None:
                raise TemporaryFault(
                    f"router {router.name}: network {network_uid} is not on this host", reason="NetworkMissing"
                )
        picture = self._pictures.setdefault(router.uid, RouterPicture())
        before = self._described.pop(router.uid, None)
        self._planned_at[router.uid] = self._learnt
        desired = router_facts(router, self._context)
        if before is None or before.keep_unknown or router.keep_unknown:
            desired |= neighbour_facts(router.neighbours)
            observed = picture.all()
            if router.keep_unknown:
                desired = keeping(desired, observed, router.known_addresses())
            return plan(desired, observed)
        desired |= neighbour_facts(router.neighbours - before.neighbours)
        return plan(desired, picture.own_facts() | neighbour_facts(before.neighbours - router.neighbours))

    def carry_out(self, router: HostRouter, changes: RouterPlan) -> Path | None:
        """Make the changes; return the configuration of a process to start. A failure makes the picture stale."""
        advertisers = changes.made(Dnsmasq)
        if advertisers or changes.gone(Dnsmasq):
            self._withdraw(router.uid, advertisers)
        try:
            self._routers.carry_out(router.uid, changes)
            self._listen(router.uid)
        except BaseException:
            self.is_stale = True
            raise
        self._learn(router.uid, changes)
        self._untold.setdefault(router.uid, set()).update(self._new_outside(router.uid, changes))
        return hosts_files.write_configuration(self._settings.run_dir, advertisers[0]) if advertisers else None

    def carried_out(self, router: HostRouter, process: Dnsmasq | None) -> None:
        """Take note that the router is as described, and of the process that was started; announce what is new here."""
        if process:
            hosts_files.remove_former_configurations(self._settings.run_dir, process)
            self._pictures.setdefault(router.uid, RouterPicture()).learn([process])
        self._announce(router)
        self._asked_for[router.uid] = router
        if not self.is_stale and self._planned_at[router.uid] == self._learnt:
            self._described[router.uid] = router
        self.uids = frozenset(self._pictures)

    def remove(self, router_uid: str) -> None:
        """Remove all of the router, its process apart, which has to be stopped before."""
        self._withdraw(router_uid, ())
        picture = self._pictures.get(router_uid, RouterPicture())
        elements = (fact for fact in picture.own.values() if isinstance(fact, GuardElement))
        self._routers.remove(router_uid, picture.legs(), elements)
        names = router_names(router_uid, self._context.namespace_prefix)
        hosts_files.remove_folder(self._settings.run_dir, names.directory)
        self._events.leave(router_uid)
        for leg in picture.legs():
            self._owners.pop(leg.device, None)
        self._pictures.pop(router_uid, None)
        self._described.pop(router_uid, None)
        self._planned_at.pop(router_uid, None)
        self._commits_seen.pop(router_uid, None)
        self._asked_for.pop(router_uid, None)
        self._untold.pop(router_uid, None)
        self.uids = frozenset(self._pictures)

    def judge(self, tenants: Said, heard: Mapping[str, Said]) -> frozenset[str]:
        """Return the UIDs of the routers that somebody else changed; their pictures are stale then.

        ``tenants`` is what was said of the tenant namespace, ``heard`` what was said of each place.
        """
        broken = self._disturbed({event.name for event in tenants.links} | tenants.ports)
        for key, fact in tenants.facts.items():
            uid = self._owners.get(key[1])
            if uid and self._pictures[uid].get(key) != fact:
                broken.add(uid)
        broken |= {uid for uid in heard.keys() & self._pictures.keys() if self._is_other(uid, heard[uid])}
        self.is_stale |= bool(broken)
        return frozenset(broken)

    def _disturbed(self, devices: Set[str]) -> set[str]:
        """Return the UIDs of the routers of whose legs among the devices one is not as it was made."""
        found = set()
        for name in devices & self._owners.keys():
            uid = self._owners[name]
            legs = self._pictures[uid].legs()
            if not all(self._is_port(leg) for leg in legs if leg.device == name):
                found.add(uid)
        return found

    def _is_other(self, router_uid: str, said: Said) -> bool:
        """Tell whether what was said of the router's namespace is not as it was thought to be."""
        picture, commits = self._pictures[router_uid], self._routers.commits(router_uid)
        seen = self._commits_seen.get(router_uid, commits) + said.commits
        self._commits_seen[router_uid] = commits
        down = {link.name for link in said.last_links() if not link.is_up}
        return (
            said.is_lost
            or seen > commits
            or any(picture.get(key) != fact for key, fact in said.facts.items())
            or bool(said.severed and said.severed & picture.connected())
            or bool(down and down & picture.devices())
            or bool(said.sysctls and sysctls.differing(_sysctls(picture), said.sysctls))
        )

    def claim(self, router_uid: str) -> None:
        """Announce the router's own outside addresses again where they are here."""
        router = self._asked_for.get(router_uid)
        gateway = own_gateway(router, self._context) if router else None
        if gateway:
            self._tell(router_uid, gateway, gateway.addresses)

    def probe(self, router_uid: str) -> linux_announce.Probe | None:
        """Return a question for the router's floating IPs, asked at its door outside, or None where it has none."""
        router = self._asked_for.get(router_uid)
        asked = floating_ips(router) if router else ()
        if router is None or router.gateway is None or not asked:
            return None
        network_uid = router.gateway.network_uid
        door = leg_name(router_uid, network_uid, is_outside=True)
        if self._kernel.tenants.get(door) is None:
            return None
        mac = outside_mac(router_uid, network_uid, self._context.host)
        with namespaces.entered(self._kernel.namespace):
            return linux_announce.Probe(door, mac, {each.address: each.uid for each in asked})

    def _listen(self, router_uid: str) -> None:
        """Hear what others do in the router's namespace, unless that is so already."""
        path = self._routers.path(router_uid)
        if namespaces.is_namespace(path) and not self._events.is_listening(router_uid, path):
            with opened(path) as space:
                space.run(lambda: self._events.listen(router_uid, routes=True))
            self._commits_seen[router_uid] = self._routers.commits(router_uid)

    def _learn(self, router_uid: str, changes: RouterPlan) -> None:
        picture = self._pictures[router_uid]
        for step in changes.steps:
            picture.forget(step.gone)
            picture.learn(step.made)
        # It does not run before it was started.
        picture.forget(changes.made(Dnsmasq))
        for leg in changes.gone(Leg):
            self._owners.pop(leg.device, None)
        self._owners |= {leg.device: router_uid for leg in changes.made(Leg)}

    def _new_outside(self, router_uid: str, changes: RouterPlan) -> Iterator[str]:
        """Yield the outside addresses that are new here, and on a new interface all of them."""
        fresh = {leg.inner for leg in changes.made(Leg)}
        made = frozenset(changes.made(Address))
        for fact in self._pictures[router_uid].own.values():
            is_outside = isinstance(fact, Address) and fact.device.startswith(OUTSIDE_PREFIX)
            if isinstance(fact, Address) and is_outside and (fact in made or fact.device in fresh):
                yield fact.address

    def _announce(self, router: HostRouter) -> None:
        """Tell the external network of addresses that are new here and still ours."""
        untold = self._untold.pop(router.uid, set())
        if not untold or router.gateway is None:
            return
        try:
            self._tell(router.uid, router.gateway, untold)
        except OSError:
            self._untold[router.uid] = untold
            raise

    def _tell(self, router_uid: str, gateway: RouterGateway, addresses: Iterable[str]) -> None:
        """Announce those of the addresses, with prefix lengths, that are here."""
        device = inner_name(gateway.network_uid, is_outside=True)
        picture = self._pictures.get(router_uid, RouterPicture())
        facts = [Address(device, address) for address in addresses]
        told = sorted(fact.address.split("/")[0] for fact in facts if picture.get(fact.key) == fact)
        if told:
            mac = outside_mac(router_uid, gateway.network_uid, self._context.host)
            self._routers.announce(router_uid, device, mac, told)

    def _withdraw(self, router_uid: str, advertisers: Iterable[Dnsmasq]) -> None:
        """Tell guests of the router's that it is no way out, where nobody is going to say that it is.

        Who does not hear it (a leg may be gone already) finds out when the last advertisement expires.
        """
        found = self._pictures.get(router_uid, RouterPicture()).own.values()
        before, after = (
            {device for fact in facts if isinstance(fact, Dnsmasq) for device in interfaces(fact.config)}
            for facts in (found, advertisers)
        )
        if before - after:
            with contextlib.suppress(OSError), opened(self._routers.path(router_uid)) as space:
                space.run(lambda: linux_announce.withdraw(before - after))

    def _is_port(self, leg: Leg) -> bool:
        link, bridge = self._kernel.tenants.get(leg.device), self._kernel.tenants.get(leg.bridge)
        is_there = link and bridge and link.is_up and link.master == bridge.index
        return bool(is_there and link and link.port_flags == SERVICE_PORT and link.mtu == leg.mtu)


def _sysctls(picture: RouterPicture) -> dict[str, str]:
    """Return what the router relies on, with the interfaces that it has."""
    forwards = picture.forwards()
    values = {**sysctls.ROUTER, **sysctls.forwarding("all", forwards=forwards)}
    for device in picture.devices():
        values |= sysctls.of_router_device(device) | sysctls.forwarding(device, forwards=forwards)
    return values
