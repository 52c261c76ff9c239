"""What the cluster holds before any tenant comes: kinds, rules, identities, the catalog."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from nephos_dev import credentials
from nephos_dev.cluster import Cluster
from nephos_dev.environment import SYSTEM_NAMESPACE
from nephos_dev.images import BuiltImage
from nephos_dev.layout import WORK_TREE, HostLayout, Layout
from nephos_dev.waiting import NotYet, wait_for

CRD_FOLDER = WORK_TREE / "crds" / "yaml"
CHART_FILES = WORK_TREE / "charts" / "nephos" / "files"
CATALOG_NAMESPACE = "nephos-catalog"
CATALOG_EXAMPLE = WORK_TREE / "examples" / "catalog.yaml"
AGENT_ACCOUNT = "nephos-agent"
_WEBHOOK_FILE = "webhook.yaml"
_RULES_TIMEOUT_S = 60
_TINY_MEMORY_MIB = 96  # with less, the kernel cannot unpack the image's initramfs


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A bad manifest, and a part of the sentence by which it must be refused."""

    what: str
    manifest: Mapping[str, Any]
    sentence: str


SCHEMA_REFUSAL = Refusal(
    what="a Flavor without memory (by the schema)",
    manifest={
        "apiVersion": "nephos.cloud/v1alpha1",
        "kind": "Flavor",
        "metadata": {"name": "refused"},
        "spec": {"vcpus": 1, "memoryMiB": 0, "diskGiB": 1},
    },
    sentence="spec.memoryMiB",
)
POLICY_REFUSAL = Refusal(
    what="a file of the machine as a tenant's Image (by a policy)",
    manifest={
        "apiVersion": "nephos.cloud/v1alpha1",
        "kind": "Image",
        "metadata": {"name": "refused", "namespace": "default"},
        "spec": {"format": "raw", "source": {"url": "file:///etc/passwd"}},
    },
    sentence="file:// is for images of nephos-catalog only",
)
_SMALL_FLAVOR: Mapping[str, Any] = {
    "apiVersion": "nephos.cloud/v1alpha1",
    "kind": "Flavor",
    "metadata": {"name": "nephos-dev-check"},
    "spec": {"vcpus": 1, "memoryMiB": 64, "diskGiB": 1},
}
WEBHOOK_REFUSAL = Refusal(
    what="a Server whose Flavor is too small for its Image (by the webhook)",
    manifest={
        "apiVersion": "nephos.cloud/v1alpha1",
        "kind": "Server",
        "metadata": {"name": "refused", "namespace": "default"},
        "spec": {"flavor": "nephos-dev-check", "image": "tiny", "networks": [{"network": "refused"}]},
    },
    sentence="memoryMiB",
)


def install_kinds(cluster: Cluster) -> None:
    """Apply the CRDs and wait until the API server serves them."""
    manifests = sorted(CRD_FOLDER.glob("*.yaml"))
    cluster.apply(*manifests)
    cluster.kubectl(
        "wait", "--for=condition=Established", "--timeout=60s", *(f"--filename={path}" for path in manifests)
    )


def install_identities(cluster: Cluster) -> None:
    """Apply the system namespace, the components' accounts, roles and policies, as the chart has them."""
    cluster.apply(*(path for path in sorted(CHART_FILES.glob("*.yaml")) if path.name != _WEBHOOK_FILE))


def install_webhook(cluster: Cluster, layout: Layout) -> None:
    """Apply the chart's webhook configuration, pointed at this cloud's operators instead of a Service."""
    source = CHART_FILES / _WEBHOOK_FILE
    authority = credentials.authority_certificate(layout.pki)
    documents = [document for document in yaml.safe_load_all(source.read_text()) if document]
    cluster.apply_objects(*(point_at(document, layout.webhook_url, authority) for document in documents))


def point_at(configuration: Mapping[str, Any], url: str, authority: bytes) -> dict[str, Any]:
    """Return a webhook configuration whose every webhook is called at `url` instead of through its Service."""
    pointed = dict(configuration)
    pointed["webhooks"] = [
        webhook | {"clientConfig": _client_config(webhook, url, authority)} for webhook in configuration["webhooks"]
    ]
    return pointed


def install_catalog(cluster: Cluster, image: BuiltImage) -> None:
    """Apply the catalog: its reader role for everyone who can log in, Flavor and Image `tiny`, the Network `public`.

    An Image of older bytes makes way: its source cannot be changed, and Servers made from it do not need it.
    """
    flavor, wanted = tiny(image)
    told = f"--namespace={CATALOG_NAMESPACE}", "--output=jsonpath={.spec.source.url}"
    known = cluster.try_kubectl("get", "images.nephos.cloud", "tiny", *told)
    if known.returncode == 0 and known.stdout != wanted["spec"]["source"]["url"]:
        cluster.kubectl("delete", "images.nephos.cloud", "tiny", f"--namespace={CATALOG_NAMESPACE}", "--timeout=30s")
    cluster.apply_objects(*catalog_reader(), flavor, wanted, *public_network())


