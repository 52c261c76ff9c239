"""The packet-path explainer beside real kernels: it says what a ping finds out, and where to look."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import partial
from typing import Any

from contract.network_lab import Host, inside, port
from contract.router_lab import (
    FAR_AWAY,
    INTERNET,
    INTERNET_IPV6,
    PUBLIC,
    PUBLIC_CIDR,
    ROUTER_ADDRESS,
    ROUTER_IPV6,
    Cloud,
    Outside,
    floating,
    gateway,
)
from contract.waiting import eventually
from nephos_agent.network.model import AddressPair, HostNetwork, HostPort, PortAddress
from nephos_agent.network.names import network_names
from nephos_agent.network.router.names import router_names
from nephos_agent.path.explain import explain, render
from nephos_agent.path.model import Explanation, Objects, Question, Stage
from nephos_agent.path.report import Report, dump, load
from nephos_api.resources import FloatingIP, Network, Port, Router, SecurityGroup

_ICMP = 1
_ECHO = 8


def objects_of(cloud: Cloud, *floating_ips: FloatingIP) -> Objects:
    """The objects that the API would have of the lab's cloud, host two being the router's gateway host."""
    inner, two = (cloud.blue, cloud.red), cloud.lab.two
    outside = {
        "network": PUBLIC,
        "networkNamespace": "lab",
        "networkUID": PUBLIC,
        "addresses": [
            {"subnet": "s", "subnetUID": "s", "address": ROUTER_ADDRESS, "prefixLength": 24},
            {"subnet": "t", "subnetUID": "t", "address": ROUTER_IPV6, "prefixLength": 64},
        ],
        "nextHops": [INTERNET, INTERNET_IPV6],
        "cidrs": [PUBLIC_CIDR, "2001:db8:113::/64"],
    }
    way_out = {"gatewayHost": two.name, "gatewayHostAddress": two.address, "transitVNI": 7777, "external": outside}
    legs = [
        {
            "subnet": subnet.name,
            "subnetUID": subnet.uid,
            "cidr": subnet.cidr,
            "address": subnet.gateway,
            "network": each.name,
            "networkUID": each.uid,
        }
        for each in inner
        for subnet in each.subnets
    ]
    router = {"metadata": named(cloud.router().uid), "spec": {}, "status": {"legs": legs, **way_out}}
    networks = (*inner, cloud.public)
    rules = [{"direction": direction} for direction in ("Ingress", "Egress")]
    group = {"metadata": named("allow-all"), "spec": {"rules": rules}}
    return Objects(
        networks=tuple(Network.model_validate(network_object(each)) for each in networks),
        ports=tuple(Port.model_validate(port_object(port, each)) for each in networks for port in each.ports),
        routers=(Router.model_validate(router),),
        floating_ips=floating_ips,
        security_groups=(SecurityGroup.model_validate(group),),
    )


def floating_ip(address: str, port: HostPort) -> FloatingIP:
    status = {
        "address": address,
        "networkUID": PUBLIC,
        "fixedAddress": port.addresses[0].address,
        "portUID": port.uid,
        "routerUID": "router-1",
        "host": port.host,
        "phase": "Active",
    }
    body = {"metadata": named("fip-21"), "spec": {"externalNetwork": PUBLIC}, "status": status}
    return FloatingIP.model_validate(body)


def named(uid: str, name: str = "") -> dict[str, str]:
    return {"name": name or uid, "namespace": "lab", "uid": uid}


def network_object(network: HostNetwork) -> dict[str, Any]:
    subnets = [subnet.to_wire() for subnet in network.subnets]
    status: dict[str, Any] = {"mtu": network.mtu, "dnsDomain": network.dns_domain, "subnets": subnets}
    external = {"external": {"physicalNetwork": network.provider.physical_network}} if network.provider else {}
    status |= {"vni": network.vni} if network.vni else {}
    return {"metadata": named(network.uid, network.name), "spec": external, "status": status}


def port_object(port: HostPort, network: HostNetwork) -> dict[str, Any]:
    spec = {
        "network": network.name,
        "networkUID": network.uid,
        "macAddress": port.mac,
        "allocations": [
            {"subnet": "sub", "subnetUID": held.subnet_uid, "address": held.address, "prefixLength": held.prefix_length}
            for held in port.addresses
        ],
        "server": port.server_name,
        "host": port.host,
        "hostAddress": port.host_address,
        "allowedAddressPairs": [{"address": pair.address, "macAddress": pair.mac} for pair in port.address_pairs],
        "securityGroupReferences": [{"name": uid, "namespace": "lab", "uid": uid} for uid in port.security_groups],
    }
    return {"metadata": named(port.uid, port.name), "spec": spec}


async def report(host: Host) -> Report:
    """What the host's kernel has, as it comes over the wire."""
    return load(dump(Report(host.name, await host.driver.observed())))


