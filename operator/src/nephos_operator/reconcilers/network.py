"""Network: its VNI, or the provider's segment that it is; its MTU; the Subnets and Routers that agents find by it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Result
from nephos_api.resources import Host, Network, Subnet
from nephos_api.resources.network import (
    LARGEST_MTU,
    MOST_ROUTERS,
    SMALLEST_MTU,
    NetworkPhase,
    NetworkStatus,
    RouterReference,
    SubnetView,
)
from nephos_operator import counted, identifiers
from nephos_operator.addressing import ipv6_mode
from nephos_operator.context import Context
from nephos_operator.networks_named import active_subnets
from nephos_operator.provider import PROVIDER_MTU, offer_problem, segment_problem
from nephos_operator.reconcilers import in_use
from nephos_operator.reconcilers.life import live
from nephos_operator.statuses import settle
from nephos_operator.verdict import Problem, Stalls, Waits
from nephos_operator.wording import joined

VXLAN_OVERHEAD_BYTES: Final = 50
"""Outer Ethernet 14, IPv4 20, UDP 8, VXLAN 8 (RFC 7348)."""
DEFAULT_UNDERLAY_MTU: Final = 1500
DOMAIN: Final = "nephos.internal"


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the Network to what it should be, or to its end."""
    return await live(context.store.networks.find(key), context, keep=_keep, release=_release)


async def _keep(network: Network, context: Context) -> Result:
    if network.status.phase is not NetworkPhase.ACTIVE and (problem := _problem(network, context)):
        return await _tell(network, problem, context)
    held = None
    if network.spec.external is None:
        held = identifiers.identifier(network, network.status.vni, context)
        if held is None:
            return await _tell(network, Waits("NoVNI", "all VXLAN network identifiers are in use"), context)
    with identifiers.writing(held, network.uid, context):
        return await settle(network, active_status(network, held, context), None, context, reason="Active")


def active_status(network: Network, held_vni: int | None, context: Context) -> NetworkStatus:
    """Return the status of a Network that can be used; one of the provider's has no VNI."""
    views = tuple(subnet_view(subnet) for subnet in active_subnets(network, context.store))
    return NetworkStatus(
        phase=NetworkPhase.ACTIVE,
        vni=held_vni,
        mtu=mtu(network, carried_mtu(context.store.hosts)),
        dns_domain=network.spec.dns_domain or f"{network.metadata.name}.{network.metadata.namespace}.{DOMAIN}",
        subnets=views,
        routers=_routers(network, context),
        cidrs=joined(view.cidr for view in views),
    )


def subnet_view(subnet: Subnet) -> SubnetView:
    """Return the Subnet as agents need it."""
    return SubnetView(
        name=subnet.metadata.name,
        uid=subnet.uid,
        cidr=subnet.spec.cidr,
        gateway=subnet.status.gateway,
        service_address=subnet.status.service_address,
        dhcp=subnet.spec.dhcp,
        dns_servers=subnet.spec.dns_servers,
        host_routes=subnet.spec.host_routes,
        ipv6_mode=ipv6_mode(subnet.spec),
        ntp_servers=subnet.spec.ntp_servers,
        search_domains=subnet.spec.search_domains,
    )


def underlay_mtu(hosts: Iterable[Host]) -> int:
    """Return the MTU in bytes that every Host's underlay carries."""
    return min((host.status.underlay_mtu for host in hosts if host.status.underlay_mtu), default=DEFAULT_UNDERLAY_MTU)


def mtu(network: Network, carried: int) -> int:
    """Return the MTU in bytes that guests get: what the spec says, or what the underlay, or the provider, carries."""
    if network.spec.external is not None:
        return network.spec.mtu or PROVIDER_MTU
    return min(network.spec.mtu or carried, carried)


def carried_mtu(hosts: Iterable[Host]) -> int:
    """Return the MTU in bytes that VXLAN leaves of the underlay's; no guest is told one that is out of all bounds."""
    return max(SMALLEST_MTU, min(underlay_mtu(hosts) - VXLAN_OVERHEAD_BYTES, LARGEST_MTU))


def mtu_problem(network: Network, hosts: Iterable[Host]) -> Problem | None:
    """Return why the MTU that the spec asks for can't be had, or None."""
    carried = carried_mtu(hosts)
    if network.spec.external is not None or network.spec.mtu is None or network.spec.mtu <= carried:
        return None
    return Stalls(
        "MTUTooLarge", f"spec.mtu is {network.spec.mtu}, but the underlay carries at most {carried}; lower it"
    )


def _problem(network: Network, context: Context) -> Problem | None:
    store = context.store
    if refused := counted.problem(network, context):
        return refused
    hosts, same_segment = tuple(store.hosts), store.networks.by("segment", network.spec.external)
    return mtu_problem(network, hosts) or offer_problem(network) or segment_problem(network, hosts, same_segment)


def _routers(network: Network, context: Context) -> tuple[RouterReference, ...]:
    """Return the Routers that have a leg on the Network."""
    routers = sorted(context.store.routers.by("leg_network_uid", network.uid), key=lambda router: router.uid)
    return tuple(
        RouterReference(name=router.metadata.name, namespace=router.metadata.namespace or "", uid=router.uid)
        for router in routers[:MOST_ROUTERS]
    )


async def _tell(network: Network, problem: Problem, context: Context) -> Result:
    phase = NetworkPhase.ERROR if isinstance(problem, Stalls) else NetworkPhase.BUILD
    return await settle(network, NetworkStatus(phase=phase), problem, context)


async def _release(network: Network, context: Context) -> Result:
    """Let the Network go once nobody uses it; its Subnets stay and wait for a Network of that name."""
    store = context.store
    users = in_use.users_of(
        network.uid,
        (store.ports, "network_uid"),
        (store.routers, "leg_network_uid"),
        (store.routers, "external_uid"),
        (store.floating_ips, "network_uid"),
    )
    subnets = store.subnets.by("network", (network.metadata.namespace, network.metadata.name))
    is_promised = any(context.addresses.count(subnet.uid) for subnet in subnets)
    waiting = network.status.model_copy(update={"phase": NetworkPhase.DELETING})
    return await in_use.release(network, waiting, users, context, is_promised=is_promised)
