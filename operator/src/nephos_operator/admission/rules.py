"""Rules of the webhook, one function a kind: the object that is asked for, the cloud as it is, a sentence or None.

A reference to what does not exist yet is no reason to refuse: it is waited for. What contradicts what exists is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from nephos_api.metadata import CATALOG_NAMESPACE, Key, Resource
from nephos_api.resources import Image, Port, Server, ServerAction, Subnet
from nephos_api.resources.image import ImagePhase
from nephos_operator import quota
from nephos_operator.addressing import AddressBook
from nephos_operator.allocation import address_problem, automatic_problem, subnet_of
from nephos_operator.reconcilers.subnet import layout_problem, overlap
from nephos_operator.references import active_subnets, contradiction
from nephos_operator.store import Store
from nephos_operator.verdict import Problem


@dataclass(frozen=True)
class Cloud:
    """What rules look at."""

    store: Store
    addresses: AddressBook


Rule = Callable[[Any, Cloud], str | None]


def refusal(resource: Resource, cloud: Cloud, *, is_new: bool) -> str | None:
    """Return the sentence that refuses the object, or None."""
    if is_new and (sentence := _over_quota(resource, cloud)):
        return sentence
    rules = CREATE_RULES if is_new else UPDATE_RULES
    for rule in rules.get(resource.info.kind, ()):
        if (sentence := rule(resource, cloud)) is not None:
            return sentence
    return None


def _over_quota(resource: Resource, cloud: Cloud) -> str | None:
    namespace = resource.metadata.namespace or ""
    project = cloud.store.projects.get(namespace)
    field = quota.COUNTED_KINDS.get(resource.info.kind)
    if project is None or field is None:
        return None
    asked = {field: 1}
    used = quota.usage(namespace, cloud.store)
    if isinstance(resource, Server):
        asked["ports"] = len(resource.spec.networks)
        asked["metadata_items"] = len(resource.spec.metadata)
        if (flavor := cloud.store.flavors.get(resource.spec.flavor)) is not None:
            asked |= {"cores": flavor.spec.vcpus, "ram_mib": flavor.spec.memory_mib}
        if resource.spec.server_group:
            asked["server_group_members"] = 1
            used["server_group_members"] = cloud.store.servers.count("group", (namespace, resource.spec.server_group))
    return _sentence(quota.exceeded(project.metadata.name, project.spec.quota, used, asked))


def _metadata_items(server: Server, cloud: Cloud) -> str | None:
    project = cloud.store.projects.get(server.metadata.namespace or "")
    if project is None:
        return None
    asked = {"metadata_items": len(server.spec.metadata)}
    return _sentence(quota.exceeded(project.metadata.name, project.spec.quota, {}, asked))


def _terminating(keys: Iterable[tuple[str, Key]], cloud: Cloud) -> str | None:
    """Refuse a new reference to what is being deleted."""
    for field, key in keys:
        found = cloud.store.find(key)
        if found is not None and found.is_deleting:
            return (
                f"{field}: {key} is being deleted and takes no new references; name another, or wait until it is gone"
            )
    return None


def _server_references(server: Server, cloud: Cloud) -> str | None:
    namespace, spec = server.metadata.namespace, server.spec
    named = [
        ("metadata.namespace", Key("Project", None, namespace or "")),
        ("spec.flavor", Key("Flavor", None, spec.flavor)),
        *(("spec.networks", Key("Network", namespace, interface.network)) for interface in spec.networks),
        *(("spec.keyPairs", Key("KeyPair", namespace, name)) for name in spec.key_pairs),
    ]
    if spec.server_group:
        named.append(("spec.serverGroup", Key("ServerGroup", namespace, spec.server_group)))
    image = _image(server, cloud)
    if image is not None:
        named.append(("spec.image", image.key))
    return _terminating(named, cloud)


def _server_contradictions(server: Server, cloud: Cloud) -> str | None:
    flavor, image = cloud.store.flavors.get(server.spec.flavor), _image(server, cloud)
    if flavor is None or image is None:
        return None
    if image.status.phase is ImagePhase.KILLED:
        return f"spec.image: {image.key} can't be used: its phase is Killed; name another"
    return _sentence(contradiction(flavor, image))


def _server_addresses(server: Server, cloud: Cloud) -> str | None:
    for interface in server.spec.networks:
        field = f"spec.networks[{interface.name}].addresses"
        if sentence := _addresses(server, interface.network, field, interface.addresses, None, cloud):
            return sentence
    return None


def _port_addresses(port: Port, cloud: Cloud) -> str | None:
    spec = port.spec
    return _addresses(port, spec.network, "spec.addresses", spec.addresses, spec.mac_address, cloud)


def _addresses(
    resource: Resource, network_name: str, field: str, addresses: tuple[str, ...], mac: str | None, cloud: Cloud
) -> str | None:
    network = cloud.store.networks.get(network_name, resource.metadata.namespace)
    subnets = active_subnets(network, cloud.store) if network else ()
    for address in addresses if subnets else ():
        problem = address_problem(field, address, subnets) or automatic_problem(field, address, subnets, mac)
        if problem:
            return problem.message
        subnet = subnet_of(address, subnets)
        holders = cloud.addresses.holders(subnet.uid, address) if subnet else frozenset()
        if holders:
            names = ", ".join(sorted(str(key) for key in holders))
            return f"{field}: {address} is in use by {names}; choose another, or leave it out to get a free one"
    return None


def _port_references(port: Port, cloud: Cloud) -> str | None:
    return _terminating([("spec.network", Key("Network", port.metadata.namespace, port.spec.network))], cloud)


def _subnet_references(subnet: Subnet, cloud: Cloud) -> str | None:
    return _terminating([("spec.network", Key("Network", subnet.metadata.namespace, subnet.spec.network))], cloud)


def _subnet_overlap(subnet: Subnet, cloud: Cloud) -> str | None:
    siblings = cloud.store.subnets.by("network", (subnet.metadata.namespace, subnet.spec.network))
    others = [sibling for sibling in siblings if sibling.metadata.name != subnet.metadata.name]
    return _sentence(overlap(subnet, others))


def _subnet_layout(subnet: Subnet, _: Cloud) -> str | None:
    return _sentence(layout_problem(subnet))


def _action_references(action: ServerAction, cloud: Cloud) -> str | None:
    return _terminating([("spec.server", Key("Server", action.metadata.namespace, action.spec.server))], cloud)


def _image(server: Server, cloud: Cloud) -> Image | None:
    own = cloud.store.images.get(server.spec.image, server.metadata.namespace)
    return own or cloud.store.images.get(server.spec.image, CATALOG_NAMESPACE)


def _sentence(problem: Problem | None) -> str | None:
    return problem.message if problem else None


CREATE_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "Server": (_server_references, _server_contradictions, _server_addresses),
    "Port": (_port_references, _port_addresses),
    "Subnet": (_subnet_references, _subnet_layout, _subnet_overlap),
    "ServerAction": (_action_references,),
}

UPDATE_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "Server": (_metadata_items,),
    "Subnet": (_subnet_layout,),
}
