"""What the agent remembers of a Server between two looks; losing it costs time, nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from nephos_agent.server.actions import Asked
from nephos_agent.server.power import restart_delay_s

_STEADY_S: Final = 600.0
"""A guest that ran so long has not kept ending: its restarts are forgotten."""

_SHORT_WAIT_S: Final = 5.0
_ASK_EVERY_S: Final = 10.0
"""A guest that boots does not hear that it should let go of a NIC."""


@dataclass
class Memory:
    """Times are of the event loop's clock."""

    off_by: float | None = None
    """When the power of a guest that was asked to shut down is cut."""
    asked: dict[str, Asked] = field(default_factory=dict)
    """Guests that were asked to reboot, by the UID of the ServerAction."""
    restarts: int = 0
    started_at: float | None = None
    start_at: float | None = None
    """When a guest that keeps ending may start again."""

    ask_again_at: float = 0.0
    """When a guest that keeps NICs is asked again to let go of them."""

    resume_at: float = 0.0
    """When a guest whose disk can't be written may run again: its writes are tried again then, and pause it anew."""

    waits_since: float | None = None

    def is_new_wait(self, now: float) -> bool:
        """Tell whether what it waits for has not been missing for long."""
        if self.waits_since is None:
            self.waits_since = now
        return now - self.waits_since < _SHORT_WAIT_S

    def note_restart(self, now: float) -> float:
        """Return after how many seconds a guest that ended by itself may start again."""
        if self.start_at is None:
            if self.started_at is not None and now - self.started_at >= _STEADY_S:
                self.restarts = 0
            self.start_at = now + restart_delay_s(self.restarts)
            self.restarts += 1
        return max(0.0, self.start_at - now)

    def wait_for_guest(self, now: float) -> float:
        """Return after how many seconds a guest that was asked to let go of a NIC is asked again."""
        if now >= self.ask_again_at:
            self.ask_again_at = now + _ASK_EVERY_S
        return self.ask_again_at - now

    def note_running(self, now: float) -> None:
        """The guest runs."""
        if self.started_at is None or self.start_at is not None:
            self.started_at = now
        self.start_at = self.off_by = self.waits_since = None
