"""What a walk is made of: places that the objects send a packet to, and what hosts must have programmed there."""

from __future__ import annotations

from dataclasses import dataclass

from nephos_agent.network.facts import Fact
from nephos_agent.network.filters.judgement import Packet
from nephos_agent.network.router.facts import RouterFact
from nephos_agent.path.model import Stage
from nephos_api.resources.security_group import Direction


@dataclass(frozen=True)
class FilterCheck:
    """The packet that a port's filter is to judge, as that filter sees it."""

    tap: str
    bridge: str
    direction: Direction
    packet: Packet


@dataclass(frozen=True)
class Step:
    """One place, as the objects say."""

    stage: Stage
    host: str | None
    passes: bool
    because: str
    needs: frozenset[Fact] = frozenset()
    """Without one of these the host does not let it pass."""
    router_uid: str | None = None
    router_needs: frozenset[RouterFact] = frozenset()
    """The same, inside of the router."""
    check: FilterCheck | None = None
