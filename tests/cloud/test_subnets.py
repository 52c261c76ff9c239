"""What guests are told of their subnets, and that they talk by the addresses that their Ports have."""

from collections.abc import Callable

import pytest

from nephos_dev.asking import Ask, Guests, eventually, eventually_not, in_guest
from nephos_dev.console import Console
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

Guest = Callable[[str], Console]
OPTIONS = {
    "dnsServers": ["9.9.9.9", "2620:fe::fe"],
    "ntpServers": ["10.60.0.123", "fd00:60::123"],
    "searchDomains": ["example.org", "a.example.org"],
}


def subnet(name: str, network: str, cidr: str, **spec: object) -> dict[str, object]:
    return dict(manifest("Subnet", name, network=network, cidr=cidr, **spec))


@pytest.fixture(scope="module")
def project(project: Tenant) -> Tenant:
    """Two guests apart, each with a NIC on a network of both versions and one on a leased network of IPv6 alone."""
    nics = [{"name": "net0", "network": "both"}, {"name": "net1", "network": "leased"}]
    project.apply(
        *network_manifests("both", "10.60.0.0/24", **OPTIONS),
        subnet("both-v6", "both", "fd00:60::/64", dnsServers=["2620:fe::fe"]),
        manifest("Network", "leased"),
        subnet("leased-v6", "leased", "fd00:61::/64", ipv6Mode="DHCPv6Stateful", **OPTIONS),
        manifest("ServerGroup", "apart", policy="AntiAffinity"),
        *(server_manifest(name, "both", networks=nics, serverGroup="apart") for name in ("a", "b")),
    )
    for name in ("a", "b"):
        project.wait_phase(name, "Active")
    return project


def addresses(project: Tenant, server: str) -> dict[tuple[str, int], str]:
    """Return the addresses that the Server says, by NIC and IP version."""
    found = project.get("server", server)
    assert found is not None
    return {
        (entry["name"], 6 if ":" in entry["address"] else 4): entry["address"] for entry in found["status"]["addresses"]
    }


def test_a_guest_has_the_addresses_that_its_server_says(project: Tenant, guests: Guests) -> None:
    said = addresses(project, "a")
    assert set(said) == {("net0", 4), ("net0", 6), ("net1", 6)}
    assert said["net1", 6] == "fd00:61::2"
    for (nic, _), address in said.items():
        device = {"net0": "eth0", "net1": "eth1"}[nic]
        eventually(guests.ask("a", f"ip addr show dev {device}"), f" {address}/", what=f"{device} has {address}")


@pytest.mark.parametrize("nic", ["net0", "net1"])
def test_guests_on_two_hosts_reach_each_other_by_ipv6(project: Tenant, guests: Guests, nic: str) -> None:
    there = addresses(project, "b")[nic, 6]
    eventually(guests.ask("a", f"ping -c 1 -W 1 {there}"), "1 packets received", what=f"b answers at {there}")


def test_ipv6_passes_by_the_rules_of_its_version_and_only_by_those(project: Tenant, guests: Guests) -> None:
    there = addresses(project, "b")
    asked = {
        "ping": guests.ask("a", f"ping -c 1 -W 1 {there['net0', 6]}"),
        "page": guests.ask("a", f"timeout 2 wget -q -O - http://[{there['net0', 6]}]/"),
        "ping of IPv4": guests.ask("a", f"ping -c 1 -W 1 {there['net0', 4]}"),
    }
    for what, question in asked.items():
        eventually(question, what=f"{what} between members of the default group")
    project.apply(manifest("SecurityGroup", "six", rules=[{"direction": "Ingress", "protocol": "ICMPv6"}]))
    project.patch_spec("server", "b", {"securityGroups": ["six"]})
    try:
        eventually_not(asked["ping of IPv4"], what="IPv4, of which no rule speaks")
        eventually_not(asked["page"], what="a protocol of which no rule speaks")
        eventually(asked["ping"], what="what the rule allows")
        web = {"direction": "Ingress", "protocol": "TCP", "portMin": 80, "remoteCIDR": "fd00:60::/64"}
        project.patch_spec("securitygroup", "six", {"rules": [web]})
        eventually(asked["page"], what="what the rule of now allows")
        eventually_not(asked["ping"], what="what it allowed before")
    finally:
        project.patch_spec("server", "b", {"securityGroups": None})


def test_a_guest_is_told_resolvers_search_domains_and_time_servers(project: Tenant, guests: Guests) -> None:
    for line in ("nameserver 9.9.9.9", "nameserver 2620:fe::fe", "search example.org a.example.org"):
        eventually(guests.ask("a", "cat /etc/resolv.conf"), line, what=line)
    for line in ("server 10.60.0.123", "server fd00:60::123"):
        eventually(guests.ask("a", "cat /etc/ntp.conf"), line, what=line)


