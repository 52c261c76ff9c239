"""What starts processes that outlive the agent and its pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Unit:
    """A process to keep running: restarted when it ends, until it is stopped."""

    name: str
    """Unique on the host; starts with ``nephos-``."""
    argv: tuple[str, ...]
    """Absolute path of the program first."""
    description: str


class Launcher(Protocol):
    """Every call may be repeated. Raises ``TemporaryFault`` while the supervisor does not answer."""

    async def start(self, unit: Unit) -> None:
        """Start the unit; restart it where its arguments changed; nothing where it runs as described."""

    async def stop(self, name: str) -> None:
        """Stop and forget the unit."""

    async def signal(self, name: str, signal_number: int) -> None:
        """Send a signal to the unit's process."""

    async def units(self) -> frozenset[str]:
        """Return the names of our units that are there."""


class HostServices(Protocol):
    """Services that are the host's own. Raises ``TemporaryFault`` while the supervisor does not answer."""

    async def restart(self, name: str) -> None:
        """Have the service end in order and start again; nothing where it does not run. It never stays stopped."""