def catalog_reader() -> tuple[dict[str, Any], ...]:
    """Return the catalog's namespace and the role by which all tenants read what it offers."""
    kinds = ["images", "networks", "subnets", "securitygroups"]
    namespace = _object("v1", "Namespace", CATALOG_NAMESPACE)
    role = _object("rbac.authorization.k8s.io/v1", "Role", "nephos-catalog-reader", namespace=CATALOG_NAMESPACE)
    role["rules"] = [{"apiGroups": ["nephos.cloud"], "resources": kinds, "verbs": ["get", "list", "watch"]}]
    binding = _object(
        "rbac.authorization.k8s.io/v1", "RoleBinding", "nephos-catalog-reader", namespace=CATALOG_NAMESPACE
    )
    binding["roleRef"] = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "nephos-catalog-reader"}
    binding["subjects"] = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}]
    return namespace, role, binding


def tiny(image: BuiltImage) -> tuple[dict[str, Any], ...]:
    """Return Flavor and Image `tiny`; the Image's bytes are a file below the folder that the image service knows."""
    flavor = _object("nephos.cloud/v1alpha1", "Flavor", "tiny")
    flavor["spec"] = {"vcpus": 1, "memoryMiB": 128, "diskGiB": 1}
    resource = _object("nephos.cloud/v1alpha1", "Image", "tiny", namespace=CATALOG_NAMESPACE)
    resource["spec"] = {
        "format": "qcow2",
        "minMemoryMiB": _TINY_MEMORY_MIB,
        "source": {"url": f"file://{image.path}", "sha256": image.sha256},
    }
    return flavor, resource


def public_network() -> tuple[dict[str, Any], ...]:
    """Return the external Network `public` and its Subnets, as the example of a catalog has them."""
    documents = yaml.safe_load_all(CATALOG_EXAMPLE.read_text())
    return tuple(document for document in documents if document["kind"] in {"Network", "Subnet"})


def install_host(cluster: Cluster, layout: Layout, host: HostLayout) -> None:
    """Make the host's Node, and a kubeconfig whose token is bound to it; one that is there is kept."""
    path = layout.kubeconfigs / host.name
    if path.is_file():
        return
    node = _object("v1", "Node", host.name)
    node["metadata"]["labels"] = {"kubernetes.io/hostname": host.name}
    cluster.apply_objects(node)
    token = cluster.request_token(SYSTEM_NAMESPACE, AGENT_ACCOUNT, node=host.name)
    credentials.write_token_kubeconfig(layout, path, user=AGENT_ACCOUNT, token=token)


def install_component(cluster: Cluster, layout: Layout, account: str) -> None:
    """Write the kubeconfig of a central component, with a token of its account; one that is there is kept."""
    path = layout.kubeconfigs / account
    if not path.is_file():
        token = cluster.request_token(SYSTEM_NAMESPACE, account)
        credentials.write_token_kubeconfig(layout, path, user=account, token=token)


def expect_host_up(cluster: Cluster, name: str, *, with_operator: bool) -> None:
    """Raise NotYet unless the host's agent has registered it, and the operator, if there is one, calls it Up."""
    column = "{.status.phase}" if with_operator else "{.status.address}"
    found = cluster.try_kubectl("get", "hosts.nephos.cloud", name, f"--output=jsonpath={column}")
    if found.returncode:
        raise NotYet(found.stderr.strip())
    if not found.stdout or (with_operator and found.stdout != "Up"):
        raise NotYet(f"Host {name} is {found.stdout or 'not described yet'}")


def check_rules(cluster: Cluster) -> None:
    """Wait until schema and policies refuse what they should, and those that set finalizers know the kinds."""
    for refusal in (SCHEMA_REFUSAL, POLICY_REFUSAL):
        _wait_refused(cluster, refusal)
    wait_for(lambda: _expect_finalizer(cluster), what="a Project's finalizer", timeout_s=_RULES_TIMEOUT_S)


def _expect_finalizer(cluster: Cluster) -> None:
    """Raise NotYet until it is set: API servers learn a kind's schema for mutating policies up to 5 s late (503)."""
    project = json.dumps({**_object("nephos.cloud/v1alpha1", "Project", "check"), "spec": {}})
    tried = cluster.try_kubectl("create", "--dry-run=server", "--output=json", "--filename=-", stdin=project)
    if tried.returncode:
        raise NotYet(tried.stderr.strip())
    if not json.loads(tried.stdout)["metadata"].get("finalizers"):
        raise NotYet("it is not set yet")


def check_webhook(cluster: Cluster) -> None:
    """Wait until the webhook refuses what contradicts the catalog's Image; needs the catalog."""
    cluster.apply_objects(_SMALL_FLAVOR)
    try:
        _wait_refused(cluster, WEBHOOK_REFUSAL)
    finally:
        cluster.kubectl("delete", "flavors.nephos.cloud", _SMALL_FLAVOR["metadata"]["name"], "--wait=false")


def _wait_refused(cluster: Cluster, refusal: Refusal) -> None:
    def refused() -> None:
        tried = cluster.try_kubectl("create", "--dry-run=server", "--filename=-", stdin=json.dumps(refusal.manifest))
        if tried.returncode == 0:
            raise NotYet("it is accepted")
        if refusal.sentence not in tried.stderr:
            raise NotYet(f"it is refused for another reason: {tried.stderr.strip()}")

    wait_for(refused, what=f"refusal of {refusal.what}", timeout_s=_RULES_TIMEOUT_S)


def _client_config(webhook: Mapping[str, Any], url: str, authority: bytes) -> dict[str, str]:
    path = webhook.get("clientConfig", {}).get("service", {}).get("path", "")
    return {"url": f"{url}{path}", "caBundle": base64.b64encode(authority).decode()}


def _object(version: str, kind: str, name: str, *, namespace: str | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": version, "kind": kind, "metadata": metadata}
