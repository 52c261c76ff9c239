"""The decision: a Host, or the count of Hosts that each filter refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nephos_operator.placement.filters import BUSY, refused_by
from nephos_operator.placement.snapshot import HostView, Request
from nephos_operator.placement.weighers import best


@dataclass(frozen=True)
class Chosen:
    """The Host that takes the Server."""

    host: str


@dataclass(frozen=True)
class NoValidHost:
    """No Host can take the Server."""

    refusals: Mapping[str, int]
    """How many Hosts each filter refused."""

    @property
    def is_passing(self) -> bool:
        """Whether some Host could take it, and is only too busy now."""
        return BUSY in self.refusals

    @property
    def message(self) -> str:
        """The sentence that a user reads."""
        if not self.refusals:
            return "No valid host: there is no Host at all"
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.refusals.items()))
        total = sum(self.refusals.values())
        return f"No valid host: all of {total} were refused ({counts}); it is tried again when Hosts change"


def decide(request: Request, hosts: Iterable[HostView], *, preferred: str | None = None) -> Chosen | NoValidHost:
    """Choose a Host; the ``preferred`` one, if the filters let it pass, where an earlier try left something on it."""
    refusals: Counter[str] = Counter()
    passing = []
    for host in hosts:
        name = refused_by(request, host)
        if name is None:
            passing.append(host)
        else:
            refusals[name] += 1
    if any(host.name == preferred for host in passing):
        return Chosen(preferred or "")
    return Chosen(best(request, passing).name) if passing else NoValidHost(refusals)
