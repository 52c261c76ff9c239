"""The tests, layer by layer: the checks, then a pytest for each layer, each with one line that says how it went."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET  # why: reads only what our own pytest has just written

from rich.console import Console as Screen

from nephos_dev import checks, ingredients
from nephos_dev.layout import WORK_TREE
from nephos_dev.progress import Lines

LINT = "lint"
LAYERS = (LINT, "unit", "contract", "api", "chart", "scale", "cloud", "chaos")
_NO_TESTS = 5  # pytest's exit status when it found none


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one layer went."""

    layer: str
    tests: int
    failed: int
    skipped: int
    seconds: float
    status: int

    @property
    def passed(self) -> int:
        """Tests that ran and held."""
        return self.tests - self.failed - self.skipped

    @property
    def good(self) -> bool:
        """Whether nothing failed; a layer without tests is not a failure."""
        return self.status in {0, _NO_TESTS} and not self.failed


def run_layers(layers: Sequence[str], options: Sequence[str], screen: Screen) -> int:
    """Run each layer and show a line for each and one for all. Return the exit status: 1 if anything failed.

    Raises StepError if something that a layer needs cannot be built.
    """
    begun = time.monotonic()
    ingredients.make(layers, Lines(screen))
    built = time.monotonic()
    results = [_lint(screen) if layer == LINT else _run(layer, options) for layer in layers]
    screen.print(f"\nbuilt what was missing in {built - begun:.1f} s, tested in {time.monotonic() - built:.1f} s")
    for result in results:
        colour = "green" if result.good else "red"
        screen.print(f"[{colour}]{'ok    ' if result.good else 'FAILED'}[/] {summary(result)}", highlight=False)
    passed, failed = sum(result.passed for result in results), sum(result.failed for result in results)
    broken = sum(1 for result in results if not result.good and not result.failed)
    screen.print(f"{passed} passed, {failed + broken} failed, {sum(result.skipped for result in results)} skipped")
    return 0 if all(result.good for result in results) else 1


def summary(result: Result) -> str:
    """Return a layer's line."""
    if not result.tests:
        return f"{result.layer:<9} no tests" if result.good else f"{result.layer:<9} pytest ended with {result.status}"
    return (
        f"{result.layer:<9} {result.passed} passed, {result.failed} failed, {result.skipped} skipped "
        f"in {result.seconds:.1f} s"
    )


def read_report(layer: str, report: str, *, seconds: float, status: int) -> Result:
    """Return what pytest's JUnit report says of a layer; an empty report is a layer without tests."""
    suite = ET.fromstring(report).find("testsuite") if report else None  # noqa: S314  # why: our own pytest wrote it
    counts = {name: int(suite.get(name, "0")) if suite is not None else 0 for name in ("tests", "failures", "errors")}
    return Result(
        layer=layer,
        tests=counts["tests"],
        failed=counts["failures"] + counts["errors"],
        skipped=int(suite.get("skipped", "0")) if suite is not None else 0,
        seconds=seconds,
        status=status,
    )


def _lint(screen: Screen) -> Result:
    begun, failed = time.monotonic(), 0
    for check in checks.CHECKS:
        done = checks.run(check)
        if done.returncode:
            failed += 1
            screen.print(f"[red]{check.name}[/]: {' '.join(check.command)}", highlight=False)
            screen.print(done.stdout, highlight=False, markup=False)
    seconds = time.monotonic() - begun
    tests = len(checks.CHECKS)
    return Result(layer=LINT, tests=tests, failed=failed, skipped=0, seconds=seconds, status=int(bool(failed)))


def _run(layer: str, options: Sequence[str]) -> Result:
    begun = time.monotonic()
    # Not pytest's usual folder: later runs tidy that up, and stumble over mounts of one that was killed.
    with tempfile.TemporaryDirectory(prefix="nephos-tests-", ignore_cleanup_errors=True) as folder:
        report = Path(folder) / "report.xml"
        places = (f"--junitxml={report}", f"--basetemp={folder}/t")
        command = [sys.executable, "-m", "pytest", f"tests/{layer}", *places, "--quiet", *options]
        status = _wait(command)
        text = report.read_text() if report.is_file() else ""
    return read_report(layer, text, seconds=time.monotonic() - begun, status=status)


def _wait(command: Sequence[str]) -> int:
    """Run pytest; one that is interrupted takes down what it made before it ends, and is waited for."""
    with subprocess.Popen(command, cwd=WORK_TREE) as running:
        try:
            return running.wait()
        except KeyboardInterrupt:
            running.wait()
            raise
