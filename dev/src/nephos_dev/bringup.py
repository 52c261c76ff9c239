"""Bringing a cloud to its plan, step by step; every step finds what is there and adds what is missing."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass

from nephos_dev import (
    binaries,
    controlplane,
    credentials,
    environment,
    files,
    hosts,
    install,
    internet,
    processes,
    supervision,
    underlay,
)
from nephos_dev.cluster import Cluster
from nephos_dev.images import BuiltImage, build_tiny
from nephos_dev.layout import WORK_TREE, HostLayout, Layout
from nephos_dev.progress import Progress, step
from nephos_dev.supervision import Program
from nephos_dev.supervisor_client import Supervisor
from nephos_dev.waiting import NotYet, wait_for

_READY_TIMEOUT_S = 90
_SCRIPTS = WORK_TREE / ".venv" / "bin"
_OPERATOR = "nephos-operator"
_IMAGE_SERVICE = "nephos-image-service"
_INTERNET = "internet"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a cloud consists of beside its control plane."""

    hosts: int = 2
    operators: int = 1
    image_service: bool = True
    agents: bool = True
    catalog: bool = True


CONTROL_PLANE_ONLY = Plan(hosts=0, operators=0, image_service=False, agents=False, catalog=False)


@dataclass(frozen=True, kw_only=True)
class BringUp:
    """One cloud on its way to one plan."""

    layout: Layout
    plan: Plan
    supervisor: Supervisor
    cluster: Cluster
    progress: Progress

    @property
    def hosts(self) -> tuple[HostLayout, ...]:
        """The hosts of the plan."""
        return self.layout.hosts(self.plan.hosts)

    def run(self) -> None:
        """Do all steps. Raises StepError."""
        with step(self.progress, "control plane binaries"):
            binaries.ensure(binaries.CONTROL_PLANE, self.progress)
        image = self._guest_image()
        with step(self.progress, "underlay, keys and certificates"):
            self._lay_ground()
        with step(self.progress, "supervisor", self.layout.logs / "supervisord.log"):
            self._supervise()
        with step(self.progress, "etcd and API server"):
            self._start_apiserver()
        with step(self.progress, "kinds, roles and policies"):
            install.install_kinds(self.cluster)
            install.install_identities(self.cluster)
        with step(self.progress, "controller manager, and the services start"):
            # After the kinds: its garbage collector looks for new ones only every 30 s.
            self.supervisor.start("kube-controller-manager")
            self._start_services()  # they take their time, and hosts need none of it
        self._start_hosts()
        self._wait_services()
        self._wait_agents()
        with step(self.progress, "policies act, bad manifests are refused"):
            install.check_rules(self.cluster)
        if image:
            with step(self.progress, "catalog: Flavor and Image tiny, Network public"):
                install.install_catalog(self.cluster, image)
        if image and self.plan.operators:
            with step(self.progress, "the webhook refuses what contradicts the catalog"):
                install.check_webhook(self.cluster)

    def _guest_image(self) -> BuiltImage | None:
        if not self.plan.catalog:
            return None
        with step(self.progress, "guest image tiny"):
            return build_tiny(self.layout.cache, report=self.progress.note)

    def _lay_ground(self) -> None:
        layout = self.layout
        layout.logs.mkdir(parents=True, exist_ok=True)
        layout.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = environment.shell_settings(layout, binaries.folder_of(binaries.CONTROL_PLANE))
        files.write(layout.shell_settings, settings)
        underlay.ensure_underlay(layout)
        credentials.ensure_control_plane(layout)
        credentials.ensure_cloud(layout)

    def _programs(self) -> tuple[Program, ...]:
        layout, plan = self.layout, self.plan
        operators = tuple(
            Program(
                name=f"operator-{replica}",
                command=(str(_SCRIPTS / _OPERATOR),),
                log=layout.logs / f"operator-{replica}.log",
                environment=environment.operator(layout, replica),
            )
            for replica in range(1, plan.operators + 1)
        )
        image_service = Program(
            name="image-service",
            command=(str(_SCRIPTS / _IMAGE_SERVICE),),
            log=layout.logs / "image-service.log",
            environment=environment.image_service(layout),
        )
        return (
            *controlplane.programs(layout, binaries.folder_of(binaries.CONTROL_PLANE)),
            *operators,
            *((image_service,) if plan.image_service else ()),
            *((self._internet(),) if self.hosts else ()),
            *(hosts.init_program(host) for host in self.hosts),
        )

    def _internet(self) -> Program:
        layout = self.layout
        return Program(
            name=_INTERNET,
            command=internet.command(layout, sys.executable, "-m", "nephos_dev.internet_server"),
            log=layout.logs / "internet.log",
        )

    def _supervise(self) -> None:
        layout = self.layout
        programs = self._programs()
        for program in programs:
            program.log.parent.mkdir(parents=True, exist_ok=True)
        config = supervision.render_supervisor(
            socket=layout.supervisor_socket,
            pid_file=layout.run / "supervisord.pid",
            log=layout.logs / "supervisord.log",
            programs=programs,
        )
        files.write(layout.supervisor_config, config)
        if self.supervisor.answers():
            self.supervisor.reload()
            return
        # What a supervisor that was killed, or a machine that was reset, has left behind.
        processes.end_all(hosts.mount_namespaces(layout.known_hosts()), layout.state)
        command = [str(_SCRIPTS / "supervisord"), "-c", str(layout.supervisor_config)]
        variables = os.environ | {processes.MARK: str(layout.state)}
        subprocess.run(command, check=True, capture_output=True, cwd="/", env=variables)
        wait_for(self._probe_supervisor, what="supervisord", timeout_s=10)

    def _probe_supervisor(self) -> None:
        if not self.supervisor.answers():
            raise NotYet("its socket does not answer")

    def _start_apiserver(self) -> None:
        def ready() -> None:
            if not self.cluster.ready():
                raise NotYet("/readyz does not answer with 200")

        self.supervisor.start("etcd")
        self.supervisor.start("kube-apiserver")
        self.supervisor.wait_ready("kube-apiserver", ready, timeout_s=_READY_TIMEOUT_S)

    def _start_hosts(self) -> None:
        if not self.hosts:
            return
        with step(self.progress, "the outside: a router and a web server"):
            internet.ensure(self.layout)
            self.supervisor.start(_INTERNET)
        capacity = environment.divide(environment.measure_machine(self.layout.state), self.plan.hosts)
        with step(self.progress, f"hosts ({self.plan.hosts}): namespaces and libvirtd"):
            for host in self.hosts:
                underlay.ensure_host_namespace(self.layout, host)
                internet.ensure_host(self.layout, host)
                hosts.write(self.layout, host, capacity, agent=self.plan.agents)
                install.install_host(self.cluster, self.layout, host)
                init = Supervisor(host.supervisor_socket)
                if init.answers():
                    init.reload()
                self.supervisor.start(host.name)
            for host in self.hosts:
                self._wait_libvirtd(host)
            self.supervisor.wait_ready(_INTERNET, self._probe_internet, timeout_s=_READY_TIMEOUT_S)

    def _probe_internet(self) -> None:
        asked = internet.execute(self.layout, "curl", "-sS", f"http://{internet.GATEWAYS[0][0]}/")
        if asked.returncode:
            raise NotYet(asked.stderr.strip())

    def _wait_libvirtd(self, host: HostLayout) -> None:
        def ready() -> None:
            _connect(socket.AF_UNIX, str(host.run / "libvirt" / "libvirt-sock"))

        def init_ready() -> None:
            if not Supervisor(host.supervisor_socket).answers():
                raise NotYet("its init does not answer")

        self.supervisor.wait_ready(host.name, init_ready, timeout_s=_READY_TIMEOUT_S)
        Supervisor(host.supervisor_socket).wait_ready("libvirtd", ready, timeout_s=_READY_TIMEOUT_S)

    def _start_services(self) -> None:
        if self.plan.image_service:
            install.install_component(self.cluster, self.layout, _IMAGE_SERVICE)
            self.supervisor.start("image-service")
        if self.plan.operators:
            install.install_component(self.cluster, self.layout, _OPERATOR)
        for replica in range(1, self.plan.operators + 1):
            self.supervisor.start(f"operator-{replica}")

    def _wait_services(self) -> None:
        layout, ports = self.layout, self.layout.ports
        if self.plan.image_service:
            with step(self.progress, "image service", layout.logs / "image-service.log"):
                self._wait_listener("image-service", str(layout.gateway), ports.image_service)
        if self.plan.operators:
            with step(self.progress, "operator and admission webhook", layout.logs / "operator-1.log"):
                for replica in range(1, self.plan.operators + 1):
                    # The webhook's port is shared by all replicas, so it does not tell whether this one is there.
                    self._wait_listener(f"operator-{replica}", "127.0.0.1", ports.operator_metrics[replica - 1])
                install.install_webhook(self.cluster, layout)

    def _wait_listener(self, name: str, address: str, port: int) -> None:
        def ready() -> None:
            _connect(socket.AF_INET, (address, port))

        self.supervisor.wait_ready(name, ready, timeout_s=_READY_TIMEOUT_S)

    def _wait_agents(self) -> None:
        if not (self.hosts and self.plan.agents):
            return

        with step(self.progress, "agents register their hosts"):
            for host in self.hosts:

                def ready(name: str = host.name) -> None:
                    install.expect_host_up(self.cluster, name, with_operator=bool(self.plan.operators))

                Supervisor(host.supervisor_socket).wait_ready("agent", ready, timeout_s=_READY_TIMEOUT_S)


def _connect(family: socket.AddressFamily, address: str | tuple[str, int]) -> None:
    with socket.socket(family) as connection:
        connection.settimeout(2)
        try:
            connection.connect(address)
        except OSError as error:
            raise NotYet(f"nothing listens at {address}: {error}") from error
