"""The picture of the API that a host needs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from nephos_agent.network.model import HostNetwork, HostRouter
from nephos_agent.watches.actions import Actions
from nephos_agent.watches.descriptions import Descriptions
from nephos_agent.watches.fabric import Fabric
from nephos_agent.watches.listeners import Listeners
from nephos_agent.watches.servers import Servers
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.resources import FloatingIP, Host, Network, Port, Server, ServerAction


class Watches:
    """The picture of the API that this host needs. Nothing here is written."""

    def __init__(self, kubernetes: Kubernetes, host_name: str, listeners: Listeners) -> None:
        self._host_name = host_name
        self._group = asyncio.TaskGroup()
        self._servers = Servers(kubernetes, host_name, listeners.on_server)
        self._actions = Actions(kubernetes, host_name, listeners.on_server)
        self._fabric = Fabric(kubernetes, host_name, listeners, self._group)
        self._descriptions = Descriptions(self._fabric)
        by_name = Selection(field_selector=f"metadata.name={host_name}")
        self._hosts = Informer(Host, by_name, kubernetes, lambda _old, _new: listeners.on_host())

    async def run(self) -> None:
        """Watch until cancelled."""
        async with self._group:
            for informer in self._informers():
                self._group.create_task(informer.run())

    async def synced(self) -> None:
        """Wait until the first lists of what is bound to this host are here."""
        for informer in self._informers():
            await informer.synced.wait()

    async def resync(self) -> None:
        """Compare with fresh lists; waits while the API server is away."""
        for informer in self._informers():
            await informer.resync()
        for watch in self._fabric.watches:
            await watch.resync()

    @property
    def is_complete(self) -> bool:
        """Whether every network and router that the host needs is known: what is not among them is needed no more."""
        return self._fabric.is_complete

    @property
    def host(self) -> Host | None:
        """This host's own object."""
        return self._hosts.get(self._host_name)

    def server(self, uid: str) -> Server | None:
        """Return the Server that is placed here."""
        return self._servers.get(uid)

    def servers(self) -> tuple[Server, ...]:
        """Return the Servers that are placed here."""
        return self._servers.all()

    def learn_server(self, written: Server) -> None:
        """Take in what we wrote before the watch shows it, so that we do not write it twice."""
        self._servers.learn(written)

    def learn_port(self, written: Port) -> None:
        """Take in what we wrote."""
        self._fabric.ports.learn(written)

    def learn_action(self, written: ServerAction) -> None:
        """Take in what we wrote."""
        self._actions.learn(written)

    def learn_floating_ip(self, written: FloatingIP) -> None:
        """Take in what we wrote."""
        self._fabric.floating_ips.learn(written)

    def ports_of(self, server_uid: str) -> Mapping[str, Port]:
        """Return the Server's Ports on this host, by name."""
        return self._fabric.ports.of_server(server_uid)

    def port(self, uid: str) -> Port | None:
        """Return a Port of this host."""
        return self._fabric.ports.get(uid)

    def actions_of(self, server_uid: str) -> tuple[ServerAction, ...]:
        """Return the ServerActions that name the Server."""
        return self._actions.of(server_uid)

    def network_uids(self) -> frozenset[str]:
        """Return the UIDs of the networks that this host needs."""
        return frozenset(self._fabric.reach.networks)

    def network(self, uid: str) -> Network | None:
        """Return a Network that this host needs, if it is known yet."""
        watch = self._fabric.networks.get(uid)
        return watch.network if watch else None

    def host_network(self, uid: str) -> HostNetwork | None:
        """Return the network with all of its Ports; None while it is not known in full."""
        return self._descriptions.network(uid)

    async def network_synced(self, uid: str) -> None:
        """Wait until all that the network's description needs was listed; returns at once where nothing needs it."""
        while watch := next((watch for watch in self._fabric.needed_for(uid) if not watch.is_synced), None):
            await watch.synced()

    def router_uids(self) -> frozenset[str]:
        """Return the UIDs of the routers that this host needs."""
        return frozenset(self._fabric.reach.routers)

    def host_router(self, uid: str) -> HostRouter | None:
        """Return the router with all that is behind its legs; None while it is not known in full."""
        return self._descriptions.router(uid)

    def floating_ips_of(self, router_uid: str) -> tuple[FloatingIP, ...]:
        """Return the Router's FloatingIPs that are bound to this host, those that are being deleted too."""
        return self._fabric.floating_ips.of(router_uid)

    def routers_with_floating_ips(self) -> frozenset[str]:
        """Return the UIDs of the Routers that have a FloatingIP bound to this host."""
        return self._fabric.floating_ips.routers()

    def forget_ports(self, server_uid: str) -> None:
        """Drop Ports that were kept for a domain that is gone now and that the API has no more."""
        self._fabric.ports.forget(server_uid)

    def forget_port(self, port: Port) -> bool:
        """Drop a Port that was kept for a domain that has it no more; tell whether the API has it here no more."""
        return self._fabric.ports.forget_one(port)

    def _informers(self) -> tuple[Informer[Any], ...]:
        return (self._servers.informer, *self._fabric.informers, self._actions.informer, self._hosts)
