"""kopf serves the webhook: static configuration, our own certificate, the same answer from each replica."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import kopf
import structlog
from pydantic import ValidationError

from nephos_api.metadata import GROUP, VERSION, Resource
from nephos_api.resources import (
    FloatingIP,
    KeyPair,
    Network,
    Port,
    Router,
    SecurityGroup,
    Server,
    ServerAction,
    ServerGroup,
    Subnet,
)
from nephos_operator.addressing import AddressBook
from nephos_operator.admission.cloud import Cloud
from nephos_operator.admission.rules import refusal
from nephos_operator.metrics import Metrics
from nephos_operator.store import Store

log = structlog.get_logger(__name__)

KINDS: Final[tuple[type[Resource], ...]] = (
    Server,
    Network,
    Subnet,
    Router,
    FloatingIP,
    Port,
    SecurityGroup,
    KeyPair,
    ServerGroup,
    ServerAction,
)
"""Kinds that the webhook looks at; charts/nephos/files/webhook.yaml sends them, each to /<plural>."""

REFUSED: Final = 403
NEWS_S: Final = 0.5
"""What was applied or deleted just before, and makes a request right, may take that long to be heard of."""


def register(registry: kopf.OperatorRegistry, store: Store, addresses: AddressBook, metrics: Metrics) -> None:
    """Have kopf answer reviews of every kind that has rules."""
    cloud = Cloud(store, addresses)
    for kind in KINDS:
        _answer(registry, kind, cloud, metrics)


def _answer(registry: kopf.OperatorRegistry, kind: type[Resource], cloud: Cloud, metrics: Metrics) -> None:
    @kopf.on.validate(GROUP, VERSION, kind.info.plural, id=kind.info.plural, registry=registry)
    async def review(*, body: kopf.Body, **request: Any) -> None:
        sentence = judge(kind, dict(body), request["operation"], cloud)
        if sentence is not None:
            await asyncio.sleep(NEWS_S)
            sentence = judge(kind, dict(body), request["operation"], cloud)
        metrics.count_admission(kind.info.kind, is_refused=sentence is not None)
        if sentence is not None:
            raise kopf.AdmissionError(sentence, code=REFUSED)


def judge(kind: type[Resource], body: dict[str, Any], operation: str, cloud: Cloud) -> str | None:
    """Return the sentence that refuses the request, or None; what can't be read is the schema's to refuse."""
    try:
        resource = kind.model_validate(body)
    except ValidationError as error:
        log.info("review not understood", kind=kind.info.kind, error=str(error))
        return None
    if resource.is_deleting:
        return None
    return refusal(resource, cloud, is_new=operation == "CREATE")
