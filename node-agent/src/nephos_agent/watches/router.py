"""One router that the host needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nephos_agent.watches.reach import Reference
from nephos_agent.watches.watch import Watch
from nephos_api.kube.informer import Informer
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.resources import Router


class RouterWatch(Watch):
    """The Router, by its name; ``changed`` is called for every change but of its conditions."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        reference: Reference,
        changed: Callable[[], None],
        on_synced: Callable[[], None],
        group: asyncio.TaskGroup,
    ) -> None:
        by_name = Selection(namespace=reference.namespace, field_selector=f"metadata.name={reference.name}")
        self._uid = reference.uid
        self._changed = changed
        self.last_seen: Router | None = None
        """The Router, even where the API lost it since."""
        self._routers = Informer(Router, by_name, kubernetes, self._on_router)
        super().__init__(group, on_synced, self._routers)

    @property
    def router(self) -> Router | None:
        """The Router, as it is there now."""
        return next((router for router in self._routers if router.uid == self._uid), None)

    def _on_router(self, old: Router | None, new: Router | None) -> None:
        if new and new.uid == self._uid:
            self.last_seen = new
        if old is None or new is None or _concern(old) != _concern(new):
            self._changed()


def _concern(router: Router) -> tuple[object, ...]:
    """Return what hosts need to know of a router."""
    spec, status = router.spec, router.status
    return (
        spec.snat,
        spec.routes,
        spec.enabled,
        status.legs,
        status.external,
        status.transit_vni,
        status.gateway_host,
        status.gateway_host_address,
    )
