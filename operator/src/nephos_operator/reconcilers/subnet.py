"""Subnet: its gateway and its service address; never over another Subnet of its Network."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import pairwise

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Result
from nephos_api.resources import Network, Subnet
from nephos_api.resources.network import MOST_SUBNETS, NetworkPhase
from nephos_api.resources.subnet import SubnetPhase, SubnetSpec, SubnetStatus
from nephos_operator import addressing, counted
from nephos_operator.claims import named_holders
from nephos_operator.context import Context
from nephos_operator.precedence import rank
from nephos_operator.reconcilers import in_use
from nephos_operator.reconcilers.life import live
from nephos_operator.statuses import settle
from nephos_operator.usable import usable
from nephos_operator.verdict import Problem, Stalls, Waits


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the Subnet to what it should be, or to its end."""
    return await live(context.store.subnets.find(key), context, keep=_keep, release=_release)


async def _keep(subnet: Subnet, context: Context) -> Result:
    planned = plan(subnet, context)
    if isinstance(planned, Waits | Stalls):
        phase = SubnetPhase.ERROR if isinstance(planned, Stalls) else SubnetPhase.PENDING
        return await settle(subnet, subnet.status.model_copy(update={"phase": phase}), planned, context)
    try:
        return await settle(subnet, planned, None, context, reason="Active")
    finally:
        context.addresses.cancel(subnet.key)


def plan(subnet: Subnet, context: Context) -> SubnetStatus | Problem:
    """Return the status of a Subnet that can be used, or what is in the way.

    Its service address is reserved, so that nobody else gets it before the status is written.
    """
    store = context.store
    if refused := counted.problem(subnet, context):
        return refused
    key = Key("Network", subnet.metadata.namespace, subnet.spec.network)
    network = usable(store.networks.find(key), key, "spec.network")
    if not isinstance(network, Network):
        return network
    if network.status.phase is not NetworkPhase.ACTIVE:  # one that became so stays so, whatever passes
        return Waits("NetworkNotActive", f"waits for {network.key}, which spec.network names, to become Active")
    siblings = store.subnets.by("network", (subnet.metadata.namespace, subnet.spec.network))
    better = [sibling for sibling in siblings if sibling.uid != subnet.uid and rank(sibling) < rank(subnet)]
    if problem := overlap(subnet, better) or layout_problem(subnet) or room_problem(subnet, better):
        return problem
    cidr = addressing.network_of(subnet.spec)
    gateway = subnet.status.gateway or subnet.spec.gateway or addressing.default_gateway(cidr)
    is_served = subnet.spec.dhcp or network.spec.external is None
    service = (subnet.status.service_address or subnet.spec.service_address) if is_served else None
    if service is None and is_served:
        taken = int(ip_address(gateway))
        service = addressing.highest_free(
            cidr, lambda number: number == taken or context.addresses.is_taken(subnet.uid, number)
        )
    if service is None and is_served:
        return Stalls("NoServiceAddress", f"spec.cidr {cidr} has no address left for DHCP, DNS and metadata; use more")
    is_fresh = service is not None and service != subnet.status.service_address
    if service is not None and is_fresh and not context.addresses.reserve(subnet, subnet.key, service):
        return _service_in_use(subnet, service, context)
    return SubnetStatus(phase=SubnetPhase.ACTIVE, gateway=gateway, service_address=service)


def _service_in_use(subnet: Subnet, address: str, context: Context) -> Waits:
    names = named_holders(context.addresses.holders(subnet.uid, address), subnet.metadata.namespace)
    return Waits("AddressInUse", f"waits for {address}, which spec.serviceAddress names: {names} has it")


def overlap(subnet: Subnet, siblings: Sequence[Subnet]) -> Stalls | None:
    """Return which of the Subnets of the same Network has addresses of this one, or None."""
    own = addressing.network_of(subnet.spec)
    for sibling in siblings:
        other = addressing.network_of(sibling.spec)
        if own.version == other.version and own.overlaps(other):
            return Stalls(
                "Overlaps",
                f"spec.cidr {own} overlaps {other} of Subnet {sibling.metadata.name} on the same Network;"
                " make it anew with other addresses",
            )
    return None


def room_problem(subnet: Subnet, siblings: Sequence[Subnet]) -> Stalls | None:
    """Return that the other Subnets of the same Network are as many as one can have, or None."""
    in_use = [each for each in siblings if each.status.phase is not SubnetPhase.ERROR and not each.is_deleting]
    if len(in_use) < MOST_SUBNETS:
        return None
    return Stalls(
        "TooManySubnets",
        f"spec.network: Network {subnet.spec.network} has {MOST_SUBNETS} Subnets, as many as one can have;"
        " delete one of them, or make this one on another Network",
    )


def layout_problem(subnet: Subnet) -> Stalls | None:
    """Return what is wrong within the Subnet's own spec, or None."""
    spec = subnet.spec
    span = addressing.usable(addressing.network_of(spec))
    for field, address in (("gateway", spec.gateway), ("serviceAddress", spec.service_address)):
        if address and int(ip_address(address)) not in span:
            return Stalls("AddressNotUsable", f"spec.{field}: {address} can't be a host's address in {spec.cidr}")
    if spec.gateway and spec.gateway == spec.service_address:
        return Stalls("AddressNotUsable", "spec.serviceAddress is the gateway's address; choose another")
    ranges = sorted(addressing.pools(spec), key=lambda span: span.first)
    for span in ranges:
        if span.first > span.last:
            return Stalls("BadPool", "spec.allocationPools: a pool ends before it starts; swap its start and end")
    for one, other in pairwise(ranges):
        if other.first <= one.last:
            return Stalls("BadPool", "spec.allocationPools: two pools overlap; make them one")
    return _pool_problem(spec, ranges) if spec.allocation_pools else None


def _pool_problem(spec: SubnetSpec, ranges: Sequence[addressing.Range]) -> Stalls | None:
    """Return what is wrong between the pools and the rest of the spec, or None."""
    cidr = addressing.network_of(spec)
    ends = [ip_address(end) for pool in spec.allocation_pools for end in (pool.start, pool.end)]
    if not all(end in cidr for end in ends):
        return Stalls("BadPool", f"spec.allocationPools: a pool lies outside {cidr}; both ends must be inside of it")
    if spec.gateway and any(int(ip_address(spec.gateway)) in span for span in ranges):
        return Stalls(
            "BadPool", "spec.allocationPools: a pool contains spec.gateway; leave the gateway out of the pools"
        )
    return None


async def _release(subnet: Subnet, context: Context) -> Result:
    """Let the Subnet go once nobody has an address of it."""
    store = context.store
    users = in_use.users_of(
        subnet.uid,
        (store.ports, "subnet_uid"),
        (store.routers, "leg_subnet_uid"),
        (store.routers, "external_subnet_uid"),
        (store.floating_ips, "subnet_uid"),
    )
    waiting = subnet.status.model_copy(update={"phase": SubnetPhase.DELETING})
    is_promised = context.addresses.count(subnet.uid) > 0
    return await in_use.release(subnet, waiting, users, context, is_promised=is_promised)
