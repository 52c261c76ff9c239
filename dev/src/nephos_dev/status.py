"""What runs in a cloud, for people."""

from rich.console import Console as Screen

from nephos_dev.cloud import Cloud
from nephos_dev.layout import WORK_TREE
from nephos_dev.supervisor_client import ProcessState


def show_status(cloud: Cloud, screen: Screen) -> None:
    """Show each component with state, process and log, then the hosts as the cluster sees them."""
    if not cloud.supervisor.answers():
        screen.print(f"Cloud {cloud.name!r} does not run; its state is in {cloud.layout.state}. `make up` starts it.")
        return
    rows = [("COMPONENT", "STATE", "PID", "SINCE", "LOG")]
    rows += [(name, *_columns(state)) for name, state in cloud.processes()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        screen.print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)), highlight=False)
    hosts = cloud.cluster.try_kubectl("get", "hosts.nephos.cloud")
    screen.print(f"\n{(hosts.stdout or hosts.stderr).rstrip()}", highlight=False, markup=False)
    screen.print(
        f"\nkubectl and nephos-dev for this shell: . {cloud.layout.shell_settings}", highlight=False, markup=False
    )


def _columns(state: ProcessState) -> tuple[str, str, str, str]:
    since = state.description.partition("uptime ")[2] if state.pid else state.description
    log = state.log.relative_to(WORK_TREE) if state.log.is_relative_to(WORK_TREE) else state.log
    return state.state.capitalize(), str(state.pid or ""), since, str(log)
