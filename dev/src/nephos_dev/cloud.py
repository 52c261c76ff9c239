"""One local cloud: brought up, looked at, hurt and taken down. The command line and the tests use it alike."""

import json
import shutil
import signal as signals
import subprocess
from functools import cached_property
from pathlib import Path

from nephos_dev import binaries, claim, hosts, internet, processes, underlay
from nephos_dev.bringup import CONTROL_PLANE_ONLY, BringUp, Plan
from nephos_dev.cluster import Cluster
from nephos_dev.console import Console
from nephos_dev.layout import RUNTIME_ROOT, WORK_TREE, HostLayout, Layout, cache_dir, cloud_name, state_dir
from nephos_dev.progress import FailureError, Progress, Silent, step
from nephos_dev.supervisor_client import ProcessState, Supervisor
from nephos_dev.waiting import NotYet, passing, wait_for

__all__ = ["CONTROL_PLANE_ONLY", "Cloud", "FailureError", "Plan"]


class Cloud:
    """The cloud of one name on this machine (NEPHOS_CLOUD, or `nephos`).

    A component is named as `processes` shows it: `operator-1`, `kube-apiserver`, `nephos-h1` (the whole host, as a
    reset of the machine), `nephos-h1/agent`, `nephos-h1/libvirtd`.
    """

    def __init__(self, name: str | None = None, progress: Progress | None = None) -> None:
        self.name = name or cloud_name()
        self._progress = progress or Silent()

    @cached_property
    def layout(self) -> Layout:
        """Where this cloud lives. Takes the name's claim on this machine. Raises ClaimError, LayoutError."""
        held = claim.take(RUNTIME_ROOT, self.name, state_dir(WORK_TREE, self.name))
        return Layout(name=self.name, slot=held.slot, cloud_id=held.cloud_id, cache=cache_dir())

    @property
    def exists(self) -> bool:
        """Whether anything of this cloud is there."""
        remembered = state_dir(WORK_TREE, self.name) / claim.MEMORY
        return remembered.is_file() or claim.find(RUNTIME_ROOT, self.name) is not None

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor of all of this cloud's processes but those inside hosts."""
        return Supervisor(self.layout.supervisor_socket)

    @cached_property
    def cluster(self) -> Cluster:
        """The API server, with the admin's credentials."""
        return Cluster(self.layout.kubeconfig, binaries.folder_of(binaries.CONTROL_PLANE) / "kubectl")

    @property
    def hosts(self) -> tuple[HostLayout, ...]:
        """The hosts that were brought up, by number."""
        return self.layout.known_hosts()

    def up(self, plan: Plan = CONTROL_PLANE_ONLY) -> None:
        """Bring the cloud to `plan`, reusing what is there. Raises StepError, or FailureError for too few hosts."""
        there = len(self.hosts)
        if plan.hosts < there:
            raise FailureError(f"this cloud has {there} hosts, and hosts are not taken away: `make down` first")
        BringUp(
            layout=self.layout,
            plan=plan,
            supervisor=self.supervisor,
            cluster=self.cluster,
            progress=self._progress,
        ).run()

    def down(self) -> None:
        """Remove every trace of the cloud but the caches."""
        if not self.exists:
            return
        layout = self.layout
        with step(self._progress, "end all processes"):
            first = [self.supervisor.pid()] if self.supervisor.answers() else []
            names = (*(host.netns for host in self.hosts), layout.internet_netns)
            namespaces = (*hosts.mount_namespaces(self.hosts), *processes.network_namespaces(names))
            processes.end_all(namespaces, layout.state, first=first)
        with step(self._progress, "remove namespaces and interfaces"):
            for host in self.hosts:
                underlay.remove_namespace(host.netns)
            internet.remove(layout)
            underlay.remove_underlay(layout)
            underlay.release_namespace_folder()
        with step(self._progress, "remove state"):
            _remove_state(layout)
            claim.release(RUNTIME_ROOT, self.name)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the admin and return what it printed. Raises FailureError."""
        return self.cluster.kubectl(*arguments, stdin=stdin)

    def processes(self) -> tuple[tuple[str, ProcessState], ...]:
        """Return every component with its state, those inside hosts below their host."""
        found: list[tuple[str, ProcessState]] = []
        for state in self.supervisor.processes():
            found.append((state.name, state))
            host = next((host for host in self.hosts if host.name == state.name), None)
            init = Supervisor(host.supervisor_socket) if host else None
            if init and init.answers():
                found += [(f"{state.name}/{inner.name}", inner) for inner in init.processes()]
        return tuple(found)

    def process(self, component: str) -> ProcessState:
        """Return the state of one component. Raises FailureError if there is none of that name."""
        supervisor, name = self._locate(component)
        return supervisor.process(name)

    def kill(self, component: str, signal: signals.Signals = signals.SIGKILL) -> int:
        """Send a signal to a component. Return the process ID that it had. Raises FailureError if it does not run."""
        supervisor, name = self._locate(component)
        return supervisor.kill(name, signal)

    def stop(self, component: str) -> None:
        """Stop a component for good, until `start`."""
        supervisor, name = self._locate(component)
        supervisor.stop(name)

    def start(self, component: str) -> None:
        """Start a component that was stopped."""
        supervisor, name = self._locate(component)
        supervisor.start(name)

    def execute(self, host: HostLayout, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside a host (its network, mounts and name) and return how it ended, with its output."""
        init = Supervisor(host.supervisor_socket).pid()
        return hosts.execute(host, init, command)

    def console(self, namespace: str, server: str) -> Console:
        """Open the serial console of a Server's guest. Raises FailureError if it runs nowhere."""
        return Console(self.terminal(namespace, server))

    def terminal(self, namespace: str, server: str) -> Path:
        """Return the pseudo-terminal of a Server's serial console. Raises FailureError if it runs nowhere."""
        found = json.loads(self.kubectl("get", "servers.nephos.cloud", server, f"-n={namespace}", "--output=json"))
        host = self._host(found.get("status", {}).get("host") or "")
        terminal = self.execute(host, "virsh", "ttyconsole", found["metadata"]["uid"])
        if terminal.returncode or not terminal.stdout.strip():
            raise FailureError(f"Server {server} has no console on {host.name}: {terminal.stderr.strip()}")
        return Path(terminal.stdout.strip())

    def wait_restarted(self, component: str, *, killed: int, timeout_s: float = 60) -> int:
        """Wait until a component runs with another process ID than `killed`; return that. Raises FailureError."""

        def probe() -> int:
            with passing(ConnectionError):
                pid = self.process(component).pid
            if pid in {0, killed}:
                raise NotYet("it is not started again yet")
            return pid

        return wait_for(probe, what=f"{component} runs again", timeout_s=timeout_s)

    def _host(self, name: str) -> HostLayout:
        for host in self.hosts:
            if host.name == name:
                return host
        raise FailureError(f"this cloud has no host {name!r}")

    def _locate(self, component: str) -> tuple[Supervisor, str]:
        outer, _, inner = component.partition("/")
        if not inner:
            return self.supervisor, outer
        return Supervisor(self._host(outer).supervisor_socket), inner


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
