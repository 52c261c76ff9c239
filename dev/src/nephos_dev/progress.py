"""What a person sees while the cloud is made: one line a step, with its time, and where to look when it fails."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console

from nephos_dev.files import tail


class StepError(RuntimeError):
    """A step of making the cloud failed. Says which, why, and where its log is."""

    def __init__(self, step: str, why: str, log: Path | None = None) -> None:
        super().__init__(f"{step}: {why}" + (f" (log: {log})" if log else ""))
        self.step = step
        self.why = why
        self.log = log


class FailureError(RuntimeError):
    """Why a step cannot go on, and which log says more; the step's name is added where it is known."""

    def __init__(self, why: str, log: Path | None = None) -> None:
        super().__init__(why)
        self.log = log


class Progress(Protocol):
    """Where steps are reported."""

    def started(self, step: str) -> None:
        """A step begins."""

    def note(self, text: str) -> None:
        """Something worth a line happens within a step."""

    def finished(self, step: str, seconds: float) -> None:
        """A step ended well."""

    def failed(self, step: str, seconds: float) -> None:
        """A step failed."""


class Silent:
    """For tests: nothing is shown."""

    def started(self, step: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def finished(self, step: str, seconds: float) -> None:
        """Show nothing."""

    def failed(self, step: str, seconds: float) -> None:
        """Show nothing."""


class Lines:
    """For people: a line a step, in colour where there is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def started(self, step: str) -> None:
        """Say what begins, but only where the line can be written over."""
        if self._console.is_terminal:
            self._console.print(f"[dim]  … {step}[/dim]", end="\r", highlight=False)

    def note(self, text: str) -> None:
        """Show a detail below the step that is running."""
        self._console.print(f"[dim]    {text}[/dim]", highlight=False)

    def finished(self, step: str, seconds: float) -> None:
        """Say what is done and how long it took."""
        self._console.print(f"[green]  ✓[/green] {step} [dim]{seconds:.1f} s[/dim]", highlight=False)

    def failed(self, step: str, seconds: float) -> None:
        """Say what failed and when."""
        self._console.print(f"[red]  ✗[/red] {step} [dim]{seconds:.1f} s[/dim]", highlight=False)


@contextmanager
def step(progress: Progress, name: str, log: Path | None = None) -> Iterator[None]:
    """Report a step. Any error inside becomes a StepError that names the step and its log."""
    begun = time.monotonic()
    progress.started(name)
    try:
        yield
    except StepError:
        raise
    except FailureError as failure:
        progress.failed(name, time.monotonic() - begun)
        raise StepError(name, str(failure), failure.log or log) from failure
    except Exception as error:
        progress.failed(name, time.monotonic() - begun)
        raise StepError(name, f"{type(error).__name__}: {error}", log) from error
    progress.finished(name, time.monotonic() - begun)


def show_failure(console: Console, error: StepError) -> None:
    """Tell a person which step failed, why, and the end of its log."""
    console.print(f"\n[red]Failed:[/red] {error.step}\n{error.why}", highlight=False, markup=True)
    if error.log:
        console.print(f"\nIts log: {error.log}", highlight=False)
        console.print(tail(error.log), style="dim", highlight=False, markup=False)
