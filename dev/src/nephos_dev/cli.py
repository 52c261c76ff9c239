"""The command line of the local cloud."""

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from rich.console import Console

from nephos_dev.claim import ClaimError
from nephos_dev.cloud import CONTROL_PLANE_ONLY, Cloud, Plan
from nephos_dev.layout import LayoutError
from nephos_dev.progress import FailureError, Lines, StepError, show_failure

_console = Console(soft_wrap=True)


def _reported(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors that people can do something about into a sentence and exit status 1."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:  # why: hands on whatever click passes
        try:
            command(*arguments, **options)
        except StepError as error:
            show_failure(_console, error)
            sys.exit(1)
        except (FailureError, ClaimError, LayoutError) as error:
            _console.print(f"[red]Failed:[/red] {error}", highlight=False)
            sys.exit(1)

    return run


@click.group()
def main() -> None:
    """The local cloud: a real control plane and hosts in network namespaces. NEPHOS_CLOUD names it."""


@main.command()
@click.option("--hosts", default=2, show_default=True, help="How many hosts.")
@click.option("--operators", default=1, show_default=True, help="How many replicas of the operator.")
@click.option("--image-service/--no-image-service", default=True, show_default=True)
@click.option("--agents/--no-agents", default=True, show_default=True, help="Without them hosts have libvirtd only.")
@click.option("--catalog/--no-catalog", default=True, show_default=True, help="Flavor and Image tiny.")
@click.option("--control-plane-only", is_flag=True, help="etcd, API server, controller manager, kinds and policies.")
@_reported
def up(
    hosts: int, operators: int, *, image_service: bool, agents: bool, catalog: bool, control_plane_only: bool
) -> None:
    """Bring the cloud up, reusing what is there."""
    begun = time.monotonic()
    cloud = Cloud(progress=Lines(_console))
    plan = Plan(hosts=hosts, operators=operators, image_service=image_service, agents=agents, catalog=catalog)
    cloud.up(CONTROL_PLANE_ONLY if control_plane_only else plan)
    _console.print(f"Up after {time.monotonic() - begun:.1f} s. export KUBECONFIG={cloud.layout.kubeconfig}")


@main.command()
@_reported
def down() -> None:
    """Take the cloud down; nothing of it is left but the caches."""
    Cloud(progress=Lines(_console)).down()
