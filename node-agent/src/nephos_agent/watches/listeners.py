"""Who is told of what the watches see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Listeners:
    """Called, in the event loop, with the UID of what changed."""

    on_server: Callable[[str], None]
    """The Server, one of its Ports, or one of its ServerActions changed."""
    on_network: Callable[[str], None]
    """What the host needs of the network changed: itself, its Ports, their groups; or it is needed here no more."""
    on_router: Callable[[str], None]
    """What the host needs of the router changed, its floating IPs included; or it is needed here no more."""
    on_host: Callable[[], None]
    """This host's own Host changed."""
    on_complete: Callable[[], None]
    """All that the host needs is known now, which it was not: what it needs no more may go."""
    is_present: Callable[[str], bool]
    """Whether that Server's domain is on this host: then its Ports are kept, whatever the API says."""
