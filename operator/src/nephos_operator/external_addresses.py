"""Addresses of external Networks for Routers and FloatingIPs: the one that is asked for, or a free one of the pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nephos_api.metadata import Key
from nephos_api.resources import Network, Subnet
from nephos_api.resources.port import Allocation
from nephos_operator.addressing import AddressBook
from nephos_operator.allocation import address_problem, allocation_of, outside_pools, subnet_of
from nephos_operator.claims import named_holders
from nephos_operator.networks_named import coming_subnets
from nephos_operator.verdict import Stalls, Waits

if TYPE_CHECKING:
    from nephos_operator.store import Store


def reserve(holder: Key, address: str, subnets: Sequence[Subnet], book: AddressBook) -> Allocation | None:
    """Reserve that address; None where another has it, or where no Subnet has it."""
    subnet = subnet_of(address, subnets)
    if subnet is None or not book.reserve(subnet, holder, address):
        return None
    return allocation_of(subnet, address)


def one_of(holder: Key, subnets: Sequence[Subnet], book: AddressBook) -> Allocation | Waits:
    """Reserve an address of the first of the Subnets that has a free one in its pools."""
    for subnet in subnets:
        if (address := book.reserve_next(subnet, holder)) is not None:
            return allocation_of(subnet, address)
    names = ", ".join(subnet.metadata.name for subnet in subnets)
    return Waits("NoFreeAddress", f"waits for a free address: all those of the pools of Subnet {names} are in use")


def in_use(holder: Key, field: str, address: str, subnets: Sequence[Subnet], book: AddressBook) -> Waits:
    """Return the sentence that says who has the address."""
    subnet = subnet_of(address, subnets)
    holders = book.holders(subnet.uid, address) - {holder} if subnet else ()
    names = named_holders(holders, holder.namespace)
    return Waits("AddressInUse", f"waits for {address}, which {field} asks for: {names} has it")


def is_coming(address: str, network: Network, store: Store) -> bool:
    """Tell whether the address is of a Subnet of which it is not known yet whether it can be used."""
    return subnet_of(address, coming_subnets(network, store)) is not None


def coming(field: str, address: str) -> Waits:
    """Return the sentence that says that the address' Subnet is on its way."""
    return Waits("SubnetNotActive", f"waits for the Subnet of {address}, which {field} asks for, to become Active")


def pool_problem(field: str, address: str, subnets: Sequence[Subnet]) -> Stalls | None:
    """Return why that address is none that a FloatingIP may have, or None."""
    if problem := address_problem(field, address, subnets):
        return problem
    subnet = subnet_of(address, subnets)
    return outside_pools(field, address, subnet) if subnet is not None else None
