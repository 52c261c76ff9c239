"""Server-side apply as far as controllers can tell: who owns which fields, and what an apply leaves.

The schema says which lists are maps (merged by key) or sets (merged by value); other lists are replaced.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[Any, ...]
"""Steps from the root: a field's name, or ``_Item`` for an element of a list that is a map or a set."""

Schema = Mapping[str, Any]


class _Item(tuple[str | None, Any]):
    """An element of a list: the map key's name (None in a set) and its value."""

    __slots__ = ()


def apply_fields(
    live: dict[str, Any], applied: Mapping[str, Any], schema: Schema, *, owned: frozenset[Path], others: frozenset[Path]
) -> tuple[dict[str, Any], frozenset[Path]]:
    """Return the object after a forced apply, and what the applier owns now.

    ``owned`` is what the applier owned before: what it leaves out now is removed, unless ``others`` own it.
    """
    merged: dict[str, Any] = _merge(copy.deepcopy(live), applied, schema)
    now = frozenset(_paths(applied, schema, ()))
    for path in sorted(owned - now, key=len):  # items before their fields: without its key an item isn't found
        if not any(other[: len(path)] == path for other in others | now):
            _remove(merged, path)
            _prune(merged, path[:-1], now | others)
    return merged, now


def merge_patch(target: Any, patch: Any) -> Any:
    """Return the result of a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def _merge(live: Any, applied: Any, schema: Schema) -> Any:
    if isinstance(applied, Mapping) and isinstance(live, dict):
        for name, value in applied.items():
            live[name] = _merge(live.get(name), value, _member(schema, name))
        return live
    if isinstance(applied, list | tuple) and isinstance(live, list):
        match schema.get("x-kubernetes-list-type"):
            case "map":
                return _merge_items(live, applied, schema)
            case "set":
                return live + [value for value in applied if value not in live]
    return copy.deepcopy(applied)


def _merge_items(live: list[Any], applied: list[Any] | tuple[Any, ...], schema: Schema) -> list[Any]:
    (key,) = schema["x-kubernetes-list-map-keys"]
    merged = {item.get(key): item for item in live}
    for item in applied:
        merged[item.get(key)] = _merge(merged.get(item.get(key), {}), item, schema["items"])
    return list(merged.values())


def _paths(value: Any, schema: Schema, path: Path) -> Iterator[Path]:
    """Yield the path of each leaf, and of each item of a list that is a map."""
    if isinstance(value, Mapping) and value:
        for name, member in value.items():
            yield from _paths(member, _member(schema, name), (*path, name))
        return
    match schema.get("x-kubernetes-list-type"):
        case "map" if value:
            (key,) = schema["x-kubernetes-list-map-keys"]
            for item in value:
                element = (*path, _Item((key, item.get(key))))
                yield element
                yield from _paths(item, schema["items"], element)
        case "set" if value:
            yield from ((*path, _Item((None, item))) for item in value)
        case _:
            yield path


def _member(schema: Schema, name: str) -> Schema:
    member: Schema = schema.get("properties", {}).get(name) or schema.get("additionalProperties") or {}
    return member


def _remove(root: Any, path: Path) -> None:
    *parents, last = path
    for step in parents:
        root = _step(root, step)
        if root is None:
            return
    if isinstance(last, _Item) and isinstance(root, list):
        root[:] = [item for item in root if not _is(item, last)]
    elif isinstance(root, dict):
        root.pop(last, None)


def _prune(root: Any, path: Path, owned: frozenset[Path]) -> None:
    """Remove the map at the path, and those around it, where nothing is left in them; as the API server does."""
    while path and path not in owned:
        value = root
        for step in path:
            value = _step(value, step)
        if value != {}:
            return
        _remove(root, path)
        path = path[:-1]


def _step(value: Any, step: Any) -> Any:
    if isinstance(step, _Item):
        return next((item for item in value or () if _is(item, step)), None)
    return value.get(step) if isinstance(value, dict) else None


def _is(item: Any, element: _Item) -> bool:
    key, value = element
    return bool((item if key is None else item.get(key)) == value)
