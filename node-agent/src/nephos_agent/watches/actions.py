"""The ServerActions that were handed to this host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from nephos_agent.watches.written import Written, is_echo
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.resources import ServerAction


class Actions:
    """Kept by ``status.host``; ``changed`` is called with the UID of the Server whose action changed."""

    def __init__(self, kubernetes: Kubernetes, host_name: str, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._by_server: defaultdict[str, dict[str, ServerAction]] = defaultdict(dict)
        self._written = Written()
        assigned = Selection(field_selector=f"status.host={host_name}")
        self.informer = Informer(ServerAction, assigned, kubernetes, self._on_action)

    def of(self, server_uid: str) -> tuple[ServerAction, ...]:
        """Return the ServerActions that name the Server."""
        return tuple(self._by_server.get(server_uid, {}).values())

    def learn(self, written: ServerAction) -> None:
        """Take in what we wrote before the watch shows it."""
        actions = self._by_server.get(written.status.server_uid or "", {})
        if self._written.is_news(written, actions.get(written.uid)):
            actions[written.uid] = written

    def _on_action(self, old: ServerAction | None, new: ServerAction | None) -> None:
        changed = new or old
        if changed is None or not (server_uid := changed.status.server_uid):
            return
        if new:
            if self._written.is_overtaken(new):
                return
            known = self._by_server[server_uid].get(new.uid)
            self._by_server[server_uid][new.uid] = new
            if is_echo(known, new):
                return
        elif actions := self._by_server.get(server_uid):
            actions.pop(changed.uid, None)
            self._written.forget(changed.uid)
            if not actions:
                del self._by_server[server_uid]
        self._changed(server_uid)
