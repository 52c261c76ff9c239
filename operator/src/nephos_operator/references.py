"""What a Server refers to by name: which objects, whether they can be used, and whether they fit each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nephos_api.conditions import ConditionType, is_true
from nephos_api.interfaces import is_used
from nephos_api.metadata import CATALOG_NAMESPACE, Key
from nephos_api.resources import Flavor, Image, KeyPair, Network, Port, Project, Server, ServerGroup, Subnet
from nephos_api.resources.image import ImagePhase
from nephos_api.resources.network import NetworkPhase
from nephos_api.resources.server import NetworkInterface
from nephos_operator.networks_named import network_places, pinned_network, settled_subnets, shared_network
from nephos_operator.port_state import bound_port, can_be_bound
from nephos_operator.security_groups import group_keys, server_groups
from nephos_operator.usable import active_project, usable
from nephos_operator.verdict import Problem, Stalls, Waits

if TYPE_CHECKING:
    from nephos_operator.store import Store

_GIB: Final = 1024**3


@dataclass(frozen=True)
class InterfacePlan:
    """A NIC, its Network, and the Subnets that can give it addresses."""

    interface: NetworkInterface
    network: Network
    subnets: tuple[Subnet, ...]
    port: Port | None = None
    """The Port that the NIC names, which has its addresses."""


@dataclass(frozen=True)
class Resolved:
    """Everything that a Server refers to, there and usable."""

    project: Project | None
    """None in the catalog's namespace."""
    flavor: Flavor
    image: Image
    key_pairs: tuple[KeyPair, ...]
    group: ServerGroup | None
    interfaces: tuple[InterfacePlan, ...]


def referenced_keys(server: Server) -> frozenset[Key]:
    """Return the keys of all objects that the Server refers to, found or not; in both places where it may be."""
    namespace = server.metadata.namespace
    spec = server.spec
    keys = {
        Key("Project", None, namespace or ""),
        Key("Flavor", None, spec.flavor),
        Key("Image", namespace, spec.image),
        Key("Image", CATALOG_NAMESPACE, spec.image),
        *(Key("KeyPair", namespace, name) for name in spec.key_pairs),
        *group_keys(namespace, spec.security_groups),
    }
    if spec.server_group:
        keys.add(Key("ServerGroup", namespace, spec.server_group))
    return frozenset(keys) | interface_keys(server, spec.networks)


def interface_keys(server: Server, interfaces: Iterable[NetworkInterface]) -> frozenset[Key]:
    """Return the keys of what these NICs of the Server refer to, found or not."""
    namespace = server.metadata.namespace
    return frozenset(
        key
        for interface in interfaces
        for key in (
            *network_places(namespace, interface.network),
            *((Key("Port", namespace, interface.port),) if interface.port else ()),
        )
    )


def missing_interfaces(server: Server) -> tuple[NetworkInterface, ...]:
    """Return the NICs of a placed Server that its status says no address of: they wait for something."""
    there = {address.name for address in server.status.addresses}
    return tuple(interface for interface in server.spec.networks if interface.name not in there)


def resolve(server: Server, store: Store) -> Resolved | Problem:
    """Find everything that the Server refers to; the first thing that is missing or contradicts is returned instead."""
    project = active_project(server.metadata.namespace, store)
    if isinstance(project, Waits | Stalls):
        return project
    flavor = usable(store.flavors.get(server.spec.flavor), Key("Flavor", None, server.spec.flavor), "spec.flavor")
    if not isinstance(flavor, Flavor):
        return flavor
    image = _image(server, store)
    if not isinstance(image, Image):
        return image
    if (contradicts := contradiction(flavor, image)) is not None:
        return contradicts
    group = _group(server, store)
    if isinstance(group, Waits | Stalls):
        return group
    key_pairs = _key_pairs(server, store)
    if isinstance(key_pairs, Waits):
        return key_pairs
    interfaces = []
    for interface in server.spec.networks:
        planned = interface_plan(server, interface, store)
        if not isinstance(planned, InterfacePlan):
            return planned
        if problem := _group_problem(server, planned, store):
            return problem
        interfaces.append(planned)
    return Resolved(project, flavor, image, key_pairs, group, tuple(interfaces))


