"""How Routers and FloatingIPs are filed: by what they name, what they hold, and who carries them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final

from nephos_api import conditions
from nephos_api.conditions import ConditionStatus, ConditionType
from nephos_api.metadata import Key
from nephos_api.resources import FloatingIP, Router
from nephos_operator.claims import held_addresses
from nephos_operator.networks_named import network_places
from nephos_operator.quota import beyond_quota
from nephos_operator.table import Index

_ADDRESS_WANTED: Final = frozenset({"AddressInUse", "NoFreeAddress"})
"""Reasons of those that an address which was given back may help."""


def external_keys(resource: Router | FloatingIP) -> tuple[Key, ...]:
    """Return where the external Network may be that the object names: in its own namespace, or in the catalog."""
    name = resource.spec.external_network
    return network_places(resource.metadata.namespace, name) if name is not None else ()


def targets(floating_ip: FloatingIP) -> tuple[Key, ...]:
    """Return the Server or Port that the FloatingIP names."""
    namespace, spec = floating_ip.metadata.namespace, floating_ip.spec
    if spec.port is not None:
        return (Key("Port", namespace, spec.port),)
    return (Key("Server", namespace, spec.server),) if spec.server is not None else ()


def is_unbound(floating_ip: FloatingIP) -> bool:
    """Tell whether it should stand for somebody, and does not."""
    return bool(targets(floating_ip)) and floating_ip.status.router_uid is None


def _value(value: Hashable | None) -> Iterable[Hashable]:
    return () if value is None else (value,)


def _external_uid(router: Router) -> Iterable[Hashable]:
    return (router.status.external.network_uid,) if router.status.external else ()


def _reason(resource: Router | FloatingIP) -> str | None:
    """Return why the object is not Ready; None where it is, or where nothing was said yet."""
    ready = conditions.find(resource.status.conditions, ConditionType.READY)
    return ready.reason if ready is not None and ready.status is not ConditionStatus.TRUE else None


def _named_subnets(router: Router) -> Iterable[Hashable]:
    named = {*router.spec.subnets, *(leg.subnet for leg in router.status.legs)}
    return {(router.metadata.namespace, name) for name in named}


ROUTER_INDICES: Final[dict[str, Index[Router]]] = {
    "namespace": lambda router: (router.metadata.namespace,),
    "subnet": _named_subnets,
    "leg_subnet_uid": lambda router: {leg.subnet_uid for leg in router.status.legs},
    "leg_network_uid": lambda router: {leg.network_uid for leg in router.status.legs},
    "external": external_keys,
    "external_uid": _external_uid,
    "external_subnet_uid": lambda router: {subnet_uid for subnet_uid, _ in held_addresses(router)},
    "address": held_addresses,
    "uid": lambda router: (router.uid,),
    "vni": lambda router: _value(router.status.transit_vni),
    "gateway_host": lambda router: _value(router.status.gateway_host),
    "unaddressed": lambda router: external_keys(router) if _reason(router) in _ADDRESS_WANTED else (),
    "beyond_quota": beyond_quota,
    "without_gateway": lambda router: (
        (True,) if (router.spec.external_network or router.status.external) and not router.status.gateway_host else ()
    ),
}

FLOATING_IP_INDICES: Final[dict[str, Index[FloatingIP]]] = {
    "namespace": lambda floating_ip: (floating_ip.metadata.namespace,),
    "external": external_keys,
    "network_uid": lambda floating_ip: _value(floating_ip.status.network_uid),
    "subnet_uid": lambda floating_ip: _value(floating_ip.status.subnet_uid),
    "address": held_addresses,
    "port_uid": lambda floating_ip: _value(floating_ip.status.port_uid),
    "router_uid": lambda floating_ip: _value(floating_ip.status.router_uid),
    "host": lambda floating_ip: _value(floating_ip.status.host),
    "target": targets,
    "unbound": lambda floating_ip: external_keys(floating_ip) if is_unbound(floating_ip) else (),
    "unaddressed": lambda floating_ip: () if floating_ip.status.address else external_keys(floating_ip),
    "beyond_quota": beyond_quota,
}
