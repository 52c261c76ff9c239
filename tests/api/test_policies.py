"""What admission sees to without a webhook."""

from typing import Any, ClassVar

import pytest

from nephos_dev.waiting import NotYet, wait_for

from .conftest import ADMIN, AGENT, GARBAGE_COLLECTOR, IMAGE_SERVICE, OPERATOR, TENANT, Answer, Api, manifest

FINALIZER = "nephos.cloud/cleanup"
CLEANED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Project", {}),
    ("Network", {}),
    ("Subnet", {"network": "blue", "cidr": "10.10.0.0/24"}),
    ("Router", {}),
    ("FloatingIP", {"externalNetwork": "public"}),
    ("Port", {"network": "blue"}),
    ("SecurityGroup", {}),
    ("Server", {"flavor": "tiny", "image": "tiny"}),
    ("Image", {"source": {"url": "https://example.org/a"}, "format": "raw"}),
)


@pytest.mark.parametrize(("kind", "spec"), CLEANED, ids=lambda value: str(value)[:20])
def test_the_finalizer_is_there_from_creation_without_a_second_write(api: Api, kind: str, spec: dict[str, Any]) -> None:
    body = manifest(kind, spec)
    made = api.create(body).accepted()
    try:
        assert made["metadata"]["finalizers"] == [FINALIZER]
        read = api.get(body).accepted()
        assert read["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        assert len(read["metadata"]["managedFields"]) == 1
    finally:
        api.remove(body)


def test_an_update_by_the_garbage_collector_is_left_as_it_is(api: Api) -> None:
    body = manifest("Network", {})
    api.create(body).accepted()
    written = api.patch(body, {"metadata": {"finalizers": ["example.org/its"]}}, user=GARBAGE_COLLECTOR).accepted()
    assert written["metadata"]["finalizers"] == ["example.org/its"]
    api.remove(body)


@pytest.mark.parametrize("user", ["", ADMIN, TENANT])
def test_an_update_by_others_keeps_the_finalizer_and_their_own(api: Api, user: str) -> None:
    body = manifest("Network", {})
    api.create(body | {"metadata": body["metadata"] | {"finalizers": ["example.org/mine"]}}).accepted()
    try:
        change = {"metadata": {"finalizers": ["example.org/mine"], "labels": {"a": "b"}}}
        kept = api.patch(body, change, user=user).accepted()
        assert sorted(kept["metadata"]["finalizers"]) == ["example.org/mine", FINALIZER]
        api.delete(body).accepted()
        kept = api.patch(body, {"metadata": {"finalizers": None}}, user=user).accepted()
        assert kept["metadata"]["finalizers"] == [FINALIZER]
    finally:
        api.remove(body)


@pytest.mark.parametrize(
    ("user", "kind", "spec"),
    [(OPERATOR, "Network", {}), (IMAGE_SERVICE, "Image", {"source": {"url": "https://e.org/a"}, "format": "raw"})],
)
def test_the_one_who_cleans_up_removes_the_finalizer(api: Api, user: str, kind: str, spec: dict[str, Any]) -> None:
    body = manifest(kind, spec)
    api.create(body).accepted()
    api.delete(body).accepted()
    api.patch(body, {"metadata": {"finalizers": None}}, user=user).accepted()
    assert api.get(body).code == 404


def test_a_kind_that_leaves_nothing_behind_has_no_finalizer(api: Api) -> None:
    body = manifest("ServerGroup", {"policy": "Affinity"})
    assert "finalizers" not in api.create(body).accepted()["metadata"]
    api.delete(body).accepted()


class TestRequestedBy:
    ANNOTATION = "nephos.cloud/requested-by"

    def test_an_action_says_who_asked_for_it_whatever_was_written_there(self, api: Api) -> None:
        body = manifest("ServerAction", {"server": "one", "action": "Start"}, annotations={self.ANNOTATION: "the-king"})
        made = api.create(body, user=TENANT).accepted()
        assert made["metadata"]["annotations"][self.ANNOTATION] == TENANT
        api.delete(body)

    @pytest.mark.parametrize("value", ["the-king", None])
    def test_it_can_not_be_changed_later(self, api: Api, value: str | None) -> None:
        body = manifest("ServerAction", {"server": "one", "action": "Start"})
        api.create(body, user=TENANT).accepted()
        change = {"metadata": {"annotations": {self.ANNOTATION: value}}}
        api.patch(body, change, user=TENANT).refused(self.ANNOTATION, "leave it as it is")
        api.delete(body)


OPERATOR_OWNED: tuple[tuple[str, Any], ...] = (
    ("networkUID", "8d1c"),
    ("networkNamespace", "nephos-catalog"),
    ("securityGroupReferences", [{"name": "a", "namespace": "first", "uid": "b"}]),
    ("allocations", [{"subnet": "a", "subnetUID": "b", "address": "10.10.0.9", "prefixLength": 24}]),
    ("server", "one"),
    ("serverUID", "8d1c"),
    ("serverInterface", "net0"),
    ("host", "h1"),
    ("hostAddress", "192.0.2.1"),
)


@pytest.mark.parametrize(("field", "value"), OPERATOR_OWNED, ids=lambda value: str(value)[:20])
class TestPortFieldsOfTheOperator:
    @pytest.mark.parametrize("user", ["", TENANT])
    def test_are_refused_to_everybody_else_at_creation(self, api: Api, user: str, field: str, value: Any) -> None:
        body = manifest("Port", {"network": "blue", field: value})
        api.create(body, user=user, dryRun="All").refused(f"spec.{field}", "by the operator")

    def test_are_refused_to_everybody_else_at_update(self, api: Api, field: str, value: Any) -> None:
        body = manifest("Port", {"network": "blue"})
        api.create(body).accepted()
        api.patch(body, {"spec": {field: value}}, user=TENANT).refused(f"spec.{field}", "by the operator")
        api.patch(body, {"spec": {field: value}}, user=OPERATOR).accepted()
        api.patch(body, {"spec": {field: None}}, user=TENANT).refused(f"spec.{field}")
        api.patch(body, {"metadata": {"labels": {"a": "b"}}}, user=TENANT).accepted()
        api.remove(body)


@pytest.mark.parametrize(
    "change",
    [{"portSecurity": False, "securityGroups": []}, {"allowedAddressPairs": [{"address": "10.10.0.9"}]}],
    ids=str,
)
def test_nobody_gets_around_the_filters_on_a_network_of_the_catalog(api: Api, change: dict[str, Any]) -> None:
    body = manifest("Port", {"network": "lab"})
    api.create(body).accepted()
    try:
        api.patch(body, {"spec": {"networkNamespace": "nephos-catalog"}}, user=OPERATOR).accepted()
        api.patch(body, {"spec": change}, user=TENANT).refused("Networks of your own")
        api.patch(body, {"spec": {"portSecurity": True, "securityGroups": []}}, user=TENANT).accepted()
    finally:
        api.remove(body)


class TestCatalog:
    SPEC: ClassVar = {"source": {"url": "file:///srv/images/a.qcow2"}, "format": "qcow2"}

    def test_takes_local_files_from_those_who_may_publish(self, api: Api) -> None:
        api.create(manifest("Image", self.SPEC, namespace="nephos-catalog"), user=ADMIN, dryRun="All").accepted()

    def test_refuses_others_even_if_they_may_write_everywhere(self, api: Api, cloud: Any) -> None:
        cloud.cluster.apply_objects(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "test-editor", "namespace": "nephos-catalog"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "nephos-member"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "editor"}],
            }
        )
        body = manifest("Image", self.SPEC, namespace="nephos-catalog")

        def once_the_role_acts() -> Answer:
            answer = api.create(body, user="editor", dryRun="All")
            if "cannot create resource" in answer.message:
                raise NotYet(answer.message)
            return answer

        answer = wait_for(once_the_role_acts, what="the role of the editor", timeout_s=30)
        answer.refused("may not publish there", "use your project's namespace")


