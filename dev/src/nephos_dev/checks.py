"""What is checked without running anything of ours: format, lint, types, imports, generated files."""

import os
import subprocess
from dataclasses import dataclass

from nephos_dev.layout import WORK_TREE

_SCRIPTS = WORK_TREE / ".venv" / "bin"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One program that finds fault with the sources by its exit status."""

    name: str
    command: tuple[str, ...]
    modules: str = ""
    """Where mypy looks for the modules that tests import from each other."""


CHECKS = (
    Check(name="format", command=("ruff", "format", "--check", "--quiet", ".")),
    Check(name="lint", command=("ruff", "check", "--quiet", ".")),
    Check(
        name="types", command=("mypy", "--no-error-summary", "crds/src", "operator/src", "node-agent/src", "dev/src")
    ),
    Check(
        name="types of tests",
        command=("mypy", "--no-error-summary", "--explicit-package-bases", "tests"),
        modules="tests",
    ),
    Check(name="imports", command=("lint-imports", "--no-logo")),
    Check(name="CRDs are what the models say", command=("nephos-crds", "--check")),
)


def run(check: Check) -> subprocess.CompletedProcess[str]:
    """Run one check and return how it ended, with what it said."""
    program, *arguments = check.command
    variables = os.environ | ({"MYPYPATH": check.modules} if check.modules else {})
    return subprocess.run(
        [str(_SCRIPTS / program), *arguments],
        cwd=WORK_TREE,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
