"""Pings that go on, and how many of them had no answer."""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nephos_dev import internet
from nephos_dev.console import Console
from nephos_dev.layout import Layout
from nephos_dev.progress import FailureError

_PATIENCE_S = 10
_FEWEST = 5
_LOG = "/tmp/ping.log"  # noqa: S108  # why: in a guest, where nobody else is
_PID = "/tmp/ping.pid"  # noqa: S108  # why: the same


@dataclass
class Pings:
    """What became of them, once they have ended."""

    log: str = ""

    @property
    def lost(self) -> int:
        """How many of those before the last answer have none: what was under way at the end is not lost.

        Raises FailureError if there were too few to prove anything.
        """
        answered = {int(number) for number in re.findall(r"seq=(\d+) ttl", self.log)}
        if len(answered) <= _FEWEST:
            raise FailureError(f"there were too few answers to prove anything: {self.log}")
        return max(answered) - min(answered) + 1 - len(answered)


@contextmanager
def from_outside(layout: Layout, address: str, *, every_s: float) -> Iterator[Pings]:
    """Have the outside ping that address for as long as the context lasts."""
    pings = Pings()
    command = internet.command(layout, "ping", "-i", f"{every_s:g}", "-W", str(_PATIENCE_S), address)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield pings
        finally:
            process.send_signal(signal.SIGINT)
            pings.log, _ = process.communicate(timeout=30)


@contextmanager
def from_guest(console: Console, address: str, *, every_s: float) -> Iterator[Pings]:
    """Have a guest ping that address for as long as the context lasts; on its console others may work meanwhile."""
    pings = Pings()
    console.run(f"ping -i {every_s:g} -W {_PATIENCE_S} {address} > {_LOG} 2>&1 & echo $! > {_PID}")
    yield pings
    console.run(f"kill -INT $(cat {_PID}); wait", timeout_s=30)
    pings.log = console.run(f"cat {_LOG}", timeout_s=30).output
