"""How a guest is to configure its NICs; compared with a file that people read in review."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from nephos_agent.metadata.network_data import network_data
from nephos_agent.metadata.source import Guest, GuestNic
from nephos_api.metadata import Metadata
from nephos_api.resources.network import HostRoute, IPv6Mode, Network, NetworkStatus, SubnetView
from nephos_api.resources.port import Allocation, Port, PortSpec
from nephos_api.resources.server import Server, ServerSpec

GOLDEN = Path(__file__).parent / "golden"
ROUTES = (HostRoute(destination="fd00:99::/48", next_hop="fd00:1::2"),)
V4 = SubnetView(name="v4", uid="v4", cidr="10.1.0.0/24", gateway="10.1.0.1", service_address="10.1.0.254")
MORE_V4 = SubnetView(name="more", uid="more", cidr="10.2.0.0/24", gateway="10.2.0.1", service_address="10.2.0.254")
V6 = SubnetView(
    name="v6", uid="v6", cidr="fd00:1::/64", gateway="fd00:1::1", service_address="fd00:1::ffff", host_routes=ROUTES
)


def nic(number: int, *subnets: SubnetView, twice: bool = False) -> GuestNic:
    """Return a NIC with an address of each of the subnets, or two."""
    held = [
        Allocation(subnet=s.name, subnet_uid=s.uid, address=str(ip_network(s.cidr)[host]), prefix_length=64)
        for s in subnets
        for host in (9, 8)[: 1 + twice]
    ]
    network = Network(
        metadata=Metadata(name=f"n{number}", namespace="first", uid=f"network-{number}"),
        status=NetworkStatus(vni=number, mtu=1450, subnets=subnets),
    )
    spec = PortSpec(network=f"n{number}", mac_address=f"52:54:00:00:00:0{number}", allocations=tuple(held))
    return GuestNic(Port(metadata=Metadata(name=f"p{number}", uid=f"port-{number}"), spec=spec), network)


def guest(*nics: GuestNic) -> Guest:
    metadata = Metadata(name="web", namespace="first", uid="u")
    return Guest(Server(metadata=metadata, spec=ServerSpec(flavor="f", image="i")), nics, "az1")


def networks(*nics: GuestNic) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = network_data(guest(*nics))["networks"]
    return found


def with_mode(mode: IPv6Mode | None) -> SubnetView:
    return V6.model_copy(update={"ipv6_mode": mode})


def test_the_document_is_as_reviewed() -> None:
    stateful = with_mode(IPv6Mode.DHCPV6_STATEFUL).model_copy(
        update={"uid": "v6-2", "cidr": "fd00:2::/64", "host_routes": ()}
    )
    silent = V6.model_copy(
        update={"dhcp": False, "uid": "v6-3", "cidr": "fd00:3::/64", "gateway": "fd00:3::1", "host_routes": ()}
    )
    outside = V4.model_copy(update={"dhcp": False, "service_address": None})
    described = guest(nic(1, V4, V6), nic(2, MORE_V4, stateful), nic(3, outside, silent))
    text = json.dumps(network_data(described), indent=1) + "\n"
    assert text == (GOLDEN / "three-nics.json").read_text()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (None, "ipv6_slaac"),
        (IPv6Mode.SLAAC, "ipv6_slaac"),
        (IPv6Mode.DHCPV6_STATELESS, "ipv6_dhcpv6-stateless"),
        (IPv6Mode.DHCPV6_STATEFUL, "ipv6_dhcpv6-stateful"),
    ],
)
def test_a_guest_is_told_how_its_ipv6_address_comes(mode: IPv6Mode | None, kind: str) -> None:
    (found,) = networks(nic(1, with_mode(mode)))
    assert found["type"] == kind
    assert "ip_address" not in found, "cloud-init would configure what the guest makes or is leased"
    assert [route["gateway"] for route in found["routes"]] == ["fd00:1::2"], "who routes is said by routers"


def test_an_address_that_nobody_tells_is_given_here_with_its_routes() -> None:
    (found,) = networks(nic(1, V6.model_copy(update={"dhcp": False})))
    assert (found["type"], found["ip_address"]) == ("ipv6", "fd00:1::9")
    assert [route["gateway"] for route in found["routes"]] == ["fd00:1::1", "fd00:1::2"]


def test_a_second_ipv4_address_is_given_here_and_brings_no_second_default_route() -> None:
    leased, given, more, _ = networks(nic(1, V4, MORE_V4, twice=True))
    assert leased["type"] == "ipv4_dhcp"
    assert (given["type"], given["ip_address"], given["routes"]) == ("ipv4", "10.1.0.8", [])
    assert (more["ip_address"], more["routes"]) == ("10.2.0.9", [])


def test_a_second_ipv6_address_of_a_subnet_does_not_switch_advertisements_off() -> None:
    assert [found["type"] for found in networks(nic(1, V6, twice=True))] == ["ipv6_slaac"]


def test_a_guest_without_dhcp_finds_its_metadata_by_a_route() -> None:
    (found,) = networks(nic(1, V4.model_copy(update={"dhcp": False})))
    assert {"network": "169.254.169.254", "netmask": "255.255.255.255", "gateway": "10.1.0.254"} in found["routes"]


def test_no_resolver_is_named_where_nothing_of_ours_answers() -> None:
    outside = V4.model_copy(update={"dhcp": False, "service_address": None})
    assert network_data(guest(nic(1, outside)))["services"] == []
    assert network_data(guest(nic(1, V4), nic(2, V4)))["services"] == [{"type": "dns", "address": "10.1.0.254"}]


def test_nics_are_in_the_servers_order() -> None:
    nics = (nic(2, V4), nic(1, MORE_V4))
    links = network_data(replace(guest(), nics=nics))["links"]
    assert [link["ethernet_mac_address"] for link in links] == ["52:54:00:00:00:02", "52:54:00:00:00:01"]
