"""One local cloud: brought up, looked at, hurt and taken down. The command line and the tests use it alike."""

import os
import shutil
import signal as signals
import subprocess
from dataclasses import dataclass
from functools import cached_property

from nephos_dev import binaries, claim, controlplane, credentials, files, processes, supervision, underlay
from nephos_dev.cluster import Cluster
from nephos_dev.layout import RUNTIME_ROOT, WORK_TREE, Layout, cache_dir, cloud_name, state_dir
from nephos_dev.progress import FailureError, Progress, Silent, step
from nephos_dev.supervision import Program
from nephos_dev.supervisor_client import Supervisor
from nephos_dev.waiting import NotYet, wait_for

_READY_TIMEOUT_S = 90


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a cloud consists of beside its control plane."""

    hosts: int = 2
    operators: int = 1
    image_service: bool = True
    agents: bool = True
    catalog: bool = True


CONTROL_PLANE_ONLY = Plan(hosts=0, operators=0, image_service=False, agents=False, catalog=False)


class Cloud:
    """The cloud of one name on this machine (NEPHOS_CLOUD, or `nephos`)."""

    def __init__(self, name: str | None = None, progress: Progress | None = None) -> None:
        self.name = name or cloud_name()
        self._progress = progress or Silent()

    @cached_property
    def layout(self) -> Layout:
        """Where this cloud lives. Takes the name's claim on this machine."""
        held = claim.take(RUNTIME_ROOT, self.name, state_dir(WORK_TREE, self.name))
        return Layout(name=self.name, slot=held.slot, cloud_id=held.cloud_id, cache=cache_dir())

    @property
    def exists(self) -> bool:
        """Whether anything of this cloud is there."""
        return claim.find(RUNTIME_ROOT, self.name) is not None

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor of all of this cloud's processes but those inside hosts."""
        return Supervisor(self.layout.supervisor_socket)

    @cached_property
    def cluster(self) -> Cluster:
        """The API server, with the admin's credentials."""
        return Cluster(self.layout.kubeconfig, binaries.folder_of(binaries.CONTROL_PLANE) / "kubectl")

    def up(self, plan: Plan = CONTROL_PLANE_ONLY) -> None:
        """Bring the cloud to `plan`, reusing what is there. Raises StepError."""
        with step(self._progress, "control plane binaries"):
            built = binaries.ensure(binaries.CONTROL_PLANE, self._progress)
        with step(self._progress, "underlay, keys and certificates"):
            underlay.ensure_underlay(self.layout)
            credentials.ensure_control_plane(self.layout)
            credentials.ensure_cloud(self.layout)
        with step(self._progress, "supervisor", self.layout.logs / "supervisord.log"):
            self._supervise(controlplane.programs(self.layout, built))
        with step(self._progress, "etcd and API server"):
            self._start_apiserver()
        with step(self._progress, "controller manager"):
            self.supervisor.start("kube-controller-manager")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the admin and return what it printed. Raises FailureError."""
        return self.cluster.kubectl(*arguments, stdin=stdin)

    def kill(self, component: str, signal: signals.Signals = signals.SIGKILL) -> int:
        """Send a signal to a component. Return the process ID that it had. Raises FailureError if it does not run."""
        return self.supervisor.kill(component, signal)

    def down(self) -> None:
        """Remove every trace of the cloud but the caches."""
        if not self.exists:
            return
        layout = self.layout
        with step(self._progress, "end all processes"):
            supervisors = [self.supervisor.pid()] if self.supervisor.answers() else []
            processes.end_all(layout.state, (), first=supervisors)
        with step(self._progress, "remove namespaces and interfaces"):
            underlay.remove_namespace(layout.underlay_netns)
            underlay.release_namespace_folder()
        with step(self._progress, "remove state"):
            _remove_state(layout)
            claim.release(RUNTIME_ROOT, self.name)

    def _supervise(self, programs: tuple[Program, ...]) -> None:
        layout = self.layout
        layout.logs.mkdir(parents=True, exist_ok=True)
        layout.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = supervision.render_supervisor(
            socket=layout.supervisor_socket,
            pid_file=layout.run / "supervisord.pid",
            log=layout.logs / "supervisord.log",
            programs=programs,
        )
        changed = files.write(layout.supervisor_config, config)
        if not self.supervisor.answers():
            command = [str(WORK_TREE / ".venv" / "bin" / "supervisord"), "-c", str(layout.supervisor_config)]
            environment = os.environ | {processes.MARK: str(layout.state)}
            processes.end_all(layout.state, ())  # what a supervisor that was killed has left behind
            subprocess.run(command, check=True, capture_output=True, cwd="/", env=environment)
            wait_for(self._probe_supervisor, what="supervisord", timeout_s=10)
        elif changed:
            self.supervisor.reload()

    def _probe_supervisor(self) -> None:
        if not self.supervisor.answers():
            raise NotYet("its socket does not answer")

    def _start_apiserver(self) -> None:
        self.supervisor.start("etcd")
        self.supervisor.start("kube-apiserver")

        def ready() -> None:
            if not self.cluster.ready():
                raise NotYet("/readyz does not answer with 200")

        self.supervisor.wait_ready("kube-apiserver", ready, timeout_s=_READY_TIMEOUT_S)


def _remove_state(layout: Layout) -> None:
    """Remove the cloud's folders; other clouds' folders lie below the default cloud's and stay."""
    shutil.rmtree(layout.run, ignore_errors=True)
    if not layout.state.is_dir():
        return
    for path in layout.state.iterdir():
        if path.name == "clouds":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    for folder in (layout.state, *layout.state.parents):
        if folder == layout.work_tree or any(folder.iterdir()):
            break
        folder.rmdir()


__all__ = ["CONTROL_PLANE_ONLY", "Cloud", "FailureError", "Plan"]
