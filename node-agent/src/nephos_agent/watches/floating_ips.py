"""The FloatingIPs that are bound to this host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from nephos_agent.watches.written import Written, is_echo
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.resources import FloatingIP


class LocalFloatingIPs:
    """Kept by ``status.host``; ``changed`` is called with the UID of a Router whose floating IPs changed."""

    def __init__(self, kubernetes: Kubernetes, host_name: str, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._by_router: defaultdict[str, dict[str, FloatingIP]] = defaultdict(dict)
        self._written = Written()
        bound = Selection(field_selector=f"status.host={host_name}")
        self.informer = Informer(FloatingIP, bound, kubernetes, self._on_floating_ip)

    def of(self, router_uid: str) -> tuple[FloatingIP, ...]:
        """Return those that the Router translates, those that are being deleted too."""
        return tuple(self._by_router.get(router_uid, {}).values())

    def routers(self) -> frozenset[str]:
        """Return the UIDs of the Routers that have some here."""
        return frozenset(self._by_router)

    def learn(self, written: FloatingIP) -> None:
        """Take in what we wrote before the watch shows it."""
        siblings = self._by_router.get(_router(written), {})
        if self._written.is_news(written, siblings.get(written.uid)):
            siblings[written.uid] = written

    def _on_floating_ip(self, old: FloatingIP | None, new: FloatingIP | None) -> None:
        if new and self._written.is_overtaken(new):
            return
        known = self._by_router.get(_router(new), {}).get(new.uid) if new else None
        if old and (new is None or _router(old) != _router(new)):
            self._drop(old)
        if new:
            self._by_router[_router(new)][new.uid] = new
            if is_echo(known, new):
                return
        for router_uid in {_router(each) for each in (old, new) if each}:
            self._changed(router_uid)

    def _drop(self, gone: FloatingIP) -> None:
        self._written.forget(gone.uid)
        siblings = self._by_router.get(_router(gone), {})
        siblings.pop(gone.uid, None)
        if not siblings:
            self._by_router.pop(_router(gone), None)


def _router(floating_ip: FloatingIP) -> str:
    return floating_ip.status.router_uid or ""
