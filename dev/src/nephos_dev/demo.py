"""The first thing that a stranger sees: two Servers on two hosts that ping each other by address and by name."""

import json
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console as Screen

from nephos_dev.bringup import Plan
from nephos_dev.cloud import Cloud
from nephos_dev.layout import WORK_TREE
from nephos_dev.progress import FailureError, Progress, step
from nephos_dev.waiting import NotYet, wait_for

_EXAMPLE = WORK_TREE / "examples" / "first.yaml"
_NAMESPACE = "first"
_SERVERS = ("one", "two")
_HOSTS = 2
_ACTIVE_TIMEOUT_S = 180
_BOOT_TIMEOUT_S = 120


def run(cloud: Cloud, progress: Progress, screen: Screen) -> None:
    """Bring the cloud up, apply the example, and show that its guests reach each other. Raises StepError."""
    begun = time.monotonic()
    cloud.up(Plan(hosts=max(_HOSTS, len(cloud.hosts))))
    ready = time.monotonic()
    with step(progress, f"kubectl apply -f {_EXAMPLE.relative_to(WORK_TREE)}"):
        cloud.cluster.apply(_EXAMPLE)
    with step(progress, f"Servers {' and '.join(_SERVERS)} are Active"):
        servers = _wait_active(cloud, progress.note)
    active = time.monotonic()
    lines = _ping(cloud, servers, progress)
    answered = time.monotonic()
    _show(cloud, screen, lines)
    screen.print(
        f"\n[bold]What it took:[/bold] {answered - begun:.1f} s — cloud {ready - begun:.1f} s, "
        f"Servers Active {active - ready:.1f} s, guests booted and answered {answered - active:.1f} s.",
        highlight=False,
    )
    _show_next(cloud, screen, servers)


def address_of(server: dict[str, Any]) -> str:
    """Return the first address of a Server. Raises FailureError if it has none."""
    for entry in server.get("status", {}).get("addresses", []):
        return str(entry["address"])
    raise FailureError(f"Server {server['metadata']['name']} has no address")


def _wait_active(cloud: Cloud, note: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    shown: dict[str, str] = {}

    def probe() -> dict[str, dict[str, Any]]:
        listed = json.loads(cloud.kubectl("get", "servers.nephos.cloud", f"-n={_NAMESPACE}", "--output=json"))
        servers = {item["metadata"]["name"]: item for item in listed["items"]}
        for name, server in servers.items():
            told = _describe(server)
            if shown.get(name) != told:
                shown[name] = told
                note(f"Server {name}: {told}")
        waiting = [name for name in _SERVERS if servers.get(name, {}).get("status", {}).get("phase") != "Active"]
        if waiting:
            raise NotYet(", ".join(f"{name} is {shown.get(name, 'not there')}" for name in waiting))
        return servers

    return wait_for(probe, what="Servers Active", timeout_s=_ACTIVE_TIMEOUT_S)


def _describe(server: dict[str, Any]) -> str:
    """Return phase, host and, while it is not Active, what the Ready condition says."""
    status = server.get("status", {})
    phase = status.get("phase", "accepted")
    host = f" on {status['host']}" if status.get("host") else ""
    ready: dict[str, Any] = next((item for item in status.get("conditions", []) if item["type"] == "Ready"), {})
    why = f": {ready['message']}" if phase != "Active" and ready.get("message") else ""
    return f"{phase}{host}{why}"


def _ping(cloud: Cloud, servers: dict[str, dict[str, Any]], progress: Progress) -> list[str]:
    source, target = _SERVERS
    with cloud.console(_NAMESPACE, source) as console:
        with step(progress, f"guest {source} booted: a shell on its serial console"):
            console.log_in(timeout_s=_BOOT_TIMEOUT_S)
        lines = []
        for what, destination in (("address", address_of(servers[target])), ("name", target)):
            with step(progress, f"{source} pings {target} by {what}: {destination}"):
                lines += _ping_once(console.run, destination)
    return lines


def _ping_once(run_in_guest: Callable[..., Any], destination: str) -> list[str]:
    command = f"ping -c 3 -W 2 {destination}"

    def probe() -> list[str]:
        answer = run_in_guest(command)
        if answer.status:
            raise NotYet(answer.output.splitlines()[-1] if answer.output else f"status {answer.status}")
        return [f"one:~# {command}", *answer.output.splitlines()]

    return wait_for(probe, what=f"answer from {destination}", timeout_s=_BOOT_TIMEOUT_S)


def _show(cloud: Cloud, screen: Screen, lines: list[str]) -> None:
    for title, arguments in (
        ("Hosts", ("hosts.nephos.cloud",)),
        ("Servers", ("servers.nephos.cloud", f"-n={_NAMESPACE}", "--output=wide")),
        ("Ports", ("ports.nephos.cloud", f"-n={_NAMESPACE}")),
        ("Networks", ("networks.nephos.cloud", f"-n={_NAMESPACE}")),
    ):
        screen.print(f"\n[bold]{title}[/bold]")
        screen.print(cloud.kubectl("get", *arguments).rstrip(), highlight=False, markup=False)
    screen.print("\n[bold]Ping, from inside the guest[/bold]")
    screen.print("\n".join(lines), highlight=False, markup=False)


def _show_next(cloud: Cloud, screen: Screen, servers: dict[str, dict[str, Any]]) -> None:
    two = servers["two"]
    commands = (
        (f". {cloud.layout.shell_settings.relative_to(WORK_TREE)}", "kubectl and nephos-dev for this shell"),
        ("kubectl -n first describe server one", "what happened, and why"),
        (f"nephos-dev console first {_SERVERS[0]}", "its serial console: root, no password; Ctrl-] leaves"),
        (f"nephos-dev kill {two['status']['host']}/agent", "and see that the guest does not notice"),
        ("kubectl delete -f examples/first.yaml", "all of it goes, in order"),
        ("make status, make down", "what runs, and the way out"),
    )
    screen.print("\n[bold]What to try next[/bold]")
    width = max(len(command) for command, _ in commands)
    for command, meaning in commands:
        screen.print(f"  {command:<{width}}  [dim]# {meaning}[/dim]", highlight=False)
