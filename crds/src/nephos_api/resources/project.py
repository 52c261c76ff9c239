"""Project: a tenant. It owns a namespace of its name, a quota, and who may do what in it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from nephos_api.fields import ObjectName, Sentence
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import rule

Limit = Annotated[int, Field(ge=-1, le=10_000_000)]
"""An upper bound; -1 means unlimited."""


class MemberKind(StrEnum):
    """Whom a role is given to."""

    USER = "User"
    GROUP = "Group"
    SERVICE_ACCOUNT = "ServiceAccount"


class Role(StrEnum):
    """What a member may do: everything in the project, work in it, or look at it."""

    ADMIN = "Admin"
    MEMBER = "Member"
    READER = "Reader"


class Member(ApiModel):
    """Somebody who has a role in the project."""

    kind: MemberKind
    """User, Group or ServiceAccount."""
    name: ObjectName
    """The user, group or service account."""
    namespace: Annotated[str | None, Field(max_length=63)] = None
    """The namespace of a ServiceAccount; absent for users and groups."""
    role: Role
    """Admin, Member or Reader."""


class Quota(ApiModel):
    """How much the project may have at one time; -1 means unlimited. The defaults are OpenStack's."""

    instances: Limit = 10
    """Servers, whatever their phase."""
    cores: Limit = 20
    """vCPUs of all Servers."""
    ram_mib: Annotated[Limit, Field(alias="ramMiB")] = 51_200
    """Memory of all Servers in MiB."""
    key_pairs: Limit = 100
    """KeyPairs in the project."""
    server_groups: Limit = 10
    """ServerGroups in the project."""
    server_group_members: Limit = 10
    """Servers in one ServerGroup."""
    metadata_items: Limit = 128
    """Entries of one Server's metadata."""
    networks: Limit = 100
    """Networks in the project."""
    subnets: Limit = 100
    """Subnets in the project."""
    ports: Limit = 500
    """Ports, those of Servers included."""
    routers: Limit = 10
    """Routers in the project."""
    floating_ips: Limit = 50
    """FloatingIPs in the project."""
    security_groups: Limit = 10
    """SecurityGroups in the project, its default one included."""
    security_group_rules: Limit = 100
    """Rules of all its SecurityGroups, defaultRules included."""
    routes_per_router: Limit = 30
    """Extra routes of one Router."""


class ProjectSpec(ApiModel):
    """What the project should be."""

    description: Sentence = ""
    """For people."""
    members: Annotated[
        tuple[Member, ...],
        Field(max_length=256),
        rule(
            "self.all(m, (m.kind == 'ServiceAccount') == has(m.namespace))",
            "a member of kind ServiceAccount needs a namespace, the other kinds have none",
        ),
    ] = ()
    """Who may do what in the project's namespace."""
    quota: Quota = Quota()
    """How much the project may have."""


class ProjectPhase(StrEnum):
    """Where the project stands."""

    PENDING = "Pending"
    ACTIVE = "Active"
    DELETING = "Deleting"


class ProjectStatus(Status):
    """Where the project stands, and its namespace."""

    phase: ProjectPhase | None = None
    """Pending, Active or Deleting."""
    namespace: Annotated[str | None, Field(max_length=63)] = None
    """The namespace that the project owns."""
    namespace_adopted: bool | None = None
    """True where the namespace was there before; it is then emptied, not deleted, with the project."""


class Project(Resource):
    """A tenant of the cloud: a namespace, a quota, and its members."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Project",
        plural="projects",
        short_names=("pj",),
        namespaced=False,
        columns=(
            Column("Phase", ".status.phase"),
            Column("Namespace", ".status.namespace"),
            Column("Instances", ".spec.quota.instances", "integer", description="Servers that the project may have"),
            Column("Cores", ".spec.quota.cores", "integer", wide=True),
            Column("RAM-MiB", ".spec.quota.ramMiB", "integer", wide=True),
            Column("Description", ".spec.description", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(
            rule(
                "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63",
                "metadata.name names the project's namespace too: use at most 63 lower-case letters, digits and '-'",
                field_path=".metadata.name",
            ),
            rule(
                "self.metadata.name != 'default' && !self.metadata.name.startsWith('kube-')"
                " && !self.metadata.name.startsWith('nephos-')",
                "metadata.name: 'default', 'kube-…' and 'nephos-…' belong to the cluster; choose another name",
                field_path=".metadata.name",
            ),
        ),
    )

    spec: ProjectSpec = ProjectSpec()
    status: ProjectStatus = ProjectStatus()
