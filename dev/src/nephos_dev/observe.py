"""Reads what a cloud really carries: the API's objects, and each host's domains, devices and files."""

from __future__ import annotations

import json
from typing import Any

from nephos_dev.cloud import Cloud
from nephos_dev.invariants import CloudPicture, HostPicture
from nephos_dev.layout import HostLayout
from nephos_dev.network_invariants import Naming
from nephos_dev.network_picture import observe_network
from nephos_dev.progress import FailureError

NAMING = Naming(tap="tap", bridge="nbr", router="nephos-r", leg="nrl", tunnel="nvx")
_KINDS = ("servers", "ports", "networks", "routers", "floatingips", "securitygroups", "hosts")


def observe(cloud: Cloud) -> CloudPicture:
    """Return the picture of the cloud. Raises FailureError while a part of it does not answer."""
    objects = {kind: _objects(cloud, kind) for kind in _KINDS}
    return CloudPicture(**objects, pictures=tuple(_observe_host(cloud, host) for host in cloud.hosts))


def _objects(cloud: Cloud, kind: str) -> tuple[dict[str, Any], ...]:
    listed = json.loads(cloud.kubectl("get", f"{kind}.nephos.cloud", "--all-namespaces", "--output=json"))
    return tuple(listed["items"])


def _observe_host(cloud: Cloud, host: HostLayout) -> HostPicture:
    folder = host.root / "var" / "lib" / "nephos"
    return HostPicture(
        name=host.name,
        running_domains=_domains(cloud, host, "--state-running"),
        stopped_domains=_domains(cloud, host, "--state-shutoff"),
        disks=frozenset(path.name for path in folder.glob("servers/*")),
        partial_files=tuple(str(path.relative_to(folder)) for path in folder.glob("*/**/*.partial")),
        network=observe_network(cloud, host, NAMING),
    )


def _domains(cloud: Cloud, host: HostLayout, state: str) -> frozenset[str]:
    done = cloud.execute(host, "virsh", "list", state, "--uuid")
    if done.returncode:
        raise FailureError(f"{host.name}: {done.stderr.strip()}")
    return frozenset(done.stdout.split())
