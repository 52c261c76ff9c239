"""What only one may have: addresses of Subnets, and VXLAN network identifiers. The holder is the claim."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nephos_api.metadata import Key, Resource
from nephos_api.resources import FloatingIP, Port, Router
from nephos_operator.precedence import winner

if TYPE_CHECKING:
    from nephos_operator.store import Store

Held = tuple[str, str]
"""The UID of a Subnet, and an address of it."""


def held_addresses(resource: Resource | None) -> frozenset[Held]:
    """Return the addresses that the object holds."""
    match resource:
        case Port():
            return frozenset((held.subnet_uid, held.address) for held in resource.spec.allocations)
        case Router():
            external = resource.status.external
            return (
                frozenset((held.subnet_uid, held.address) for held in external.addresses) if external else frozenset()
            )
        case FloatingIP():
            subnet_uid, address = resource.status.subnet_uid, resource.status.address
            return frozenset({(subnet_uid, address)} if subnet_uid and address else ())
        case _:
            return frozenset()


def held_macs(port: Port | None) -> frozenset[Held]:
    """Return the MAC address that the Port has on its Network, by that Network's UID."""
    if port is None or port.spec.network_uid is None or port.spec.mac_address is None:
        return frozenset()
    return frozenset({(port.spec.network_uid, port.spec.mac_address)})


def named_holders(holders: Iterable[Key], namespace: str | None) -> str:
    """Return who has what a user of the namespace asks for; what other projects have is not named."""
    own = sorted(str(key) for key in holders if key.namespace == namespace)
    return ", ".join(own) or "somebody in another project"


def claimants(held: Held, store: Store) -> tuple[Resource, ...]:
    """Return all objects that hold the address."""
    return (
        *store.ports.by("address", held),
        *store.routers.by("address", held),
        *store.floating_ips.by("address", held),
    )


def better_claimant(resource: Resource, held: Held, store: Store) -> Resource | None:
    """Return who has a better claim to the address than the object that holds it, or None."""
    holders = claimants(held, store)
    if len(holders) < 2:
        return None
    best = winner(holders)
    return best if best.uid != resource.uid else None


def identifier_claimants(identifier: int, store: Store) -> tuple[Resource, ...]:
    """Return all objects that hold the VXLAN network identifier: Networks, and Routers for their transit."""
    return (*store.networks.by("vni", identifier), *store.routers.by("vni", identifier))
