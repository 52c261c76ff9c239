"""What a host has programmed, as JSON: the driver's facts, each with its kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Final, get_args, get_type_hints

from nephos_agent.network.facts import Fact
from nephos_agent.network.observed import Observed
from nephos_agent.network.router.facts import RouterFact

AnyFact = Fact | RouterFact
_KINDS: Final[Mapping[str, type[Any]]] = {kind.__name__: kind for kind in (*get_args(Fact), *get_args(RouterFact))}


@dataclass(frozen=True)
class Report:
    """What a host has, by its name."""

    host: str
    observed: Observed = field(default_factory=Observed)


def dump(report: Report) -> str:
    """Return the report as JSON, in a fixed order."""
    observed = report.observed
    routers = {uid: _to_json(found) for uid, found in sorted(observed.routers.items())}
    return json.dumps({"host": report.host, "networks": _to_json(observed.networks), "routers": routers})


def load(text: str) -> Report:
    """Read a report; facts of a kind that this version does not know are left out."""
    document = json.loads(text)
    routers = {uid: frozenset(_from_json(found)) for uid, found in document["routers"].items()}
    return Report(document["host"], Observed(frozenset(_from_json(document["networks"])), routers))


def _to_json(facts: Iterable[AnyFact]) -> list[dict[str, Any]]:
    ordered = sorted(facts, key=lambda fact: (type(fact).__name__, fact.key))
    return [
        {"fact": type(fact).__name__, **{each.name: getattr(fact, each.name) for each in fields(fact)}}
        for fact in ordered
    ]


def _from_json(found: Iterable[Mapping[str, Any]]) -> Iterable[Any]:
    for entry in found:
        kind = _KINDS.get(entry["fact"])
        if kind is None:
            continue
        hints = get_type_hints(kind)
        yield kind(**{name: _value(value, hints[name]) for name, value in entry.items() if name != "fact"})


def _value(value: Any, hint: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    is_enum = isinstance(hint, type) and issubclass(hint, Enum)
    return hint(value) if is_enum else value
