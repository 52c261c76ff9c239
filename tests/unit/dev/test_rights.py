"""Who may write what of the API, as the chart's roles say it: one writer a field begins with rights."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nephos_api.resources import KINDS

RBAC = Path(__file__).parents[3] / "charts/nephos/files/rbac.yaml"
WRITES = {"create", "update", "patch", "delete", "deletecollection", "*"}
TENANTS = ("nephos-reader", "nephos-member", "nephos-admin")
STATUS_WRITERS = {
    "nephos-operator": {kind.info.plural for kind in KINDS} - {"images"},
    "nephos-agent": {"hosts", "servers", "serveractions", "ports", "floatingips"},
    "nephos-image-service": {"images"},
}


def written(role: str) -> set[str]:
    """Return what of Nephos' group the cluster role writes, subresources with a slash."""
    documents: list[dict[str, Any]] = [document for document in yaml.safe_load_all(RBAC.read_text()) if document]
    (found,) = [it for it in documents if it["kind"] == "ClusterRole" and it["metadata"]["name"] == role]
    return {
        resource
        for rule in found["rules"]
        if {"nephos.cloud", "*"} & set(rule["apiGroups"]) and WRITES & set(rule["verbs"])
        for resource in rule["resources"]
    }


@pytest.mark.parametrize("role", TENANTS)
def test_tenants_write_no_status_and_nothing_of_the_cloud_itself(role: str) -> None:
    resources = written(role)
    assert not any("/" in resource or "*" in resource for resource in resources)
    assert not resources & {kind.info.plural for kind in KINDS if not kind.info.namespaced}


@pytest.mark.parametrize("writer", STATUS_WRITERS)
def test_each_status_is_written_by_those_alone_who_own_fields_of_it(writer: str) -> None:
    statuses = {resource.removesuffix("/status") for resource in written(writer) if resource.endswith("/status")}
    assert statuses == STATUS_WRITERS[writer]
    assert "*" not in written(writer)
