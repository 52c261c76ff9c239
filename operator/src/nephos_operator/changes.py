"""What rules of routing are made from: whether something that matters changed, and whose keys to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nephos_api.metadata import Key, Resource
from nephos_operator.store import Store

Rule = Callable[[Any, Any, Store], Iterable[Key]]
"""An object as it was and as it is (one of them may be None), and the store: the keys that are worth a look."""


def facts(*names: str) -> Callable[[Any], object]:
    """Return a function that reads these attributes, dotted ones deeply; None of nothing."""

    def read(resource: Any) -> object:
        if resource is None:
            return None
        return tuple(_deep(resource, name) for name in names)

    return read


def _deep(resource: Any, name: str) -> Any:
    for part in name.split("."):
        resource = getattr(resource, part)
    return resource


def keys(resources: Iterable[Resource]) -> list[Key]:
    """Return the keys of the objects."""
    return [resource.key for resource in resources]
