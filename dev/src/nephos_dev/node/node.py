"""A host that is a node: what starts on it, and how all of it ends."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nephos_dev import binaries, credentials, files, supervision
from nephos_dev.cloud import Cloud
from nephos_dev.layout import HostLayout
from nephos_dev.node import configuration
from nephos_dev.node.configuration import NodePaths
from nephos_dev.node.container_images import ContainerImage
from nephos_dev.progress import FailureError, Progress
from nephos_dev.supervision import Program
from nephos_dev.supervisor_client import Supervisor
from nephos_dev.waiting import NotYet, passing, wait_for

_READY_TIMEOUT_S = 60
_PROGRAMS = ("containerd", "kubelet", "kube-scheduler")  # in the order in which they start
_CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class Node:
    """containerd, kubelet and a scheduler on one host, under its init. Pods see the mounts and network of the host."""

    cloud: Cloud
    host: HostLayout
    progress: Progress

    def start(self, pause: ContainerImage, images: Sequence[ContainerImage]) -> None:
        """Start everything, load the images, and wait until the Node is ready. Raises FailureError."""
        for toolset in (binaries.NODE, binaries.CONTAINERD):
            binaries.ensure(toolset, self.progress)
        self._write_configuration(pause)
        self._in_host("/bin/sh", str(self._paths.preparation))
        self._supervise(self._programs())
        init = self._init
        init.start("containerd")
        init.wait_ready("containerd", self._containerd_answers, timeout_s=_READY_TIMEOUT_S)
        for image in (pause, *images):
            self._ctr("images", "import", str(image.archive))
        for name in _PROGRAMS[1:]:
            init.start(name)
        init.wait_ready("kubelet", self._node_is_ready, timeout_s=_READY_TIMEOUT_S)

    def stop(self) -> None:
        """End all containers and what started them; guests and whatever else is the host's stay."""
        init = self._init
        for name in reversed(_PROGRAMS[1:]):
            init.stop(name)
        wait_for(self._expect_no_containers, what="all containers end", timeout_s=_READY_TIMEOUT_S)
        init.stop("containerd")
        self._supervise(())
        for group in _CGROUPS.glob("*/k8s.io"):
            with suppress(OSError):  # why: a group that another node of this machine uses is not empty, and stays
                group.rmdir()

    def processes_of(self, pod_uid: str) -> frozenset[int]:
        """Return the processes of a pod's containers, as the machine counts them."""
        tasks = self._ctr("containers", "list", "-q", f'labels."io.kubernetes.pod.uid"=={pod_uid}').split()
        found = {pid for task in tasks for pid in _pids(self._ctr("tasks", "ps", task))}
        return frozenset(found)

    @property
    def _init(self) -> Supervisor:
        return Supervisor(self.host.supervisor_socket)

    @property
    def _paths(self) -> NodePaths:
        return NodePaths(root=self.host.root / "node")

    def _write_configuration(self, pause: ContainerImage) -> None:
        paths, layout = self._paths, self.cloud.layout
        plugins = binaries.folder_of(binaries.CONTAINERD)
        client_authority = layout.kubernetes_pki / "ca.crt"
        files.write(paths.containerd_config, configuration.containerd(paths, plugins, pause.name))
        files.write(paths.network_configs / "10-pods.conflist", configuration.pod_network(paths))
        files.write(paths.kubelet_config, configuration.kubelet(paths, self.host, client_authority))
        files.write(paths.preparation, configuration.preparation())

    def _programs(self) -> tuple[Program, ...]:
        layout, host, paths = self.cloud.layout, self.host, self._paths
        node, runtime = binaries.folder_of(binaries.NODE), binaries.folder_of(binaries.CONTAINERD)
        kubelet = credentials.ensure_component(
            layout, f"kubelet-{host.name}", user=f"system:node:{host.name}", groups=("system:nodes",)
        )
        scheduler = credentials.ensure_component(layout, "kube-scheduler", user="system:kube-scheduler")
        commands = {
            "containerd": (str(runtime / "containerd"), f"--config={paths.containerd_config}"),
            "kubelet": (
                str(node / "kubelet"),
                f"--config={paths.kubelet_config}",
                f"--hostname-override={host.name}",
                f"--kubeconfig={kubelet}",
                f"--node-ip={host.address}",
                f"--root-dir={paths.kubelet_root}",
            ),
            "kube-scheduler": (
                str(node / "kube-scheduler"),
                f"--kubeconfig={scheduler}",
                "--leader-elect=false",
                "--secure-port=0",
            ),
        }
        search_path = {"PATH": f"{runtime}:{os.environ['PATH']}"}  # containerd looks for its shim and runc
        return tuple(
            Program(name=name, command=commands[name], log=host.logs / f"{name}.log", environment=search_path)
            for name in _PROGRAMS
        )

    def _supervise(self, programs: Iterable[Program]) -> None:
        text = "\n".join(supervision.render_program(program) for program in programs)
        files.write(self.host.run / "nephos" / "launcher.d" / "node.conf", text)
        self._init.reload()

    def _containerd_answers(self) -> None:
        with passing(FailureError):
            self._ctr("version")

    def _node_is_ready(self) -> None:
        ready = '{.status.conditions[?(@.type=="Ready")].status}'
        found = self.cloud.kubectl("get", "node", self.host.name, f"--output=jsonpath={ready}")
        if found != "True":
            raise NotYet(f"Node {self.host.name} is not ready")

    def _expect_no_containers(self) -> None:
        """End those that are there, and raise NotYet if there were any."""
        with passing(FailureError):  # one may have ended meanwhile
            for task in self._ctr("tasks", "list", "-q").split():
                self._ctr("tasks", "delete", "--force", task)
            containers = self._ctr("containers", "list", "-q").split()
            for container in containers:
                self._ctr("containers", "delete", container)
        if containers:
            raise NotYet(f"{len(containers)} containers were there")

    def _ctr(self, *arguments: str) -> str:
        program = binaries.folder_of(binaries.CONTAINERD) / "ctr"
        return self._in_host(str(program), f"--address={self._paths.socket}", "--namespace=k8s.io", *arguments)

    def _in_host(self, *command: str) -> str:
        done = self.cloud.execute(self.host, *command)
        if done.returncode:
            raise FailureError(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def _pids(table: str) -> frozenset[int]:
    """Read the first column below the heading of `ctr tasks ps`."""
    return frozenset(int(line.split()[0]) for line in table.splitlines()[1:])
