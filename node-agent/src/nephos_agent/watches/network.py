"""One network that the host needs, with all of its Ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from nephos_agent.host_network import host_port
from nephos_agent.network.model import HostPort
from nephos_agent.remote_port import RemotePort, without_spec
from nephos_agent.watches.reach import Reference, routers_of
from nephos_agent.watches.watch import Watch
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.metadata import CATALOG_NAMESPACE
from nephos_api.resources import Network


@dataclass(frozen=True)
class NetworkChanges:
    """Called for what changed of the network."""

    itself: Callable[[Network | None, Network | None], None]
    """The Network, from what to what."""
    port: Callable[[HostPort | None, HostPort | None], None]
    """One of its Ports, as hosts need it."""
    synced: Callable[[], None]
    """The first lists are here."""


class NetworkWatch(Watch):
    """The Network, by its name, and its Ports, which are of other namespaces too where it is the catalog's."""

    def __init__(
        self, kubernetes: Kubernetes, reference: Reference, changes: NetworkChanges, group: asyncio.TaskGroup
    ) -> None:
        namespace = reference.namespace
        by_name = Selection(namespace=namespace, field_selector=f"metadata.name={reference.name}")
        by_network = Selection(
            namespace=None if namespace == CATALOG_NAMESPACE else namespace,
            field_selector=f"spec.networkUID={reference.uid}",
        )
        self._uid = reference.uid
        self._changes = changes
        self._host_ports: dict[str, HostPort] = {}
        self._port_security = True
        self._undecided: set[str] = set()
        """UIDs of its Ports that have the port security of the Network."""
        self.is_known = False
        """Whether the Network was seen, even where the API lost it since."""
        self.routers: tuple[Reference, ...] = ()
        """The routers with a leg on it, as last seen: a Network that the API lost keeps them."""
        self._networks = Informer(Network, by_name, kubernetes, self._on_network)
        self._ports = Informer(RemotePort, by_network, kubernetes, self._on_port, keep=without_spec)
        super().__init__(group, changes.synced, self._networks, self._ports)

    @property
    def network(self) -> Network | None:
        """The Network, as it is there now."""
        return next((network for network in self._networks if network.uid == self._uid), None)

    @property
    def port_security(self) -> bool:
        """What its Ports have unless they say otherwise."""
        return self._port_security

    @property
    def host_ports(self) -> dict[str, HostPort]:
        """Its bound Ports, by UID."""
        return self._host_ports

    def _on_network(self, old: Network | None, new: Network | None) -> None:
        if new and new.uid == self._uid:
            self.is_known, self.routers = True, routers_of(new)
            if new.spec.port_security != self._port_security:
                self._port_security = new.spec.port_security
                for port in [self._host_ports[uid] for uid in self._undecided]:
                    self._see(port.uid, replace(port, port_security=self._port_security))
        if old is None or new is None or (old.spec, old.status) != (new.spec, new.status):
            self._changes.itself(old, new)

    def _on_port(self, old: RemotePort | None, new: RemotePort | None) -> None:
        if changed := new or old:
            self._see(changed.uid, self._host_port(new) if new else None)
            if new and new.spec.port_security is None and changed.uid in self._host_ports:
                self._undecided.add(changed.uid)
            else:
                self._undecided.discard(changed.uid)

    def _host_port(self, port: RemotePort) -> HostPort | None:
        return host_port(port, port_security=self._port_security)

    def _see(self, uid: str, now: HostPort | None) -> None:
        """Keep what hosts need of the port; most events of a port are about its status, and change nothing here."""
        before = self._host_ports.get(uid)
        if now == before:
            return
        if now:
            self._host_ports[uid] = now
        else:
            self._host_ports.pop(uid, None)
        self._changes.port(before, now)