class TestProvidersNetworks:
    SPEC: ClassVar = {"external": {"physicalNetwork": "ext"}}

    def test_are_made_by_cloud_admins(self, api: Api) -> None:
        api.create(manifest("Network", self.SPEC, namespace="nephos-catalog"), user=ADMIN, dryRun="All").accepted()
        api.create(manifest("Network", self.SPEC), user=ADMIN, dryRun="All").accepted()

    def test_are_refused_to_tenants_in_their_own_namespace_too(self, api: Api) -> None:
        api.create(manifest("Network", self.SPEC), user=TENANT, dryRun="All").refused("spec.external", '"provide"')

    def test_are_offered_to_some_projects_or_shared_in_the_catalog(self, api: Api) -> None:
        spec = self.SPEC | {"shared": True, "projects": ["first"]}
        api.create(manifest("Network", spec, namespace="nephos-catalog"), user=ADMIN, dryRun="All").accepted()

    def test_can_be_relabelled_by_those_who_may_write_there(self, api: Api) -> None:
        body = manifest("Network", self.SPEC)
        api.create(body, user=ADMIN).accepted()
        api.patch(body, {"metadata": {"labels": {"a": "b"}}}, user=TENANT).accepted()
        api.patch(body, {"spec": {"shared": True}}, user=TENANT).refused("spec.shared")
        api.remove(body)


class TestOperatorsNamespaces:
    def test_are_those_of_projects(self, api: Api) -> None:
        body = {"metadata": {"name": "made", "labels": {"nephos.cloud/project": "made"}}}
        api.call("POST", "/api/v1/namespaces", body, user=OPERATOR, dryRun="All").accepted()

    @pytest.mark.parametrize("name", ["kube-node-lease", "nephos-system", "nephos-catalog"])
    def test_are_no_others(self, api: Api, name: str) -> None:
        path = f"/api/v1/namespaces/{name}"
        api.call("DELETE", path, user=OPERATOR, dryRun="All").refused("nephos.cloud/project")
        api.call("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, user=OPERATOR).refused("nephos.cloud/project")

    @pytest.mark.parametrize(
        ("namespace", "role", "accepted"),
        [("first", "nephos-member", True), ("first", "cluster-admin", False), ("default", "nephos-member", False)],
    )
    def test_get_roles_of_projects_only(self, api: Api, namespace: str, role: str, accepted: bool) -> None:
        body = {
            "metadata": {"name": "members"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
        }
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings"
        answer = api.call("POST", path, body, user=OPERATOR, dryRun="All")
        if accepted:
            answer.accepted()
        else:
            answer.refused()


def test_an_agent_s_account_alone_is_not_enough(api: Api) -> None:
    api.create(manifest("Host", {}, name="h1"), user=AGENT, dryRun="All").refused("bound to the Node of its host")
