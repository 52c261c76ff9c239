"""Finds what no Server claims on this host, and collects it as ``collect`` judges."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from nephos_agent import collect
from nephos_agent.compute.protocol import ComputeDriver
from nephos_agent.consoles import Consoles
from nephos_agent.storage.protocol import StorageDriver
from nephos_agent.watches import Watches
from nephos_api.kube.protocol import Kubernetes
from nephos_api.resources.server import Server

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Claim:
    """Something here that carries a Server's mark."""

    server_uid: str
    namespace: str
    server_name: str


class _Marked(Protocol):
    @property
    def server_uid(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def server_name(self) -> str: ...


class Collector:
    """Remembers in a file for how long each orphan was missed: an agent that restarts does not begin anew."""

    def __init__(
        self,
        host_name: str,
        kubernetes: Kubernetes,
        watches: Watches,
        compute: ComputeDriver,
        storage: StorageDriver,
        consoles: Consoles,
        memory: Path,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._host_name = host_name
        self._kubernetes = kubernetes
        self._watches = watches
        self._compute = compute
        self._storage = storage
        self._consoles = consoles
        self._memory = memory
        self._monotonic = monotonic
        self._looked_at: float | None = None
        self.orphans = 0
        """How many Servers have something here that the API does not place here."""
        self.stopped: str | None = None
        """Why the collection stands still, in a sentence; None while it does not."""

    async def run(self) -> None:
        """Look once. Raises TemporaryFault where API, hypervisor or disk do not answer: then nothing is concluded."""
        claims = _claims(await self._compute.domains(), await self._storage.disks())
        missing = [claim for claim in claims.values() if await self._is_missing(claim)]
        known = await asyncio.to_thread(self._load)
        now = self._monotonic()
        passed_s = 0.0 if self._looked_at is None else now - self._looked_at
        self._looked_at = now
        orphans = collect.update(known, frozenset(claim.server_uid for claim in missing), passed_s)
        verdict = collect.judge(orphans, here=len(claims), placed=len(self._watches.servers()))
        if verdict.stopped:
            # what such an API does not know says nothing: the day begins when it can be believed again
            orphans = dict.fromkeys(orphans, 0.0)
        if orphans != known:
            await asyncio.to_thread(self._save, orphans)
        if verdict.stopped and verdict.stopped != self.stopped:
            log.error("collection stopped", reason=verdict.stopped)
        self.orphans, self.stopped = len(orphans), verdict.stopped
        for server_uid in verdict.collect:
            await self._collect(claims[server_uid])

    async def _is_missing(self, claim: _Claim) -> bool:
        """Ask the API itself; what the watch shows may be old."""
        if self._watches.server(claim.server_uid):
            return False
        server = await self._kubernetes.get(Server, claim.server_name, claim.namespace)
        return server is None or server.uid != claim.server_uid or server.status.host != self._host_name

    async def _collect(self, claim: _Claim) -> None:
        log.warning("collecting an orphan", server=claim.server_uid, namespace=claim.namespace, name=claim.server_name)
        await self._compute.destroy(claim.server_uid)
        await self._compute.undefine(claim.server_uid)
        await self._storage.trash(claim.server_uid)
        await self._consoles.delete(claim.server_uid)

    def _load(self) -> dict[str, float]:
        try:
            return {str(uid): float(missed_s) for uid, missed_s in json.loads(self._memory.read_text()).items()}
        except (FileNotFoundError, ValueError, AttributeError, TypeError):
            return {}

    def _save(self, orphans: dict[str, float]) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        partial = self._memory.with_suffix(".partial")
        partial.write_text(json.dumps(orphans))
        partial.replace(self._memory)


def _claims(*marked: Iterable[_Marked]) -> dict[str, _Claim]:
    return {
        item.server_uid: _Claim(item.server_uid, item.namespace, item.server_name) for items in marked for item in items
    }
