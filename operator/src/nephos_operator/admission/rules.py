"""Rules of the webhook, one function a kind: the object that is asked for, the cloud as it is, a sentence or None.

A reference to what does not exist yet is no reason to refuse: it is waited for. What contradicts what exists is.
"""

from __future__ import annotations

from typing import Final

from nephos_api.metadata import CATALOG_NAMESPACE, Key, Resource
from nephos_api.resources import Image, SecurityGroup, Server, ServerAction, Subnet
from nephos_api.resources.image import ImagePhase
from nephos_operator import quota
from nephos_operator.admission import outside_rules, port_rules
from nephos_operator.admission.cloud import Cloud, Rule, quota_refusal, sentence, terminating
from nephos_operator.reconcilers.subnet import layout_problem, overlap, room_problem
from nephos_operator.references import contradiction


def refusal(resource: Resource, cloud: Cloud, *, is_new: bool) -> str | None:
    """Return the sentence that refuses the object, or None."""
    if is_new and (refused := _over_quota(resource, cloud)):
        return refused
    if not is_new and _asks_nothing_new(resource, cloud):
        return None
    rules = CREATE_RULES if is_new else UPDATE_RULES
    for rule in rules.get(resource.info.kind, ()):
        if (refused := rule(resource, cloud)) is not None:
            return refused
    return None


def _asks_nothing_new(resource: Resource, cloud: Cloud) -> bool:
    """Tell whether the update leaves the spec as it is: that is let in, whatever came to contradict it."""
    held = cloud.store.find(resource.key)
    return held is not None and getattr(held, "spec", None) == getattr(resource, "spec", None)


def _over_quota(resource: Resource, cloud: Cloud) -> str | None:
    field = quota.COUNTED_KINDS.get(resource.info.kind)
    if field is None:
        return None
    asked = {field: 1}
    used = quota.usage(resource.metadata.namespace or "", cloud.store)
    if isinstance(resource, Server):
        asked["ports"] = port_rules.port_count(resource.spec.networks)
        asked["metadata_items"] = len(resource.spec.metadata)
        if (flavor := cloud.store.flavors.get(resource.spec.flavor)) is not None:
            asked |= {"cores": flavor.spec.vcpus, "ram_mib": flavor.spec.memory_mib}
        if resource.spec.server_group:
            group = (resource.metadata.namespace, resource.spec.server_group)
            asked["server_group_members"] = 1
            used["server_group_members"] = cloud.store.servers.count("group", group)
    if isinstance(resource, SecurityGroup):
        asked["security_group_rules"] = quota.rule_count(resource)
    return quota_refusal(resource, asked, cloud, used=used)


def _metadata_items(server: Server, cloud: Cloud) -> str | None:
    return quota_refusal(server, {"metadata_items": len(server.spec.metadata)}, cloud)


def _server_references(server: Server, cloud: Cloud) -> str | None:
    namespace, spec = server.metadata.namespace, server.spec
    named = [
        ("metadata.namespace", Key("Project", None, namespace or "")),
        ("spec.flavor", Key("Flavor", None, spec.flavor)),
        *(("spec.keyPairs", Key("KeyPair", namespace, name)) for name in spec.key_pairs),
    ]
    if spec.server_group:
        named.append(("spec.serverGroup", Key("ServerGroup", namespace, spec.server_group)))
    image = _image(server, cloud)
    if image is not None:
        named.append(("spec.image", image.key))
    return terminating(named, cloud)


def _server_contradictions(server: Server, cloud: Cloud) -> str | None:
    flavor, image = cloud.store.flavors.get(server.spec.flavor), _image(server, cloud)
    if flavor is None or image is None:
        return None
    if image.status.phase is ImagePhase.KILLED:
        return f"spec.image: {image.key} can't be used: its phase is Killed; name another"
    return sentence(contradiction(flavor, image))


def _subnet_references(subnet: Subnet, cloud: Cloud) -> str | None:
    return terminating([("spec.network", Key("Network", subnet.metadata.namespace, subnet.spec.network))], cloud)


def _subnet_siblings(subnet: Subnet, cloud: Cloud) -> str | None:
    siblings = cloud.store.subnets.by("network", (subnet.metadata.namespace, subnet.spec.network))
    others = [sibling for sibling in siblings if sibling.metadata.name != subnet.metadata.name]
    return sentence(overlap(subnet, others) or room_problem(subnet, others))


def _subnet_layout(subnet: Subnet, _: Cloud) -> str | None:
    return sentence(layout_problem(subnet))


def _action_references(action: ServerAction, cloud: Cloud) -> str | None:
    return terminating([("spec.server", Key("Server", action.metadata.namespace, action.spec.server))], cloud)


def _image(server: Server, cloud: Cloud) -> Image | None:
    own = cloud.store.images.get(server.spec.image, server.metadata.namespace)
    return own or cloud.store.images.get(server.spec.image, CATALOG_NAMESPACE)


_ROUTER_RULES: Final[tuple[Rule, ...]] = (
    outside_rules.router_references,
    outside_rules.router_outside,
    outside_rules.router_legs,
    outside_rules.router_routes,
)
_FLOATING_IP_RULES: Final[tuple[Rule, ...]] = (
    outside_rules.floating_ip_references,
    outside_rules.floating_ip_address,
    outside_rules.floating_ip_target,
)

CREATE_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "Server": (_server_references, port_rules.server_groups, _server_contradictions, port_rules.server_interfaces),
    "Port": (port_rules.port_network, port_rules.port_groups, port_rules.port_addresses),
    "Subnet": (_subnet_references, _subnet_layout, _subnet_siblings),
    "Router": _ROUTER_RULES,
    "FloatingIP": _FLOATING_IP_RULES,
    "ServerAction": (_action_references,),
}

UPDATE_RULES: Final[dict[str, tuple[Rule, ...]]] = {
    "Server": (_metadata_items, port_rules.server_groups, port_rules.server_ports, port_rules.server_interfaces),
    "Port": (port_rules.port_groups,),
    "SecurityGroup": (port_rules.group_rules,),
    "Subnet": (_subnet_layout,),
    "Router": _ROUTER_RULES,
    "FloatingIP": (outside_rules.floating_ip_references, outside_rules.floating_ip_target),
}
