"""Events on objects, for ``kubectl describe``: best effort, never in the way."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import structlog

from nephos_api.errors import ApiUnavailable, Conflict, Expired, Refused
from nephos_api.kube.protocol import Kubernetes
from nephos_api.metadata import Resource

log = structlog.get_logger(__name__)

_PENDING_MOST: Final = 1000
"""Events that wait to be written; more of them at once say nothing more to a person."""
_KNOWN_MOST: Final = 4096
_MESSAGE_MOST: Final = 1024
_CLUSTER_NAMESPACE: Final = "default"
"""Where Kubernetes keeps events of objects without a namespace."""


class EventKind(StrEnum):
    """How much an event should worry its reader."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True)
class _Occurrence:
    kind: EventKind
    reason: str
    message: str
    object_reference: tuple[tuple[str, str], ...]

    @property
    def namespace(self) -> str:
        return dict(self.object_reference).get("namespace", _CLUSTER_NAMESPACE)

    @property
    def name(self) -> str:
        digest = hashlib.sha256(repr(self).encode()).hexdigest()[:16]
        return f"{dict(self.object_reference)['name']}.{digest}"


class EventRecorder:
    """Writes Events from a queue; the same event again only raises its count.

    ``normal`` and ``warning`` return at once and never raise. What can't be written is dropped.
    """

    def __init__(self, kubernetes: Kubernetes, component: str, instance: str) -> None:
        self._kubernetes = kubernetes
        self._component = component
        self._instance = instance
        self._pending: OrderedDict[_Occurrence, int] = OrderedDict()
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._wake = asyncio.Event()

    def normal(self, resource: Resource, reason: str, message: str) -> None:
        """Say that something happened to the object."""
        self._add(resource, EventKind.NORMAL, reason, message)

    def warning(self, resource: Resource, reason: str, message: str) -> None:
        """Say that something went wrong with the object, and what to do."""
        self._add(resource, EventKind.WARNING, reason, message)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
            occurrence, times = self._pending.popitem(last=False)
            try:
                await self._write(occurrence, times)
            except (ApiUnavailable, Conflict, Expired, Refused) as error:
                log.debug("event dropped", name=occurrence.name, reason=occurrence.reason, error=str(error))

    def _add(self, resource: Resource, kind: EventKind, reason: str, message: str) -> None:
        reference = {
            "apiVersion": resource.info.api_version,
            "kind": resource.info.kind,
            "name": resource.metadata.name,
            "uid": resource.uid,
        }
        if resource.metadata.namespace:
            reference["namespace"] = resource.metadata.namespace
        occurrence = _Occurrence(kind, reason, message[:_MESSAGE_MOST], tuple(reference.items()))
        if occurrence in self._pending or len(self._pending) < _PENDING_MOST:
            self._pending[occurrence] = self._pending.get(occurrence, 0) + 1
            self._wake.set()

    async def _write(self, occurrence: _Occurrence, times: int) -> None:
        path = f"/api/v1/namespaces/{occurrence.namespace}/events"
        name = occurrence.name
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if known := self._counts.get(name):
            changed = {"count": known + times, "lastTimestamp": now}
            if await self._kubernetes.raw("PATCH", f"{path}/{name}", body=changed):
                self._remember(name, known + times)
                return
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": occurrence.namespace},
            "involvedObject": dict(occurrence.object_reference),
            "type": str(occurrence.kind),
            "reason": occurrence.reason,
            "message": occurrence.message,
            "count": times,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
        }
        try:
            await self._kubernetes.raw("POST", path, body=body)
        except Conflict:
            await self._count_on(path, name, times, now)
        else:
            self._remember(name, times)

    async def _count_on(self, path: str, name: str, times: int, now: str) -> None:
        """Raise the count of an event that an earlier process wrote."""
        found = await self._kubernetes.raw("GET", f"{path}/{name}") or {}
        count = int(found.get("count") or 0) + times
        await self._kubernetes.raw("PATCH", f"{path}/{name}", body={"count": count, "lastTimestamp": now})
        self._remember(name, count)

    def _remember(self, name: str, count: int) -> None:
        self._counts[name] = count
        self._counts.move_to_end(name)
        while len(self._counts) > _KNOWN_MOST:
            self._counts.popitem(last=False)
