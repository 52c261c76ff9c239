"""Host: Up, Down or Disabled, from its Lease as this process saw it renewed, and from what people say."""

from __future__ import annotations

from typing import Final

from nephos_api.kube.lease import Lease
from nephos_api.metadata import SYSTEM_NAMESPACE, Key
from nephos_api.model import wire_name
from nephos_api.reconcile.result import Done, Result
from nephos_api.resources import Host
from nephos_api.resources.host import HostPhase, HostStatus
from nephos_operator.context import Context
from nephos_operator.heartbeats import Heartbeat
from nephos_operator.statuses import ready, told, write
from nephos_operator.verdict import Waits

_OWN: Final = frozenset({"phase", "conditions", "observedGeneration"})
AGENTS_FIELDS: Final = frozenset(wire_name(name) for name in HostStatus.model_fields) - _OWN
"""What the Host's agent writes of its status."""


async def reconcile(key: Key, context: Context) -> Result:
    """Say whether the Host can be used."""
    host = context.store.hosts.find(key)
    if host is None or host.is_deleting:
        return Done()
    found = _phase(host, context)
    if found is HostPhase.DOWN and host.status.phase is not HostPhase.DOWN:
        await _look_at_lease(host, context)
        found = _phase(host, context)
    if found is None:
        return Done()
    status = HostStatus(
        observed_generation=host.metadata.generation,
        phase=found,
        conditions=ready(host, context, found.value)
        if found is HostPhase.UP
        else told(host, Waits(found.value, _sentence(host, found)), context),
    )
    await write(host, status, context, foreign=AGENTS_FIELDS)
    if host.status.phase not in (None, found):
        tell = context.events.warning if found is HostPhase.DOWN else context.events.normal
        tell(host, found.value, _sentence(host, found))
    return Done()


def is_due(host: Host, context: Context) -> bool:
    """Tell whether the Host's Lease tells something else than its phase."""
    found = _phase(host, context)
    return found is not None and found is not host.status.phase


def phase(host: Host, heartbeat: Heartbeat, *, has_lease: bool) -> HostPhase | None:
    """Return the Host's phase; None where nothing can be said yet."""
    if host.spec.out_of_service or heartbeat is Heartbeat.LOST:
        return HostPhase.DOWN
    alive = HostPhase.UP if host.spec.enabled else HostPhase.DISABLED
    if heartbeat is Heartbeat.RENEWED or host.status.phase in (HostPhase.UP, HostPhase.DISABLED):
        return alive
    if host.status.phase is None and has_lease:
        return alive
    return host.status.phase


def _phase(host: Host, context: Context) -> HostPhase | None:
    name = host.metadata.name
    return phase(host, context.heartbeats.of(name), has_lease=context.heartbeats.is_seen(name))


async def _look_at_lease(host: Host, context: Context) -> None:
    """Read the Lease itself before its Host is taken for lost: a watch may be silent while Hosts are well."""
    lease = await context.kube.get(Lease, host.metadata.name, SYSTEM_NAMESPACE)
    if lease is not None:
        context.heartbeats.observe(host.metadata.name, lease.spec.renew_time or "")


def _sentence(host: Host, found: HostPhase) -> str:
    if found is HostPhase.UP:
        return "its agent renews its Lease"
    if found is HostPhase.DISABLED:
        why = host.spec.disabled_reason or "no reason was given"
        return f"takes no new Servers: spec.enabled is false ({why})"
    if host.spec.out_of_service:
        return "is out of service: what waits for it is released"
    return "its agent does not renew its Lease; look at nephos-agent there, or set spec.outOfService if it is dead"
