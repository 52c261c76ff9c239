"""Helm and a control plane for all tests of this folder."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from nephos_dev import binaries
from nephos_dev.cloud import CONTROL_PLANE_ONLY, Cloud
from nephos_dev.layout import WORK_TREE, name_for_tests
from nephos_dev.progress import Silent

CHART = WORK_TREE / "charts" / "nephos"
CLOUD_ID = "0f5b1f0e-7c1b-4c0a-9b3c-5d0a4f1f7a10"

Document = dict[str, Any]
Render = Callable[..., list[Document]]


@pytest.fixture(scope="session")
def helm() -> Path:
    """The pinned Helm."""
    return binaries.ensure(binaries.HELM, Silent()) / "helm"


@pytest.fixture
def render(helm: Path, tmp_path: Path) -> Render:
    """Return the chart's objects for some values."""

    def template(values: Mapping[str, Any] | None = None, namespace: str = "nephos-system") -> list[Document]:
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump({"cloudID": CLOUD_ID} | dict(values or {})))
        command: list[str | Path] = [
            helm,
            "template",
            "nephos",
            CHART,
            f"--namespace={namespace}",
            f"--values={file}",
            "--include-crds",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(done.stderr)
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return template


@pytest.fixture(scope="module")
def control_plane() -> Iterator[Cloud]:
    """A real API server with the cloud's kinds and rules."""
    cloud = Cloud(name_for_tests("chart"))
    cloud.up(CONTROL_PLANE_ONLY)
    yield cloud
    cloud.down()
