"""What the twin knows of kinds: where their objects lie, their schemas, what of an applied object has owners."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from nephos_api.errors import Refused
from nephos_api.kube.memory.store import Address
from nephos_api.kube.protocol import Body
from nephos_api.metadata import Resource
from nephos_api.resources import KINDS
from nephos_api.schema.structural import resource_schema


def address_of(kind: type[Resource], name: str, namespace: str | None) -> Address:
    """Return where an object of the kind lies."""
    return Address(kind.info.api_version, kind.info.plural, namespace if kind.info.namespaced else None, name)


def naming(address: Address) -> dict[str, str]:
    """Return the part of metadata that the address says."""
    return {"name": address.name} | ({"namespace": address.namespace} if address.namespace else {})


def parse_path(path: str) -> tuple[Address, str]:
    """Return what a path names: an address (without a name for a collection) and a subresource."""
    root, *rest = path.strip("/").split("/")
    count = 1 if root == "api" else 2
    api_version, rest = "/".join(rest[:count]), rest[count:]
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "")[:3]
    return Address(api_version, plural, namespace, name), subresource


def typed(kind: type[Resource], body: Body) -> dict[str, Any]:
    """Return the object with its apiVersion and kind."""
    return {**body, "apiVersion": kind.info.api_version, "kind": kind.info.kind, "metadata": dict(body["metadata"])}


def applied_fields(body: Mapping[str, Any], subresource: str = "") -> dict[str, Any]:
    """Return the part of an applied object that has owners."""
    if subresource == "status":
        return {"status": body.get("status", {})}
    metadata = {
        name: body["metadata"][name] for name in ("labels", "annotations", "finalizers") if name in body["metadata"]
    }
    rest = {name: value for name, value in body.items() if name not in ("apiVersion", "kind", "metadata", "status")}
    if references := body["metadata"].get("ownerReferences"):
        metadata["ownerReferences"] = references
    return rest | ({"metadata": metadata} if metadata else {})


def check_model(address: Address, body: Mapping[str, Any]) -> None:
    """Raise ``Refused`` where the object does not fit the model of its kind."""
    kind = kind_of(address)
    if kind is None:
        return
    try:
        kind.model_validate(body)
    except ValidationError as error:
        raise Refused(str(error), code=422, reason="FieldValueInvalid") from error


@cache
def _kinds() -> dict[tuple[str, str], type[Resource]]:
    return {(kind.info.api_version, kind.info.plural): kind for kind in KINDS}


def kind_of(address: Address) -> type[Resource] | None:
    """Return the kind of ours that lies there, or None for one of Kubernetes' own."""
    return _kinds().get((address.api_version, address.plural))


def selectable_fields(kind: type[Resource]) -> frozenset[str]:
    """Return the fields by which objects of the kind can be selected."""
    return frozenset(path.lstrip(".") for path in kind.info.selectable_fields)


_METADATA_SCHEMA: dict[str, Any] = {
    "properties": {
        "finalizers": {"x-kubernetes-list-type": "set"},
        "ownerReferences": {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"], "items": {}},
    }
}


@cache
def _schema(kind: type[Resource]) -> dict[str, Any]:
    schema = resource_schema(kind)
    schema["properties"]["metadata"] = _METADATA_SCHEMA
    return schema


def schema_of(address: Address) -> dict[str, Any]:
    """Return the schema by which applies to an object there are merged."""
    kind = kind_of(address)
    return _schema(kind) if kind else {"properties": {"metadata": _METADATA_SCHEMA}}
