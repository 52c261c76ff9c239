"""A real API server with the kinds, roles and policies of the cloud, and nobody who acts on them."""

import json
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from nephos_api.kube.client import KubernetesClient, connect
from nephos_api.kube.paths import collection_path, object_path
from nephos_api.metadata import KindInfo
from nephos_api.resources import KINDS
from nephos_dev.cloud import CONTROL_PLANE_ONLY, Cloud
from nephos_dev.layout import name_for_tests
from nephos_dev.waiting import NotYet, passing, wait_for

OPERATOR = "system:serviceaccount:nephos-system:nephos-operator"
AGENT = "system:serviceaccount:nephos-system:nephos-agent"
IMAGE_SERVICE = "system:serviceaccount:nephos-system:nephos-image-service"
GARBAGE_COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
ADMIN = "cloud-admin"
TENANT = "alice"
INFO = {kind.info.kind: kind.info for kind in KINDS}


@dataclass(frozen=True)
class Answer:
    """What the API server said."""

    code: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        """The Status' sentence, or nothing."""
        return str(self.body.get("message", ""))

    def accepted(self) -> dict[str, Any]:
        """Return the object; fail with the server's sentence where it refused."""
        assert self.code < 300, self.message
        return self.body

    def refused(self, *parts: str) -> None:
        """Fail unless it refused with a message that has these parts."""
        assert 400 <= self.code < 500, f"accepted ({self.code}): {json.dumps(self.body)[:500]}"
        for part in parts:
            assert part in self.message, self.message


class Api:
    """Plain calls to the API server as any user; the token belongs to a member of system:masters."""

    def __init__(self, cloud: Cloud) -> None:
        self._client = cloud.cluster.client()
        self._session = self._client.session

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        user: str = "",
        node: str = "",
        patch: str = "merge-patch+json",
        **query: str,
    ) -> Answer:
        """Call a path, impersonating ``user`` (an agent with its token bound to ``node``)."""
        headers = {"Content-Type": f"application/{patch}" if method == "PATCH" else "application/json"}
        if user:
            headers |= {"Impersonate-User": user, "Impersonate-Group": "system:authenticated"}
        if node:
            headers["Impersonate-Extra-authentication.kubernetes.io%2Fnode-name"] = node
        query.setdefault("fieldValidation", "Strict")
        response = self._session.request(
            method, self._client.url + path, data=json.dumps(body) if body else None, params=query, headers=headers
        )
        return Answer(response.status_code, response.json())

    def create(self, manifest: Mapping[str, Any], *, user: str = "", node: str = "", **query: str) -> Answer:
        """Create an object."""
        path = collection_path(INFO[manifest["kind"]], manifest["metadata"].get("namespace"))
        return self.call("POST", path, manifest, user=user, node=node, **query)

    def patch(
        self, manifest: Mapping[str, Any], change: Mapping[str, Any], *, sub: str = "", user: str = "", node: str = ""
    ) -> Answer:
        """Change an object, or a subresource of it, by a merge patch."""
        return self.call("PATCH", _path(manifest) + (f"/{sub}" if sub else ""), change, user=user, node=node)

    def get(self, manifest: Mapping[str, Any]) -> Answer:
        """Read an object."""
        return self.call("GET", _path(manifest))

    def delete(self, manifest: Mapping[str, Any]) -> Answer:
        """Delete an object."""
        return self.call("DELETE", _path(manifest))

    def remove(self, manifest: Mapping[str, Any]) -> None:
        """Delete an object, doing the operator's part of it."""
        self.delete(manifest)
        self.patch(
            manifest, {"metadata": {"finalizers": None}}, user=IMAGE_SERVICE if _is_image(manifest) else OPERATOR
        )

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def manifest(kind: str, spec: Mapping[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """Return an object of a kind, with a name of its own unless one is given."""
    info: KindInfo = INFO[kind]
    named: dict[str, Any] = {"name": f"a{uuid.uuid4().hex[:10]}"} | metadata
    if info.namespaced:
        named.setdefault("namespace", "first")
    return {
        "apiVersion": info.api_version,
        "kind": kind,
        "metadata": named,
        **({"spec": dict(spec)} if spec is not None else {}),
    }


def _path(manifest: Mapping[str, Any]) -> str:
    metadata = manifest["metadata"]
    return object_path(INFO[manifest["kind"]], metadata["name"], metadata.get("namespace"))


def _is_image(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest["kind"] == "Image")


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """The control plane alone."""
    cloud = Cloud(name_for_tests("api"))
    cloud.up(CONTROL_PLANE_ONLY)
    for namespace in ("first", "nephos-catalog"):
        labels = {"nephos.cloud/project": namespace} if namespace == "first" else {}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
        cloud.cluster.apply_objects(body)
    _give_role(cloud, "nephos-cloud-admin", ADMIN)
    _give_role(cloud, "nephos-member", TENANT, namespace="first")
    yield cloud
    cloud.down()


def wait_admitting(api: Api) -> None:
    """Wait until the API server's policies work; its mutating ones know a kind some seconds after the server does."""

    def probe() -> None:
        with passing(OSError):
            answer = api.create(manifest("Network", {}), dryRun="All")
        if answer.code >= 300 or "finalizers" not in answer.body["metadata"]:
            raise NotYet(answer.message or "the finalizer's policy does not act yet")

    wait_for(probe, what="the policies to act", timeout_s=60)


@pytest.fixture(scope="session")
def api(cloud: Cloud) -> Iterator[Api]:
    """Plain calls."""
    api = Api(cloud)
    wait_admitting(api)
    yield api
    api.close()


@pytest.fixture
async def kubernetes(cloud: Cloud) -> AsyncIterator[KubernetesClient]:
    """The client that operator and agents use, with the admin's credentials."""
    async with connect(cloud.layout.kubeconfig) as client:
        yield client


def _give_role(cloud: Cloud, role: str, user: str, *, namespace: str | None = None) -> None:
    cloud.cluster.apply_objects(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
            "metadata": {"name": f"test-{role}"} | ({"namespace": namespace} if namespace else {}),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }
    )
