"""From pydantic's JSON schema to the structural OpenAPI v3 schema that a CustomResourceDefinition takes.

Structural means: everything in place (no ``$ref``), one type each (no ``anyOf`` with null), bounds on everything.
Source: "Extend the Kubernetes API with CustomResourceDefinitions", section "Specifying a structural schema".
"""

from __future__ import annotations

import json
from typing import Any, Final

from nephos_api.metadata import Resource
from nephos_api.schema.rules import IMMUTABLE_KEY, RULES_KEY, presence_rule, rule

Schema = dict[str, Any]

_KEPT: Final = (
    "type",
    "description",
    "default",
    "enum",
    "pattern",
    "format",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minimum",
    "maximum",
    "x-kubernetes-int-or-string",
)
_INT32_MAX: Final = 2**31 - 1


def resource_schema(kind: type[Resource]) -> Schema:
    """Return the schema of a kind's objects."""
    source = kind.model_json_schema(by_alias=True)
    definitions = source.get("$defs", {})
    spec = _Structure(definitions, scalar_list_type="set").convert(source["properties"]["spec"])
    # Status lists are replaced as a whole: a set would put every item into metadata.managedFields.
    status = _Structure(definitions, scalar_list_type="atomic").convert(source["properties"]["status"])
    status.pop("default", None)
    schema: Schema = {
        "type": "object",
        "description": _one_line(kind.__doc__ or ""),
        "properties": {
            "apiVersion": {"type": "string", "description": "The version of the schema: group and version."},
            "kind": {"type": "string", "description": "The kind of the object."},
            # The name is declared so that rules may point at it.
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": spec,
            "status": status,
        },
    }
    if "default" not in spec:
        schema["required"] = ["spec"]
    if kind.info.rules:
        schema[RULES_KEY] = [entry.to_wire() for entry in kind.info.rules]
    return schema


class _Structure:
    def __init__(self, definitions: dict[str, Schema], *, scalar_list_type: str) -> None:
        self._definitions = definitions
        self._scalar_list_type = scalar_list_type

    def convert(self, source: Schema) -> Schema:
        source = self._resolve(source)
        schema: Schema = {key: source[key] for key in _KEPT if key in source}
        _convert_bounds(source, schema)
        _convert_default(schema)
        if "description" in schema:
            schema["description"] = _one_line(schema["description"]) + _default_sentence(schema)
        rules = list(source.get(RULES_KEY, []))
        match source.get("type"):
            case "object" if "properties" in source:
                rules += self._convert_properties(source, schema)
            case "object":
                rules += self._convert_map(source, schema)
            case "array":
                self._convert_list(source, schema)
        if schema.get("x-kubernetes-int-or-string"):
            del schema["type"]
        if rules:
            schema[RULES_KEY] = rules
        return schema

    def _resolve(self, source: Schema) -> Schema:
        """Put what is referred to in place, and take the one type of ``X | None``."""
        alternatives = [entry for entry in source.get("anyOf", ()) if entry != {"type": "null"}]
        if alternatives:
            (only,) = alternatives
            outer = {key: value for key, value in source.items() if key != "anyOf"}
            source = _overlay(self._resolve(only), outer)
        if reference := source.get("$ref"):
            outer = {key: value for key, value in source.items() if key != "$ref"}
            definition = self._resolve(self._definitions[reference.rsplit("/", 1)[1]])
            source = _overlay(definition, outer)
        return source

    def _convert_properties(self, source: Schema, schema: Schema) -> list[dict[str, str]]:
        schema["properties"] = {name: self.convert(entry) for name, entry in source["properties"].items()}
        if "required" in source:
            schema["required"] = source["required"]
        return [
            presence_rule(name, self._resolve(entry)[IMMUTABLE_KEY]).to_wire()
            for name, entry in source["properties"].items()
            if IMMUTABLE_KEY in self._resolve(entry)
            and name not in source.get("required", ())
            and "default" not in schema["properties"][name]
        ]

    def _convert_map(self, source: Schema, schema: Schema) -> list[dict[str, str]]:
        schema["additionalProperties"] = self.convert(source["additionalProperties"])
        names = source.get("propertyNames")
        if not names:
            return []
        least, most = names.get("minLength", 0), names["maxLength"]
        return [
            rule(
                f"self.all(key, size(key) >= {least} && size(key) <= {most})",
                f"each key must have {least} to {most} characters",
            ).to_wire()
        ]

    def _convert_list(self, source: Schema, schema: Schema) -> None:
        schema["items"] = self.convert(source["items"])
        if key := source.get("mapKey"):
            schema["x-kubernetes-list-type"] = "map"
            schema["x-kubernetes-list-map-keys"] = [key]
        elif "properties" in schema["items"]:
            schema["x-kubernetes-list-type"] = "atomic"
        else:
            schema["x-kubernetes-list-type"] = self._scalar_list_type


def _overlay(inner: Schema, outer: Schema) -> Schema:
    """Return the inner schema with what the outer says beside it; rules add up."""
    rules = [*inner.get(RULES_KEY, []), *outer.get(RULES_KEY, [])]
    return inner | outer | ({RULES_KEY: rules} if rules else {})


def _convert_bounds(source: Schema, schema: Schema) -> None:
    """Write exclusive bounds as OpenAPI v3.0 does, and say where 32 bits don't suffice."""
    for name, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in source:
            schema[name], schema[exclusive] = source[exclusive], True
    if source.get("type") == "integer":
        schema["format"] = "int32" if source.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"


def _convert_default(schema: Schema) -> None:
    """Leave out defaults that say no more than absence; an object's own fields say theirs."""
    default = schema.get("default")
    if isinstance(default, dict):
        schema["default"] = {}
    if isinstance(default, list):
        schema["default"] = [_stated(entry) for entry in default]
    if default is None or default in ([], ""):
        schema.pop("default", None)


def _stated(entry: Any) -> Any:  # why: an entry of a list's default is any JSON
    """Return the entry without the fields that say nothing."""
    return {key: value for key, value in entry.items() if value not in (None, "")} if isinstance(entry, dict) else entry


def _default_sentence(schema: Schema) -> str:
    """Return what ``kubectl explain`` does not say by itself."""
    default = schema.get("default")
    if default is None or isinstance(default, dict):
        return ""
    return f" Default: {default if isinstance(default, str) else json.dumps(default)}."


def _one_line(text: str) -> str:
    return " ".join(text.split())
