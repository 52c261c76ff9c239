"""Rules of the webhook for Routers and FloatingIPs. An update may change what they name: only new names are judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nephos_api.metadata import Key
from nephos_api.resources import FloatingIP, Network, Router, Subnet
from nephos_operator.addressing import network_of
from nephos_operator.admission.cloud import Cloud, quota_refusal, sentence, terminating
from nephos_operator.allocation import choice_problem, subnet_of
from nephos_operator.bindings import fixed_address_problem, target_ports
from nephos_operator.claims import held_addresses, named_holders
from nephos_operator.external_addresses import is_coming, pool_problem
from nephos_operator.networks_named import active_subnets
from nephos_operator.router_indices import external_keys, targets
from nephos_operator.router_legs import plan_legs, route_problem
from nephos_operator.router_outside import external_network
from nephos_operator.verdict import Stalls, Waits


def router_references(router: Router, cloud: Cloud) -> str | None:
    """Refuse a new leg on a Subnet, or a new outside, that is being deleted."""
    known = cloud.store.routers.find(router.key)
    legs = {name: None for name in router.spec.subnets if known is None or name not in known.spec.subnets}
    named = [("spec.subnets", Key("Subnet", router.metadata.namespace, name)) for name in legs]
    if known is None or known.spec.external_network != router.spec.external_network:
        named += _first_found("spec.externalNetwork", external_keys(router), cloud)
    return terminating(named, cloud)


def router_outside(router: Router, cloud: Cloud) -> str | None:
    """Refuse an outside that is none, or that the project may not use, and addresses that can't be had there."""
    network = _external_network(router, cloud)
    if isinstance(network, Stalls):
        return network.message
    if network is None:
        return None
    subnets, field = active_subnets(network, cloud.store), "spec.externalAddresses"
    held = held_addresses(cloud.store.routers.find(router.key))
    for address in router.spec.external_addresses:
        subnet = subnet_of(address, subnets)
        if is_coming(address, network, cloud.store) or (subnet is not None and (subnet.uid, address) in held):
            continue
        problem = choice_problem(field, address, subnets, router.metadata.namespace)
        refused = sentence(problem) or _in_use(router, field, address, subnets, cloud)
        if refused is not None:
            return refused
    return None


def router_legs(router: Router, cloud: Cloud) -> str | None:
    """Refuse Subnets that overlap, or whose gateway is another Router's, and next hops that are out of reach."""
    network = _external_network(router, cloud)
    subnets = active_subnets(network, cloud.store) if isinstance(network, Network) else ()
    cidrs = [subnet.spec.cidr for subnet in subnets]
    planned = plan_legs(router, cidrs, cloud.store)
    contradiction = next((problem for problem in planned.problems if isinstance(problem, Stalls)), None)
    if contradiction is not None:
        return contradiction.message
    is_complete = not planned.problems and (router.spec.external_network is None or bool(cidrs))
    return sentence(route_problem(router, planned.legs, cidrs)) if is_complete else None


def router_routes(router: Router, cloud: Cloud) -> str | None:
    """Refuse more extra routes than the project may have."""
    return quota_refusal(router, {"routes_per_router": len(router.spec.routes)}, cloud)


def floating_ip_references(floating_ip: FloatingIP, cloud: Cloud) -> str | None:
    """Refuse a new target that is being deleted, or an address of a Network that is."""
    known = cloud.store.floating_ips.find(floating_ip.key)
    fields = {"Port": "spec.port", "Server": "spec.server"}
    held = targets(known) if known is not None else ()
    named = [(fields[key.kind], key) for key in targets(floating_ip) if key not in held]
    if known is None:
        named += _first_found("spec.externalNetwork", external_keys(floating_ip), cloud)
    return terminating(named, cloud)


def floating_ip_address(floating_ip: FloatingIP, cloud: Cloud) -> str | None:
    """Refuse a Network that has no floating addresses for the project, and an address that can't be had there."""
    network = _external_network(floating_ip, cloud)
    if isinstance(network, Stalls):
        return network.message
    asked, field = floating_ip.spec.address, "spec.address"
    if network is None or asked is None or is_coming(asked, network, cloud.store):
        return None
    ipv4 = [subnet for subnet in active_subnets(network, cloud.store) if network_of(subnet.spec).version == 4]
    return sentence(pool_problem(field, asked, ipv4)) or _in_use(floating_ip, field, asked, ipv4, cloud)


def floating_ip_target(floating_ip: FloatingIP, cloud: Cloud) -> str | None:
    """Refuse a fixed address that the named Server or Port does not have."""
    return sentence(fixed_address_problem(floating_ip, target_ports(floating_ip, cloud.store)))


def _first_found(field: str, places: Iterable[Key], cloud: Cloud) -> list[tuple[str, Key]]:
    found = next((key for key in places if cloud.store.find(key) is not None), None)
    return [(field, found)] if found is not None else []


def _external_network(resource: Router | FloatingIP, cloud: Cloud) -> Network | Stalls | None:
    """Return the external Network that the object names; None where it names none, or while that is waited for."""
    if resource.spec.external_network is None:
        return None
    network = external_network(resource.metadata.namespace, resource.spec.external_network, cloud.store)
    return None if isinstance(network, Waits) else network


def _in_use(
    resource: Router | FloatingIP, field: str, address: str, subnets: Sequence[Subnet], cloud: Cloud
) -> str | None:
    subnet = subnet_of(address, subnets)
    holders = cloud.addresses.holders(subnet.uid, address) - {resource.key} if subnet else frozenset()
    if not holders:
        return None
    names = named_holders(holders, resource.metadata.namespace)
    return f"{field}: {address} is in use by {names}; choose another, or leave it out to get a free one"
