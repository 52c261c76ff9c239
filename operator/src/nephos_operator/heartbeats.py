"""Which Hosts renew their Leases, told by this process's own clock: hosts' clocks are not compared with ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from nephos_api.kube.informer import Informer
from nephos_api.kube.lease import HOST_LEASE_LABELS, Lease
from nephos_api.kube.lease import HOST_LOST_AFTER_S as LOST_S
from nephos_api.kube.protocol import Kubernetes, Selection
from nephos_api.metadata import SYSTEM_NAMESPACE


class Heartbeat(Enum):
    """What is known of a Host's Lease."""

    RENEWED = "it was seen to be renewed, lately"
    UNKNOWN = "not looked at long enough to tell"
    LOST = "it was not renewed for too long, and would have been seen"


@dataclass
class _Sight:
    version: str
    at_s: float
    is_renewed: bool = False


class Heartbeats:
    """When each Host's Lease was last seen to change."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._sights: dict[str, _Sight] = {}
        self._patient_until_s = monotonic() + LOST_S

    def observe(self, host: str, version: str) -> None:
        """Take note of the Host's Lease in that version."""
        sight = self._sights.get(host)
        if sight is None:
            self._sights[host] = _Sight(version, self._monotonic())
        elif sight.version != version:
            self._sights[host] = _Sight(version, self._monotonic(), is_renewed=True)

    def forget(self, host: str) -> None:
        """Forget a Host whose Lease is gone."""
        self._sights.pop(host, None)

    def of(self, host: str) -> Heartbeat:
        """Return what is known of the Host's Lease now."""
        now_s = self._monotonic()
        sight = self._sights.get(host)
        if sight is not None and now_s - sight.at_s <= LOST_S:
            return Heartbeat.RENEWED if sight.is_renewed else Heartbeat.UNKNOWN
        return Heartbeat.UNKNOWN if now_s < self._patient_until_s else Heartbeat.LOST

    def is_seen(self, host: str) -> bool:
        """Tell whether the Host has a Lease at all."""
        return host in self._sights

    def be_patient(self) -> None:
        """Wait a full period before anybody is taken for lost: we were away and could not see them renew."""
        self._patient_until_s = self._monotonic() + LOST_S


def lease_informer(kube: Kubernetes, heartbeats: Heartbeats) -> Informer[Lease]:
    """Return what watches the Leases of all Hosts, each named like its Host.

    No trigger of kopf: the operator may read Leases in its own namespace only, and kopf watches all namespaces.
    """

    def take(old: Lease | None, new: Lease | None) -> None:
        if new is not None:
            heartbeats.observe(new.metadata.name, new.spec.renew_time or "")
        elif old is not None:
            heartbeats.forget(old.metadata.name)

    labels = ",".join(f"{name}={value}" for name, value in HOST_LEASE_LABELS.items())
    return Informer(Lease, Selection(namespace=SYSTEM_NAMESPACE, label_selector=labels), kube, take)
