"""The configuration of a real node on a local host."""

import json
import tomllib
from pathlib import Path

import yaml

from nephos_dev.layout import Layout
from nephos_dev.node import configuration
from nephos_dev.node.configuration import NodePaths

PATHS = NodePaths(root=Path("/state/h1/node"))


def layout(tmp_path: Path) -> Layout:
    return Layout(name="t", slot=0, cloud_id="c", work_tree=tmp_path, cache=tmp_path / "cache")


def test_containerd_listens_where_kubelet_looks_for_it(tmp_path: Path) -> None:
    containerd = tomllib.loads(configuration.containerd(PATHS, Path("/plugins"), "localhost/pause"))
    kubelet = yaml.safe_load(configuration.kubelet(PATHS, layout(tmp_path).host(1), Path("/ca.crt")))
    assert kubelet["containerRuntimeEndpoint"] == f"unix://{containerd['grpc']['address']}"
    assert containerd["plugins"]["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == "localhost/pause"


def test_nobody_reaches_kubelet_without_the_cluster_s_word(tmp_path: Path) -> None:
    kubelet = yaml.safe_load(configuration.kubelet(PATHS, layout(tmp_path).host(1), Path("/ca.crt")))
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["authorization"] == {"mode": "Webhook"}


def test_the_pod_network_keeps_its_leases_with_the_node() -> None:
    network = json.loads(configuration.pod_network(PATHS))
    (bridge,) = network["plugins"]
    assert bridge["ipam"]["dataDir"].startswith(str(PATHS.run))
