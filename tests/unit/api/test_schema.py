"""The CRDs are what the models say, and keep to the rules that every field has to keep."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import yaml
from pydantic import Field

from nephos_api.fields import IPAddress, Name
from nephos_api.metadata import Column, KindInfo, Resource, Status
from nephos_api.model import ApiModel, wire_name
from nephos_api.resources import KINDS
from nephos_api.schema.command import check, main, write
from nephos_api.schema.definition import custom_resource_definition, definition_yaml
from nephos_api.schema.rules import immutable, rule
from nephos_api.schema.structural import resource_schema

GOLDEN = Path(__file__).parent / "golden" / "widgets.yaml"


class Color(StrEnum):
    """Colors."""

    RED = "Red"
    BLUE = "Blue"


class Part(ApiModel):
    """A piece of a widget."""

    name: Name = "main"
    """What it is called."""
    weight_gib: Annotated[float, Field(gt=0, le=10)] = 1.5
    """How heavy it is in GiB."""


class WidgetSpec(ApiModel):
    """What the widget should be."""

    color: Color = Color.RED
    """Its color, which has
    a description of two lines."""
    owner: Annotated[Name | None, immutable("spec.owner")] = None
    """Whose it is."""
    addresses: Annotated[tuple[IPAddress, ...], Field(max_length=4)] = ()
    """Where it answers."""
    parts: Annotated[tuple[Part, ...], Field(max_length=4, json_schema_extra={"mapKey": "name"})] = ()
    """What it is made of."""
    spare: Part = Part()
    """A part in the drawer."""
    labels: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=9)], Annotated[str, Field(max_length=5)]],
        Field(max_length=3),
    ] = Field(default_factory=dict)
    """Stickers."""
    number: Annotated[str | None, Field(json_schema_extra={"x-kubernetes-int-or-string": True})] = None
    """Digits, quoted or not."""
    count: Annotated[int, Field(ge=0, le=10)]
    """How many."""


class WidgetStatus(Status):
    """What became of it."""

    addresses: Annotated[tuple[IPAddress, ...], Field(max_length=4)] = ()
    """Where it answers."""


class Widget(Resource):
    """Something that has
    every shape of field."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="Widget",
        plural="widgets",
        short_names=("wg",),
        columns=(Column("Color", ".spec.color"), Column("Count", ".spec.count", "integer", wide=True, description="n")),
        selectable_fields=(".spec.owner",),
        rules=(rule("self.spec.count != 7", "spec.count: not seven", field_path=".spec.count"),),
    )

    spec: WidgetSpec
    status: WidgetStatus = WidgetStatus()


def test_a_definition_has_every_shape_of_field_as_kubernetes_wants_it() -> None:
    assert yaml.safe_load(definition_yaml(Widget)) == yaml.safe_load(GOLDEN.read_text())


def test_the_committed_definitions_are_what_the_models_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["nephos-crds", "--check"])
    main()
    assert capsys.readouterr().out == ""


def test_a_definition_that_differs_is_missing_or_too_many_is_found(tmp_path: Path) -> None:
    files = {"a.yaml": "a\n", "b.yaml": "b\n"}
    assert write(tmp_path, files) == ["a.yaml", "b.yaml"]
    assert check(tmp_path, files) == []
    (tmp_path / "a.yaml").write_text("changed\n")
    (tmp_path / "b.yaml").unlink()
    (tmp_path / "c.yaml").write_text("c\n")
    assert check(tmp_path, files) == ["a.yaml", "b.yaml", "c.yaml"]
    assert write(tmp_path, files) == ["a.yaml", "b.yaml", "c.yaml"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml", "b.yaml"]


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field below the root, items and values of maps included."""
    for name, member in schema.get("properties", {}).items():
        yield f"{path}.{name}", member
        yield from fields(member, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield f"{path}[]", schema[name]
            yield from fields(schema[name], f"{path}[]")


ALL = [
    pytest.param(member, id=f"{kind.info.kind}{path}")
    for kind in KINDS
    for part in ("spec", "status")
    for path, member in fields(resource_schema(kind)["properties"][part], f".{part}")
]
NAMED = [param for param in ALL if not str(param.id).endswith("[]")]


@pytest.mark.parametrize("member", NAMED)
def test_every_field_is_described_in_a_sentence(member: dict[str, Any]) -> None:
    description = member.get("description", "")
    assert description.endswith((".", "…", ")")), description
    assert len(description) >= 8, description


@pytest.mark.parametrize("member", ALL)
def test_every_string_list_and_map_has_a_bound(member: dict[str, Any]) -> None:
    assert not {"$ref", "anyOf", "allOf", "propertyNames"} & member.keys()
    match member.get("type"):
        case "string":
            assert "maxLength" in member or "enum" in member or _is_bounded(member.get("pattern", ""))
        case "array":
            assert "maxItems" in member
            assert "x-kubernetes-list-type" in member
        case "object" if "additionalProperties" in member:
            assert "maxProperties" in member
        case "integer":
            assert "minimum" in member
            assert member["format"] in ("int32", "int64")
        case "object" | "boolean" | "number":
            pass
        case None:
            assert member["x-kubernetes-int-or-string"]


def _is_bounded(pattern: str) -> bool:
    return pattern.startswith("^") and pattern.endswith("$") and not {"*", "+"} & set(pattern)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.kind)
def test_every_rule_says_what_to_do_in_a_sentence(kind: type[Resource]) -> None:
    for entry in _rules(custom_resource_definition(kind)):
        assert len(entry["message"]) >= 20, entry
        assert not entry["message"].endswith("."), entry


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.kind)
def test_no_default_says_null_which_the_api_server_takes_for_a_value(kind: type[Resource]) -> None:
    assert "null" not in definition_yaml(kind)


def _rules(value: Any) -> Iterator[dict[str, str]]:
    if isinstance(value, dict):
        yield from value.get("x-kubernetes-validations", ())
        for member in value.values():
            yield from _rules(member)
    elif isinstance(value, list):
        for member in value:
            yield from _rules(member)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.info.kind)
def test_columns_and_selectable_fields_name_fields_that_exist(kind: type[Resource]) -> None:
    schema = resource_schema(kind)
    known = {path for path, _ in fields(schema)}
    paths = [column.json_path for column in kind.info.columns] + [*kind.info.selectable_fields]
    for path in paths:
        if not path.startswith(".metadata"):
            assert path.split("[")[0] in known, path
    assert kind.info.columns[-1].name == "Age"


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("memory_mib", "memoryMiB"),
        ("disk_gib", "diskGiB"),
        ("network_uid", "networkUID"),
        ("server_uid", "serverUID"),
        ("mac_address", "macAddress"),
        ("sha256", "sha256"),
        ("ttl_seconds_after_finished", "ttlSecondsAfterFinished"),
        ("cidr", "cidr"),
        ("placement_epoch", "placementEpoch"),
    ],
)
def test_names_on_the_wire_are_camel_case_with_units_and_acronyms_as_written(name: str, wire: str) -> None:
    assert wire_name(name) == wire
