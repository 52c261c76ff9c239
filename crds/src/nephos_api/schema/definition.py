"""The CustomResourceDefinition of a kind."""

from __future__ import annotations

from typing import Any, Final

import yaml

from nephos_api.metadata import CATEGORY, GROUP, VERSION, Column, Resource
from nephos_api.schema.structural import resource_schema

_HEADER: Final = "# Generated from the models in crds/src/nephos_api/resources by nephos-crds; change those.\n"


def custom_resource_definition(kind: type[Resource]) -> dict[str, Any]:
    """Return the CustomResourceDefinition of the kind in its JSON form."""
    info = kind.info
    names: dict[str, Any] = {
        "kind": info.kind,
        "listKind": f"{info.kind}List",
        "plural": info.plural,
        "singular": info.kind.lower(),
        "categories": [CATEGORY],
    }
    if info.short_names:
        names["shortNames"] = list(info.short_names)
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": resource_schema(kind)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in info.columns],
    }
    if info.selectable_fields:
        version["selectableFields"] = [{"jsonPath": path} for path in info.selectable_fields]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "nephos"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if info.namespaced else "Cluster",
            "names": names,
            "versions": [version],
        },
    }


def definition_yaml(kind: type[Resource]) -> str:
    """Return the CustomResourceDefinition as the committed file has it."""
    return _HEADER + yaml.safe_dump(
        custom_resource_definition(kind), sort_keys=False, width=120, allow_unicode=True, default_flow_style=False
    )


def _column(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.description:
        entry["description"] = column.description
    if column.wide:
        entry["priority"] = 1
    return entry
