"""The command `nephos-dev image`: build a guest image, or find it in the cache, and print where it is."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import click
from rich.console import Console

from nephos_dev.images.debian12 import build_debian_12
from nephos_dev.images.store import BuiltImage
from nephos_dev.images.tiny import build_tiny
from nephos_dev.images.tools import Report
from nephos_dev.progress import Lines, StepError, show_failure, step


class Builder(Protocol):
    """Builds one image."""

    def __call__(self, cache_dir: Path | None = None, *, report: Report) -> BuiltImage:
        """Return the image, from the cache if it is there."""


BUILDERS: Mapping[str, Builder] = {"tiny": build_tiny, "debian-12": build_debian_12}


@click.command("image")
@click.argument("name", type=click.Choice(sorted(BUILDERS)))
def image(name: str) -> None:
    """Build a guest image, unless it is cached, and print its path."""
    # The path alone goes to standard output, so that a script can use it.
    console = Console(stderr=True, soft_wrap=True)
    lines = Lines(console)
    try:
        with step(lines, f"guest image {name}"):
            built = BUILDERS[name](report=lines.note)
    except StepError as error:
        show_failure(console, error)
        sys.exit(1)
    click.echo(built.path)
