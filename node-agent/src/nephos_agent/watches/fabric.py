"""The networks, routers and security groups that this host needs, by watches that come and go with the need."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from nephos_agent.host_router import carried
from nephos_agent.network.model import HostPort
from nephos_agent.watches.floating_ips import LocalFloatingIPs
from nephos_agent.watches.groups import Groups
from nephos_agent.watches.listeners import Listeners
from nephos_agent.watches.network import NetworkChanges, NetworkWatch
from nephos_agent.watches.ports import LocalPorts
from nephos_agent.watches.reach import Interfaces, Reach, Reference, interfaces_of, network_of, reach
from nephos_agent.watches.router import RouterWatch
from nephos_agent.watches.watch import Watch
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.resources import Network, Port, Router


class Fabric:
    """Follows what is needed, and tells the listeners of what concerns whom. Nothing here is described or written."""

    def __init__(self, kubernetes: Kubernetes, host_name: str, listeners: Listeners, group: asyncio.TaskGroup) -> None:
        self.host_name = host_name
        self._kubernetes = kubernetes
        self._listeners = listeners
        self._group = group
        self.networks: dict[str, NetworkWatch] = {}
        self.routers: dict[str, RouterWatch] = {}
        self.groups = Groups(kubernetes, self._groups_changed, group)
        self.reach = Reach()
        self.is_complete = True
        """Whether all that is needed is known, so that what is not needed is known too."""
        self.ports = LocalPorts(
            kubernetes, host_name, self._local_port_changed, listeners.on_server, listeners.is_present
        )
        self.floating_ips = LocalFloatingIPs(kubernetes, host_name, self._floating_ips_changed)
        here = Selection(field_selector=f"status.gatewayHost={host_name}")
        self._gateways = Informer(Router, here, kubernetes, lambda _old, _new: self._follow())

    @property
    def informers(self) -> tuple[Informer[Any], ...]:
        """Those that are always there."""
        return (self.ports.informer, self.floating_ips.informer, self._gateways)

    @property
    def watches(self) -> tuple[Watch, ...]:
        """Those that are there now."""
        return (*self.networks.values(), *self.routers.values(), *self.groups.watches.values())

    def remote_groups(self, network_uid: str) -> frozenset[str]:
        """Return the groups that rules of Ports here, on that network, name as the other side's."""
        groups = self.groups.of(self._ports_on(network_uid))
        return frozenset(named for group in groups for named in group.remote_groups)

    def needed_for(self, network_uid: str) -> tuple[Watch, ...]:
        """Return what has to be known before the network can be described in full."""
        found = reach(self._references((network_uid,)), (), self._routers_of, self.interfaces_of)
        return (
            *(self.networks[uid] for uid in found.networks if uid in self.networks),
            *(self.routers[uid] for uid in found.routers if uid in self.routers),
            *self.groups.of(self._ports_on(network_uid)),
        )

    # What is needed.

    def _follow(self) -> None:
        """Open watches for what is needed now, and end those of what is not; both are told."""
        before = self.reach
        local, gateways = self._references(self.ports.networks()), [_reference(router) for router in self._gateways]
        self.reach = now = reach(local, gateways, self._routers_of, self.interfaces_of)
        for uid in now.networks.keys() - self.networks.keys():
            self.networks[uid] = self._watch_network(now.networks[uid])
        for uid in now.routers.keys() - self.routers.keys():
            self.routers[uid] = self._watch_router(now.routers[uid])
        for uid in self.networks.keys() - now.networks.keys():
            self.networks.pop(uid).stop()
            self._listeners.on_network(uid)
        for uid in self.routers.keys() - now.routers.keys():
            self.routers.pop(uid).stop()
            self._listeners.on_router(uid)
        self._tell_members(uid for uid in now.networks if before.joined_with(uid) != now.joined_with(uid))
        self._judge_completeness()

    def _references(self, network_uids: Iterable[str]) -> list[Reference]:
        ports = (next(iter(self._ports_on(uid)), None) for uid in network_uids)
        return [reference for port in ports if port and (reference := network_of(port))]

    def _ports_on(self, network_uid: str) -> Iterable[Port]:
        return self.ports.of_network(network_uid).values()

    def _routers_of(self, network_uid: str) -> tuple[Reference, ...]:
        watch = self.networks.get(network_uid)
        return watch.routers if watch else ()

    def interfaces_of(self, router_uid: str) -> Interfaces:
        """Return where the router is, as it was last seen."""
        watch = self.routers.get(router_uid)
        router = watch.last_seen if watch else None
        if router is None:
            return Interfaces()
        is_gateway = router.status.gateway_host == self.host_name
        has_floating_ips = any(map(carried, self.floating_ips.of(router_uid)))
        return interfaces_of(router, needs_outside=is_gateway or has_floating_ips)

    def _judge_completeness(self) -> None:
        was_complete = self.is_complete
        self.is_complete = all(watch.is_synced and watch.is_known for watch in self.networks.values()) and all(
            watch.is_synced and watch.last_seen for watch in self.routers.values()
        )
        if self.is_complete and not was_complete:
            self._tell_members(self.reach.networks)
            self._listeners.on_complete()

    # Watches, and whom their news concern.

    def _watch_network(self, reference: Reference) -> NetworkWatch:
        uid = reference.uid
        changes = NetworkChanges(
            itself=lambda old, new: self._network_changed(uid, old, new),
            port=lambda before, now: self._port_changed(uid, before, now),
            synced=lambda: self._network_synced(uid),
        )
        return NetworkWatch(self._kubernetes, reference, changes, self._group)

    def _watch_router(self, reference: Reference) -> RouterWatch:
        uid = reference.uid
        return RouterWatch(
            self._kubernetes,
            reference,
            lambda: self._router_changed(uid),
            lambda: self._router_synced(uid),
            self._group,
        )

    def _network_changed(self, uid: str, old: Network | None, new: Network | None) -> None:
        self._listeners.on_network(uid)
        if old is None or new is None or old.status != new.status:
            self._tell_routers(uid)
            self._follow()

    def _network_synced(self, uid: str) -> None:
        self._listeners.on_network(uid)
        self._tell_routers(uid)
        self._tell_members(self.reach.networks)
        self._judge_completeness()

    def _port_changed(self, uid: str, before: HostPort | None, now: HostPort | None) -> None:
        self._listeners.on_network(uid)
        if _place(before) != _place(now):
            self._tell_routers(uid)
        if _membership(before) != _membership(now):
            groups = {group for port in (before, now) if port for group in port.security_groups}
            self._tell_members(self.reach.joined_with(uid), frozenset(groups))

    def _router_changed(self, uid: str) -> None:
        self._follow()
        self._listeners.on_router(uid)

    def _router_synced(self, uid: str) -> None:
        self._listeners.on_router(uid)
        self._tell_members(self.reach.networks)
        self._judge_completeness()

    def _floating_ips_changed(self, router_uid: str) -> None:
        self._follow()
        self._listeners.on_router(router_uid)

    def _local_port_changed(self, old: Port | None, new: Port | None) -> None:
        # The network's own watch tells of the same Port, before or after: what follows from both is looked at twice.
        self.groups.follow(old, new)
        before, now = (port.spec.network_uid if port else None for port in (old, new))
        if before != now:
            self._follow()
            for uid in filter(None, (before, now)):
                self._listeners.on_network(uid)
                self._tell_routers(uid)
        elif now and old and new and old.spec.security_group_references != new.spec.security_group_references:
            self._listeners.on_network(now)

    def _groups_changed(self, port_uids: frozenset[str]) -> None:
        users = filter(None, map(self.ports.get, port_uids))
        for network_uid in {port.spec.network_uid for port in users if port.spec.network_uid}:
            self._listeners.on_network(network_uid)

    def _tell_routers(self, network_uid: str) -> None:
        for router_uid in self.reach.routers_at(network_uid):
            self._listeners.on_router(router_uid)

    def _tell_members(self, network_uids: Iterable[str], groups: frozenset[str] | None = None) -> None:
        """Tell networks with a Port here whose rules look at Ports of other networks: of these groups, or of any.

        Such a network waits for all that routers join it with, and no event of its own says that this is known.
        """
        for uid in self.ports.networks().intersection(network_uids):
            named = self.remote_groups(uid)
            if named if groups is None else named & groups:
                self._listeners.on_network(uid)


def _reference(router: Router) -> Reference:
    return Reference(router.metadata.namespace or "", router.metadata.name, router.uid)


def _place(port: HostPort | None) -> tuple[object, ...]:
    """Return what routers know of a port."""
    return (port.mac, port.addresses, port.address_pairs) if port else ()


def _membership(port: HostPort | None) -> tuple[object, ...]:
    """Return what rules that name a group know of a port."""
    return (port.addresses, port.security_groups) if port else ()
