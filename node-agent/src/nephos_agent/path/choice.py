"""Which NIC and which addresses a guest would use, and under which addresses others know it."""

from __future__ import annotations

from nephos_agent.network.addresses import is_ipv6
from nephos_agent.path.trail import Trail
from nephos_agent.path.view import addresses, contains, is_address
from nephos_api.resources import Port


def choose(trail: Trail, sources: tuple[Port, ...]) -> tuple[Port, str, str] | None:
    """Return NIC, own address and target that the guest would choose: on the link, then by a router."""
    pairs = [
        (port, own, target)
        for port in sources
        for own in addresses(port)
        for target in _targets(trail)
        if is_ipv6(own) == is_ipv6(target)
    ]
    return min(pairs, key=lambda pair: _distance(trail, *pair), default=None)


def reachable(trail: Trail, ports: tuple[Port, ...]) -> list[str]:
    """Return the addresses under which the outside knows the Ports: floating ones, then those that are routed."""
    held = [(port, address) for port in ports for address in addresses(port)]
    floating = [found.status.address for each in held if (found := trail.view.floating_ip_of(*each))]
    provided = [address for port, address in held if trail.is_provided(port.spec.network_uid)]
    return [*(it for it in floating if it), *provided, *(address for _, address in held if is_ipv6(address))]


def _targets(trail: Trail) -> list[str]:
    if is_address(trail.question.destination):
        return [trail.question.destination]
    ports = trail.view.ports_named(trail.question.destination)
    return [*(address for port in ports for address in addresses(port)), *reachable(trail, ports)]


def _distance(trail: Trail, port: Port, own: str, target: str) -> int:
    network_uid, subnet = port.spec.network_uid or "", trail.view.subnet_of(port, own)
    if subnet is None:
        return 3
    if contains(subnet.cidr, target) and trail.view.port_with(network_uid, target):
        return 0
    router = trail.view.router_at(network_uid, subnet.gateway) if subnet.gateway else None
    if router is None:
        return 2 if trail.view.floating_ip_at(target) else 3
    legs = [leg for leg in router.status.legs if contains(leg.cidr, target)]
    return 1 if any(trail.view.port_with(leg.network_uid, target) for leg in legs) else 2
