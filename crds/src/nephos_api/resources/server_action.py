"""ServerAction: one thing that a person asks of a Server, once."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from nephos_api.fields import Name, ObjectName, Sentence, Timestamp, Uid
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel
from nephos_api.schema.rules import immutable, rule


class ActionType(StrEnum):
    """What can be asked."""

    START = "Start"
    REBOOT = "Reboot"


class RebootType(StrEnum):
    """Soft asks the guest to reboot; Hard resets its power."""

    SOFT = "Soft"
    HARD = "Hard"


class Reboot(ApiModel):
    """How to reboot."""

    type: RebootType = RebootType.SOFT
    """Soft (ask the guest; after a while its power is reset) or Hard (reset its power at once)."""


class ServerActionSpec(ApiModel):
    """What is asked."""

    server: Name
    """The Server in the same namespace."""
    action: ActionType
    """Start (a Server that powered itself off) or Reboot."""
    reboot: Reboot | None = None
    """How to reboot; only with action Reboot."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=31_536_000)] = 604_800
    """How long the object stays as the Server's history, in seconds; a week unless told."""


class ServerActionPhase(StrEnum):
    """Where the action stands."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class ServerActionStatus(Status):
    """What became of it."""

    phase: ServerActionPhase | None = None
    """Pending, Running, Succeeded or Failed."""
    host: ObjectName | None = None
    """The Host that carries it out."""
    server_uid: Uid | None = None
    """The Server's UID, so that a new Server of the same name is not acted on."""
    message: Sentence | None = None
    """What happened, or why not."""
    started_at: Timestamp | None = None
    """When the host began."""
    finished_at: Timestamp | None = None
    """When it ended."""


class ServerAction(Resource):
    """One thing that a person asks of a Server, once. It stays as the Server's history until its time is over."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="ServerAction",
        plural="serveractions",
        columns=(
            Column("Server", ".spec.server"),
            Column("Action", ".spec.action"),
            Column("Phase", ".status.phase"),
            Column("By", r".metadata.annotations.nephos\.cloud/requested-by"),
            Column("Message", ".status.message", wide=True),
            Column("Age", ".metadata.creationTimestamp", "date"),
        ),
        selectable_fields=(".status.host", ".spec.server"),
        rules=(
            rule(
                "!has(self.spec.reboot) || self.spec.action == 'Reboot'",
                "spec.reboot is only for spec.action Reboot; leave it out",
                field_path=".spec.reboot",
            ),
        ),
    )

    spec: Annotated[ServerActionSpec, immutable("spec of a ServerAction")]
    status: ServerActionStatus = ServerActionStatus()
