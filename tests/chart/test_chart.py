"""The chart holds what the local cloud runs, and a real API server takes all of it."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from nephos_dev.cloud import Cloud

from .conftest import CHART, CLOUD_ID, Document, Render

SOURCES = ("operator/src", "node-agent/src")
RULES = ("rbac.yaml", "policies.yaml")


def of_kind(documents: list[Document], kind: str) -> dict[str, Document]:
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


def container(workload: Document) -> Any:
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return only


def variables(workload: Document) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container(workload)["env"]}


def test_helm_finds_no_fault(helm: Path) -> None:
    command: list[str | Path] = [
        helm,
        "lint",
        CHART,
        "--strict",
        "--namespace=nephos-system",
        f"--set=cloudID={CLOUD_ID}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_real_api_server_accepts_every_object(render: Render, control_plane: Cloud) -> None:
    rendered = yaml.safe_dump_all(render({"webhook": {"caBundle": "LS0tCg=="}}))
    control_plane.kubectl("apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-", stdin=rendered)


@pytest.mark.parametrize("path", RULES)
def test_roles_and_policies_are_those_of_the_local_cloud(path: str, render: Render) -> None:
    applied = [document for document in yaml.safe_load_all((CHART / "files" / path).read_text()) if document]
    rendered = render()
    missing = [document for document in applied if document not in rendered and document["kind"] != "Namespace"]
    assert not missing


def test_the_kinds_are_those_that_are_generated(render: Render) -> None:
    generated = [yaml.safe_load(path.read_text()) for path in (CHART.parents[1] / "crds" / "yaml").glob("*.yaml")]
    assert of_kind(generated, "CustomResourceDefinition") == of_kind(render(), "CustomResourceDefinition")


def test_the_webhook_is_called_through_its_service_and_trusted_by_its_authority(render: Render) -> None:
    documents = render({"webhook": {"caBundle": "LS0tCg=="}})
    (configuration,) = of_kind(documents, "ValidatingWebhookConfiguration").values()
    clients = [webhook["clientConfig"] for webhook in configuration["webhooks"]]
    assert clients
    assert {client["caBundle"] for client in clients} == {"LS0tCg=="}
    names = {client["service"]["name"] for client in clients}
    assert names <= of_kind(documents, "Service").keys()


def test_only_the_agent_is_privileged(render: Render) -> None:
    documents = render()
    for workload in of_kind(documents, "Deployment").values():
        context = container(workload)["securityContext"]
        assert context["runAsNonRoot"]
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "hostNetwork" not in workload["spec"]["template"]["spec"]
    assert container(of_kind(documents, "DaemonSet")["nephos-agent"])["securityContext"]["privileged"]


def test_the_agent_sees_the_hosts_paths_under_the_hosts_names(render: Render) -> None:
    agent = of_kind(render(), "DaemonSet")["nephos-agent"]
    volumes = {volume["name"]: volume for volume in agent["spec"]["template"]["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container(agent)["volumeMounts"]}
    for path, mount in mounts.items():
        volume = volumes[mount["name"]]
        assert "emptyDir" in volume or volume["hostPath"]["path"] == path
    assert mounts["/run/netns"]["mountPropagation"] == "Bidirectional"
    assert {"/run/libvirt", "/run/nephos", "/var/lib/nephos"} <= mounts.keys()


def test_every_metric_of_an_alert_is_one_that_is_measured(render: Render) -> None:
    (rules,) = of_kind(render({"metrics": {"alerts": {"enabled": True}}}), "PrometheusRule").values()
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert alerts
    sources = "".join(path.read_text() for folder in SOURCES for path in (CHART.parents[1] / folder).rglob("*.py"))
    measured = set(re.findall(r'"(nephos_[a-z_]+)"', sources))
    used = {name for alert in alerts for name in re.findall(r"nephos_[a-z_]+", alert["expr"])}
    assert used <= measured


def test_every_alert_has_its_runbook(render: Render) -> None:
    runbooks = (CHART.parents[1] / "docs" / "operators" / "alerts.md").read_text()
    (rules,) = of_kind(render({"metrics": {"alerts": {"enabled": True}}}), "PrometheusRule").values()
    for alert in (rule for group in rules["spec"]["groups"] for rule in group["rules"]):
        assert f"| {alert['alert']} |" in runbooks


def test_every_process_knows_the_clouds_identity(render: Render) -> None:
    documents = render()
    workloads = [*of_kind(documents, "Deployment").values(), *of_kind(documents, "DaemonSet").values()]
    assert {variables(workload)["NEPHOS_CLOUD_ID"] for workload in workloads} == {CLOUD_ID}


def test_an_api_server_that_is_named_is_used_by_all(render: Render) -> None:
    documents = render({"apiServer": {"host": "192.0.2.1", "port": 6443}})
    for workload in (*of_kind(documents, "Deployment").values(), *of_kind(documents, "DaemonSet").values()):
        assert variables(workload)["KUBERNETES_SERVICE_HOST"] == "192.0.2.1"
        assert variables(workload)["KUBERNETES_SERVICE_PORT"] == "6443"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"operator": {"replicas": 0}}, "replicas"),
        ({"cloudID": "mine"}, "cloudID"),
        ({"agent": {"launcher": "init"}}, "launcher"),
        ({"agents": {}}, "agents"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(values: dict[str, Any], named: str, render: Render) -> None:
    with pytest.raises(ValueError, match=named):
        render(values)


def test_another_namespace_is_refused_because_policies_name_it(render: Render) -> None:
    with pytest.raises(ValueError, match="nephos-system"):
        render(namespace="default")
