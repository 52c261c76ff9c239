"""A cloud in memory: the API's twin, the operator's reconcilers, and agents that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from nephos_api.errors import NephosError
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.kube.paths import object_path
from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import PROJECT_LABEL, Key, Resource
from nephos_api.resources import KINDS, Flavor, FloatingIP, Host, Image, Network, Port, Project, Router, Server, Subnet
from nephos_operator import routing
from nephos_operator.addressing import AddressBook
from nephos_operator.context import Context, follow
from nephos_operator.engine import RECONCILERS
from nephos_operator.heartbeats import Heartbeats
from nephos_operator.kinds import Namespace
from nephos_operator.ledger import Ledger
from nephos_operator.store import Change, Store
from nephos_operator.triggers import take
from nephos_operator.writes import LeaderWrites

R = TypeVar("R", bound=Resource)
SHA256 = "0" * 64
WATCHED: tuple[type[Resource], ...] = (*KINDS, Namespace)
KIND_BY_PLURAL = {kind.info.plural: kind for kind in WATCHED}


class Told:
    """Keeps the events that were published."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def normal(self, resource: Resource, reason: str, message: str) -> None:
        self.reasons.append(reason)

    def warning(self, resource: Resource, reason: str, message: str) -> None:
        self.reasons.append(reason)


class Killed(BaseException):
    """The operator was killed here."""


class Mortal:
    """The API as an operator sees it that is killed at one of its writes: before it, or before its answer comes."""

    def __init__(self, kube: MemoryKubernetes, world: World) -> None:
        self._kube = kube
        self._world = world

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._kube, name)
        if name in ("get", "list", "watch"):
            return call

        async def write(*args: Any, **kwargs: Any) -> Any:
            if name == "raw" and args[0] == "GET":
                return await call(*args, **kwargs)
            self._world.steps_to_live -= 1
            if self._world.steps_to_live == 0:
                raise Killed
            await asyncio.sleep(0)  # others under work go on meanwhile
            answer = await call(*args, **kwargs)
            await asyncio.sleep(0)
            self._world.steps_to_live -= 1
            if self._world.steps_to_live == 0:
                raise Killed
            return answer

        return write


