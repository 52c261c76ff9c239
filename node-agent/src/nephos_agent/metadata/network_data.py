"""``network_data.json``: the NICs in their order, how each address comes to the guest, and resolvers.

The types are Nova's (nova.virt.netutils), in the words that cloud-init reads (sources/helpers/openstack.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any, Final

from nephos_agent.metadata.source import Guest, GuestNic
from nephos_agent.network.addresses import METADATA_IPV4
from nephos_agent.network.names import tap_name
from nephos_api.resources.network import IPv6Mode, SubnetView
from nephos_api.resources.port import Allocation

_TOLD: Final = {
    None: "ipv4_dhcp",
    IPv6Mode.SLAAC: "ipv6_slaac",
    IPv6Mode.DHCPV6_STATELESS: "ipv6_dhcpv6-stateless",
    IPv6Mode.DHCPV6_STATEFUL: "ipv6_dhcpv6-stateful",
}
"""How a guest gets its address on a Subnet that it is told of."""


def network_data(guest: Guest) -> dict[str, Any]:
    """Return the document."""
    networks = [network for nic in guest.nics for network in _networks(nic)]
    resolvers = dict.fromkeys(
        resolver for nic in guest.nics for _, subnet in _allocations(nic) for resolver in _resolvers(subnet)
    )
    return {
        "links": [_link(nic) for nic in guest.nics],
        "networks": [{"id": f"network{number}"} | network for number, network in enumerate(networks)],
        "services": [{"type": "dns", "address": address} for address in resolvers],
    }


def _link(nic: GuestNic) -> dict[str, Any]:
    return {
        "id": tap_name(nic.port.uid),
        "vif_id": nic.port.uid,
        "type": "tap",
        "mtu": nic.network.status.mtu,
        "ethernet_mac_address": nic.port.spec.mac_address,
    }


def _networks(nic: GuestNic) -> Iterator[dict[str, Any]]:
    """Yield the NIC's addresses as networks: those that the guest is told, and those that it has to be given here.

    A lease has one address of each version, and a guest makes one a Subnet; more of IPv4 are given here. More of IPv6
    are not: a static one among them has cloud-init switch router advertisements off.
    """
    told: set[str] = set()
    with_default_route: set[int] = set()
    for allocation, subnet in _allocations(nic):
        common = {"link": tap_name(nic.port.uid), "network_id": nic.network.uid}
        version = ip_network(subnet.cidr).version
        is_told = subnet.dhcp and subnet.service_address is not None
        once = subnet.uid if version == 6 else "ipv4"
        if is_told and once not in told:
            told.add(once)
            with_default_route.add(version)
            yield common | {"type": _TOLD[_mode(subnet)]} | _unsaid(subnet)
        elif version == 4 or not is_told:
            yield common | _static(allocation, subnet, is_default=version not in with_default_route)
            with_default_route.add(version)


def _mode(subnet: SubnetView) -> IPv6Mode | None:
    if ip_network(subnet.cidr).version == 4:
        return None
    return subnet.ipv6_mode or IPv6Mode.SLAAC


def _unsaid(subnet: SubnetView) -> dict[str, Any]:
    """Return the routes that neither DHCPv6 nor our router advertisements have a word for."""
    if _mode(subnet) is None or not subnet.host_routes:
        return {}
    return {"routes": [_route(route.destination, route.next_hop) for route in subnet.host_routes]}


def _static(allocation: Allocation, subnet: SubnetView, *, is_default: bool) -> dict[str, Any]:
    network = ip_network(subnet.cidr)
    routes = [_route("::/0" if network.version == 6 else "0.0.0.0/0", subnet.gateway)] if subnet.gateway else []
    if not is_default:
        routes = []
    elif network.version == 4 and subnet.service_address:
        routes.append(_route(f"{METADATA_IPV4}/32", subnet.service_address))
    routes += [_route(route.destination, route.next_hop) for route in subnet.host_routes]
    return {
        "type": f"ipv{network.version}",
        "ip_address": allocation.address,
        "netmask": str(network.netmask),
        "routes": routes,
    }


def _route(destination: str, next_hop: str) -> dict[str, str]:
    network = ip_network(destination)
    return {"network": str(network.network_address), "netmask": str(network.netmask), "gateway": next_hop}


def _resolvers(subnet: SubnetView) -> tuple[str, ...]:
    return subnet.dns_servers or ((subnet.service_address,) if subnet.service_address else ())


def _allocations(nic: GuestNic) -> list[tuple[Allocation, SubnetView]]:
    subnets = {subnet.uid: subnet for subnet in nic.network.status.subnets}
    return [
        (allocation, subnets[allocation.subnet_uid])
        for allocation in nic.port.spec.allocations
        if allocation.subnet_uid in subnets
    ]
