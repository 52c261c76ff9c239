"""What is asked of the explainer, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nephos_api.resources import FloatingIP, Network, Port, Router, SecurityGroup


@dataclass(frozen=True)
class Objects:
    """What the API says, as far as the one who asks may read it."""

    networks: tuple[Network, ...] = ()
    ports: tuple[Port, ...] = ()
    routers: tuple[Router, ...] = ()
    floating_ips: tuple[FloatingIP, ...] = ()
    security_groups: tuple[SecurityGroup, ...] = ()


@dataclass(frozen=True)
class Question:
    """Does the first packet of such a flow get through?"""

    source: str
    """A Server or Port as ``namespace/name``, or an address outside of the cloud."""
    destination: str
    """The same; an address that a Port holds may be asked for as well."""
    protocol: int
    """IANA's number."""
    port: int | None = None
    """Destination port; of ICMP and ICMPv6, the type."""
    code: int | None = None
    """Of ICMP and ICMPv6."""


class Stage(StrEnum):
    """Where a packet is on its way."""

    SOURCE = "Source"
    SOURCE_FILTER = "SourceFilter"
    BRIDGE = "Bridge"
    TUNNEL = "Tunnel"
    ROUTER = "Router"
    FLOATING_IP = "FloatingIP"
    SNAT = "SNAT"
    UPLINK = "Uplink"
    DESTINATION_FILTER = "DestinationFilter"
    DESTINATION = "Destination"


@dataclass(frozen=True)
class Judgement:
    """Whether the packet passes, and why, in a sentence."""

    passes: bool
    because: str


@dataclass(frozen=True)
class Hop:
    """One place on the way."""

    stage: Stage
    host: str | None
    """None outside of the cloud, and where no host is concerned."""
    by_objects: Judgement
    as_programmed: Judgement | None
    """None where the host gave no report, or nothing is programmed for this hop."""
    differences: tuple[str, ...] = ()
    """What the host should have and has not, or has otherwise."""


@dataclass(frozen=True)
class Explanation:
    """The whole way, as far as it goes."""

    hops: tuple[Hop, ...] = field(default=())

    @property
    def passes(self) -> bool:
        """Whether it gets through, as the objects say."""
        return self.refused_by_objects is None

    @property
    def passes_as_programmed(self) -> bool:
        """Whether it gets through, as far as the hosts reported; a hop without a report is as the objects say."""
        return self.refused_as_programmed is None

    @property
    def refused_by_objects(self) -> Hop | None:
        """The first hop that the objects do not let it pass."""
        return next((hop for hop in self.hops if not hop.by_objects.passes), None)

    @property
    def refused_as_programmed(self) -> Hop | None:
        """The first hop that the hosts do not let it pass."""
        return next((hop for hop in self.hops if not (hop.as_programmed or hop.by_objects).passes), None)
