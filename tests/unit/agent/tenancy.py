"""Networks with routers, floating IPs and groups, as the operator describes them to a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from nephos_agent.path.model import Objects
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import CLEANUP_FINALIZER, Resource
from nephos_api.resources import FloatingIP, Network, Port, Router, SecurityGroup, Server

from .conftest import HOST

R = TypeVar("R", bound=Resource)
OUTSIDE_CIDR = "203.0.113.0/24"


class Api(Protocol):
    """Whatever has an API in memory."""

    api: MemoryKubernetes


async def objects_of(api: MemoryKubernetes) -> Objects:
    """Return what the API has of networks."""
    return Objects(
        networks=(await api.list(Network)).items,
        ports=(await api.list(Port)).items,
        routers=(await api.list(Router)).items,
        floating_ips=(await api.list(FloatingIP)).items,
        security_groups=(await api.list(SecurityGroup)).items,
    )


@dataclass
class Tenancy:
    """Makes objects in a world's API, complete as after the operator."""

    world: Api

    def network(self, name: str, number: int, *, namespace: str = "demo", **spec: Any) -> Network:
        """Make a network with the Subnet 10.<number>.0.0/24."""
        subnet = {
            "name": name,
            "uid": f"{name}-subnet",
            "cidr": f"10.{number}.0.0/24",
            "gateway": f"10.{number}.0.1",
            "serviceAddress": f"10.{number}.0.254",
        }
        return self._seed(
            Network, name, spec, {"vni": 100 + number, "mtu": 1450, "subnets": [subnet]}, namespace=namespace
        )

    def outside(self, name: str = "public", *, physical_network: str = "public") -> Network:
        subnet = {"name": name, "uid": f"{name}-subnet", "cidr": OUTSIDE_CIDR, "gateway": "203.0.113.1", "dhcp": False}
        status = {"mtu": 1500, "subnets": [subnet]}
        spec = {"external": {"physicalNetwork": physical_network}}
        return self._seed(Network, name, spec, status, namespace="nephos-catalog")

    async def router(
        self, name: str, *networks: Network, outside: Network | None = None, gateway: str | None = "h2", **spec: Any
    ) -> Router:
        """Make a router that joins the networks, and have them list it."""
        status: dict[str, Any] = {"phase": "Active", "legs": [leg(network) for network in networks]}
        if outside:
            status |= {
                "external": {
                    "network": outside.metadata.name,
                    "networkNamespace": "nephos-catalog",
                    "networkUID": outside.uid,
                    "addresses": [
                        {"subnet": "public", "subnetUID": "public-subnet", "address": "203.0.113.2", "prefixLength": 24}
                    ],
                    "nextHops": ["203.0.113.1"],
                    "cidrs": [OUTSIDE_CIDR],
                },
                "transitVNI": 9000,
            }
            if gateway:
                status |= {"gatewayHost": gateway, "gatewayHostAddress": "192.0.2.12"}
        router = self._seed(Router, name, spec, status)
        for network in networks:
            await self.list_routers(network, router)
        return router

    async def list_routers(self, network: Network, *routers: Router) -> None:
        """Say on the Network which routers have a leg there."""
        listed = [{"name": each.metadata.name, "namespace": "demo", "uid": each.uid} for each in routers]
        await self.say(network, {"routers": listed})

    def floating_ip(self, name: str, router: Router, port: Port, *, host: str = HOST, number: int = 9) -> FloatingIP:
        status = {
            "phase": "Down",
            "address": f"203.0.113.{number}",
            "networkUID": "public-uid",
            "fixedAddress": port.spec.allocations[0].address,
            "port": port.metadata.name,
            "portUID": port.uid,
            "router": router.metadata.name,
            "routerUID": router.uid,
            "host": host,
        }
        return self._seed(FloatingIP, name, {"externalNetwork": "public"}, status, finalizers=[CLEANUP_FINALIZER])

    def group(self, name: str, *rules: dict[str, Any], remote: tuple[SecurityGroup, ...] = ()) -> SecurityGroup:
        found = [{"name": each.metadata.name, "uid": each.uid} for each in remote]
        return self._seed(SecurityGroup, name, {"rules": list(rules), "defaultRules": []}, {"remoteGroups": found})

    def port(
        self,
        name: str,
        network: Network,
        address: str,
        *,
        host: str = HOST,
        namespace: str = "demo",
        groups: tuple[SecurityGroup, ...] = (),
        server: Server | None = None,
        **spec: Any,
    ) -> Port:
        subnet = network.status.subnets[0]
        held = {"subnet": subnet.name, "subnetUID": subnet.uid, "address": address, "prefixLength": 24}
        owner = {"server": server.metadata.name, "serverUID": server.uid, "serverInterface": "net0"} if server else {}
        body = {
            "network": network.metadata.name,
            "networkNamespace": network.metadata.namespace,
            "networkUID": network.uid,
            "allocations": [held],
            "securityGroupReferences": [
                {"name": each.metadata.name, "namespace": "demo", "uid": each.uid} for each in groups
            ],
            "host": host,
            "hostAddress": "192.0.2.11" if host == HOST else "192.0.2.12",
        }
        return self._seed(Port, name, body | owner | spec, {}, namespace=namespace)

    async def change(self, resource: Resource, **spec: Any) -> None:
        """Change the spec of an object."""
        await self._patch(resource, {"spec": spec})

    async def say(self, resource: Resource, status: dict[str, Any]) -> None:
        """Change the status of an object as the operator does, beside what is there."""
        api, metadata = self.world.api, resource.metadata
        newest = await api.get(type(resource), metadata.name, metadata.namespace)
        assert newest is not None
        whole = newest.to_wire().get("status", {}) | status
        await api.apply_status(newest, whole, FieldManager.OPERATOR)

    async def delete(self, resource: Resource) -> None:
        """Have the object go at once."""
        api, metadata = self.world.api, resource.metadata
        await api.delete(type(resource), metadata.name, metadata.namespace)
        if left := await api.get(type(resource), metadata.name, metadata.namespace):
            await api.set_finalizers(left, ())

    async def _patch(self, resource: Resource, body: dict[str, Any]) -> None:
        info, metadata = resource.info, resource.metadata
        path = f"/apis/nephos.cloud/v1alpha1/namespaces/{metadata.namespace}/{info.plural}/{metadata.name}"
        await self.world.api.raw("PATCH", path, body=body)

    def _seed(
        self,
        kind: type[R],
        name: str,
        spec: dict[str, Any],
        status: dict[str, Any],
        *,
        namespace: str = "demo",
        finalizers: list[str] | None = None,
    ) -> R:
        metadata = {"name": name, "namespace": namespace, "finalizers": finalizers or []}
        return self.world.api.seed(kind, {"metadata": metadata, "spec": spec, "status": status})


def leg(network: Network) -> dict[str, Any]:
    """Return the router's leg on the network's Subnet."""
    subnet = network.status.subnets[0]
    return {
        "subnet": subnet.name,
        "subnetUID": subnet.uid,
        "cidr": subnet.cidr,
        "address": subnet.gateway,
        "network": network.metadata.name,
        "networkUID": network.uid,
    }
