"""Network: its VNI, its MTU, and the view of its Subnets that agents read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Done, Result
from nephos_api.resources import Host, Network, Subnet
from nephos_api.resources.network import NetworkPhase, NetworkStatus, SubnetView
from nephos_operator import vni
from nephos_operator.context import Context, ensure_finalizer
from nephos_operator.precedence import winner
from nephos_operator.reconcilers import in_use
from nephos_operator.references import active_project, active_subnets
from nephos_operator.statuses import ready, tell, told, write
from nephos_operator.verdict import Problem, Stalls, Waits

VXLAN_OVERHEAD_BYTES: Final = 50
"""Outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8 (RFC 7348)."""
DEFAULT_UNDERLAY_MTU: Final = 1500
DOMAIN: Final = "nephos.internal"


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the Network to what it should be, or to its end."""
    network = context.store.networks.find(key)
    if network is None:
        return Done()
    if network.is_deleting:
        return await _release(network, context)
    if not await ensure_finalizer(network, context):
        return Done()
    project = active_project(network.metadata.namespace, context.store)
    problem = project if isinstance(project, Waits | Stalls) else mtu_problem(network, context.store.hosts)
    if problem and network.status.vni is None:
        return await _tell(network, problem, context)
    identifier = _identifier(network, context)
    if identifier is None:
        return await _tell(network, Waits("NoVNI", "all VXLAN network identifiers are in use"), context)
    context.vnis_under_way[identifier] = network.uid
    try:
        await write(network, active_status(network, identifier, context), context)
    finally:
        context.vnis_under_way.pop(identifier, None)
    return Done()


def active_status(network: Network, identifier: int, context: Context) -> NetworkStatus:
    """Return the status of a Network that can be used."""
    views = tuple(view for subnet in active_subnets(network, context.store) if (view := subnet_view(subnet)))
    return NetworkStatus(
        observed_generation=network.metadata.generation,
        phase=NetworkPhase.ACTIVE,
        vni=identifier,
        mtu=mtu(network, context.store.hosts),
        dns_domain=network.spec.dns_domain or f"{network.metadata.name}.{network.metadata.namespace}.{DOMAIN}",
        subnets=views,
        cidrs=", ".join(view.cidr for view in views) or None,
        conditions=ready(network, context, "Active"),
    )


def subnet_view(subnet: Subnet) -> SubnetView | None:
    """Return the Subnet as agents need it; None while it has no service address."""
    if subnet.status.service_address is None:
        return None
    return SubnetView(
        name=subnet.metadata.name,
        uid=subnet.uid,
        cidr=subnet.spec.cidr,
        gateway=subnet.status.gateway,
        service_address=subnet.status.service_address,
        dhcp=subnet.spec.dhcp,
        dns_servers=subnet.spec.dns_servers,
        host_routes=subnet.spec.host_routes,
    )


def underlay_mtu(hosts: Iterable[Host]) -> int:
    """Return the MTU in bytes that every Host's underlay carries."""
    return min((host.status.underlay_mtu for host in hosts if host.status.underlay_mtu), default=DEFAULT_UNDERLAY_MTU)


def mtu(network: Network, hosts: Iterable[Host]) -> int:
    """Return the MTU in bytes that guests get: what the spec says, or what the underlay leaves."""
    carried = underlay_mtu(hosts) - VXLAN_OVERHEAD_BYTES
    return min(network.spec.mtu or carried, carried)


def mtu_problem(network: Network, hosts: Iterable[Host]) -> Problem | None:
    """Return why the MTU that the spec asks for can't be had, or None."""
    carried = underlay_mtu(hosts) - VXLAN_OVERHEAD_BYTES
    if network.spec.mtu is None or network.spec.mtu <= carried:
        return None
    return Stalls(
        "MTUTooLarge", f"spec.mtu is {network.spec.mtu}, but the underlay carries at most {carried}; lower it"
    )


def _identifier(network: Network, context: Context) -> int | None:
    """Return the Network's VNI: the one it has, if no other has a better claim to it, else a free one."""
    held = network.status.vni
    if held is not None and winner(context.store.networks.by("vni", held)).uid == network.uid:
        return held
    return vni.choose(network.uid, lambda candidate: _is_taken(candidate, network.uid, context))


def _is_taken(candidate: int, uid: str, context: Context) -> bool:
    under_way = context.vnis_under_way.get(candidate, uid) != uid
    return under_way or any(other.uid != uid for other in context.store.networks.by("vni", candidate))


async def _tell(network: Network, problem: Problem, context: Context) -> Result:
    status = NetworkStatus(
        observed_generation=network.metadata.generation,
        phase=NetworkPhase.ERROR if isinstance(problem, Stalls) else NetworkPhase.BUILD,
        conditions=told(network, problem, context),
    )
    return await tell(network, problem, status, context)


async def _release(network: Network, context: Context) -> Result:
    """Let the Network go once no Port is on it; its Subnets stay and wait for a Network of that name."""
    users = [port.key for port in context.store.ports.by("network_uid", network.uid)]
    subnets = context.store.subnets.by("network", (network.metadata.namespace, network.metadata.name))
    is_promised = any(context.addresses.count(subnet.uid) for subnet in subnets)
    return await in_use.release(network, NetworkPhase.DELETING, users, context, is_promised=is_promised)
