"""Flavor: a size of Servers."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from nephos_api.fields import LABEL_NAME
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import immutable

Label = Annotated[str, Field(min_length=1, max_length=316)]
Trait = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Z0-9_]+$")]


class FlavorSpec(ApiModel):
    """The size, and where it may run."""

    vcpus: Annotated[int, Field(ge=1, le=512)]
    """Virtual CPUs."""
    memory_mib: Annotated[int, Field(ge=64, le=16_777_216)]
    """Memory in MiB."""
    disk_gib: Annotated[int, Field(ge=1, le=65_536)]
    """Size of the root disk in GiB."""
    host_labels: Annotated[dict[Label, Annotated[str, Field(max_length=63)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Labels that a Host must have, all of them (OpenStack's host aggregates)."""
    required_traits: Annotated[tuple[Trait, ...], Field(max_length=32)] = ()
    """Traits that a Host must have, such as HW_CPU_X86_AVX2."""
    forbidden_traits: Annotated[tuple[Trait, ...], Field(max_length=32)] = ()
    """Traits that a Host must not have."""


class Flavor(Resource):
    """A size of Servers: vCPUs, memory, disk. What a Server was made with stays with it, so a Flavor never changes."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Flavor",
        plural="flavors",
        short_names=("fl",),
        namespaced=False,
        columns=(
            Column("vCPUs", ".spec.vcpus", "integer"),
            Column("Memory-MiB", ".spec.memoryMiB", "integer"),
            Column("Disk-GiB", ".spec.diskGiB", "integer"),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(LABEL_NAME,),
    )

    spec: Annotated[FlavorSpec, immutable("spec of a Flavor")]
    status: Status = Status()
