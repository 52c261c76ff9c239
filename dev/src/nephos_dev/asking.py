"""Questions to guests and to the outside: a command is run there, again until its answer is right."""

import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from nephos_dev import internet
from nephos_dev.cloud import Cloud
from nephos_dev.console import Answer, Console
from nephos_dev.layout import Layout
from nephos_dev.progress import FailureError
from nephos_dev.waiting import NotYet, wait_for

Ask = Callable[[], Answer]
_ANSWER_TIMEOUT_S = 60.0
_CHUNK_BYTES = 4096


def in_guest(console: Console, command: str) -> Ask:
    """Return the question that runs a shell command on a guest's console, after `log_in`."""
    return lambda: console.run(command)


def outside(layout: Layout, *words: str) -> Ask:
    """Return the question that runs a command in the namespace that stands for the internet."""

    def ask() -> Answer:
        done = internet.execute(layout, *words)
        return Answer(status=done.returncode, output=(done.stdout or done.stderr).rstrip())

    return ask


def eventually(ask: Ask, expected: str = "", *, what: str, timeout_s: float = _ANSWER_TIMEOUT_S) -> Answer:
    """Ask until the command ends well and says `expected`. Raises FailureError with the last answer."""

    def probe() -> Answer:
        answer = ask()
        if answer.status or expected not in answer.output:
            raise NotYet(answer.output.strip() or f"status {answer.status}")
        return answer

    return wait_for(probe, what=what, timeout_s=timeout_s)


def eventually_not(ask: Ask, *, what: str, timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
    """Ask until the command fails twice in a row: once may be a stall. Raises FailureError with the last answer."""

    def probe() -> None:
        for _ in range(2):
            answer = ask()
            if not answer.status:
                raise NotYet(f"it still answers: {answer.output.strip()}")

    wait_for(probe, what=what, timeout_s=timeout_s)


class Guests:
    """Shells on the serial consoles of one project's Servers, opened when they are first asked."""

    def __init__(self, cloud: Cloud, namespace: str) -> None:
        self._cloud = cloud
        self._namespace = namespace
        self._consoles: dict[str, Console] = {}

    def __enter__(self) -> "Guests":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for console in self._consoles.values():
            console.close()

    def ask(self, server: str, command: str) -> Ask:
        """Return the question that runs a shell command in the guest of that Server."""
        return lambda: self.run(server, command)

    def run(self, server: str, command: str) -> Answer:
        """Run a shell command in the guest of that Server. Raises FailureError if it does not end."""
        return self.console(server).run(command)

    def console(self, server: str) -> Console:
        """Return the console of that Server's guest, with a shell on it."""
        if server not in self._consoles:
            self._consoles[server] = self._cloud.console(self._namespace, server)
            self._consoles[server].log_in()
        return self._consoles[server]


class Stream:
    """What a command that goes on says: whether it still comes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._selector = selectors.DefaultSelector()
        if process.stdout:
            self._selector.register(process.stdout, selectors.EVENT_READ)

    def wait_flowing(self, *, timeout_s: float) -> None:
        """Wait for the next output. Raises FailureError if none comes in time."""
        if not self._read(timeout_s):
            raise FailureError(f"nothing came for {timeout_s:g} s")

    def wait_silent(self, *, for_s: float, timeout_s: float) -> None:
        """Wait until nothing came for a while. Raises FailureError if it goes on."""
        deadline = time.monotonic() + timeout_s
        while self._read(for_s):
            if time.monotonic() > deadline:
                raise FailureError(f"it still flows after {timeout_s:g} s")

    def _read(self, timeout_s: float) -> bool:
        ready = self._selector.select(timeout_s)
        return bool(ready and self._process.stdout and self._process.stdout.read1(_CHUNK_BYTES))  # type: ignore[attr-defined]  # why: Popen's pipes are BufferedReaders


@contextmanager
def stream(layout: Layout, words: Sequence[str]) -> Iterator[Stream]:
    """Run a command in the outside for as long as the context lasts."""
    command = internet.command(layout, *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield Stream(process)
        finally:
            process.kill()
