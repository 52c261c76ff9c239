"""What people read: columns, short names, explanations; and what each role may do."""

from typing import Any

import pytest

from nephos_api.resources import KINDS
from nephos_dev.cloud import Cloud

from .conftest import AGENT, IMAGE_SERVICE, OPERATOR, TENANT, Api, manifest

READY = {
    "type": "Ready",
    "status": "False",
    "reason": "NoValidHost",
    "message": "No valid host",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def test_kubectl_get_answers_the_first_question(api: Api, cloud: Cloud) -> None:
    body = manifest("Server", {"flavor": "tiny", "image": "debian-12"}, name="columns")
    api.create(body).accepted()
    status = {"phase": "Active", "host": "h1", "addressList": "10.10.0.9, 10.20.0.9", "conditions": [READY]}
    api.patch(body, {"status": status}, sub="status", user=OPERATOR).accepted()
    header, row = cloud.kubectl("get", "srv", "columns", "-n=first", "-o=wide").splitlines()
    assert header.split() == ["NAME", "PHASE", "FLAVOR", "IMAGE", "ADDRESSES", "FLOATING-IP", "HOST", "REASON", "AGE"]
    for value in ("Active", "tiny", "debian-12", "10.10.0.9, 10.20.0.9", "h1", "NoValidHost"):
        assert value in row
    assert "HOST" not in cloud.kubectl("get", "srv", "columns", "-n=first")
    api.remove(body)


def test_a_subnet_without_gateway_in_its_spec_shows_the_one_it_got(api: Api, cloud: Cloud) -> None:
    body = manifest("Subnet", {"network": "blue", "cidr": "10.10.0.0/24"}, name="columns")
    api.create(body).accepted()
    status = {"phase": "Active", "gateway": "10.10.0.1", "serviceAddress": "10.10.0.254"}
    api.patch(body, {"status": status}, sub="status", user=OPERATOR).accepted()
    assert cloud.kubectl("get", "sn", "columns", "-n=first").split()[-5:-1] == [
        "Active",
        "blue",
        "10.10.0.0/24",
        "10.10.0.1",
    ]
    api.remove(body)


def test_who_asked_for_an_action_is_a_column(api: Api, cloud: Cloud) -> None:
    body = manifest("ServerAction", {"server": "one", "action": "Reboot"}, name="columns")
    api.create(body, user=TENANT).accepted()
    assert TENANT in cloud.kubectl("get", "serveractions", "columns", "-n=first")
    api.delete(body)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.kind)
def test_every_kind_can_be_named_and_listed_by_its_category(cloud: Cloud, kind: Any) -> None:
    listed = cloud.kubectl("api-resources", "--api-group=nephos.cloud", "--categories=nephos", "--no-headers")
    (row,) = (row.split() for row in listed.splitlines() if row.split()[-1] == kind.info.kind)
    assert row == [
        kind.info.plural,
        *([",".join(kind.info.short_names)] if kind.info.short_names else []),
        "nephos.cloud/v1alpha1",
        str(kind.info.namespaced).lower(),
        kind.info.kind,
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.kind)
def test_kubectl_explain_reads_as_a_reference(cloud: Cloud, kind: Any) -> None:
    explained = cloud.kubectl("explain", kind.info.plural, "--recursive")
    assert "<no description>" not in cloud.kubectl("explain", f"{kind.info.plural}.spec")
    assert "<no description>" not in cloud.kubectl("explain", f"{kind.info.plural}.status")
    assert "conditions" in explained


def test_a_range_is_explained_where_it_is_written(cloud: Cloud) -> None:
    explained = cloud.kubectl("explain", "server.spec.networks.name")
    assert "each NIC of a Server has its own name" in explained


RIGHTS = (
    (TENANT, "create", "servers.nephos.cloud", "first", True),
    (TENANT, "create", "servers.nephos.cloud", "nephos-catalog", False),
    (TENANT, "update", "servers.nephos.cloud/status", "first", False),
    (TENANT, "list", "flavors.nephos.cloud", None, True),
    (TENANT, "create", "flavors.nephos.cloud", None, False),
    (TENANT, "list", "hosts.nephos.cloud", None, False),
    (TENANT, "create", "projects.nephos.cloud", None, False),
    (OPERATOR, "patch", "servers.nephos.cloud/status", "first", True),
    (OPERATOR, "create", "servers.nephos.cloud", "first", False),
    (OPERATOR, "patch", "images.nephos.cloud/status", "first", False),
    (OPERATOR, "create", "ports.nephos.cloud", "first", True),
    (OPERATOR, "get", "secrets", "first", False),
    (OPERATOR, "create", "clusterrolebindings.rbac.authorization.k8s.io", None, False),
    (OPERATOR, "create", "leases.coordination.k8s.io", "nephos-system", True),
    (OPERATOR, "create", "leases.coordination.k8s.io", "kube-system", False),
    (OPERATOR, "create", "pods", "first", False),
    (AGENT, "patch", "servers.nephos.cloud/status", "first", True),
    (AGENT, "patch", "servers.nephos.cloud", "first", False),
    (AGENT, "delete", "servers.nephos.cloud", "first", False),
    (AGENT, "list", "secrets", "first", False),
    (IMAGE_SERVICE, "patch", "images.nephos.cloud/status", "first", True),
    (IMAGE_SERVICE, "patch", "servers.nephos.cloud/status", "first", False),
    (IMAGE_SERVICE, "create", "leases.coordination.k8s.io", "nephos-system", True),
    (IMAGE_SERVICE, "create", "leases.coordination.k8s.io", "first", False),
)


@pytest.mark.parametrize(("user", "verb", "resource", "namespace", "allowed"), RIGHTS)
def test_each_identity_has_the_least_it_needs(
    api: Api, user: str, verb: str, resource: str, namespace: str | None, allowed: bool
) -> None:
    name, _, subresource = resource.partition("/")
    plural, _, group = name.partition(".")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
    if namespace:
        attributes["namespace"] = namespace
    review = {"spec": {"user": user, "groups": ["system:authenticated"], "resourceAttributes": attributes}}
    answer = api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review).accepted()
    assert answer["status"].get("allowed", False) is allowed
