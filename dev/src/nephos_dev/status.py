"""What runs in a cloud, for people."""

from pathlib import Path

from rich.console import Console as Screen
from rich.table import Table

from nephos_dev.cloud import Cloud
from nephos_dev.layout import WORK_TREE


def show_status(cloud: Cloud, screen: Screen) -> None:
    """Show each component with state, process and log, then the hosts as the cluster sees them."""
    if not cloud.supervisor.answers():
        screen.print(f"Cloud {cloud.name!r} does not run; its state is in {cloud.layout.state}. `make up` starts it.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("COMPONENT", "STATE", "PID", "", "LOG"):
        table.add_column(title, no_wrap=True, overflow="ignore")
    for name, state in cloud.processes():
        colour = "green" if state.state == "RUNNING" else "red"
        told = state.description.partition(", ")[2] if state.pid else state.description
        table.add_row(name, f"[{colour}]{state.state.capitalize()}[/]", str(state.pid or ""), told, _short(state.log))
    screen.print(table)
    hosts = cloud.cluster.try_kubectl("get", "hosts.nephos.cloud")
    screen.print(f"\n{(hosts.stdout or hosts.stderr).rstrip()}", highlight=False, markup=False)
    screen.print(f"\nexport KUBECONFIG={cloud.layout.kubeconfig}", highlight=False, markup=False)


def _short(log: Path) -> str:
    """Return a log's path as seen from the work tree."""
    return str(log.relative_to(WORK_TREE)) if log.is_relative_to(WORK_TREE) else str(log)
