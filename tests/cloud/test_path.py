"""The packet-path explainer beside real guests: it reads objects and hosts, and says what the guests find out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from cloud.sound import report
from nephos_agent.path.explain import explain, render
from nephos_agent.path.model import Explanation, Objects, Question, Stage
from nephos_agent.path.report import load
from nephos_api.metadata import Resource
from nephos_api.resources import FloatingIP, Network, Port, Router, SecurityGroup
from nephos_dev import binaries, internet
from nephos_dev.asking import Guests, eventually, eventually_not
from nephos_dev.cloud import Cloud
from nephos_dev.layout import WORK_TREE
from nephos_dev.progress import FailureError
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, passing, wait_for

R = TypeVar("R", bound=Resource)
WORLD = internet.WORLD[0][0]
_TCP, _ICMP, _ECHO = 6, 1, 8


@dataclass(frozen=True)
class Scene:
    """Server ``a`` on one host, ``b`` and ``c`` on another, behind one Router; ``a`` has a floating address."""

    cloud: Cloud
    project: Tenant
    guests: Guests

    def explain(self, source: str, destination: str, protocol: int = _ICMP, port: int = _ECHO) -> Explanation:
        """Ask as the project's member and the host's administrator together."""
        question = Question(self._name(source), self._name(destination), protocol, port)
        return explain(self._objects(), question, [load(report(self.cloud, host)) for host in self.cloud.hosts])

    def explain_settled(self, source: str, destination: str) -> Explanation:
        """Ask until the hosts have all that the objects say, and pass it: no ping waits for all of it."""

        def probe() -> Explanation:
            with passing(FailureError):
                explanation = self.explain(source, destination)
            if not explanation.passes_as_programmed or any(hop.differences for hop in explanation.hops):
                raise NotYet(render(explanation))
            return explanation

        return wait_for(probe, what=f"{source} to {destination} as programmed", timeout_s=30)

    def _name(self, server: str) -> str:
        return server if "." in server else f"{self.project.name}/{server}"

    def _objects(self) -> Objects:
        return Objects(
            networks=(*self._all(Network), *self._all(Network, "nephos-catalog")),
            ports=self._all(Port),
            routers=self._all(Router),
            floating_ips=self._all(FloatingIP),
            security_groups=self._all(SecurityGroup),
        )

    def _all(self, kind: type[R], namespace: str = "") -> tuple[R, ...]:
        found = self.cloud.kubectl(
            "get", f"{kind.info.plural}.nephos.cloud", f"--namespace={namespace or self.project.name}", "--output=json"
        )
        return tuple(kind.model_validate(item) for item in json.loads(found)["items"])


@pytest.fixture(scope="module")
def scene(cloud: Cloud, project: Tenant, guests: Guests) -> Scene:
    project.apply(
        *network_manifests("blue", "10.72.0.0/24"),
        *network_manifests("green", "10.73.0.0/24"),
        manifest("Router", "edge", externalNetwork="public", subnets=["blue-v4", "green-v4"]),
        manifest("SecurityGroup", "ping", rules=[{"direction": "Ingress", "protocol": "ICMP"}]),
        manifest("ServerGroup", "apart", policy="AntiAffinity"),
        server_manifest("a", "blue", serverGroup="apart", securityGroups=["ping"]),
        server_manifest("b", "blue", serverGroup="apart", securityGroups=["ping"]),
        server_manifest("c", "green", securityGroups=["ping"]),
        manifest("FloatingIP", "web", externalNetwork="public", server="a"),
    )
    for name in ("a", "b", "c"):
        project.wait_phase(name, "Active")
    project.wait_phase("web", "Active", kind="floatingip")
    return Scene(cloud, project, guests)


def address(project: Tenant, server: str) -> str:
    found = project.get("server", server)
    assert found is not None
    return str(found["status"]["addresses"][0]["address"])


@pytest.mark.parametrize(("source", "destination"), [("a", "b"), ("a", "c"), ("b", "c"), ("c", "a")])
def test_guests_that_reach_each_other_are_said_to(scene: Scene, source: str, destination: str) -> None:
    there = address(scene.project, destination)
    eventually(scene.guests.ask(source, f"ping -c 1 -W 1 {there}"), "1 packets received", what=f"{there} answers")
    explanation = scene.explain_settled(source, destination)
    assert explanation.passes, render(explanation)


@pytest.mark.parametrize(("source", "stage"), [("a", Stage.FLOATING_IP), ("b", Stage.SNAT)])
def test_the_way_out_is_told_place_by_place(scene: Scene, source: str, stage: Stage) -> None:
    eventually(scene.guests.ask(source, f"ping -c 1 -W 1 {WORLD}"), "1 packets received", what=f"{WORLD} answers")
    explanation = scene.explain_settled(source, WORLD)
    assert stage in [hop.stage for hop in explanation.hops]


def test_what_no_rule_allows_ends_at_the_receivers_filter(scene: Scene) -> None:
    there = address(scene.project, "b")
    eventually(scene.guests.ask("a", f"nc -w 1 {WORLD} 80 </dev/null"), what="the world takes a connection")
    eventually_not(scene.guests.ask("a", f"nc -w 1 {there} 80 </dev/null"), what="b takes no connection")
    refused = scene.explain("a", "b", _TCP, 80).refused_by_objects
    assert refused is not None
    assert refused.stage is Stage.DESTINATION_FILTER
    assert "ping" in refused.by_objects.because


def test_the_script_of_the_documentation_says_so_too(scene: Scene, tmp_path: Path) -> None:
    page = (WORK_TREE / "docs" / "operators" / "troubleshooting.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    reports = []
    for host in scene.cloud.hosts:
        reports.append(tmp_path / f"{host.name}.json")
        reports[-1].write_text(report(scene.cloud, host))
    kubectl = binaries.folder_of(binaries.CONTROL_PLANE)
    environment = os.environ | {
        "KUBECONFIG": str(scene.cloud.layout.kubeconfig),
        "PATH": f"{kubectl}{os.pathsep}{os.environ['PATH']}",
    }
    for protocol, port, verdict in ((_ICMP, _ECHO, "It gets through."), (_TCP, 80, "It ends at DestinationFilter.")):
        ends = [f"{scene.project.name}/{server}" for server in ("a", "b")]
        words = [sys.executable, "-c", script, *ends, str(protocol), str(port), *map(str, reports)]
        said = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
        assert said.splitlines()[-1] == verdict, said
