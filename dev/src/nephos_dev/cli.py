"""The command line of the local cloud."""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from rich.console import Console

from nephos_dev import internet
from nephos_dev.attach import attach
from nephos_dev.binaries import TOOLSETS, ensure
from nephos_dev.claim import ClaimError
from nephos_dev.cloud import CONTROL_PLANE_ONLY, Cloud, Plan
from nephos_dev.demo import run as run_demo
from nephos_dev.images.command import image
from nephos_dev.layers import LAYERS, run_layers
from nephos_dev.layout import LayoutError
from nephos_dev.progress import FailureError, Lines, StepError, show_failure
from nephos_dev.status import show_status

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


main.add_command(image)


@main.command()
@click.option("--hosts", default=2, show_default=True, help="How many hosts.")
@click.option("--operators", default=1, show_default=True, help="How many replicas of the operator.")
@click.option("--image-service/--no-image-service", default=True, show_default=True)
@click.option("--agents/--no-agents", default=True, show_default=True, help="Without them hosts have libvirtd only.")
@click.option("--catalog/--no-catalog", default=True, show_default=True, help="Flavor and Image tiny, Network public.")
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
    _console.print(f"Up after {time.monotonic() - begun:.1f} s. For this shell: . {cloud.layout.shell_settings}")


@main.command()
@_reported
def down() -> None:
    """Take the cloud down; nothing of it is left but the caches."""
    Cloud(progress=Lines(_console)).down()


@main.command()
@_reported
def demo() -> None:
    """Two hosts, two web servers, and who reaches whom: guests each other, the internet and guests."""
    run_demo(Cloud(progress=Lines(_console)), Lines(_console), _console)


@main.command()
@_reported
def status() -> None:
    """Show every component, the hosts, and where things are."""
    cloud = Cloud()
    if not cloud.exists:
        _console.print(f"There is no cloud {cloud.name!r}: `make up` starts one.")
        sys.exit(1)
    show_status(cloud, _console)


@main.command()
@click.argument("components", nargs=-1, required=True)
@_reported
def kill(components: tuple[str, ...]) -> None:
    """Kill components with SIGKILL; their supervisor starts them again."""
    cloud = Cloud()
    for component in components:
        _console.print(f"{component}: process {cloud.kill(component)} killed", highlight=False)


@main.command()
@click.argument("components", nargs=-1, required=True)
@_reported
def restart(components: tuple[str, ...]) -> None:
    """Stop and start components, to run the code as it is now."""
    cloud = Cloud()
    for component in components:
        cloud.stop(component)
        cloud.start(component)


@main.command()
@click.argument("namespace")
@click.argument("server")
@_reported
def console(namespace: str, server: str) -> None:
    """Attach to the serial console of a Server's guest; Ctrl-] leaves."""
    attach(Cloud().terminal(namespace, server))


@main.command("internet", context_settings={"ignore_unknown_options": True})
@click.argument("words", metavar="COMMAND...", nargs=-1, type=click.UNPROCESSED, required=True)
@_reported
def outside(words: tuple[str, ...]) -> None:
    """Run a command in the namespace that stands for the internet, as in: internet ping 203.0.113.10."""
    line = internet.command(Cloud().layout, *words)
    os.execvp(line[0], line)  # noqa: S606  # why: no shell is wanted, the command is the person's own


@main.command()
@_reported
def routes() -> None:
    """Teach the outside the IPv6 prefixes behind all Routers, which a provider's router would learn by BGP."""
    cloud = Cloud()
    if not cloud.hosts:
        raise FailureError("a cloud without hosts has no outside: `make up` starts some")
    routers = json.loads(cloud.kubectl("get", "routers.nephos.cloud", "--all-namespaces", "--output=json"))["items"]
    for prefix, next_hop in internet.learn_routes(cloud.layout, routers).items():
        _console.print(f"{prefix} by {next_hop}", highlight=False)


@main.command()
@click.argument("toolsets", nargs=-1, type=click.Choice(sorted(TOOLSETS)), required=True)
@_reported
def build(toolsets: tuple[str, ...]) -> None:
    """Build programs of the pinned Go modules, unless they are cached, and print where they are."""
    for name in toolsets:
        _console.print(str(ensure(TOOLSETS[name], Lines(_console))), highlight=False)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("layers", nargs=-1, type=click.Choice(LAYERS))
@click.option("--pytest", "options", multiple=True, help="An option for pytest, such as --pytest=-x.")
@_reported
def test(layers: tuple[str, ...], options: tuple[str, ...]) -> None:
    """Run the tests, layer by layer, with one line for each."""
    sys.exit(run_layers(layers or LAYERS, options, _console))
