"""FloatingIP: an address, for whom it stands, and on which Host; from there on phase and conditions are the agent's."""

from __future__ import annotations

from collections.abc import Sequence

from nephos_api.metadata import Key
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import FloatingIP, Network, Subnet
from nephos_api.resources.floating_ip import FloatingIPStatus
from nephos_operator import counted
from nephos_operator.addressing import network_of
from nephos_operator.bindings import Binding, find_binding, target_text
from nephos_operator.claims import better_claimant, held_addresses
from nephos_operator.context import Context, release_finalizer
from nephos_operator.external_addresses import coming, in_use, is_coming, one_of, pool_problem, reserve
from nephos_operator.host_release import absence, seconds_until_free
from nephos_operator.networks_named import active_subnets
from nephos_operator.reconcilers.floating_ip_status import Plan, hand_over, take_back, write_own
from nephos_operator.reconcilers.life import live
from nephos_operator.router_indices import external_keys
from nephos_operator.router_outside import external_network
from nephos_operator.verdict import Problem, Stalls, Waits


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the FloatingIP to what it should be, or to its end."""
    return await live(context.store.floating_ips.find(key), context, keep=_keep, release=_release)


async def _keep(floating_ip: FloatingIP, context: Context) -> Result:
    planned = plan(floating_ip, context)
    if planned.status.host is None:
        return await write_own(floating_ip, planned, context)
    if (why := absence(context.store.hosts.get(planned.status.host))) is not None:
        return await take_back(floating_ip, planned, why, context)
    return await hand_over(floating_ip, planned, context)


def plan(floating_ip: FloatingIP, context: Context) -> Plan:
    """Decide which address the FloatingIP has and for whom it stands. No await in here.

    What it does not get does not stay reserved for it.
    """
    planned = _plan(floating_ip, context)
    wanted = floating_ip.model_copy(update={"status": planned.status})
    context.addresses.cancel(floating_ip.key, but=held_addresses(wanted))
    return planned


def _plan(floating_ip: FloatingIP, context: Context) -> Plan:
    if problem := counted.problem(floating_ip, context):
        return Plan(FloatingIPStatus(), problem)
    network = _network(floating_ip, context)
    if isinstance(network, Waits | Stalls):
        return Plan(FloatingIPStatus(), network)
    addressed = _addressed(floating_ip, network, context)
    if isinstance(addressed, Waits | Stalls):
        return Plan(FloatingIPStatus(), addressed)
    binding = find_binding(floating_ip, network, context.store)
    if isinstance(binding, Waits | Stalls):
        return Plan(addressed, binding)
    return Plan(_bound(addressed, binding, floating_ip), None) if binding is not None else Plan(addressed, None)


def _network(floating_ip: FloatingIP, context: Context) -> Network | Problem:
    """Return the external Network: the one that its address is of, if that is there still."""
    for key in external_keys(floating_ip):
        network = context.store.networks.find(key)
        if network is not None and network.uid == floating_ip.status.network_uid:
            return network
    return external_network(floating_ip.metadata.namespace, floating_ip.spec.external_network, context.store)


def _addressed(floating_ip: FloatingIP, network: Network, context: Context) -> FloatingIPStatus | Problem:
    """Return the status with an address and nothing else; a fresh address is reserved."""
    status = floating_ip.status
    if status.address is not None and status.subnet_uid is not None and status.network_uid == network.uid:
        better = better_claimant(floating_ip, (status.subnet_uid, status.address), context.store)
        if better is None:
            return _unbound(status)
    subnets = [s for s in active_subnets(network, context.store) if network_of(s.spec).version == 4]
    return _fresh(floating_ip, network, subnets, context)


def _fresh(
    floating_ip: FloatingIP, network: Network, subnets: Sequence[Subnet], context: Context
) -> FloatingIPStatus | Problem:
    key, asked = floating_ip.key, floating_ip.spec.address
    if not subnets:
        return Waits("NoSubnet", f"waits for an IPv4 Subnet of {network.key}: it has none that is Active")
    if asked is None:
        found = one_of(key, subnets, context.addresses)
        if isinstance(found, Waits):
            return found
    elif is_coming(asked, network, context.store):
        return coming("spec.address", asked)
    else:
        if problem := pool_problem("spec.address", asked, subnets):
            return problem
        reserved = reserve(key, asked, subnets, context.addresses)
        if reserved is None:
            return in_use(key, "spec.address", asked, subnets, context.addresses)
        found = reserved
    return FloatingIPStatus(address=found.address, subnet_uid=found.subnet_uid, network_uid=network.uid)


def _unbound(status: FloatingIPStatus) -> FloatingIPStatus:
    """Return the status with its address alone."""
    return FloatingIPStatus(address=status.address, subnet_uid=status.subnet_uid, network_uid=status.network_uid)


def _bound(addressed: FloatingIPStatus, binding: Binding, floating_ip: FloatingIP) -> FloatingIPStatus:
    """Return the status with its address, and for whom it stands."""
    return addressed.model_copy(
        update={
            "fixed_address": binding.fixed_address,
            "port": binding.port.metadata.name,
            "port_uid": binding.port.uid,
            "mac_address": binding.port.spec.mac_address,
            "router": binding.router.metadata.name,
            "router_uid": binding.router.uid,
            "host": binding.port.spec.host,
            "target": target_text(floating_ip),
        }
    )


async def _release(floating_ip: FloatingIP, context: Context) -> Result:
    """Let the FloatingIP go once nobody answers for it any more."""
    left_s = seconds_until_free(floating_ip, context.store, context.clock())
    if left_s != 0:
        return Wait(f"waits for Host {floating_ip.status.host} to let go of it", after_s=left_s)
    context.addresses.cancel(floating_ip.key)
    await release_finalizer(floating_ip, context)
    return Done()
