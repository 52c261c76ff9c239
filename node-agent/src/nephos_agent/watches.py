"""What the agent sees of the API: only what concerns its host, kept by watches with field selectors."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nephos_agent.host_network import host_network, host_port
from nephos_agent.network.model import HostNetwork, HostPort
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.metadata import Resource
from nephos_api.resources import Host, Network, Port, Server, ServerAction

_Tasks = list[asyncio.Task[None]]
_NONE: Final[Mapping[str, Port]] = {}


@dataclass(frozen=True)
class Listeners:
    """Called, in the event loop, with the UID of what changed."""

    on_server: Callable[[str], None]
    """The Server, one of its Ports, or one of its ServerActions changed."""
    on_network: Callable[[str], None]
    """The Network or one of its Ports changed, or the host needs it no more."""
    on_host: Callable[[], None]
    """This host's own Host changed."""
    is_present: Callable[[str], bool]
    """Whether that Server's domain is on this host: then its Ports are kept, whatever the API says."""


class _NetworkWatch:
    """The Network, by its name, and all of its Ports; its tasks are of ``group``, so that none ends unnoticed."""

    def __init__(
        self, kubernetes: Kubernetes, port: Port, changed: Callable[[], None], group: asyncio.TaskGroup
    ) -> None:
        namespace, uid = port.metadata.namespace, port.spec.network_uid
        by_name = Selection(namespace=namespace, field_selector=f"metadata.name={port.spec.network}")
        by_network = Selection(namespace=namespace, field_selector=f"spec.networkUID={uid}")
        self._uid = uid
        self._changed = changed
        self._host_ports: dict[str, HostPort] = {}
        self._network = Informer(Network, by_name, kubernetes, self._on_network)
        self._ports = Informer(Port, by_network, kubernetes, self._on_port)
        self._tasks: _Tasks = [group.create_task(self._network.run()), group.create_task(self._ports.run())]

    @property
    def is_synced(self) -> bool:
        return self._network.synced.is_set() and self._ports.synced.is_set()

    @property
    def network(self) -> Network | None:
        return next((network for network in self._network if network.uid == self._uid), None)

    def host_ports(self) -> dict[str, HostPort]:
        return self._host_ports

    def _on_network(self, old: Network | None, new: Network | None) -> None:
        if old is None or new is None or old.status != new.status:
            self._changed()

    def _on_port(self, old: Port | None, new: Port | None) -> None:
        """Keep what hosts need of the port; most events of a port are about its status, and change nothing here."""
        changed = new or old
        if changed is None:
            return
        seen = host_port(new) if new else None
        if seen == self._host_ports.get(changed.uid):
            return
        if seen:
            self._host_ports[seen.uid] = seen
        else:
            self._host_ports.pop(changed.uid, None)
        self._changed()

    async def synced(self) -> None:
        await self._network.synced.wait()
        await self._ports.synced.wait()

    async def resync(self) -> None:
        """Compare with fresh lists; returns too when the network is not needed here any more."""
        compared = asyncio.create_task(self._compare())
        try:
            await asyncio.wait({compared, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            compared.cancel()

    async def _compare(self) -> None:
        await self._network.resync()
        await self._ports.resync()

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


class Watches:
    """The picture of the API that this host needs. Nothing here is written."""

    def __init__(self, kubernetes: Kubernetes, host_name: str, listeners: Listeners) -> None:
        self._kubernetes = kubernetes
        self._listeners = listeners
        self._servers_by_uid: dict[str, Server] = {}
        self._ports: dict[str, Port] = {}
        self._ports_by_server: defaultdict[str, dict[str, Port]] = defaultdict(dict)
        self._ports_by_network: defaultdict[str, set[str]] = defaultdict(set)
        self._actions: defaultdict[str, dict[str, ServerAction]] = defaultdict(dict)
        self._networks: dict[str, _NetworkWatch] = {}
        self._written: dict[str, int] = {}
        self._group = asyncio.TaskGroup()
        bound, placed = f"spec.host={host_name}", f"status.host={host_name}"
        self._servers = Informer(Server, Selection(field_selector=placed), kubernetes, self._server)
        self._local_ports = Informer(Port, Selection(field_selector=bound), kubernetes, self._port)
        self._action_informer = Informer(ServerAction, Selection(field_selector=placed), kubernetes, self._action)
        by_name = Selection(field_selector=f"metadata.name={host_name}")
        self._hosts = Informer(Host, by_name, kubernetes, lambda _old, _new: listeners.on_host())
        self._host_name = host_name

    async def run(self) -> None:
        """Watch until cancelled."""
        async with self._group:
            for informer in self._informers():
                self._group.create_task(informer.run())

    async def synced(self) -> None:
        """Wait until the first lists are here."""
        for informer in self._informers():
            await informer.synced.wait()

    async def resync(self) -> None:
        """Compare with fresh lists; waits while the API server is away."""
        for informer in self._informers():
            await informer.resync()
        for watch in tuple(self._networks.values()):
            await watch.resync()

    @property
    def host(self) -> Host | None:
        """This host's own object."""
        return self._hosts.get(self._host_name)

    def server(self, uid: str) -> Server | None:
        """Return the Server that is placed here."""
        return self._servers_by_uid.get(uid)

    def servers(self) -> tuple[Server, ...]:
        """Return the Servers that are placed here."""
        return tuple(self._servers_by_uid.values())

    def learn_server(self, written: Server) -> None:
        """Take in what we wrote before the watch shows it, so that we do not write it twice."""
        if self._is_news(written, self._servers_by_uid.get(written.uid)):
            self._servers_by_uid[written.uid] = written

    def learn_port(self, written: Port) -> None:
        """Take in what we wrote."""
        if self._is_news(written, self._ports.get(written.uid)):
            self._ports[written.uid] = written
            self._ports_by_server[written.spec.server_uid or ""][written.metadata.name] = written

    def learn_action(self, written: ServerAction) -> None:
        """Take in what we wrote."""
        actions = self._actions.get(written.status.server_uid or "", {})
        if self._is_news(written, actions.get(written.uid)):
            actions[written.uid] = written

    def ports_of(self, server_uid: str) -> Mapping[str, Port]:
        """Return the Server's Ports on this host, by name."""
        return self._ports_by_server.get(server_uid, _NONE)

    def port(self, uid: str) -> Port | None:
        """Return a Port of this host."""
        return self._ports.get(uid)

    def actions_of(self, server_uid: str) -> tuple[ServerAction, ...]:
        """Return the ServerActions that name the Server."""
        return tuple(self._actions.get(server_uid, {}).values())

    def network_uids(self) -> frozenset[str]:
        """Return the UIDs of the networks that this host needs."""
        return frozenset(uid for uid, ports in self._ports_by_network.items() if ports)

    def network(self, uid: str) -> Network | None:
        """Return a Network that this host needs, if it is known yet."""
        watch = self._networks.get(uid)
        return watch.network if watch else None

    def host_network(self, uid: str) -> HostNetwork | None:
        """Return the network with all of its Ports; None while it is not known in full."""
        watch = self._networks.get(uid)
        network = watch.network if watch and watch.is_synced else None
        if watch is None or network is None:
            return None
        local = (host_port(self._ports[port_uid]) for port_uid in self._ports_by_network[uid])
        ports = watch.host_ports() | {port.uid: port for port in local if port}
        return host_network(network, ports.values())

    async def network_synced(self, uid: str) -> None:
        """Wait until the first lists of a network are here; returns at once where this host does not need it."""
        if watch := self._networks.get(uid):
            await watch.synced()

    def forget_ports(self, server_uid: str) -> None:
        """Drop Ports that were kept for a domain that is gone now and that the API has no more."""
        for port in [port for port in self._ports.values() if port.spec.server_uid == server_uid]:
            self.forget_port(port)

    def forget_port(self, port: Port) -> bool:
        """Drop a Port that was kept for a domain that has it no more; tell whether the API has it here no more."""
        found = self._local_ports.get(port.metadata.name, port.metadata.namespace)
        is_gone = found is None or found.uid != port.uid
        if is_gone:
            self._drop_port(port)
        return is_gone

    def _informers(self) -> tuple[Informer[Any], ...]:
        return (self._servers, self._local_ports, self._action_informer, self._hosts)

    def _is_news(self, written: Resource, known: Resource | None) -> bool:
        """Tell whether what we wrote is newer than what the watch has shown; then events before it count no more."""
        if known is None or _version(written) <= _version(known):
            return False
        self._written[written.uid] = _version(written)
        return True

    def _is_overtaken(self, seen: Resource) -> bool:
        """Tell whether we wrote the object after what the watch shows now: that is on its way too."""
        if _version(seen) < self._written.get(seen.uid, 0):
            return True
        self._written.pop(seen.uid, None)
        return False

    def _server(self, old: Server | None, new: Server | None) -> None:
        if new:
            if self._is_overtaken(new):
                return
            known = self._servers_by_uid.get(new.uid)
            self._servers_by_uid[new.uid] = new
            if _is_echo(known, new):
                return
        elif old:
            self._servers_by_uid.pop(old.uid, None)
            self._written.pop(old.uid, None)
        if changed := new or old:
            self._listeners.on_server(changed.uid)

    def _port(self, old: Port | None, new: Port | None) -> None:
        if new:
            if self._is_overtaken(new):
                return
            known = self._ports.get(new.uid)
            self._put_port(new)
            if _is_echo(known, new):
                return
        elif old and not self._listeners.is_present(old.spec.server_uid or ""):
            self._drop_port(old)
        changed = new or old
        if changed and changed.spec.server_uid:
            self._listeners.on_server(changed.spec.server_uid)

    def _put_port(self, port: Port) -> None:
        known = self._ports.get(port.uid)
        if known and known.spec.server_uid != port.spec.server_uid:
            self._drop_port(known)
            self._listeners.on_server(known.spec.server_uid or "")
        self._ports[port.uid] = port
        if port.spec.server_uid:
            self._ports_by_server[port.spec.server_uid][port.metadata.name] = port
        uid = port.spec.network_uid
        if uid is None:
            return
        is_new = port.uid not in self._ports_by_network[uid]
        self._ports_by_network[uid].add(port.uid)
        if uid not in self._networks:
            self._networks[uid] = _NetworkWatch(
                self._kubernetes, port, lambda: self._listeners.on_network(uid), self._group
            )
        if is_new:
            self._listeners.on_network(uid)

    def _drop_port(self, port: Port) -> None:
        self._ports.pop(port.uid, None)
        self._written.pop(port.uid, None)
        server_uid, network_uid = port.spec.server_uid or "", port.spec.network_uid or ""
        if siblings := self._ports_by_server.get(server_uid):
            if siblings.get(port.metadata.name, port).uid == port.uid:
                siblings.pop(port.metadata.name, None)
            if not siblings:
                del self._ports_by_server[server_uid]
        if local := self._ports_by_network.get(network_uid):
            local.discard(port.uid)
            if not local:
                del self._ports_by_network[network_uid]
                if watch := self._networks.pop(network_uid, None):
                    watch.stop()
        self._listeners.on_network(network_uid)

    def _action(self, old: ServerAction | None, new: ServerAction | None) -> None:
        changed = new or old
        if changed is None or not (server_uid := changed.status.server_uid):
            return
        if new:
            if self._is_overtaken(new):
                return
            known = self._actions[server_uid].get(new.uid)
            self._actions[server_uid][new.uid] = new
            if _is_echo(known, new):
                return
        elif actions := self._actions.get(server_uid):
            actions.pop(changed.uid, None)
            self._written.pop(changed.uid, None)
            if not actions:
                del self._actions[server_uid]
        self._listeners.on_server(server_uid)


def _version(resource: Resource) -> int:
    """Return the resourceVersion as a number: of two of one object, the newer is greater."""
    return int(resource.metadata.resource_version or 0)


def _is_echo(known: Resource | None, new: Resource) -> bool:
    """Tell whether the watch shows what we wrote ourselves, and have acted on."""
    return known is not None and known.metadata.resource_version == new.metadata.resource_version
