"""Project: its namespace, made or adopted; its members' rights; at its end, everything in it, in order."""

from __future__ import annotations

from typing import Any, Final

from nephos_api.kube.protocol import FieldManager
from nephos_api.metadata import API_VERSION, PROJECT_LABEL, Key, Resource
from nephos_api.reconcile.result import Done, Result, Wait
from nephos_api.resources import Project
from nephos_api.resources.project import Member, MemberKind, ProjectPhase, ProjectStatus, Role
from nephos_operator.context import Context, release_finalizer
from nephos_operator.kinds import Namespace
from nephos_operator.reconcilers.life import live
from nephos_operator.reconcilers.security_group import ensure_default
from nephos_operator.statuses import settle, told, write
from nephos_operator.together import together
from nephos_operator.verdict import Problem, Waits

EMPTIED_IN_ORDER: Final = (
    ("ServerAction",),
    ("FloatingIP",),
    ("Server",),
    ("Router",),
    ("Port",),
    ("Subnet",),
    ("Network",),
    ("Image", "KeyPair", "ServerGroup", "SecurityGroup"),
)
"""What a Project's end deletes, one step after the other: users before what they use."""

NAMESPACE_CHECK_S: Final = 30.0
"""A namespace that is being deleted is looked at again after so long, should no event tell that it is gone."""

CLUSTER_ROLES: Final = {
    Role.ADMIN: "nephos-admin",
    Role.MEMBER: "nephos-member",
    Role.READER: "nephos-reader",
}


async def reconcile(key: Key, context: Context) -> Result:
    """Bring the Project to what it should be, or to its end."""
    return await live(context.store.projects.find(key), context, keep=_keep, release=_empty)


async def _keep(project: Project, context: Context) -> Result:
    namespace = await _namespace(project, context)
    if not isinstance(namespace, Namespace):
        return await settle(project, ProjectStatus(phase=ProjectPhase.PENDING), namespace, context)
    await _bind_members(project, context)
    await ensure_default(project, context)
    status = ProjectStatus(
        phase=ProjectPhase.ACTIVE, namespace=namespace.metadata.name, namespace_adopted=not owns(project, namespace)
    )
    return await settle(project, status, None, context, reason="Active")


def owns(project: Project, namespace: Namespace) -> bool:
    """Tell whether the Project made the namespace."""
    return any(owner.uid == project.uid for owner in namespace.metadata.owner_references)


def namespace_problem(project: Project, namespace: Namespace) -> Problem | None:
    """Return why the Project can't use the namespace of its name as it is, or None."""
    name = namespace.metadata.name
    if namespace.is_deleting:
        return Waits("NamespaceTerminating", f"waits for namespace {name} to be gone, which is being deleted")
    if namespace.metadata.labels.get(PROJECT_LABEL) != project.metadata.name:
        return Waits(
            "NamespaceNotOurs",
            f"namespace {name} exists and is not labelled for this Project; to have it adopted:"
            f" kubectl label namespace {name} {PROJECT_LABEL}={name}",
        )
    if (owner := _other_owner(project, namespace)) is not None:
        return Waits("NamespaceOfAnother", f"waits for namespace {name} to be gone: it belonged to {owner}")
    return None


def _other_owner(project: Project, namespace: Namespace) -> str | None:
    """Return a former Project of the same name that made the namespace, which is collected after it."""
    for owner in namespace.metadata.owner_references:
        if owner.kind == "Project" and owner.uid != project.uid:
            return f"an earlier Project {owner.name} (UID {owner.uid})"
    return None


async def _namespace(project: Project, context: Context) -> Namespace | Problem:
    name = project.metadata.name
    known = context.store.namespaces.get(name)
    if known is None or namespace_problem(project, known):
        known = await context.kube.get(Namespace, name)
    if known is None:
        known = await context.kube.create(Namespace, namespace_body(project))
        context.events.normal(project, "NamespaceMade", f"made namespace {name}")
    return namespace_problem(project, known) or known


