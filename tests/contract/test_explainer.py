"""The packet-path explainer beside real kernels: it says what a ping finds out, and where to look."""

from __future__ import annotations

from typing import Any

from contract.network_lab import Host
from contract.router_lab import Cloud
from nephos_agent.network.model import HostNetwork, HostPort
from nephos_agent.network.names import network_names
from nephos_agent.path.explain import explain, render
from nephos_agent.path.model import Explanation, Objects, Question, Stage
from nephos_agent.path.report import Report, dump, load
from nephos_api.resources import Network, Port, Router, SecurityGroup

_ICMP = 1
_ECHO = 8


def objects_of(cloud: Cloud) -> Objects:
    """The objects that the API would have of the lab's cloud."""
    networks = (cloud.blue, cloud.red)
    legs = [
        {
            "subnet": subnet.name,
            "subnetUID": subnet.uid,
            "cidr": subnet.cidr,
            "address": subnet.gateway,
            "network": each.name,
            "networkUID": each.uid,
        }
        for each in networks
        for subnet in each.subnets
    ]
    router = {"metadata": named(cloud.router().uid), "spec": {}, "status": {"legs": legs}}
    rules = [{"direction": direction} for direction in ("Ingress", "Egress")]
    group = {"metadata": named("allow-all"), "spec": {"rules": rules}}
    return Objects(
        networks=tuple(Network.model_validate(network_object(each)) for each in networks),
        ports=tuple(Port.model_validate(port_object(port, each)) for each in networks for port in each.ports),
        routers=(Router.model_validate(router),),
        security_groups=(SecurityGroup.model_validate(group),),
    )


def named(uid: str, name: str = "") -> dict[str, str]:
    return {"name": name or uid, "namespace": "lab", "uid": uid}


def network_object(network: HostNetwork) -> dict[str, Any]:
    subnets = [subnet.to_wire() for subnet in network.subnets]
    status = {"vni": network.vni, "mtu": network.mtu, "dnsDomain": network.dns_domain, "subnets": subnets}
    return {"metadata": named(network.uid, network.name), "spec": {}, "status": status}


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
        "securityGroupReferences": [{"name": uid, "namespace": "lab", "uid": uid} for uid in port.security_groups],
    }
    return {"metadata": named(port.uid, port.name), "spec": spec}


async def report(host: Host) -> Report:
    """What the host's kernel has, as it comes over the wire."""
    return load(dump(Report(host.name, await host.driver.observed())))


async def ask(cloud: Cloud, source: str, destination: str) -> Explanation:
    reports = [await report(host) for host in (cloud.lab.one, cloud.lab.two)]
    question = Question(f"lab/{source}", f"lab/{destination}", _ICMP, _ECHO)
    return explain(objects_of(cloud), question, reports)


async def test_what_real_hosts_have_programmed_is_what_the_objects_ask_for(cloud: Cloud) -> None:
    await cloud.carry(cloud.router())
    for source, destination, address in (("a", "c", "10.10.0.13"), ("a", "d", "10.20.0.14"), ("a", "b", "10.20.0.12")):
        explanation = await ask(cloud, source, destination)
        assert explanation.passes, render(explanation)
        assert explanation.passes_as_programmed, render(explanation)
        assert not [hop for hop in explanation.hops if hop.differences], render(explanation)
        assert await cloud.guests[source].pings(address)


def tunnel_entry(cloud: Cloud, verb: str, destination: str) -> None:
    """Change where host one thinks that guest ``c`` is."""
    far = next(port for port in cloud.blue.ports if port.uid == "c")
    device = network_names("network-1", "nephos").vxlan
    cloud.lab.one.in_tenants("bridge", "fdb", verb, far.mac, "dev", device, "dst", destination, "self", "permanent")


async def test_a_stale_forwarding_entry_is_where_the_packet_ends(cloud: Cloud) -> None:
    tunnel_entry(cloud, "del", cloud.lab.two.address)
    tunnel_entry(cloud, "add", "192.0.2.99")
    explanation = await ask(cloud, "a", "c")
    refused = explanation.refused_as_programmed
    assert explanation.passes
    assert refused is not None, render(explanation)
    assert (refused.stage, refused.host) == (Stage.TUNNEL, "h1")
    assert "192.0.2.99" in refused.differences[0]
    assert not await cloud.guests["a"].pings("10.10.0.13")


async def test_a_missing_forwarding_entry_is_told_though_frames_for_everybody_make_up_for_it(cloud: Cloud) -> None:
    tunnel_entry(cloud, "del", cloud.lab.two.address)
    explanation = await ask(cloud, "a", "c")
    assert explanation.passes_as_programmed, render(explanation)
    assert [hop.stage for hop in explanation.hops if hop.differences] == [Stage.TUNNEL]
    assert await cloud.guests["a"].pings("10.10.0.13")


async def test_a_rule_that_is_gone_is_where_the_packet_ends(cloud: Cloud) -> None:
    cloud.lab.two.in_tenants("nft", "flush", "set", "inet", "nephos", "ingress_ipv4")
    explanation = await ask(cloud, "a", "c")
    refused = explanation.refused_as_programmed
    assert explanation.passes
    assert refused is not None, render(explanation)
    assert (refused.stage, refused.host) == (Stage.DESTINATION_FILTER, "h2")
    assert not await cloud.guests["a"].pings("10.10.0.13")
