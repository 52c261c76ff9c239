"""The Servers that are placed on this host."""

from __future__ import annotations

from collections.abc import Callable

from nephos_agent.watches.written import Written, is_echo
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.resources import Server


class Servers:
    """Kept by ``status.host``; ``changed`` is called with the UID of a Server that changed."""

    def __init__(self, kubernetes: Kubernetes, host_name: str, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._by_uid: dict[str, Server] = {}
        self._written = Written()
        placed = Selection(field_selector=f"status.host={host_name}")
        self.informer = Informer(Server, placed, kubernetes, self._on_server)

    def get(self, uid: str) -> Server | None:
        """Return the Server."""
        return self._by_uid.get(uid)

    def all(self) -> tuple[Server, ...]:
        """Return every Server."""
        return tuple(self._by_uid.values())

    def learn(self, written: Server) -> None:
        """Take in what we wrote before the watch shows it."""
        if self._written.is_news(written, self._by_uid.get(written.uid)):
            self._by_uid[written.uid] = written

    def _on_server(self, old: Server | None, new: Server | None) -> None:
        if new:
            if self._written.is_overtaken(new):
                return
            known = self._by_uid.get(new.uid)
            self._by_uid[new.uid] = new
            if is_echo(known, new):
                return
        elif old:
            self._by_uid.pop(old.uid, None)
            self._written.forget(old.uid)
        if changed := new or old:
            self._changed(changed.uid)
