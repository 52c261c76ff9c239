"""The Ports that are bound to this host, and those that a domain here still has although the API lost them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from nephos_agent.watches.written import Written, is_echo
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.resources import Port

_NONE: Final[Mapping[str, Port]] = {}


class LocalPorts:
    """Kept by ``spec.host``.

    ``changed(old, new)`` is called for each Port that came, changed or went; ``is_present`` tells whether a Server's
    domain is here: then its Ports stay.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        host_name: str,
        changed: Callable[[Port | None, Port | None], None],
        on_server: Callable[[str], None],
        is_present: Callable[[str], bool],
    ) -> None:
        self._host_name = host_name
        self._changed = changed
        self._on_server = on_server
        self._is_present = is_present
        self._by_uid: dict[str, Port] = {}
        self._by_server: defaultdict[str, dict[str, Port]] = defaultdict(dict)
        self._by_network: defaultdict[str, dict[str, Port]] = defaultdict(dict)
        self._written = Written()
        bound = Selection(field_selector=f"spec.host={host_name}")
        self.informer = Informer(Port, bound, kubernetes, self._on_port)

    def get(self, uid: str) -> Port | None:
        """Return the Port."""
        return self._by_uid.get(uid)

    def of_server(self, server_uid: str) -> Mapping[str, Port]:
        """Return the Server's Ports, by name."""
        return self._by_server.get(server_uid, _NONE)

    def of_network(self, network_uid: str) -> Mapping[str, Port]:
        """Return the Ports on the network, by UID."""
        return self._by_network.get(network_uid, _NONE)

    def networks(self) -> frozenset[str]:
        """Return the UIDs of the networks that have a Port here."""
        return frozenset(self._by_network)

    def learn(self, written: Port) -> None:
        """Take in what we wrote before the watch shows it."""
        if self._written.is_news(written, self._by_uid.get(written.uid)):
            self._put(written)

    def forget(self, server_uid: str) -> None:
        """Drop Ports that were kept for a domain that is gone now and that the API has no more."""
        for port in [port for port in self._by_uid.values() if port.spec.server_uid == server_uid]:
            self.forget_one(port)

    def forget_one(self, port: Port) -> bool:
        """Drop a Port that was kept for a domain that has it no more; tell whether the API has it here no more."""
        found = self.informer.get(port.metadata.name, port.metadata.namespace)
        is_gone = found is None or found.uid != port.uid
        if is_gone:
            self._drop(port)
        return is_gone

    def _on_port(self, old: Port | None, new: Port | None) -> None:
        if new:
            if self._written.is_overtaken(new):
                return
            known = self._by_uid.get(new.uid)
            self._put(new)
            if is_echo(known, new):
                return
        else:
            known = old
            if old and self._may_drop(old):
                self._drop(old)
        for server_uid in {port.spec.server_uid for port in (known, new) if port and port.spec.server_uid}:
            self._on_server(server_uid)

    def _may_drop(self, gone: Port) -> bool:
        """Tell whether the Port was moved to another host, or no guest here has it: what the API lost is kept."""
        return gone.spec.host != self._host_name or not self._is_present(gone.spec.server_uid or "")

    def _put(self, port: Port) -> None:
        known = self._by_uid.get(port.uid)
        if known and known.spec.server_uid != port.spec.server_uid:
            self._leave_server(known)
        self._by_uid[port.uid] = port
        if port.spec.server_uid:
            self._by_server[port.spec.server_uid][port.metadata.name] = port
        if port.spec.network_uid:
            self._by_network[port.spec.network_uid][port.uid] = port
        self._changed(known, port)

    def _drop(self, port: Port) -> None:
        known = self._by_uid.pop(port.uid, None)
        self._written.forget(port.uid)
        if known is None:
            return
        self._leave_server(known)
        network_uid = known.spec.network_uid or ""
        if siblings := self._by_network.get(network_uid):
            siblings.pop(port.uid, None)
            if not siblings:
                del self._by_network[network_uid]
        self._changed(known, None)

    def _leave_server(self, port: Port) -> None:
        server_uid = port.spec.server_uid or ""
        if siblings := self._by_server.get(server_uid):
            if siblings.get(port.metadata.name, port).uid == port.uid:
                siblings.pop(port.metadata.name, None)
            if not siblings:
                del self._by_server[server_uid]
