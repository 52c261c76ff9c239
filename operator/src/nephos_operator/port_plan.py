"""What a Port that a person made gets: its Network, addresses, MAC address and groups. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nephos_api import identity
from nephos_api.interfaces import mac_of
from nephos_api.resources import Network, Port
from nephos_api.resources.network import NetworkPhase
from nephos_operator.addressing import AddressBook
from nephos_operator.allocation import allocate, completed
from nephos_operator.claims import better_claimant, named_holders
from nephos_operator.networks_named import active_subnets, pinned_network, settled_subnets, shared_network
from nephos_operator.precedence import winner
from nephos_operator.security_groups import Groups, port_groups
from nephos_operator.store import Store
from nephos_operator.verdict import Problem, Stalls, Waits


@dataclass(frozen=True)
class PortPlan:
    """What is to be in the operator's part of the spec, and the groups that were found for it."""

    spec: dict[str, Any]
    groups: Groups


def plan(port: Port, store: Store, book: AddressBook) -> PortPlan | Problem:
    """Decide what the Port gets, where its Project takes it, and reserve its addresses; what it has already stays."""
    if port.spec.allocations and port.spec.network_uid:
        groups = port_groups(port, pinned_network(port, store), store)
        return PortPlan(kept_addresses(port, store, book) | groups.to_wire(), groups)
    network = _network(port, store)
    if not isinstance(network, Network):
        return network
    mac = mac_of(port)
    others = [other for other in store.ports.by("mac", (network.uid, mac)) if other.uid != port.uid]
    if others:
        names = named_holders({others[0].key}, port.metadata.namespace)
        return Waits("MACInUse", f"waits for its MAC address {mac}: {names} has it")
    subnets = settled_subnets(network, store)
    if not isinstance(subnets, tuple):
        return subnets
    allocations = allocate(port.key, "spec.addresses", port.spec.addresses, subnets, book, mac)
    if isinstance(allocations, Waits | Stalls):
        return allocations
    groups = port_groups(port, network, store)
    spec = {"networkUID": network.uid, "allocations": [held.to_wire() for held in allocations], **groups.to_wire()}
    if network.metadata.namespace != port.metadata.namespace:
        spec["networkNamespace"] = network.metadata.namespace
    if port.spec.mac_address is None:
        spec["macAddress"] = mac
    return PortPlan(spec, groups)


def kept_addresses(port: Port, store: Store, book: AddressBook) -> dict[str, Any]:
    """Return the addresses that the Port holds, and those that its guest makes on Subnets that came later."""
    network = pinned_network(port, store)
    if network is None or not port.spec.allocations:
        return {}
    allocations = completed(port.key, port.spec.allocations, active_subnets(network, store), book, mac_of(port))
    return {"allocations": [held.to_wire() for held in allocations]}


def _network(port: Port, store: Store) -> Network | Problem:
    """Return the Network, once it can give addresses to the Port."""
    network = shared_network(port.metadata.namespace, port.spec.network, "spec.network", store)
    if not isinstance(network, Network):
        return network
    if problem := guest_problem(port, network):
        return problem
    if network.status.phase is not NetworkPhase.ACTIVE:
        return Waits("NetworkNotActive", f"waits for {network.key} to become Active")
    return network


def guest_problem(port: Port, network: Network) -> Stalls | None:
    """Return what the Port may not have on a Network that is another's: ways to pass for somebody else there."""
    if network.metadata.namespace == port.metadata.namespace:
        return None
    field = None
    if port.spec.port_security is False and network.spec.port_security:
        field = "spec.portSecurity: false"
    elif port.spec.allowed_address_pairs:
        field = "spec.allowedAddressPairs"
    elif port.spec.mac_address not in (None, identity.mac_address(port.uid)):
        field = "spec.macAddress"
    if field is None:
        return None
    return Stalls(
        "NetworkOfAnother", f"{field} is for Networks of your own; {network.key} is shared, leave it out there"
    )


def better_claim(port: Port, store: Store) -> Stalls | None:
    """Return which address of the Port another has the better claim to, or None."""
    for held in port.spec.allocations:
        best = better_claimant(port, (held.subnet_uid, held.address), store)
        if best is not None:
            names = named_holders({best.key}, port.metadata.namespace)
            return Stalls(
                "AddressTaken",
                f"{held.address} belongs to {names}, which has the better claim;"
                " delete one of the two and make it anew",
            )
    return None


def mac_rival(port: Port, store: Store) -> Stalls | None:
    """Return who has the better claim to the Port's MAC address on its Network, or None."""
    claimants = store.ports.by("mac", (port.spec.network_uid, port.spec.mac_address))
    if len(claimants) < 2 or (best := winner(claimants)).uid == port.uid:
        return None
    names = named_holders({best.key}, port.metadata.namespace)
    return Stalls(
        "MACInUse", f"spec.macAddress {port.spec.mac_address} belongs to {names}; make the Port anew with another"
    )
