"""Which Servers this host has taken in, and whether one more fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nephos_agent.compute.protocol import Domain
from nephos_agent.server import capacity
from nephos_agent.watches import Watches
from nephos_api.conditions import ConditionType, is_true
from nephos_api.resources.host import HostSpec, Resources
from nephos_api.resources.server import Server, ServerFlavor, ServerPhase

_UNBUILT = frozenset({None, ServerPhase.BUILD})


class Admission:
    """Remembers who was taken in. What is built here counts as taken in, also after a restart of the agent.

    Domains that the API does not know count too: they use the host all the same.
    """

    def __init__(self, watches: Watches, size: Callable[[], Resources | None], on_change: Callable[[], None]) -> None:
        self._watches = watches
        self._size = size
        self._on_change = on_change
        self._admitted: set[str] = set()
        self._domains: dict[str, Domain] = {}

    def present(self) -> frozenset[str]:
        """Return the UIDs whose domains were on this host when we last looked."""
        return frozenset(self._domains)

    def note_domain(self, server_uid: str, domain: Domain | None) -> None:
        """Learn that a domain is here, or is not."""
        if domain is None:
            self._domains.pop(server_uid, None)
        else:
            self._domains[server_uid] = domain
            self.admit(server_uid)

    def note_domains(self, domains: Iterable[Domain]) -> None:
        """Learn which domains are here. Servers of the API are left to their own reconciles, which look closer."""
        kept = {uid: domain for uid, domain in self._domains.items() if self._watches.server(uid)}
        self._domains = {domain.server_uid: domain for domain in domains} | kept
        for server_uid in self._domains:
            self.admit(server_uid)

    def refusal(self, server: Server) -> str | None:
        """Take the Server in, or return why it does not fit, in a sentence."""
        size, flavor = self._size(), server.status.flavor
        if self._is_admitted(server) or size is None or flavor is None:
            return None
        host = self._watches.host
        reason = capacity.refusal(flavor, self.allocated(), size, host.spec if host else HostSpec())
        if reason is None:
            self.admit(server.uid)
        return reason

    def admit(self, server_uid: str) -> None:
        """Count a Server that is here already."""
        if server_uid not in self._admitted:
            self._admitted.add(server_uid)
            self._on_change()

    def release(self, server_uid: str) -> None:
        """Count it no more."""
        if server_uid in self._admitted:
            self._admitted.discard(server_uid)
        self._on_change()

    def allocated(self) -> Resources:
        """Return what the Servers that were taken in were promised."""
        flavors: list[ServerFlavor] = []
        for server in self._watches.servers():
            is_gone = is_true(server.status.conditions, ConditionType.RELEASED)
            if server.status.flavor and self._is_admitted(server) and not is_gone:
                flavors.append(server.status.flavor)
        used = capacity.total(flavors)
        orphans = [domain for uid, domain in self._domains.items() if self._watches.server(uid) is None]
        return used.model_copy(
            update={
                "vcpus": used.vcpus + sum(domain.vcpus for domain in orphans),
                "memory_mib": used.memory_mib + sum(domain.memory_mib for domain in orphans),
                "servers": used.servers + len(orphans),
            }
        )

    def _is_admitted(self, server: Server) -> bool:
        return server.uid in self._admitted or server.status.phase not in _UNBUILT
