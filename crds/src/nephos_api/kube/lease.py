"""Leases: a host's sign of life, and the election of the one operator that acts.

Times of others are never compared with our clock: a Lease has run out when it was not seen to change for its
duration, by our own monotonic clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

import structlog
from pydantic import Field

from nephos_api.errors import ApiUnavailable, Conflict, Refused
from nephos_api.kube.paths import collection_path, object_path
from nephos_api.kube.protocol import Kubernetes
from nephos_api.metadata import SYSTEM_NAMESPACE, KindInfo, Metadata, Resource
from nephos_api.model import ApiModel

log = structlog.get_logger(__name__)

RENEW_EVERY_S: Final = 5.0
HOST_LOST_AFTER_S: Final = 20
"""A host whose Lease was not renewed for so long is lost."""
HOST_LEASE_LABELS: Final = {"nephos.cloud/lease": "host"}
"""On the Leases of hosts, so that they can be watched without the others."""

_FAULTS: Final = (ApiUnavailable, Conflict, Refused, TimeoutError)


class LeaseSpec(ApiModel):
    """Who holds the Lease, and since when; all absent in one that was released."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Resource):
    """Kubernetes' own Lease (coordination.k8s.io/v1)."""

    info: ClassVar[KindInfo] = KindInfo(kind="Lease", plural="leases", api_version="coordination.k8s.io/v1")

    metadata: Metadata
    spec: Annotated[LeaseSpec, Field(default_factory=LeaseSpec)]


