"""Which addresses a Port gets: those that it asks for, or one free address of each IP version of its Network.

Where guests make their own address (IPv6 without a lease), the Port gets the one that they will make.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from nephos_api.metadata import Key
from nephos_api.resources import Subnet
from nephos_api.resources.port import MOST_ALLOCATIONS, Allocation
from nephos_operator.addressing import (
    AddressBook,
    automatic_address,
    ipv6_mode,
    is_automatic,
    network_of,
    pools,
    unusable,
    usable,
)
from nephos_operator.claims import named_holders
from nephos_operator.verdict import Problem, Stalls, Waits


def allocate(
    port: Key, field: str, asked: Sequence[str], subnets: Sequence[Subnet], book: AddressBook, mac: str
) -> tuple[Allocation, ...] | Problem:
    """Reserve addresses for the Port and return them; where one can't be had, none is reserved and the reason returned.

    ``field`` names the field of the object that asks, for sentences. Where guests make their own address, it is the one
    of the Port's MAC, whatever else is asked for: they make it as soon as they hear of the Subnet.
    """
    found = _asked(port, field, asked, subnets, book, mac) if asked else _any(port, subnets, book, mac)
    if isinstance(found, Waits | Stalls):
        book.cancel(port)
    return found


def completed(
    port: Key, held: tuple[Allocation, ...], subnets: Sequence[Subnet], book: AddressBook, mac: str
) -> tuple[Allocation, ...]:
    """Return what the Port holds, and the addresses that its guest makes on Subnets that came later, reserved.

    There is room for one on each Subnet that can be in use; one that holds addresses of former ones may have less.

    An address that another has is left to that one: the guest's own check tells it so (RFC 4862).
    """
    known = {allocation.subnet_uid for allocation in held}
    later = [subnet for subnet in subnets if is_told(subnet) and subnet.uid not in known]
    later = later[: MOST_ALLOCATIONS - len(held)]
    made = [_automatic(subnet, port, book, mac) for subnet in later]
    return (*held, *(address for address in made if isinstance(address, Allocation)))


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


def choice_problem(
    field: str, address: str, subnets: Sequence[Subnet], namespace: str | None, mac: str | None = None
) -> Stalls | None:
    """Return why an object of the namespace can't choose that address, or None.

    Of the Subnets of another namespace, only the pools are there to choose from: the rest is its admins'. What a guest
    with the MAC makes itself is not chosen.
    """
    problem, subnet = address_problem(field, address, subnets), subnet_of(address, subnets)
    if problem or subnet is None or subnet.metadata.namespace == namespace or _makes(mac, address, subnet):
        return problem
    return outside_pools(field, address, subnet)


def outside_pools(field: str, address: str, subnet: Subnet) -> Stalls | None:
    """Return that the address is in none of the Subnet's pools, or None."""
    if any(int(ip_address(address)) in span for span in pools(subnet.spec)):
        return None
    ranges = ", ".join(f"{pool.start}–{pool.end}" for pool in subnet.spec.allocation_pools)
    return Stalls(
        "AddressOutsidePool",
        f"{field}: {address} is in none of the pools of Subnet {subnet.metadata.name} ({ranges}); choose another,"
        " or leave it out to get a free one",
    )


def is_told(subnet: Subnet) -> bool:
    """Tell whether guests are told by router advertisements to make their own address there."""
    return subnet.spec.dhcp and is_automatic(subnet.spec)


def automatic_problem(field: str, address: str, subnets: Sequence[Subnet], mac: str | None) -> Stalls | None:
    """Return why no guest with that MAC would take the address, because it makes another one, or None."""
    subnet = subnet_of(address, subnets)
    if subnet is None or not is_told(subnet):
        return None
    if _makes(mac, address, subnet):
        return None
    return Stalls(
        "AddressIsAutomatic",
        f"{field}: {address} can't be chosen: guests make their own address on Subnet {subnet.metadata.name}"
        f" (ipv6Mode {ipv6_mode(subnet.spec)}); leave it out, and the Port gets that one",
    )


