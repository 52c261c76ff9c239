"""A cloud of two hosts as the API says it, and what its hosts have programmed when all is well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nephos_agent.network.desired import HostContext, facts
from nephos_agent.network.facts import Fact
from nephos_agent.network.names import tap_name
from nephos_agent.network.observed import Observed
from nephos_agent.network.router.desired import neighbour_facts, on_bridges, router_facts
from nephos_agent.path.model import Objects
from nephos_agent.path.report import Report
from nephos_agent.path.view import View
from nephos_api.identity import mac_address
from nephos_api.resources import FloatingIP, Network, Port, Router, SecurityGroup

HOSTS = {"h1": "192.0.2.1", "h2": "192.0.2.2"}
ROUTER = "uid-router"


def network(
    name: str, *cidrs: str, external: bool = False, gateway: bool = True, routes: Sequence[dict[str, str]] = ()
) -> Network:
    subnets = [
        {
            "name": f"{name}{number}",
            "uid": f"uid-{name}{number}",
            "cidr": cidr,
            "gateway": _host(cidr, 1) if gateway else None,
            "serviceAddress": None if external else _host(cidr, 250),
            "hostRoutes": routes,
        }
        for number, cidr in enumerate(cidrs)
    ]
    metadata = {"name": name, "namespace": "nephos-catalog" if external else "demo", "uid": f"uid-{name}"}
    spec = {"external": {"physicalNetwork": "physnet"}} if external else {}
    status = {"vni": None if external else 100 + len(name), "mtu": 1450, "subnets": subnets, "phase": "Active"}
    return Network.model_validate({"metadata": metadata, "spec": spec, "status": status})


def _host(cidr: str, number: int) -> str:
    base = cidr.partition("/")[0]
    return f"{base}{number:x}" if ":" in base else f"{base.rpartition('.')[0]}.{number}"


def port(server: str, network: str, host: str | None, *addresses: str, **spec: Any) -> Port:
    """A NIC of a Server; its addresses are in the Subnets of their IP version."""
    uid = f"uid-{server}-{network}"
    allocations = [
        {
            "subnet": f"{network}{number}",
            "subnetUID": f"uid-{network}{number}",
            "address": address,
            "prefixLength": 64 if ":" in address else 24,
        }
        for number, address in enumerate(addresses)
    ]
    references = [{"name": name, "namespace": "demo", "uid": f"uid-{name}"} for name in spec.pop("groups", ["default"])]
    body = {
        "network": network,
        "networkUID": f"uid-{network}",
        "macAddress": mac_address(uid),
        "allocations": allocations,
        "server": server,
        "serverUID": f"uid-{server}",
        "host": host,
        "hostAddress": HOSTS[host] if host else None,
        "securityGroupReferences": references,
    }
    metadata = {"name": f"{server}-{network}", "namespace": "demo", "uid": uid}
    return Port.model_validate({"metadata": metadata, "spec": body | spec})


def group(name: str, *rules: dict[str, Any]) -> SecurityGroup:
    remote = [{"name": each, "uid": f"uid-{each}"} for each in ("default", "web")]
    metadata = {"name": name, "namespace": "demo", "uid": f"uid-{name}"}
    return SecurityGroup.model_validate(
        {"metadata": metadata, "spec": {"rules": list(rules)}, "status": {"remoteGroups": remote}}
    )


def router(
    *networks: str,
    external: bool = True,
    next_hops: tuple[str, ...] = ("203.0.113.1",),
    spec: dict[str, Any] | None = None,
    **status: Any,
) -> Router:
    legs = []
    for name in networks:
        for number, cidr in enumerate(CIDRS[name]):
            legs.append(
                {
                    "subnet": f"{name}{number}",
                    "subnetUID": f"uid-{name}{number}",
                    "cidr": cidr,
                    "address": _host(cidr, 1),
                    "network": name,
                    "networkUID": f"uid-{name}",
                }
            )
    outside = {
        "network": "public",
        "networkNamespace": "nephos-catalog",
        "networkUID": "uid-public",
        "addresses": [{"subnet": "p", "subnetUID": "uid-public0", "address": "203.0.113.10", "prefixLength": 24}],
        "nextHops": next_hops,
        "cidrs": ["203.0.113.0/24"],
    }
    body: dict[str, Any] = {"legs": legs, "phase": "Active"}
    if external:
        gateway = {"gatewayHost": "h2", "gatewayHostAddress": HOSTS["h2"], "transitVNI": 900}
        body |= {"external": outside, **gateway}
    metadata = {"name": "edge", "namespace": "demo", "uid": ROUTER}
    return Router.model_validate({"metadata": metadata, "spec": spec or {}, "status": body | status})


def floating_ip(of: Port, address: str = "203.0.113.77", **status: Any) -> FloatingIP:
    body = {
        "address": address,
        "networkUID": "uid-public",
        "fixedAddress": of.spec.allocations[0].address,
        "port": of.metadata.name,
        "portUID": of.uid,
        "routerUID": ROUTER,
        "host": of.spec.host,
        "phase": "Active",
    }
    metadata = {"name": f"fip-{of.metadata.name}", "namespace": "demo", "uid": f"uid-fip-{of.metadata.name}"}
    return FloatingIP.model_validate(
        {"metadata": metadata, "spec": {"externalNetwork": "public"}, "status": body | status}
    )


CIDRS = {
    "blue": ("10.0.0.0/24", "fd00:a::/64"),
    "green": ("10.0.1.0/24", "fd00:b::/64"),
    "lonely": ("10.0.2.0/24",),
    "public": ("203.0.113.0/24",),
}
NETWORKS = (
    network("blue", *CIDRS["blue"]),
    network("green", *CIDRS["green"]),
    network("lonely", *CIDRS["lonely"], gateway=False),
    network("public", *CIDRS["public"], external=True),
)
A = port("a", "blue", "h1", "10.0.0.5", "fd00:a::5")
B = port("b", "blue", "h2", "10.0.0.6", "fd00:a::6", groups=["default", "web"])
C = port("c", "green", "h2", "10.0.1.5", "fd00:b::5", groups=["web"])
D = port("d", "blue", "h1", "10.0.0.7", groups=["web"])
DEFAULT = group("default", {"direction": "Ingress", "remoteGroup": "default"})
WEB = group("web", {"direction": "Ingress", "protocol": "TCP", "portMin": 80, "portMax": 80})
FIP = floating_ip(A)


def cloud(
    *ports: Port,
    routers: tuple[Router, ...] = (router("blue", "green"),),
    floating_ips: tuple[FloatingIP, ...] = (FIP,),
    groups: tuple[SecurityGroup, ...] = (DEFAULT, WEB),
    networks: tuple[Network, ...] = NETWORKS,
) -> Objects:
    return Objects(networks, ports or (A, B, C, D), routers, floating_ips, groups)


def report(objects: Objects, host: str) -> Report:
    """Return what that host has programmed when it carries everything."""
    view, context = View(objects), HostContext(host, HOSTS[host], "nephos", "")
    found: set[Fact] = set()
    for each in objects.networks:
        described = view.host_network(each.uid)
        if described:
            found |= facts(described, context, frozenset(tap_name(port.uid) for port in described.ports))
    routers = {}
    for one in objects.routers:
        described_router = view.host_router(one, host)
        inside = router_facts(described_router, context) | neighbour_facts(described_router.neighbours)
        routers[one.uid] = inside
        found |= set(on_bridges(inside))
    return Report(host, Observed(frozenset(found), routers))


def reports(objects: Objects) -> list[Report]:
    return [report(objects, host) for host in HOSTS]
