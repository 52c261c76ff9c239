"""What containerd, its network and kubelet are told: pure functions of the host's layout.

Written for what the machines that test Nephos have: cgroups of version 1, and no CAP_SYS_RESOURCE.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nephos_dev.layout import HostLayout

_POD_RANGE = "10.88.0.0/24"  # used by no pod of ours, which share the host's network; kubelet wants a pod network


@dataclass(frozen=True, kw_only=True)
class NodePaths:
    """Where the node's files are; those in /run as the host's own processes see them."""

    root: Path
    run: Path = Path("/run/containerd")

    @property
    def socket(self) -> Path:
        """containerd's socket."""
        return self.run / "containerd.sock"

    @property
    def containerd_config(self) -> Path:
        """containerd's configuration."""
        return self.root / "containerd.toml"

    @property
    def network_configs(self) -> Path:
        """The folder of pod networks."""
        return self.root / "cni"

    @property
    def kubelet_config(self) -> Path:
        """kubelet's configuration."""
        return self.root / "kubelet.yaml"

    @property
    def kubelet_root(self) -> Path:
        """kubelet's state."""
        return self.root / "kubelet"

    @property
    def preparation(self) -> Path:
        """The script that makes of the host's mounts what a node has."""
        return self.root / "prepare.sh"


def containerd(paths: NodePaths, plugins: Path, pause_image: str) -> str:
    """Return containerd's configuration (TOML); `plugins` is the folder of the CNI plugins."""
    return f"""\
version = 3
root = "{paths.root / "containerd"}"
state = "{paths.run}"

[grpc]
address = "{paths.socket}"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{plugins}"]
conf_dir = "{paths.network_configs}"

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{pause_image}"
"""


def pod_network(paths: NodePaths) -> str:
    """Return the configuration of the pod network (CNI)."""
    ipam = {
        "type": "host-local",
        "dataDir": str(paths.run / "cni"),
        "ranges": [[{"subnet": _POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "pods0", "isGateway": True, "ipam": ipam}
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}, indent=2) + "\n"


def kubelet(paths: NodePaths, host: HostLayout, client_authority: Path) -> str:
    """Return kubelet's configuration."""
    document: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(host.address),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(client_authority)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "containerRuntimeEndpoint": f"unix://{paths.socket}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzPort": 0,
        "imageGCHighThresholdPercent": 100,  # nothing can be pulled here, so no image is ever garbage
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(host.logs / "pods"),
        "volumePluginDir": str(paths.root / "volume-plugins"),
    }
    return yaml.safe_dump(document, sort_keys=False)


def preparation() -> str:
    """Return the script that shares the host's mounts with its pods and mounts what containers are counted by."""
    return """\
#!/bin/sh
# Run inside the host once, before containerd starts.
set -eu
mount --make-rshared /
[ -d /sys/fs/cgroup/systemd ] && exit 0  # mountpoint(1) would count those that the host's own /sys hides
mount -t tmpfs tmpfs /sys/fs/cgroup
while read -r controller hierarchy _ _; do
    # Those of hierarchy 0 are mounted nowhere on this machine, and shall not be from here.
    case $hierarchy in hierarchy | 0) continue ;; esac
    mkdir "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
done </proc/cgroups
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
"""
