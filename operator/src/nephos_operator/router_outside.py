"""A Router's outside: the external Network, the Router's addresses there, and by whom the world is reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nephos_api.metadata import Key
from nephos_api.resources import Network, Router, Subnet
from nephos_api.resources.network import NetworkPhase
from nephos_api.resources.port import Allocation
from nephos_api.resources.router import ExternalGateway
from nephos_operator.addressing import AddressBook, network_of
from nephos_operator.allocation import choice_problem
from nephos_operator.claims import better_claimant
from nephos_operator.external_addresses import coming, in_use, is_coming, one_of, reserve
from nephos_operator.networks_named import active_subnets, named_network
from nephos_operator.verdict import Problem, Stalls, Waits
from nephos_operator.wording import listed

if TYPE_CHECKING:
    from nephos_operator.store import Store

FIELD: Final = "spec.externalAddresses"
Allocations = tuple[Allocation, ...]
Chosen = tuple[Allocations, Problem | None]
"""Addresses, and what keeps others away."""


@dataclass(frozen=True)
class Outside:
    """What the Router has outside, and what keeps it from more."""

    network: Network | None = None
    external: ExternalGateway | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def cidrs(self) -> tuple[str, ...]:
        """The external Subnets' addresses."""
        return self.external.cidrs if self.external is not None else ()


def plan_outside(router: Router, store: Store, book: AddressBook) -> Outside:
    """Return the Router's outside; addresses that it does not hold yet are reserved.

    An outside that its spec no longer names stays while a FloatingIP needs it.
    """
    held = held_network(router, store)
    if held is not None and held.metadata.name == router.spec.external_network:
        return _with_addresses(router, held, store, book)
    users = store.floating_ips.by("router_uid", router.uid)
    if held is not None and users:
        kept = _with_addresses(router, held, store, book)
        return Outside(held, kept.external, (_in_use(held, [user.key for user in users]), *kept.problems))
    if router.spec.external_network is None:
        return Outside()
    network = external_network(router.metadata.namespace, router.spec.external_network, store)
    if isinstance(network, Waits | Stalls):
        return Outside(problems=(network,))
    return _with_addresses(router, network, store, book)


def external_network(namespace: str | None, name: str, store: Store) -> Network | Problem:
    """Return the external Network that an object of the namespace means by that name, if it can be used."""
    network = named_network(namespace, name, "spec.externalNetwork", store)
    if isinstance(network, Waits | Stalls):
        return network
    if network.spec.external is None:
        return Stalls(
            "NetworkNotExternal",
            f"spec.externalNetwork: {network.key} is no external Network; name one of the provider's, such as those of"
            " kubectl get networks -n nephos-catalog",
        )
    if network.status.phase is not NetworkPhase.ACTIVE:
        return Waits("NetworkNotActive", f"waits for {network.key}, which spec.externalNetwork names, to become Active")
    if not active_subnets(network, store):
        return Waits("NoSubnet", f"waits for a Subnet of {network.key}: it has none that is Active")
    return network


def held_network(router: Router, store: Store) -> Network | None:
    """Return the Network that the Router is connected to, if it is there still; a new one of that name is another."""
    external = router.status.external
    if external is None:
        return None
    network = store.networks.get(external.network, external.network_namespace)
    return network if network is not None and network.uid == external.network_uid else None


def _with_addresses(router: Router, network: Network, store: Store, book: AddressBook) -> Outside:
    subnets = active_subnets(network, store)
    held = _held_addresses(router, network, store)
    late = [address for address in router.spec.external_addresses if is_coming(address, network, store)]
    if late:
        chosen: Chosen = held, coming(FIELD, late[0])
    else:
        chosen = (_asked if router.spec.external_addresses else _any)(router, held, subnets, book)
    addresses, problem = chosen
    external = ExternalGateway(
        network=network.metadata.name,
        network_namespace=network.metadata.namespace or "",
        network_uid=network.uid,
        addresses=addresses,
        next_hops=_next_hops(addresses, subnets),
        cidrs=tuple(subnet.spec.cidr for subnet in subnets),
    )
    return Outside(network, external, (problem,) if problem else ())


def _held_addresses(router: Router, network: Network, store: Store) -> Allocations:
    """Return the addresses that are the Router's own, and no other's who has a better claim."""
    external = router.status.external
    if external is None or external.network_uid != network.uid:
        return ()
    return tuple(
        held for held in external.addresses if better_claimant(router, (held.subnet_uid, held.address), store) is None
    )


def _asked(router: Router, held: Allocations, subnets: Sequence[Subnet], book: AddressBook) -> Chosen:
    """Return the addresses that the spec asks for; as long as one of them can't be had, those that there are."""
    own = {allocation.address: allocation for allocation in held}
    found = []
    for address in router.spec.external_addresses:
        if address in own:
            found.append(own[address])
            continue
        problem: Problem | None = choice_problem(FIELD, address, subnets, router.metadata.namespace)
        allocation = None if problem else reserve(router.key, address, subnets, book)
        if allocation is None:
            return held, problem or in_use(router.key, FIELD, address, subnets, book)
        found.append(allocation)
    return tuple(found), None


def _any(router: Router, held: Allocations, subnets: Sequence[Subnet], book: AddressBook) -> Chosen:
    """Return one address of each IP version that the Network has."""
    found: list[Allocation] = []
    problem: Problem | None = None
    for version in (4, 6):
        candidates = [subnet for subnet in subnets if network_of(subnet.spec).version == version]
        own = next((allocation for allocation in held if _version(allocation) == version), None)
        if own is None and not candidates:
            continue
        allocation = own or one_of(router.key, candidates, book)
        if isinstance(allocation, Allocation):
            found.append(allocation)
        else:
            problem = problem or allocation
    return tuple(found), problem


def _version(allocation: Allocation) -> int:
    return 6 if ":" in allocation.address else 4


def _next_hops(addresses: Sequence[Allocation], subnets: Sequence[Subnet]) -> tuple[str, ...]:
    """Return a gateway of each IP version: of a Subnet that the Router has an address of, else of any."""
    own = {allocation.subnet_uid for allocation in addresses}
    found: dict[int, str] = {}
    for subnet in sorted(subnets, key=lambda subnet: subnet.uid not in own):
        if subnet.status.gateway is not None:
            found.setdefault(network_of(subnet.spec).version, subnet.status.gateway)
    return tuple(found[version] for version in sorted(found))


def _in_use(network: Network, users: Sequence[Key]) -> Waits:
    return Waits(
        "ExternalInUse",
        f"spec.externalNetwork no longer names {network.metadata.name}, but it stays the outside: held by"
        f" {listed(users)}; unbind or delete those first, or name it again",
    )
