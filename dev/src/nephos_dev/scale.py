"""Many Servers on many simulated hosts: a real API server and operator, agents with drivers in memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import requests

from nephos_dev.cloud import Cloud
from nephos_dev.progress import FailureError
from nephos_dev.tenant import Tenant, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

_POSTS_AT_A_TIME = 8
_WATCH_S = 60
_WATCH_PAUSE_S = 0.2
_CONTENT = "ab" * 32


@dataclass(frozen=True)
class Arrivals:
    """When Servers became Active: seconds after the first was posted, in order."""

    seconds: tuple[float, ...]

    @property
    def per_second(self) -> float:
        """Servers per second, from the first post to the last Active."""
        return len(self.seconds) / self.seconds[-1]

    @property
    def slowdown(self) -> float:
        """How much longer the second half took than the first: 1 where growth is linear."""
        half = len(self.seconds) // 2
        return (self.seconds[-1] - self.seconds[half - 1]) / self.seconds[half - 1]


@contextmanager
def simulated_hosts(cloud: Cloud, count: int) -> Iterator[int]:
    """Run simulated hosts in one process beside the cloud; yields its process ID once all of them are Up."""
    command = [sys.executable, "-m", "nephos_agent.simulation", "--hosts", str(count)]
    environment = os.environ | {"KUBECONFIG": str(cloud.layout.kubeconfig)}
    log = cloud.layout.logs / "simulated-hosts.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            wait_for(lambda: _all_up(cloud, count), what=f"{count} simulated hosts Up", timeout_s=120)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def prepare(cloud: Cloud, tenant: Tenant, networks: int) -> None:
    """Make a project without bounds, its networks, and an Image whose content only simulated hosts need."""
    tenant.create(instances=-1, cores=-1, ramMiB=-1, networks=-1, subnets=-1, ports=-1)
    api_version = "nephos.cloud/v1alpha1"
    image = {"name": "tiny", "namespace": "nephos-catalog"}
    source = {"url": "https://images.example.org/tiny.qcow2"}
    cloud.cluster.apply_objects(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": image["namespace"]}},
        {
            "apiVersion": api_version,
            "kind": "Flavor",
            "metadata": {"name": "tiny"},
            "spec": {"vcpus": 1, "memoryMiB": 128, "diskGiB": 1},
        },
        {"apiVersion": api_version, "kind": "Image", "metadata": image, "spec": {"source": source, "format": "qcow2"}},
    )
    moment = "2026-01-01T00:00:00.000000Z"
    ready = {"type": "Ready", "status": "True", "reason": "Active", "message": "", "lastTransitionTime": moment}
    status = {
        "phase": "Active",
        "sha256": _CONTENT,
        "sizeBytes": 1,
        "virtualSizeBytes": 1,
        "format": "qcow2",
        "conditions": [ready],
    }
    cloud.kubectl(
        *("patch", "image", image["name"], f"--namespace={image['namespace']}", "--subresource=status"),
        *("--type=merge", f"--patch={json.dumps({'status': status})}"),
    )
    for number in range(networks):
        tenant.apply(*network_manifests(f"net-{number}", f"10.{number}.0.0/16"))


def create_servers(cloud: Cloud, tenant: Tenant, first: int, count: int, networks: int) -> Arrivals:
    """Post Servers as fast as the API server takes them, and note when each becomes Active."""
    client = cloud.cluster.client(timeout_s=60)
    url = f"{client.url}/apis/nephos.cloud/v1alpha1/namespaces/{tenant.name}/servers"
    names = [f"many-{number}" for number in range(first, first + count)]
    watching = _Watching(cloud, url, frozenset(names))
    watching.start()
    begun = time.monotonic()

    def post(number: int) -> None:
        manifest: dict[str, Any] = dict(server_manifest(f"many-{number}", f"net-{number % networks}"))
        client.raise_for_status(client.session.post(url, json=manifest, timeout=60))

    with ThreadPoolExecutor(_POSTS_AT_A_TIME) as pool:
        list(pool.map(post, range(first, first + count)))
    moments = watching.wait(timeout_s=max(60.0, count / 2))
    return Arrivals(tuple(sorted(moment - begun for moment in moments)))


class _Watching(threading.Thread):
    """Notes the moment at which each of some Servers is first seen Active."""

    def __init__(self, cloud: Cloud, url: str, names: frozenset[str]) -> None:
        super().__init__(daemon=True)
        self._client = cloud.cluster.client()
        self._url = url
        self._names = names
        self._seen: dict[str, float] = {}
        self._all = threading.Event()

    def run(self) -> None:
        """Watch until all are seen; a watch that ends, or is cut, begins again with all that is there."""
        while not self._all.is_set():
            with suppress(requests.RequestException):
                self._watch()
            self._all.wait(_WATCH_PAUSE_S)

    def _watch(self) -> None:
        query = {"watch": "true", "timeoutSeconds": str(_WATCH_S)}
        with self._client.session.get(self._url, params=query, stream=True, timeout=2 * _WATCH_S) as response:
            response.raise_for_status()
            for line in response.iter_lines(chunk_size=65_536):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                self._note(event["object"])
                if len(self._seen) == len(self._names):
                    self._all.set()
                    return

    def wait(self, *, timeout_s: float) -> tuple[float, ...]:
        """Return the moments, once all are there. Raises FailureError after the time."""
        if not self._all.wait(timeout_s):
            raise FailureError(f"{len(self._seen)} of {len(self._names)} Servers Active after {timeout_s:g} s")
        return tuple(self._seen.values())

    def _note(self, server: dict[str, Any]) -> None:
        name = server["metadata"]["name"]
        if name in self._names and server.get("status", {}).get("phase") == "Active":
            self._seen.setdefault(name, time.monotonic())


def _all_up(cloud: Cloud, count: int) -> None:
    phases = cloud.kubectl("get", "hosts", "--output=jsonpath={.items[*].status.phase}").split()
    if phases.count("Up") < count:
        raise NotYet(f"{phases.count('Up')} are Up")