async def ask(cloud: Cloud, source: str, destination: str, *floating_ips: FloatingIP) -> Explanation:
    reports = [await report(host) for host in (cloud.lab.one, cloud.lab.two)]
    question = Question(source, destination, _ICMP, _ECHO)
    return explain(objects_of(cloud, *floating_ips), question, reports)


async def test_what_real_hosts_have_programmed_is_what_the_objects_ask_for(
    cloud: Cloud,
    internet: Outside,  # why: hosts that have a way out
) -> None:
    await cloud.carry(cloud.router(gateway(cloud.lab.two)))
    for source, destination, address in (("a", "c", "10.10.0.13"), ("a", "d", "10.20.0.14"), ("a", "b", "10.20.0.12")):
        explanation = await ask(cloud, f"lab/{source}", f"lab/{destination}")
        assert explanation.passes, render(explanation)
        assert explanation.passes_as_programmed, render(explanation)
        assert not [hop for hop in explanation.hops if hop.differences], render(explanation)
        assert await cloud.guests[source].pings(address)


async def test_the_networks_own_service_is_a_destination_too(cloud: Cloud) -> None:
    explanation = await ask(cloud, "lab/a", "169.254.169.254")
    assert explanation.passes_as_programmed, render(explanation)
    assert not [hop for hop in explanation.hops if hop.differences], render(explanation)


async def test_the_way_out_and_in_is_explained_as_real_hosts_go_it(cloud: Cloud, internet: Outside) -> None:
    a = next(port for port in cloud.blue.ports if port.uid == "a")
    await cloud.carry(cloud.router(gateway(cloud.lab.two)), {"h1": (floating(21, "10.10.0.11"),)})
    address = floating_ip("203.0.113.21", a)
    for source, destination, stage in (
        ("lab/a", FAR_AWAY, Stage.FLOATING_IP),
        ("lab/d", FAR_AWAY, Stage.SNAT),
        ("lab/c", FAR_AWAY, Stage.SNAT),
        (FAR_AWAY, "lab/a", Stage.FLOATING_IP),
        ("lab/d", "203.0.113.21", Stage.FLOATING_IP),
        ("lab/c", "203.0.113.21", Stage.FLOATING_IP),
    ):
        explanation = await ask(cloud, source, destination, address)
        assert explanation.passes, render(explanation)
        assert explanation.passes_as_programmed, render(explanation)
        assert not [hop for hop in explanation.hops if hop.differences], render(explanation)
        assert stage in [hop.stage for hop in explanation.hops]
    for guest, there in (("a", FAR_AWAY), ("d", FAR_AWAY), ("c", FAR_AWAY), ("d", "203.0.113.21")):
        assert await cloud.guests[guest].pings(there)
    assert await internet.pings("203.0.113.21")
    await internet.run("ip", "route", "add", "10.0.0.0/8", "via", ROUTER_ADDRESS)
    for private in ("10.20.0.12", "10.20.0.14"):
        explanation = await ask(cloud, FAR_AWAY, private, address)
        assert explanation.passes_as_programmed, render(explanation)
        assert not [hop for hop in explanation.hops if hop.differences], render(explanation)
        assert await internet.pings(private)


async def test_a_server_on_the_providers_network_reaches_and_is_reached_as_is_told(
    cloud: Cloud, internet: Outside
) -> None:
    a, two = next(port for port in cloud.blue.ports if port.uid == "a"), cloud.lab.two
    p, shy = (
        replace(port(name, address, two, groups=(group,)), addresses=(PortAddress(address, "subnet-public4", 24),))
        for name, address, group in (("p", "203.0.113.51", "allow-all"), ("shy", "203.0.113.52", "nobody"))
    )
    cloud.public = replace(cloud.public, ports=(p, shy))
    await cloud.carry(cloud.router(gateway(two)), {"h1": (floating(21, "10.10.0.11"),)})
    for each in (p, shy):
        cloud.guests[each.uid] = await two.boot(cloud.public, each)
        await cloud.guests[each.uid].run("ip", "addr", "add", f"{each.addresses[0].address}/24", "dev", "eth0")
    address = floating_ip("203.0.113.21", a)
    for source, there in (
        *((guest, "203.0.113.51") for guest in ("a", "b", "d")),
        *(("p", there) for there in ("203.0.113.21", INTERNET)),
    ):
        explanation = await ask(cloud, f"lab/{source}", there, address)
        assert explanation.passes_as_programmed, render(explanation)
        assert not [hop for hop in explanation.hops if hop.differences], render(explanation)
        assert await cloud.guests[source].pings(there), render(explanation)
    for source in ("a", "b", "d", "p"):
        refused = (await ask(cloud, f"lab/{source}", "203.0.113.52", address)).refused_as_programmed
        assert refused is not None
        assert refused.stage is Stage.DESTINATION_FILTER
        assert not await cloud.guests[source].pings("203.0.113.52")


