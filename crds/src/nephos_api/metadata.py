"""The part of every Kubernetes object that Nephos reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from pydantic import Field

from nephos_api.conditions import Conditions
from nephos_api.model import ApiModel
from nephos_api.schema.rules import Rule

GROUP: Final = "nephos.cloud"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "nephos"
CLEANUP_FINALIZER: Final = f"{GROUP}/cleanup"
PROJECT_LABEL: Final = f"{GROUP}/project"
"""On a Namespace: the name of the Project that owns it, or may adopt it."""
CATALOG_NAMESPACE: Final = "nephos-catalog"
SYSTEM_NAMESPACE: Final = "nephos-system"


class OwnerReference(ApiModel):
    """Who an object belongs to, for Kubernetes' garbage collection."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(ApiModel):
    """metadata of an object, as far as it is read here."""

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()


class Key(NamedTuple):
    """What names an object: its kind, its namespace (None for cluster-scoped kinds) and its name."""

    kind: str
    namespace: str | None
    name: str

    def __str__(self) -> str:
        """Return ``Server demo/web-1``, as logs and messages say it."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Column:
    """A printer column; ``wide`` ones show with ``-o wide`` only."""

    name: str
    json_path: str
    type: str = "string"
    wide: bool = False
    description: str = ""


@dataclass(frozen=True)
class KindInfo:
    """What the CRD says of a kind beside its schema."""

    kind: str
    plural: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    api_version: str = API_VERSION
    """Group and version; another than ours for the few of Kubernetes' own kinds that are read here."""
    columns: tuple[Column, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    """CEL rules on the whole object (``self.metadata.name``, ``self.spec``)."""


class Status(ApiModel):
    """What every status has."""

    observed_generation: int | None = Field(default=None, ge=0)
    """The generation of the spec that this status speaks of."""
    conditions: Conditions = ()
    """Ready, Reconciling, Stalled, and what the kind adds."""


class Resource(ApiModel):
    """An object of the group ``nephos.cloud``. Each kind is a subclass with its own ``spec`` and ``status``."""

    info: ClassVar[KindInfo]

    metadata: Metadata

    @property
    def key(self) -> Key:
        """The object's key."""
        return Key(self.info.kind, self.metadata.namespace, self.metadata.name)

    @property
    def uid(self) -> str:
        """The object's UID."""
        return self.metadata.uid

    @property
    def is_deleting(self) -> bool:
        """Whether its deletion was asked for."""
        return self.metadata.deletion_timestamp is not None
