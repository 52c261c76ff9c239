"""The first thing that a stranger sees: two web servers on two hosts, one of them in the world, both reaching it."""

import json
import time
from contextlib import ExitStack

from rich.console import Console as Screen

from nephos_dev import quickstart
from nephos_dev.bringup import Plan
from nephos_dev.cloud import Cloud
from nephos_dev.console import Console
from nephos_dev.layout import WORK_TREE
from nephos_dev.progress import Progress, step
from nephos_dev.quickstart import EXAMPLE, NAMESPACE, OUTSIDE, Addresses, Exchange

_HOSTS = 2
_BOOT_TIMEOUT_S = 120


def run(cloud: Cloud, progress: Progress, screen: Screen) -> None:
    """Bring the cloud up, apply the example, and show who reaches whom. Raises StepError."""
    begun = time.monotonic()
    cloud.up(Plan(hosts=max(_HOSTS, len(cloud.hosts))))
    ready = time.monotonic()
    with step(progress, f"kubectl apply -f {EXAMPLE.relative_to(WORK_TREE)}, with a key of your own"):
        quickstart.apply(cloud)
    with step(progress, "Servers, Router and FloatingIP are Active"):
        known = quickstart.wait_active(cloud, progress.note)
    active = time.monotonic()
    exchanges = _ask(cloud, known, progress)
    answered = time.monotonic()
    _show(cloud, screen, exchanges)
    screen.print(
        f"\n[bold]What it took:[/bold] {answered - begun:.1f} s — cloud {ready - begun:.1f} s, "
        f"all Active {active - ready:.1f} s, guests booted and answered {answered - active:.1f} s.",
        highlight=False,
    )
    _show_next(cloud, screen, known)


def _ask(cloud: Cloud, known: Addresses, progress: Progress) -> list[Exchange]:
    asked = quickstart.questions(cloud.layout, known)
    with ExitStack() as open_consoles:
        consoles: dict[str, Console] = {}
        for name in sorted({question.asked for question in asked} - {OUTSIDE}):
            with step(progress, f"guest {name} booted: a shell on its serial console"):
                consoles[name] = open_consoles.enter_context(cloud.console(NAMESPACE, name))
                consoles[name].log_in(timeout_s=_BOOT_TIMEOUT_S)
        exchanges = []
        for question in asked:
            with step(progress, question.what):
                exchanges.append(quickstart.ask(cloud, question, consoles))
    return exchanges


def _show(cloud: Cloud, screen: Screen, exchanges: list[Exchange]) -> None:
    for title, kind in (
        ("Hosts", "hosts"),
        ("Servers", "servers"),
        ("Ports", "ports"),
        ("Networks", "networks"),
        ("Routers", "routers"),
        ("Floating IPs", "floatingips"),
        ("Security groups", "securitygroups"),
    ):
        screen.print(f"\n[bold]{title}[/bold]")
        table = cloud.kubectl("get", f"{kind}.nephos.cloud", f"--namespace={NAMESPACE}", "--output=wide")
        screen.print(table.rstrip(), highlight=False, markup=False)
    screen.print("\n[bold]Who reaches whom[/bold]")
    screen.print("\n".join(quickstart.show(cloud.layout, exchanges)), highlight=False, markup=False)


def _show_next(cloud: Cloud, screen: Screen, known: Addresses) -> None:
    layout = cloud.layout
    server = json.loads(cloud.kubectl("get", "servers", "web-1", f"--namespace={NAMESPACE}", "--output=json"))
    settings = layout.ssh_settings.relative_to(WORK_TREE)
    commands = (
        (f". {layout.shell_settings.relative_to(WORK_TREE)}", "kubectl and nephos-dev for this shell"),
        (f"kubectl -n {NAMESPACE} describe server web-1", "what it is made of, where it runs, and since when"),
        (f"nephos-dev internet ssh -F {settings} {known.floating}", "log in from the outside"),
        (f"nephos-dev console {NAMESPACE} web-2", "its serial console: root, no password; Ctrl-] leaves"),
        (f"kubectl -n {NAMESPACE} edit securitygroup web", "take a rule away, and see who no longer gets in"),
        (f"nephos-dev kill {server['status']['host']}/agent", "and see that the guest does not notice"),
        (f"kubectl delete --ignore-not-found -f {EXAMPLE.relative_to(WORK_TREE)}", "all of it goes, in order"),
        ("make status, make down", "what runs, and the way out"),
    )
    screen.print("\n[bold]What to try next[/bold]")
    width = max(len(command) for command, _ in commands)
    for command, meaning in commands:
        screen.print(f"  {command:<{width}}  [dim]# {meaning}[/dim]", highlight=False)