async def test_an_address_pair_is_found_as_real_hosts_find_it(cloud: Cloud) -> None:
    virtual = "10.10.0.50"
    ports = (
        replace(each, address_pairs=(AddressPair(virtual, each.mac),) if each.uid == "c" else ())
        for each in cloud.blue.ports
    )
    cloud.blue = replace(cloud.blue, ports=tuple(ports))
    members = frozenset({("network-1", f"{virtual}/32")})
    await cloud.carry(replace(cloud.router(), members=members))
    await cloud.guests["c"].run("ip", "addr", "add", f"{virtual}/24", "dev", "eth0")
    for source in ("a", "b", "d"):
        explanation = await ask(cloud, f"lab/{source}", virtual)
        assert not [hop for hop in explanation.hops if hop.differences], render(explanation)
        ping = partial(cloud.guests[source].pings, virtual)
        if explanation.passes_as_programmed:
            await eventually(ping)
        else:
            assert not await ping(), render(explanation)


async def test_a_translation_that_is_gone_is_where_the_packet_ends(
    cloud: Cloud,
    internet: Outside,  # why: hosts that have a way out
) -> None:
    a = next(port for port in cloud.blue.ports if port.uid == "a")
    await cloud.carry(cloud.router(gateway(cloud.lab.two)), {"h1": (floating(21, "10.10.0.11"),)})
    space = cloud.lab.one.settings.netns_dir / router_names("router-1", "nephos").namespace
    inside(space, lambda: subprocess.run(["nft", "flush", "map", "ip", "nephos", "floating_in"], check=True))
    explanation = await ask(cloud, FAR_AWAY, "lab/a", floating_ip("203.0.113.21", a))
    refused = explanation.refused_as_programmed
    assert explanation.passes
    assert refused is not None, render(explanation)
    assert (refused.stage, refused.host) == (Stage.FLOATING_IP, "h1")


def tunnel_entry(cloud: Cloud, verb: str, destination: str) -> None:
    """Change where host one thinks that guest ``c`` is."""
    far = next(port for port in cloud.blue.ports if port.uid == "c")
    device = network_names("network-1", "nephos").vxlan
    cloud.lab.one.in_tenants("bridge", "fdb", verb, far.mac, "dev", device, "dst", destination, "self", "permanent")


async def test_a_stale_forwarding_entry_is_where_the_packet_ends(cloud: Cloud) -> None:
    tunnel_entry(cloud, "del", cloud.lab.two.address)
    tunnel_entry(cloud, "add", "192.0.2.99")
    explanation = await ask(cloud, "lab/a", "lab/c")
    refused = explanation.refused_as_programmed
    assert explanation.passes
    assert refused is not None, render(explanation)
    assert (refused.stage, refused.host) == (Stage.TUNNEL, "h1")
    assert "192.0.2.99" in refused.differences[0]
    assert not await cloud.guests["a"].pings("10.10.0.13")


async def test_a_missing_forwarding_entry_is_told_though_frames_for_everybody_make_up_for_it(cloud: Cloud) -> None:
    tunnel_entry(cloud, "del", cloud.lab.two.address)
    explanation = await ask(cloud, "lab/a", "lab/c")
    assert explanation.passes_as_programmed, render(explanation)
    assert [hop.stage for hop in explanation.hops if hop.differences] == [Stage.TUNNEL]
    assert await cloud.guests["a"].pings("10.10.0.13")


async def test_a_rule_that_is_gone_is_where_the_packet_ends(cloud: Cloud) -> None:
    cloud.lab.two.in_tenants("nft", "flush", "set", "inet", "nephos", "ingress_ipv4")
    explanation = await ask(cloud, "lab/a", "lab/c")
    refused = explanation.refused_as_programmed
    assert explanation.passes
    assert refused is not None, render(explanation)
    assert (refused.stage, refused.host) == (Stage.DESTINATION_FILTER, "h2")
    assert not await cloud.guests["a"].pings("10.10.0.13")