def _makes(mac: str | None, address: str, subnet: Subnet) -> bool:
    """Tell whether the guest with that MAC makes that address."""
    if mac is None or not is_automatic(subnet.spec):
        return False
    return ip_address(address) == ip_address(automatic_address(network_of(subnet.spec), mac))


def _asked(
    port: Key, field: str, asked: Sequence[str], subnets: Sequence[Subnet], book: AddressBook, mac: str
) -> tuple[Allocation, ...] | Problem:
    allocations = []
    held: Allocation | Problem
    for address in asked:
        problem = choice_problem(field, address, subnets, port.namespace, mac)
        problem = problem or automatic_problem(field, address, subnets, mac)
        if problem:
            return problem
        subnet = subnet_of(address, subnets)
        if subnet is None:
            continue
        held = _reserve(subnet, port, field, address, book)
        if not isinstance(held, Allocation):
            return held
        allocations.append(held)
    named = {allocation.subnet_uid for allocation in allocations}
    for subnet in subnets:
        if is_told(subnet) and subnet.uid not in named:
            held = _automatic(subnet, port, book, mac)
            if not isinstance(held, Allocation):
                return held
            allocations.append(held)
    return tuple(allocations)


def _any(port: Key, subnets: Sequence[Subnet], book: AddressBook, mac: str) -> tuple[Allocation, ...] | Problem:
    allocations = []
    for candidates in _alternatives(subnets):
        held = _one_of(candidates, port, book, mac)
        if not isinstance(held, Allocation):
            return held
        allocations.append(held)
    return tuple(allocations)


def _alternatives(subnets: Sequence[Subnet]) -> list[list[Subnet]]:
    """Return groups of Subnets of each of which a Port gets one address: IPv4 first, then IPv6.

    A guest makes an address on each Subnet that it is told of; of all others, one will do.
    """
    ipv4 = [subnet for subnet in subnets if network_of(subnet.spec).version == 4]
    told = [[subnet] for subnet in subnets if is_told(subnet)]
    other = [subnet for subnet in subnets if network_of(subnet.spec).version == 6 and not is_told(subnet)]
    return [group for group in (ipv4, *told, other) if group]


def _one_of(candidates: Sequence[Subnet], port: Key, book: AddressBook, mac: str) -> Allocation | Problem:
    """Reserve an address of the first of the Subnets that has a free one."""
    problem: Problem | None = None
    for subnet in candidates:
        if is_automatic(subnet.spec):
            held = _automatic(subnet, port, book, mac)
            if isinstance(held, Allocation):
                return held
            problem = held
        elif (address := book.reserve_next(subnet, port)) is not None:
            return allocation_of(subnet, address)
    names = ", ".join(subnet.metadata.name for subnet in candidates)
    return problem or Waits("NoFreeAddress", f"waits for a free address: all those of Subnet {names} are in use")


def _automatic(subnet: Subnet, port: Key, book: AddressBook, mac: str) -> Allocation | Problem:
    """Reserve the address that the guest makes."""
    address = automatic_address(network_of(subnet.spec), mac)
    return address_problem("spec.macAddress", address, [subnet]) or _reserve(
        subnet, port, f"MAC address {mac}", address, book
    )


def _reserve(subnet: Subnet, port: Key, field: str, address: str, book: AddressBook) -> Allocation | Waits:
    if book.reserve(subnet, port, address):
        return allocation_of(subnet, str(ip_address(address)))
    holders = named_holders(book.holders(subnet.uid, address) - {port}, port.namespace)
    return Waits("AddressInUse", f"waits for {address}, which {field} asks for: {holders} has it")


def allocation_of(subnet: Subnet, address: str) -> Allocation:
    """Return what the holder of that address of the Subnet says of it."""
    return Allocation(
        subnet=subnet.metadata.name,
        subnet_uid=subnet.uid,
        address=address,
        prefix_length=network_of(subnet.spec).prefixlen,
    )
