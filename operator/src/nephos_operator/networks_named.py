"""Which Network, and which of its Subnets, an object means by a name, and whether it may use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nephos_api.metadata import CATALOG_NAMESPACE, Key
from nephos_api.resources import Network, Port, Subnet
from nephos_api.resources.network import MOST_SUBNETS
from nephos_api.resources.subnet import SubnetPhase
from nephos_operator.precedence import rank
from nephos_operator.usable import usable
from nephos_operator.verdict import Problem, Stalls, Waits

if TYPE_CHECKING:
    from nephos_operator.store import Store


def network_places(namespace: str | None, name: str) -> tuple[Key, ...]:
    """Return where a Network of that name may be, the first place first: in the namespace, then in the catalog."""
    own = Key("Network", namespace, name)
    return (own,) if namespace == CATALOG_NAMESPACE else (own, Key("Network", CATALOG_NAMESPACE, name))


def named_network(namespace: str | None, name: str, field: str, store: Store) -> Network | Problem:
    """Return the Network that an object of the namespace means by that name, if its project may use it at all."""
    places = network_places(namespace, name)
    found = next(filter(None, map(store.networks.find, places)), None)
    if found is None and len(places) > 1:
        return Waits(
            "NoNetwork",
            f"waits for {places[0]}, which {field} names: it is neither in namespace {namespace}"
            f" nor in {CATALOG_NAMESPACE}",
        )
    network = usable(found, places[0] if found is None else found.key, field)
    if isinstance(network, Waits):
        return network
    if network.metadata.namespace != namespace and network.spec.projects and namespace not in network.spec.projects:
        return Stalls(
            "NetworkNotForProject",
            f"{field}: {network.key} is for some projects only, and {namespace} is none of them;"
            " name another, or ask a cloud admin to add it to spec.projects there",
        )
    return network


def shared_network(namespace: str | None, name: str, field: str, store: Store) -> Network | Problem:
    """Return the Network that a Port of the namespace may be on: its own, or a shared one of the catalog."""
    network = named_network(namespace, name, field, store)
    if isinstance(network, Waits | Stalls) or network.metadata.namespace == namespace or network.spec.shared:
        return network
    return Stalls(
        "NetworkNotShared",
        f"{field}: {network.key} is not shared, so that only Routers and FloatingIPs may use it;"
        f" name a Network of namespace {namespace}",
    )


def pinned_network_key(port: Port) -> Key:
    """Return the key of the Network that the Port is on; before it is pinned, of the one in its own namespace."""
    return Key("Network", port.spec.network_namespace or port.metadata.namespace, port.spec.network)


def pinned_network(port: Port, store: Store) -> Network | None:
    """Return the Network that the Port is on, if it is there; a new one of that name is another."""
    network = store.networks.find(pinned_network_key(port))
    return network if network is not None and network.uid == port.spec.network_uid else None


def settled_subnets(network: Network, store: Store) -> tuple[Subnet, ...] | Waits:
    """Return the Network's Subnets that can give addresses, once it is known of each whether it can.

    Who is applied together with a second Subnet would miss its addresses else, or be told that they don't exist.
    """
    if coming := coming_subnets(network, store):
        return Waits("SubnetNotActive", f"waits for {coming[0].key} to become Active")
    subnets = active_subnets(network, store)
    return subnets or Waits("NoSubnet", f"waits for a Subnet of {network.key}: it has none that is Active")


def coming_subnets(network: Network, store: Store) -> tuple[Subnet, ...]:
    """Return the Network's Subnets of which it is not known yet whether they can be used."""
    subnets = store.subnets.by("network", (network.metadata.namespace, network.metadata.name))
    undecided = (None, SubnetPhase.PENDING)
    return tuple(subnet for subnet in subnets if subnet.status.phase in undecided and not subnet.is_deleting)


def active_subnets(network: Network, store: Store) -> tuple[Subnet, ...]:
    """Return the Network's Subnets that can give addresses, by name; of more than there is room for, the first."""
    subnets = store.subnets.by("network", (network.metadata.namespace, network.metadata.name))
    active = (subnet for subnet in subnets if subnet.status.phase is SubnetPhase.ACTIVE and not subnet.is_deleting)
    return tuple(sorted(sorted(active, key=rank)[:MOST_SUBNETS], key=lambda subnet: subnet.metadata.name))
