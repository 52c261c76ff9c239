"""Field and label selectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from nephos_api.errors import Refused
from nephos_api.kube.protocol import Selection

Body = Mapping[str, Any]
_ALWAYS_SELECTABLE: Final = frozenset({"metadata.name", "metadata.namespace"})


def selects(selection: Selection, selectable: frozenset[str]) -> Callable[[Body], bool]:
    """Return the test of that selection; ``Refused`` where it names a field that is not among ``selectable``."""
    fields = _requirements(selection.field_selector)
    labels = _requirements(selection.label_selector)
    for path, _, _ in fields:
        if path not in selectable | _ALWAYS_SELECTABLE:
            raise Refused(f"field label not supported: {path}", code=400, reason="BadRequest")

    def matches(body: Body) -> bool:
        metadata = body["metadata"]
        return (
            selection.namespace in (None, metadata.get("namespace"))
            and all((field_value(body, path) == value) is equal for path, value, equal in fields)
            and all(_label_matches(metadata.get("labels", {}), *requirement) for requirement in labels)
        )

    return matches


def field_value(body: Body, path: str) -> str:
    """Return the value at a dotted path as field selectors see it: what is absent is the empty string."""
    value: Any = body
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _requirements(selector: str | None) -> tuple[tuple[str, str | None, bool], ...]:
    """Return (name, value, equal) of each part; a value of None asks for presence only."""
    return tuple(_requirement(part.strip()) for part in (selector or "").split(",") if part.strip())


def _requirement(part: str) -> tuple[str, str | None, bool]:
    if "!=" in part:
        name, _, value = part.partition("!=")
        return name.strip(), value.strip(), False
    if "=" in part:
        name, _, value = part.partition("=")
        return name.strip(), value.lstrip("=").strip(), True
    return part.lstrip("!"), None, not part.startswith("!")


def _label_matches(labels: Mapping[str, str], name: str, value: str | None, equal: bool) -> bool:
    if value is None:
        return (name in labels) is equal
    return (labels.get(name) == value) is equal