def contradiction(flavor: Flavor, image: Image) -> Stalls | None:
    """Return how the Image's needs contradict the Flavor, or None."""
    if flavor.spec.disk_gib < image.spec.min_disk_gib:
        return _too_small(flavor, image, "diskGiB", flavor.spec.disk_gib, image.spec.min_disk_gib)
    if flavor.spec.memory_mib < image.spec.min_memory_mib:
        return _too_small(flavor, image, "memoryMiB", flavor.spec.memory_mib, image.spec.min_memory_mib)
    virtual_size_bytes = image.status.virtual_size_bytes or 0
    if flavor.spec.disk_gib * _GIB < virtual_size_bytes:
        return _too_small(flavor, image, "diskGiB", flavor.spec.disk_gib, -(-virtual_size_bytes // _GIB))
    return None


def interface_plan(server: Server, interface: NetworkInterface, store: Store) -> InterfacePlan | Problem:
    """Return the NIC's Network, and the Port that it names or the Subnets that its addresses may come from."""
    namespace = server.metadata.namespace
    if interface.port is not None:
        return _with_port(server, interface, store.ports.get(interface.port, namespace), store)
    bound = bound_port(server, interface, store)
    pinned = pinned_network(bound, store) if bound is not None else None
    network = pinned or shared_network(namespace, interface.network, "spec.networks", store)
    if not isinstance(network, Network):
        return network
    if network.status.phase is not NetworkPhase.ACTIVE:
        return Waits("NetworkNotActive", f"waits for {network.key} to become Active")
    subnets = settled_subnets(network, store)
    return InterfacePlan(interface, network, subnets) if isinstance(subnets, tuple) else subnets


def _group_problem(server: Server, nic: InterfacePlan, store: Store) -> Problem | None:
    """Return what is in the way of the groups of a Port that is to be made for the Server."""
    if nic.port is not None:
        return None
    own = bound_port(server, nic.interface, store)
    return next(iter(server_groups(server, own, nic.network, store).problems), None)


def _with_port(server: Server, interface: NetworkInterface, port: Port | None, store: Store) -> InterfacePlan | Problem:
    """Return the plan of a NIC that names a Port, once that Port is complete and nobody else's."""
    field = f"spec.networks[{interface.name}].port"
    key = Key("Port", server.metadata.namespace, interface.port or "")
    found = usable(port, key, field)
    if isinstance(found, Waits):
        return found
    if found.spec.network != interface.network:
        return Stalls(
            "PortOnOtherNetwork",
            f"spec.networks[{interface.name}].network is {interface.network}, but {key} is on Network"
            f" {found.spec.network}; take the entry away, and add one that names both as they are",
        )
    if found.spec.server_uid is not None and not is_used(found, server):
        return Waits("PortInUse", f"waits for {key}, which {field} names: Server {found.spec.server} uses it")
    network = pinned_network(found, store)
    if network is None or (found.spec.server_uid is None and not can_be_bound(found)):
        return _not_ready(key, field)
    return InterfacePlan(interface, network, (), found)


def _image(server: Server, store: Store) -> Image | Problem:
    """Look in the Server's own namespace first, then in the catalog."""
    own = Key("Image", server.metadata.namespace, server.spec.image)
    found = store.images.find(own) or store.images.get(server.spec.image, CATALOG_NAMESPACE)
    if found is None:
        return Waits(
            "NoImage",
            f"waits for the Image {server.spec.image}, which spec.image names: it is neither in namespace"
            f" {server.metadata.namespace} nor in {CATALOG_NAMESPACE}",
        )
    image = usable(found, found.key, "spec.image")
    if not isinstance(image, Image) or image.status.phase is ImagePhase.ACTIVE:
        return image
    if image.status.phase is ImagePhase.KILLED:
        return Waits("ImageKilled", f"{image.key} can't be used: see why with kubectl describe, and make it anew")
    progress = image.status.progress_percent
    return Waits("ImageNotActive", f"waits for {image.key} to become Active" + (f" ({progress} %)" if progress else ""))


def _group(server: Server, store: Store) -> ServerGroup | Problem | None:
    if server.spec.server_group is None:
        return None
    key = Key("ServerGroup", server.metadata.namespace, server.spec.server_group)
    found = usable(store.server_groups.find(key), key, "spec.serverGroup")
    if isinstance(found, Waits) or is_true(found.status.conditions, ConditionType.READY):
        return found
    return _not_ready(key, "spec.serverGroup")


def _key_pairs(server: Server, store: Store) -> tuple[KeyPair, ...] | Waits:
    found = []
    for name in server.spec.key_pairs:
        key = Key("KeyPair", server.metadata.namespace, name)
        key_pair = usable(store.key_pairs.find(key), key, "spec.keyPairs")
        if isinstance(key_pair, Waits):
            return key_pair
        if key_pair.status.fingerprint is None:
            return _not_ready(key, "spec.keyPairs")
        found.append(key_pair)
    return tuple(found)


def _not_ready(key: Key, field: str) -> Waits:
    return Waits(f"{key.kind}NotReady", f"waits for {key}, which {field} names, to be Ready; kubectl describe says why")


def _too_small(flavor: Flavor, image: Image, field: str, has: int, needs: int) -> Stalls:
    return Stalls(
        "FlavorTooSmall",
        f"spec.flavor: {flavor.metadata.name} has {field} {has}, but {image.key} needs at least {needs};"
        " make the Server anew with a larger flavor",
    )
