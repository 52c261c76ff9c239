"""What a host's kernel has, whoever put it there: as the driver reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nephos_agent.network.facts import Fact
from nephos_agent.network.router.facts import RouterFact


@dataclass(frozen=True)
class Observed:
    """All facts of this cloud's networks and routers on the host."""

    networks: frozenset[Fact] = frozenset()
    """In the tenant namespace."""
    routers: Mapping[str, frozenset[RouterFact]] = field(default_factory=dict)
    """Of each router, by its UID."""
