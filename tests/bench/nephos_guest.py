"""Servers started by Nephos, timed from the moment at which the API server has them."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench.probe import first_answer, socket_inside
from nephos_api.identity import device_name
from nephos_dev.cloud import Cloud
from nephos_dev.layout import HostLayout
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

NETWORK = "bench"
_GROUP = "ping"
_PREFIX = "10.77.0"


@dataclass(frozen=True)
class Start:
    """Seconds from the moment at which the API server had the (last) object."""

    active_s: float
    """Until status.phaseTransitions says Active, the last one."""
    ping_s: float
    """Until a ping was answered, by the last one."""


def address(number: int) -> str:
    """Return the fixed address of a bench server."""
    return f"{_PREFIX}.{10 + number}"


def prepare(tenant: Tenant) -> None:
    """Make what bench servers need: a network, and a group that lets the network's own service ping them."""
    rule = {"direction": "Ingress", "protocol": "ICMP"}
    tenant.apply(*network_manifests(NETWORK, f"{_PREFIX}.0/24"), manifest("SecurityGroup", _GROUP, rules=[rule]))


def start(cloud: Cloud, host: HostLayout, tenant: Tenant, numbers: Sequence[int]) -> Start:
    """Apply Servers at once and return how long they took."""
    session = cloud.cluster.client()
    servers = [_server(tenant, number) for number in numbers]
    url = f"{session.url}/apis/nephos.cloud/v1alpha1/namespaces/{tenant.name}/servers"
    session.session.get(f"{session.url}/readyz", timeout=5)  # the connection is open before the clock starts
    begun_wall = 0.0
    for server in servers:
        response = session.session.post(url, json=server, timeout=30)
        session.raise_for_status(response)
        begun_wall = begun_wall or time.time()
    begun = time.monotonic() - (time.time() - begun_wall)
    icmp = socket_inside(_service_namespace(cloud, host, tenant))
    answered = max(first_answer(icmp, address(number), timeout_s=120) for number in numbers)
    icmp.close()
    active = max(_active_at(tenant, number) for number in numbers)
    return Start(active - begun_wall, answered - begun)


def stop(tenant: Tenant, numbers: Sequence[int]) -> None:
    """Delete Servers and wait until they are gone."""
    tenant.delete("server", *(_name(number) for number in numbers))


def _service_namespace(cloud: Cloud, host: HostLayout, tenant: Tenant) -> Path:
    """Return the namespace in which the host serves the bench network, once it is there."""
    network = tenant.get("network", NETWORK)
    assert network is not None
    init = cloud.process(host.name).pid
    path = Path(f"/proc/{init}/root/run/netns") / device_name("nephos-", network["metadata"]["uid"])

    def probe() -> Path:
        if not path.exists() or not path.stat().st_ino or path.stat().st_dev == path.parent.stat().st_dev:
            raise NotYet("its service namespace is not there")
        return path

    return wait_for(probe, what=f"network on {host.name}", timeout_s=30, most_pause_s=0.01)


def _active_at(tenant: Tenant, number: int) -> float:
    server = tenant.wait_phase(_name(number), "Active")
    moment: str = server["status"]["phaseTransitions"]["Active"]
    return datetime.fromisoformat(moment).timestamp()


def _server(tenant: Tenant, number: int) -> dict[str, object]:
    nic = {"network": NETWORK, "addresses": [address(number)]}
    server = server_manifest(_name(number), NETWORK, networks=[nic], securityGroups=[_GROUP])
    placed: dict[str, object] = json.loads(json.dumps(server))
    placed["metadata"] = {"name": _name(number), "namespace": tenant.name}
    return placed


def _name(number: int) -> str:
    return f"bench-{number}"
