"""A supervisor in memory: it notes what it was told."""

from __future__ import annotations

from nephos_agent.launcher.protocol import Unit


class MemoryLauncher:
    """``Launcher`` without processes."""

    def __init__(self) -> None:
        self.running: dict[str, Unit] = {}
        """The units, by name."""
        self.signals: list[tuple[str, int]] = []
        """Signals that were sent, in order."""
        self.starts: list[str] = []
        """Names of units that were started or restarted, in order."""

    async def start(self, unit: Unit) -> None:
        """Note the unit."""
        if self.running.get(unit.name) != unit:
            self.running[unit.name] = unit
            self.starts.append(unit.name)

    async def stop(self, name: str) -> None:
        """Forget the unit."""
        self.running.pop(name, None)

    async def signal(self, name: str, signal_number: int) -> None:
        """Note the signal, if the unit is there."""
        if name in self.running:
            self.signals.append((name, signal_number))

    async def units(self) -> frozenset[str]:
        """Return the names of the units."""
        return frozenset(self.running)
