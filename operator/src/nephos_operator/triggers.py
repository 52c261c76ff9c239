"""kopf's watches feed the store. Nothing here writes: event handlers keep no state on objects."""

from __future__ import annotations

from typing import Any, Final

import kopf
import structlog
from pydantic import ValidationError

from nephos_api.metadata import PROJECT_LABEL, Key, Resource
from nephos_api.resources import KINDS
from nephos_operator.kinds import Namespace
from nephos_operator.store import Store

log = structlog.get_logger(__name__)

IDLE_S: Final = 1.0
"""How long kopf keeps a task for an object that has no events."""


class NoDiffBase(kopf.DiffBaseStorage):
    """kopf compares objects with what it stored on them; here it stores nothing and compares nothing."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return nothing to compare."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Return nothing stored."""
        return None

    def store(self, **_: Any) -> None:
        """Store nothing."""


def configure(settings: kopf.OperatorSettings) -> None:
    """Set kopf up as a reader of watches: no events posted, no peers, nothing kept on objects."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.persistence.finalizer = "nephos.cloud/kopf"
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="nephos.cloud")
    settings.queueing.idle_timeout = IDLE_S
    settings.networking.error_backoffs = (0.1, 0.2, 0.5, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2)
    settings.networking.connect_timeout = 5
    settings.watching.reconnect_backoff = 0.1
    settings.watching.label_selectors["", "v1", "namespaces"] = PROJECT_LABEL


def register(registry: kopf.OperatorRegistry, store: Store) -> None:
    """Have kopf watch every kind that the operator reads."""
    kinds: tuple[type[Resource], ...] = (*KINDS, Namespace)
    for kind in kinds:
        _feed(registry, kind, store)

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _feed(registry: kopf.OperatorRegistry, kind: type[Resource], store: Store) -> None:
    group, _, api_version = kind.info.api_version.rpartition("/")

    @kopf.on.event(group, api_version, kind.info.plural, id=kind.info.plural, registry=registry)
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        take(event["type"], event["object"], kind, store)


def take(event_type: str | None, body: Any, kind: type[Resource], store: Store) -> None:
    """Put what a watch says of an object into the store."""
    metadata = body["metadata"]
    if event_type == "DELETED":
        key = Key(kind.info.kind, metadata.get("namespace"), metadata["name"])
        store.remove(key, metadata["uid"], int(metadata["resourceVersion"]))
        return
    try:
        store.put(kind.model_validate(body))
    except ValidationError as error:
        log.error("object not understood", kind=kind.info.kind, name=metadata["name"], error=str(error))