class HostLease:
    """The Lease of this host, named like it. ``run`` renews it; the agent's watchdog asks how old it is."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        host: str,
        *,
        renew_every_s: float = RENEW_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kubernetes = kubernetes
        self._host = host
        self._renew_every_s = renew_every_s
        self._clock = clock
        self._renewed_at: float | None = None

    @property
    def age_s(self) -> float | None:
        """Seconds since the last renewal that the API server took; None before the first."""
        return None if self._renewed_at is None else self._clock() - self._renewed_at

    async def run(self) -> None:
        """Renew until cancelled; a failed renewal is tried again at the next beat."""
        while True:
            started = self._clock()
            try:
                async with asyncio.timeout(self._renew_every_s):
                    await self.renew()
            except _FAULTS as fault:
                log.warning("lease not renewed", host=self._host, age_s=self.age_s, error=str(fault))
            await asyncio.sleep(max(0.0, self._renew_every_s - (self._clock() - started)))

    async def renew(self) -> None:
        """Renew the Lease now, or make it: one request, two at the first time."""
        sent_at = self._clock()
        spec = {
            "holderIdentity": self._host,
            "leaseDurationSeconds": HOST_LOST_AFTER_S,
            "renewTime": _micro_time(),
        }
        path = object_path(Lease.info, self._host, SYSTEM_NAMESPACE)
        if not await self._kubernetes.raw("PATCH", path, body={"spec": spec}):
            metadata = {"name": self._host, "namespace": SYSTEM_NAMESPACE, "labels": HOST_LEASE_LABELS}
            await _create(self._kubernetes, metadata, spec | {"acquireTime": spec["renewTime"]})
        self._renewed_at = sent_at


@dataclass(frozen=True)
class ElectionTimes:
    """How long a leader is one without a renewal, when it stops by itself before that, how often all look (s)."""

    duration_s: int = 15
    stop_after_s: float = 10.0
    retry_every_s: float = 2.0


class LeaderElection:
    """Elects one holder of a Lease. The others wait until it was released, or not renewed for its whole duration.

    ``kubernetes.aio.leaderelection`` is not used: it goes by the wall clock and ends at a lost connection.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        name: str,
        identity: str,
        *,
        times: ElectionTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kubernetes = kubernetes
        self._name = name
        self._identity = identity
        self._times = times or ElectionTimes()
        self._clock = clock
        self._seen: tuple[LeaseSpec, float] | None = None
        self._stop_at = 0.0
        self.is_leader = False

    @property
    def left_s(self) -> float:
        """For how many seconds more this one surely leads; 0 or less: another may. To be asked before each write."""
        return self._stop_at - self._clock() if self.is_leader else 0.0

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the leadership and run ``lead`` while it lasts.

        Returns when ``lead`` does or when the leadership is lost, ``lead`` being cancelled and ended then. The Lease is
        released only after ``lead`` has ended, so that the next leader need not wait.
        """
        while True:
            sent_at = self._clock()
            if await self._try(self._acquire, self._times.stop_after_s):
                break
            await asyncio.sleep(self._times.retry_every_s)
        self._stop_at = sent_at + self._times.stop_after_s
        self.is_leader = True
        log.info("leading", lease=self._name, identity=self._identity)
        leading = asyncio.ensure_future(lead())
        renewing = asyncio.ensure_future(self._renew_while_possible())
        try:
            await asyncio.wait({leading, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.is_leader = False
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self._try(self._release, self._times.retry_every_s)
        if not leading.cancelled():
            leading.result()

    async def _renew_while_possible(self) -> None:
        while (left_s := self._stop_at - self._clock()) > 0:
            sent_at = self._clock()
            if await self._try(self._acquire, left_s):
                self._stop_at = sent_at + self._times.stop_after_s
            elif self._seen and self._seen[0].holder_identity not in (self._identity, None, ""):
                log.error("leadership taken by another", lease=self._name, holder=self._seen[0].holder_identity)
                return
            await asyncio.sleep(min(self._times.retry_every_s, max(0.0, left_s)))
        log.error("leadership lost: the lease could not be renewed", lease=self._name)

    async def _try(self, call: Callable[[], Coroutine[Any, Any, bool]], most_s: float) -> bool:
        try:
            async with asyncio.timeout(most_s):
                return await call()
        except _FAULTS as fault:
            log.warning("lease not reached", lease=self._name, error=str(fault))
            return False

    async def _acquire(self) -> bool:
        """Take or renew the Lease if that may be done now; tell whether it is ours."""
        lease = await self._kubernetes.get(Lease, self._name, SYSTEM_NAMESPACE)
        if lease is None:
            metadata = {"name": self._name, "namespace": SYSTEM_NAMESPACE}
            await _create(self._kubernetes, metadata, self._spec(LeaseSpec()))
            return True
        if self._seen is None or self._seen[0] != lease.spec:
            self._seen = (lease.spec, self._clock())
        if not may_take(lease.spec, self._identity, unchanged_s=self._clock() - self._seen[1]):
            return False
        await self._replace(lease, self._spec(lease.spec))
        return True

    async def _release(self) -> bool:
        lease = await self._kubernetes.get(Lease, self._name, SYSTEM_NAMESPACE)
        if lease is None or lease.spec.holder_identity != self._identity:
            return False
        await self._replace(lease, lease.spec.to_wire() | {"holderIdentity": ""})
        return True

    async def _replace(self, lease: Lease, spec: dict[str, Any]) -> None:
        """Write the Lease; ``Conflict`` where somebody else did since it was read."""
        body = {
            "apiVersion": Lease.info.api_version,
            "kind": "Lease",
            "metadata": lease.metadata.to_wire(),
            "spec": spec,
        }
        await self._kubernetes.raw("PUT", object_path(Lease.info, self._name, SYSTEM_NAMESPACE), body=body)

    def _spec(self, old: LeaseSpec) -> dict[str, Any]:
        now = _micro_time()
        is_ours = old.holder_identity == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._times.duration_s,
            "acquireTime": old.acquire_time if is_ours and old.acquire_time else now,
            "renewTime": now,
            "leaseTransitions": (old.lease_transitions or 0) + (not is_ours),
        }


def may_take(spec: LeaseSpec, identity: str, *, unchanged_s: float) -> bool:
    """Tell whether ``identity`` may take a Lease that it has seen unchanged for so long."""
    if not spec.holder_identity or spec.holder_identity == identity:
        return True
    return unchanged_s > (spec.lease_duration_seconds or 0)


async def _create(kubernetes: Kubernetes, metadata: dict[str, Any], spec: dict[str, Any]) -> None:
    body = {"apiVersion": Lease.info.api_version, "kind": "Lease", "metadata": metadata, "spec": spec}
    if await kubernetes.raw("POST", collection_path(Lease.info, metadata["namespace"]), body=body) is None:
        raise ApiUnavailable(f"namespace {metadata['namespace']} is not there yet")


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