def namespace_body(project: Project) -> dict[str, Any]:
    """Return the namespace that a Project makes; its owner reference tells it from an adopted one."""
    name = project.metadata.name
    owner = {"apiVersion": API_VERSION, "kind": "Project", "name": name, "uid": project.uid, "controller": True}
    return {"metadata": {"name": name, "labels": {PROJECT_LABEL: name}, "ownerReferences": [owner]}}


def role_binding_body(project: Project, role: Role) -> dict[str, Any] | None:
    """Return the RoleBinding of the members with that role, None where there is none."""
    subjects = [_subject(member) for member in project.spec.members if member.role is role]
    if not subjects:
        return None
    name = CLUSTER_ROLES[role]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {
            "name": name,
            "namespace": project.metadata.name,
            "labels": {PROJECT_LABEL: project.metadata.name},
        },
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": subjects,
    }


def _subject(member: Member) -> dict[str, str]:
    if member.kind is MemberKind.SERVICE_ACCOUNT:
        return {"kind": member.kind.value, "name": member.name, "namespace": member.namespace or ""}
    return {"kind": member.kind.value, "name": member.name, "apiGroup": "rbac.authorization.k8s.io"}


def _binding_path(project: Project, role: Role) -> str:
    group = "/apis/rbac.authorization.k8s.io/v1"
    return f"{group}/namespaces/{project.metadata.name}/rolebindings/{CLUSTER_ROLES[role]}"


async def _bind_members(project: Project, context: Context) -> None:
    for role in Role:
        path = _binding_path(project, role)
        wanted = role_binding_body(project, role)
        found = await context.kube.raw("GET", path)
        if wanted is None:
            if found is not None and found["metadata"].get("labels", {}).get(PROJECT_LABEL):
                await context.kube.raw("DELETE", path)
        elif found is None or found.get("subjects", []) != wanted["subjects"]:
            query = {"fieldManager": FieldManager.OPERATOR.value, "force": "true"}
            await context.kube.raw("PATCH", path, body=wanted, query=query)


async def _empty(project: Project, context: Context) -> Result:
    """Delete what is in the namespace, step by step; then a namespace of its own; then let the Project go."""
    name = project.metadata.name
    namespace = await context.kube.get(Namespace, name)
    if namespace is not None and _is_ours(project, namespace):
        for kinds in EMPTIED_IN_ORDER:
            left = [resource for kind in kinds for resource in context.store.tables[kind].by("namespace", name)]
            if left:
                return await _delete_step(project, kinds, left, context)
        for role in Role:
            await context.kube.raw("DELETE", _binding_path(project, role))
        if owns(project, namespace):
            return await _end_namespace(project, namespace, context)
    await release_finalizer(project, context)
    return Done()


def _is_ours(project: Project, namespace: Namespace) -> bool:
    labelled = namespace.metadata.labels.get(PROJECT_LABEL) == project.metadata.name
    return labelled and _other_owner(project, namespace) is None


async def _end_namespace(project: Project, namespace: Namespace, context: Context) -> Result:
    """Delete the Project's own namespace and wait until it is gone, so that a Project of that name may come again."""
    waits = Waits("NamespaceTerminating", f"waits for namespace {namespace.metadata.name} to be gone")
    await write(project, _deleting(project, waits, context), context)
    if not namespace.is_deleting:
        await context.kube.delete(Namespace, namespace.metadata.name, uid=namespace.uid)
    return Wait(waits.message, after_s=NAMESPACE_CHECK_S)


async def _delete_step(project: Project, kinds: tuple[str, ...], left: list[Resource], context: Context) -> Result:
    waits = Waits("Emptying", f"its objects are being deleted, users first; waits for each {' and '.join(kinds)}")
    await write(project, _deleting(project, waits, context), context)
    await together(
        context.kube.delete(type(resource), resource.key.name, resource.key.namespace, uid=resource.uid)
        for resource in left
        if not resource.is_deleting
    )
    return Wait(waits.message)


def _deleting(project: Project, waits: Waits, context: Context) -> ProjectStatus:
    return ProjectStatus(
        observed_generation=project.metadata.generation,
        phase=ProjectPhase.DELETING,
        namespace=project.status.namespace,
        namespace_adopted=project.status.namespace_adopted,
        conditions=told(project, waits, context),
    )
