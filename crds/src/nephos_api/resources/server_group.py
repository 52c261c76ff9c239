"""ServerGroup: Servers that should be together, or apart."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from nephos_api.fields import LABEL_NAME
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import immutable


class ServerGroupPolicy(StrEnum):
    """How strictly its members stay together or apart."""

    AFFINITY = "Affinity"
    ANTI_AFFINITY = "AntiAffinity"
    SOFT_AFFINITY = "SoftAffinity"
    SOFT_ANTI_AFFINITY = "SoftAntiAffinity"


class ServerGroupSpec(ApiModel):
    """The policy."""

    policy: Annotated[ServerGroupPolicy, immutable("spec.policy")]
    """Affinity, AntiAffinity, or where it cannot be otherwise SoftAffinity, SoftAntiAffinity."""


class ServerGroup(Resource):
    """Servers that are placed on one host, or on different ones. A Server names its group in spec.serverGroup."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="ServerGroup",
        plural="servergroups",
        columns=(
            Column("Policy", ".spec.policy"),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        rules=(LABEL_NAME,),
    )

    spec: ServerGroupSpec
    status: Status = Status()