def test_a_guest_that_gave_its_lease_back_gets_the_same_one_again(project: Tenant, guests: Guests) -> None:
    address = addresses(project, "a")["net0", 4]
    shown = "ip -4 addr show dev eth0; ip route show dev eth0"
    assert guests.run("a", "killall -USR2 udhcpc").status == 0
    eventually_not(guests.ask("a", f"({shown}) | grep -F {address}"), what="the lease is given back")
    assert guests.run("a", "killall -USR1 udhcpc").status == 0
    for line in (f"inet {address}/24", "default via 10.60.0.1"):
        eventually(guests.ask("a", shown), line, what="the lease is taken again")


def renewed(guests: Guests, server: str, expected: str) -> Ask:
    """Return the question that has a guest renew its leases and shows what it knows, at once if it is as expected.

    A udhcpc that is asked again before it was answered takes that as a wish to start over, without its address. So each
    renewal has the time of all its tries.
    """
    look = "cat /etc/resolv.conf; ip route"
    is_there = f"({look}) | grep -qF '{expected}'"
    wait = f"for turn in 1 2 3 4 5 6 7; do usleep 500000; ! {is_there} || break; done"
    return guests.ask(server, f"killall -USR1 udhcpc; {wait}; {look}")


def test_changes_of_a_subnet_reach_running_guests(project: Tenant, guests: Guests) -> None:
    changed = {"dnsServers": ["192.0.2.53"], "hostRoutes": [{"destination": "10.99.0.0/16", "nextHop": "10.60.0.2"}]}
    project.patch_spec("subnet", "both-v4", changed)
    project.patch_spec("subnet", "both-v6", {"dnsServers": ["2001:db8::53"]})
    for line in ("nameserver 192.0.2.53", "10.99.0.0/16 via 10.60.0.2"):
        eventually(renewed(guests, "a", line), line, what="the lease is renewed")
    eventually(
        guests.ask("a", "cat /etc/resolv.conf"), "nameserver 2001:db8::53", what="it is advertised", timeout_s=90
    )


def test_a_subnet_that_comes_later_is_taken_up_by_running_guests(project: Tenant, guests: Guests) -> None:
    project.apply(subnet("later", "both", "fd00:62::/64"))
    wait_for(lambda: _has_address_of(project, "fd00:62:"), what="the Ports have their addresses", timeout_s=30)
    for name in ("a", "b"):
        eventually(guests.ask(name, "ip -6 addr show dev eth0"), " fd00:62:", what="the guest made one", timeout_s=90)
    there = next(address for address in _all(project, "b") if address.startswith("fd00:62:"))
    eventually(guests.ask("a", f"ping -c 1 -W 1 {there}"), "1 packets received", what=f"b answers at {there}")


def _all(project: Tenant, server: str) -> list[str]:
    found = project.get("server", server)
    return [entry["address"] for entry in found["status"]["addresses"]] if found else []


def _has_address_of(project: Tenant, prefix: str) -> None:
    if not any(address.startswith(prefix) for address in _all(project, "b")):
        raise NotYet(f"b has {_all(project, 'b')}")


def test_a_server_on_ipv6_alone_has_its_metadata_and_its_name(tenant: Tenant, guest: Guest) -> None:
    tenant.apply(
        manifest("Network", "six"),
        subnet("six-v6", "six", "fd00:66::/64", ipv6Mode="DHCPv6Stateless", **OPTIONS),
        server_manifest("web", "six"),
    )
    tenant.wait_phase("web", "Active")
    eventually(in_guest(guest("web"), "hostname"), "web", what="it has its name", timeout_s=90)
    eventually(in_guest(guest("web"), "cat /etc/ntp.conf"), "server fd00:60::123", what="it has its time servers")


def test_a_server_without_dhcp_configures_itself_from_its_metadata(tenant: Tenant, guest: Guest) -> None:
    tenant.apply(
        *network_manifests("silent", "10.67.0.0/24", dhcp=False),
        subnet("silent-v6", "silent", "fd00:67::/64", dhcp=False),
        server_manifest("a", "silent", networks=[{"network": "silent", "addresses": ["10.67.0.11", "fd00:67::11"]}]),
        server_manifest("b", "silent", networks=[{"network": "silent", "addresses": ["10.67.0.12", "fd00:67::12"]}]),
    )
    for name in ("a", "b"):
        tenant.wait_phase(name, "Active")
    for address in ("10.67.0.12", "fd00:67::12"):
        ping = in_guest(guest("a"), f"ping -c 1 -W 1 {address}")
        eventually(ping, "1 packets received", what=f"b answers at {address}", timeout_s=90)
