"""Which addresses a Port gets: those that it asks for, or one free address of each IP version of its Network."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from nephos_api.metadata import Key
from nephos_api.resources import Subnet
from nephos_api.resources.port import Allocation
from nephos_operator.addressing import AddressBook, network_of, unusable, usable
from nephos_operator.verdict import Problem, Stalls, Waits


def allocate(
    port: Key, field: str, asked: Sequence[str], subnets: Sequence[Subnet], book: AddressBook
) -> tuple[Allocation, ...] | Problem:
    """Reserve addresses for the Port and return them; where one can't be had, none is reserved and the reason returned.

    ``field`` names the field of the object that asks, for sentences.
    """
    found = _asked(port, field, asked, subnets, book) if asked else _any(port, subnets, book)
    if isinstance(found, Waits | Stalls):
        book.cancel(port)
    return found


def subnet_of(address: str, subnets: Sequence[Subnet]) -> Subnet | None:
    """Return the Subnet that the address lies in, or None."""
    parsed = ip_address(address)
    return next((subnet for subnet in subnets if parsed in network_of(subnet.spec)), None)


def address_problem(field: str, address: str, subnets: Sequence[Subnet]) -> Stalls | None:
    """Return why no Port can have that address on these Subnets, or None."""
    subnet = subnet_of(address, subnets)
    if subnet is None:
        cidrs = ", ".join(subnet.spec.cidr for subnet in subnets)
        return Stalls(
            "AddressOutside", f"{field}: {address} lies in no Subnet of the Network ({cidrs}); choose another"
        )
    number = int(ip_address(address))
    if number not in usable(network_of(subnet.spec)):
        return Stalls("AddressNotUsable", f"{field}: {address} can't be a host's address in {subnet.spec.cidr}")
    if number in unusable(subnet):
        return Stalls(
            "AddressReserved",
            f"{field}: {address} is the gateway or the service address of Subnet {subnet.metadata.name};"
            " choose another",
        )
    return None


def _asked(
    port: Key, field: str, asked: Sequence[str], subnets: Sequence[Subnet], book: AddressBook
) -> tuple[Allocation, ...] | Problem:
    allocations = []
    for address in asked:
        if problem := address_problem(field, address, subnets):
            return problem
        subnet = subnet_of(address, subnets)
        if subnet is None:
            continue
        if not book.reserve(subnet, port, address):
            holders = ", ".join(str(key) for key in sorted(book.holders(subnet.uid, address) - {port}, key=str))
            return Waits("AddressInUse", f"waits for {address}, which {field} asks for: {holders} has it")
        allocations.append(_allocation(subnet, str(ip_address(address))))
    return tuple(allocations)


def _any(port: Key, subnets: Sequence[Subnet], book: AddressBook) -> tuple[Allocation, ...] | Problem:
    allocations = []
    for version in (4, 6):
        candidates = [subnet for subnet in subnets if network_of(subnet.spec).version == version]
        for subnet in candidates:
            if (address := book.reserve_next(subnet, port)) is not None:
                allocations.append(_allocation(subnet, address))
                break
        else:
            if candidates:
                names = ", ".join(subnet.metadata.name for subnet in candidates)
                return Waits("NoFreeAddress", f"waits for a free address: all those of Subnet {names} are in use")
    return tuple(allocations)


def _allocation(subnet: Subnet, address: str) -> Allocation:
    return Allocation(
        subnet=subnet.metadata.name,
        subnet_uid=subnet.uid,
        address=address,
        prefix_length=network_of(subnet.spec).prefixlen,
    )