class World:
    """One operator over an API in memory; ``settle`` lets it do everything that there is to do."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.monotonic_s = 0.0
        self.kube = MemoryKubernetes(lambda: self.now.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self.lead_left_s = 60.0
        self.steps_to_live = -1
        self.events = Told()
        self.silent: set[str] = set()
        self.results: dict[Key, Any] = {}
        self._new_operator()

    def _new_operator(self) -> None:
        self.store, self.ledger, self.addresses = Store(), Ledger(), AddressBook()
        follow(self.store, self.ledger, self.addresses)
        self.store.subscribe(self._route)
        self.heartbeats = Heartbeats(lambda: self.monotonic_s)
        writes = LeaderWrites(Mortal(self.kube, self), self.store, lambda: self.lead_left_s, lambda *_: None)
        self.context = Context(
            writes, self.store, self.ledger, self.addresses, self.events, self.heartbeats, clock=lambda: self.now
        )
        self._keys: dict[Key, None] = {}
        self._seen = 0

    def restart(self) -> None:
        """Kill the operator and start another: nothing but the API is left."""
        self._new_operator()

    def _route(self, change: Change) -> None:
        if routing.hosts_changed(change):
            self.context.refusals.clear()
        for key, _ in routing.wakes(change, self.store):
            self._keys[key] = None
        if routing.leaves_build(change):
            self._keys.update(self.context.busy)

    async def settle(self) -> None:
        """Watch and reconcile until nothing changes any more."""
        for _ in range(200):
            self._watch()
            if not self._keys:
                return
            while self._keys:
                key = next(iter(self._keys))
                del self._keys[key]
                try:
                    await self.reconcile(key)
                except Killed:
                    self.restart()
                    self._watch()
        raise AssertionError(f"never settles; last results: {self.results}")

    def _watch(self) -> None:
        """Take in what happened since the last look, as watches tell it."""
        history = self.kube._store._history
        news, self._seen = history[self._seen :], len(history)
        for change in news:
            kind = KIND_BY_PLURAL.get(change.address.plural)
            body = change.new or change.old
            if (
                kind is None
                or body is None
                or (kind is Namespace and PROJECT_LABEL not in body["metadata"].get("labels", {}))
            ):
                continue
            take("DELETED" if change.new is None else "MODIFIED", body, kind, self.store)

    async def reconcile(self, key: Key) -> None:
        if key.kind not in RECONCILERS:
            return
        try:
            self.results[key] = await RECONCILERS[key.kind](key, self.context)
        except NephosError as error:
            self.results[key] = error

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.monotonic_s += seconds
        self.agents_renew()

    def agents_renew(self) -> None:
        """Have every agent that is not silent renew its Lease, twice: a first sight tells nothing."""
        for host in self.store.hosts:
            for beat in ("a", "b"):
                if host.metadata.name not in self.silent:
                    self.heartbeats.observe(host.metadata.name, f"{self.monotonic_s}{beat}")

    async def look_again(self) -> None:
        """Have every object looked at, as a new leader does."""
        for kind in RECONCILERS:
            for resource in self.store.tables[kind]:
                self._keys[resource.key] = None
        await self.settle()

    async def make(self, kind: type[R], name: str, namespace: str | None = None, **spec: Any) -> R:
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
        body = {"apiVersion": kind.info.api_version, "kind": kind.info.kind, "metadata": metadata, "spec": spec}
        return await self.kube.create(kind, body)

    async def get(self, kind: type[R], name: str, namespace: str | None = "demo") -> R:
        found = await self.kube.get(kind, name, namespace if kind.info.namespaced else None)
        assert found is not None, f"{kind.info.kind} {name} is gone"
        return found

    async def gone(self, kind: type[R], name: str, namespace: str | None = "demo") -> bool:
        return await self.kube.get(kind, name, namespace if kind.info.namespaced else None) is None

    async def add_host(self, name: str, **capacity: int) -> Host:
        host = await self.make(Host, name)
        number = len(self.store.hosts) + 1
        amounts = {"vcpus": 8, "memoryMiB": 8192, "diskGiB": 100} | capacity
        status = {"address": f"192.0.2.{number}", "capacity": amounts, "architecture": "x86_64", "firmwares": ["BIOS"]}
        status |= {"physicalNetworks": ["ext"]}
        await self.kube.apply_status(host, status, FieldManager.AGENT)
        await self.settle()
        self.agents_renew()
        await self.look_again()
        return await self.get(Host, name)

    async def add_catalog(self, **image_spec: Any) -> None:
        await self.kube.create(Namespace, {"metadata": {"name": "nephos-catalog"}})
        await self.make(Flavor, "tiny", vcpus=1, memoryMiB=128, diskGiB=1)
        source = {"source": {"url": "https://images.example.org/tiny"}, "format": "qcow2"}
        image = await self.make(Image, "tiny", "nephos-catalog", **source, **image_spec)
        status = {"phase": "Active", "sha256": SHA256, "format": "qcow2", "sizeBytes": 1, "virtualSizeBytes": 1024}
        await self.kube.apply_status(image, status, FieldManager.IMAGE_SERVICE)

    async def add_project(self, name: str = "demo", **quota: int) -> None:
        spec: dict[str, Any] = {"quota": quota} if quota else {}
        await self.make(Project, name, None, **spec)
        await self.settle()

    async def add_network(self, name: str = "blue", cidr: str = "10.0.0.0/24", namespace: str = "demo") -> None:
        await self.make(Network, name, namespace)
        await self.make(Subnet, f"{name}-v4", namespace, network=name, cidr=cidr)
        await self.settle()

    async def add_outside(self, name: str = "public", cidr: str = "203.0.113.0/24", **subnet: Any) -> Network:
        """Offer an external Network to all projects."""
        external = {"physicalNetwork": "ext", "type": "Flat"}
        await self.make(Network, name, "nephos-catalog", external=external)
        pool = {"start": cidr.replace(".0/24", ".10"), "end": cidr.replace(".0/24", ".200")}
        spec = {"network": name, "cidr": cidr, "allocationPools": [pool], "dhcp": False} | subnet
        await self.make(Subnet, f"{name}-v4", "nephos-catalog", **spec)
        await self.settle()
        return await self.get(Network, name, "nephos-catalog")

    async def add_router(self, name: str = "edge", **spec: Any) -> Router:
        spec = {"externalNetwork": "public", "subnets": ["blue-v4"]} | spec
        await self.make(Router, name, "demo", **spec)
        await self.settle()
        return await self.get(Router, name)

    async def add_floating_ip(self, name: str = "web", **spec: Any) -> FloatingIP:
        await self.make(FloatingIP, name, "demo", **({"externalNetwork": "public"} | spec))
        await self.settle()
        return await self.get(FloatingIP, name)

    async def change(self, kind: type[R], name: str, **spec: Any) -> R:
        """Have a person change these fields of the spec; None takes one away."""
        found = await self.get(kind, name)
        await self.kube.raw("PATCH", object_path(kind.info, name, found.metadata.namespace), body={"spec": spec})
        await self.settle()
        return await self.get(kind, name)

    async def add_server(self, name: str, **spec: Any) -> Server:
        spec = {"flavor": "tiny", "image": "tiny", "networks": [{"network": "blue"}]} | spec
        await self.make(Server, name, "demo", **spec)
        await self.settle()
        return await self.get(Server, name)

    async def agent_activates(self, name: str) -> None:
        """Do what the Host's agent does when the guest runs."""
        server = await self.get(Server, name)
        for port in self.store.ports.by("server_uid", server.uid):
            await self.kube.apply_status(port, {"phase": "Active", "conditions": []}, FieldManager.AGENT)
        status = {"phase": "Active", "observedGeneration": 1, "conditions": [self.condition("Ready", "True")]}
        await self.kube.apply_status(server, status, FieldManager.AGENT)
        await self.settle()

    async def agent_answers(self, name: str) -> None:
        """Do what the Host's agent does once the floating address answers."""
        status = {"phase": "Active", "conditions": [self.condition("Ready", "True")]}
        await self.kube.apply_status(await self.get(FloatingIP, name), status, FieldManager.AGENT)
        await self.settle()

    async def agent_refuses(self, name: str, reason: str = "no room") -> None:
        server = await self.get(Server, name)
        refused = {"epoch": server.status.placement_epoch, "reason": reason}
        await self.kube.apply_status(server, {"placementRefused": refused}, FieldManager.AGENT)
        await self.settle()

    async def agent_releases(self, name: str) -> None:
        server = await self.get(Server, name)
        status = {"phase": "Deleting", "conditions": [self.condition("Released", "True")]}
        await self.kube.apply_status(server, status, FieldManager.AGENT)
        await self.settle()

    async def agent_unplugs(self, name: str) -> None:
        """Do what the Host's agent does once the guest has let go of a NIC that its Server lists no more."""
        port = await self.get(Port, name)
        released = self.condition("Released", "True") | {"observedGeneration": port.metadata.generation}
        await self.kube.apply_status(port, {"phase": "Down", "conditions": [released]}, FieldManager.AGENT)
        await self.settle()

    async def patch(self, kind: type[R], name: str, namespace: str = "demo", **spec: Any) -> None:
        """Change fields of the spec, as ``kubectl patch`` does."""
        place = f"namespaces/{namespace}/" if kind.info.namespaced else ""
        path = f"/apis/nephos.cloud/v1alpha1/{place}{kind.info.plural}/{name}"
        await self.kube.raw("PATCH", path, body={"spec": spec})
        await self.settle()

    def condition(self, condition_type: str, status: str) -> dict[str, Any]:
        time = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"type": condition_type, "status": status, "reason": condition_type, "lastTransitionTime": time}

    async def reason(self, kind: type[R], name: str) -> str:
        """Return the reason of the Ready condition."""
        return str(self.ready(await self.get(kind, name)).reason)

    async def message(self, kind: type[R], name: str) -> str:
        return str(self.ready(await self.get(kind, name)).message)

    def ready(self, resource: Any) -> Any:
        return next(condition for condition in resource.status.conditions if condition.type == "Ready")

    def is_told(self, resource: Any, reason: str) -> bool:
        """Tell whether that is the reason of its Ready condition."""
        return any(each.type == "Ready" and each.reason == reason for each in resource.status.conditions)

    def writes(self, make: Callable[[Any], bool] = lambda _: True) -> list[Any]:
        return [write for write in self.kube.writes if make(write)]


@pytest.fixture
async def world() -> World:
    """An operator, nothing else."""
    return World()


@pytest.fixture
async def cloud(world: World) -> World:
    """Two hosts, the catalog, a project with a network."""
    await world.add_catalog()
    await world.add_host("h1")
    await world.add_host("h2")
    await world.add_project()
    await world.add_network()
    return world
