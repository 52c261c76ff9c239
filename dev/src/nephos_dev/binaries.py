"""The pinned Kubernetes, built from Go modules without code of ours and cached by what it was built from."""

import hashlib
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from nephos_dev import files
from nephos_dev.layout import WORK_TREE, cache_dir
from nephos_dev.progress import FailureError, Progress

_NOTE_EVERY_S = 15.0
_JOBS = "2"  # compiling Kubernetes with more needs several GiB for each


@dataclass(frozen=True, kw_only=True)
class Toolset:
    """Programs that are built together: Go package by the name of its program."""

    name: str
    module: str
    packages: dict[str, str]
    tags: str = ""


CONTROL_PLANE = Toolset(
    name="controlplane",
    module="dev/controlplane",
    packages={
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
)
NODE = Toolset(
    name="node",
    module="dev/controlplane",
    packages={
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    },
)
CONTAINERD = Toolset(
    name="containerd",
    module="dev/containerd",
    packages={
        "containerd": "github.com/containerd/containerd/v2/cmd/containerd",
        "containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        "ctr": "github.com/containerd/containerd/v2/cmd/ctr",
        "bridge": "github.com/containernetworking/plugins/plugins/main/bridge",
        "host-local": "github.com/containernetworking/plugins/plugins/ipam/host-local",
        "loopback": "github.com/containernetworking/plugins/plugins/main/loopback",
        "portmap": "github.com/containernetworking/plugins/plugins/meta/portmap",
    },
    tags="no_btrfs",
)
HELM = Toolset(name="helm", module="dev/helm", packages={"helm": "helm.sh/helm/v4/cmd/helm"})

TOOLSETS = {toolset.name: toolset for toolset in (CONTROL_PLANE, NODE, CONTAINERD, HELM)}


def linker_flags(go_mod: str) -> str:
    """Return the -ldflags for a module, with the version that Kubernetes' programs report where it has them."""
    version = re.search(r"^\s*k8s\.io/kubernetes v((\d+)\.(\d+)\.\d+)", go_mod, re.MULTILINE)
    if not version:
        return "-s -w"
    values = {"gitVersion": f"v{version[1]}", "gitMajor": version[2], "gitMinor": version[3]}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items())])


def stamp(go_mod: bytes, go_sum: bytes, toolset: Toolset) -> str:
    """Return a short hash of all that decides what a toolset's programs are."""
    parts = [go_mod, go_sum, linker_flags(go_mod.decode()).encode(), toolset.tags.encode()]
    parts += [f"{name}={package}".encode() for name, package in sorted(toolset.packages.items())]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def folder_of(toolset: Toolset) -> Path:
    """Return where the programs of a toolset are, or will be once they are built."""
    module = WORK_TREE / toolset.module
    digest = stamp((module / "go.mod").read_bytes(), (module / "go.sum").read_bytes(), toolset)
    return cache_dir() / "bin" / f"{toolset.name}-{digest}"


def ensure(toolset: Toolset, progress: Progress) -> Path:
    """Return the folder that holds a toolset's programs, built first if they are missing.

    Raises FailureError if there is no Go or the build fails.
    """
    folder = folder_of(toolset)
    if _complete(folder, toolset):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.locked(folder.parent / f".{folder.name}.lock"):
        if not _complete(folder, toolset):
            _build(toolset, folder, progress)
    return folder


def find_go() -> Path:
    """Return the Go command: from PATH, its usual place, or the one that `dev/bootstrap` installed."""
    places = [shutil.which("go"), "/usr/local/go/bin/go", str(cache_dir() / "tools" / "bin" / "go")]
    for place in places:
        if place and Path(place).is_file():
            return Path(place)
    raise FailureError("there is no Go here: run `make bootstrap`")


def _complete(folder: Path, toolset: Toolset) -> bool:
    return all((folder / name).is_file() for name in toolset.packages)


def _build(toolset: Toolset, folder: Path, progress: Progress) -> None:
    module = WORK_TREE / toolset.module
    draft = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    log = cache_dir() / "bin" / f"{folder.name}.log"
    command = [
        str(find_go()),
        "build",
        "-v",
        "-trimpath",
        "-p",
        _JOBS,
        "-tags",
        toolset.tags,
        "-ldflags",
        linker_flags((module / "go.mod").read_text()),
        "-o",
        f"{draft}/",
        *toolset.packages.values(),
    ]
    progress.note(f"building {', '.join(toolset.packages)}: minutes once, cached in {folder}")
    _run(command, module, log, progress)
    for name, package in toolset.packages.items():
        built = draft / _program_name(package)
        if built.name != name:
            built.rename(draft / name)
    folder.mkdir(exist_ok=True)
    for name in toolset.packages:
        (draft / name).replace(folder / name)
    draft.rmdir()
    log.unlink()


def _run(command: list[str], module: Path, log: Path, progress: Progress) -> None:
    environment = os.environ | {"CGO_ENABLED": os.environ.get("CGO_ENABLED", "1"), "GOTOOLCHAIN": "local"}
    compiled, noted = 0, time.monotonic()
    with (
        log.open("w") as file,
        subprocess.Popen(
            command, cwd=module, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            file.flush()
            compiled += 1
            if time.monotonic() - noted > _NOTE_EVERY_S:
                noted = time.monotonic()
                progress.note(f"{compiled} packages, now {line.strip()}")
    if process.returncode:
        raise FailureError(f"go build ended with status {process.returncode}", log)


def _program_name(package: str) -> str:
    """Return the name that `go build -o folder/` gives: the last element that is no major version."""
    elements = package.split("/")
    return elements[-2] if re.fullmatch(r"v\d+", elements[-1]) else elements[-1]
