"""A host of the local cloud: a network namespace, a mount namespace, and a supervisord as its init."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nephos_dev import credentials, environment, files, hypervisor, processes, supervision
from nephos_dev.environment import Capacity
from nephos_dev.layout import MOST_HOSTS, WORK_TREE, HostLayout, Layout
from nephos_dev.progress import FailureError
from nephos_dev.supervision import Program

_SCRIPTS = WORK_TREE / ".venv" / "bin"

# Folders of the host that its own ones replace, once /run is its own: path in the host by folder of its root.
_OWN_FOLDERS = {
    "/etc/libvirt": "etc/libvirt",
    "/etc/pki": "etc/pki",
    "/var/lib/libvirt": "var/lib/libvirt",
    "/var/lib/nephos": "var/lib/nephos",
    "/var/cache/libvirt": "var/cache/libvirt",
    "/var/log/libvirt": "var/log/libvirt",
}
_OVERLAID = ("/etc", "/var/lib")
_RUN_FOLDERS = ("libvirt", "lock", "netns", "nephos/launcher.d")


def init_program(host: HostLayout) -> Program:
    """Return the program that is the host: its init inside its namespaces."""
    return Program(
        name=host.name,
        command=(
            sys.executable,
            "-m",
            "nephos_dev.power_on",
            str(host.namespace_record),
            "nsenter",
            f"--net=/run/netns/{host.netns}",
            "unshare",
            "--mount",
            "--uts",
            "/bin/sh",
            str(host.init_script),
        ),
        log=host.logs / "init.log",
        stop_wait_s=30,
    )


def render_init(host: HostLayout) -> str:
    """Return the script that makes the host's view of the file system and becomes its supervisord.

    Mount points that the machine lacks are made on overlays that exist in this namespace only.
    """
    overlay = shlex.quote(str(host.run / "overlay"))
    lines = [
        "#!/bin/sh",
        f"# Becomes the init of {host.name}.",
        "set -eu",
        'echo "$(readlink /proc/self/ns/mnt) $(cat /proc/sys/kernel/random/boot_id)" > '
        + shlex.quote(str(host.namespace_record)),
        f"hostname {shlex.quote(host.name)}",
        # Else this host would keep network namespaces of the machine alive that are removed there.
        "! mountpoint --quiet /run/netns || umount --recursive --lazy /run/netns",
        "mount -t sysfs sysfs /sys",  # /sys/class/net shows the namespace in which it was mounted
        f"mount -t tmpfs tmpfs {overlay}",
    ]
    for path in _OVERLAID:
        upper, work = f"{overlay}{path}", f"{overlay}{path}.work"
        lines += [
            f"mkdir -p {upper} {work}",
            f"mount -t overlay overlay -o lowerdir={path},upperdir={upper},workdir={work} {path}",
        ]
    for path, source in _OWN_FOLDERS.items():
        lines += [f"mkdir -p {path}", f"mount --bind {shlex.quote(str(host.root / source))} {path}"]
    lines += [
        f"cp {shlex.quote(str(host.root / 'etc' / 'hosts'))} /etc/hosts",
        "rm -f /etc/resolv.conf",  # the machine's servers are out of reach, and asking them costs 10 s each time
        ": > /etc/resolv.conf",
        f"mount --bind {shlex.quote(str(host.run))} /run",
        f"exec {shlex.quote(str(_SCRIPTS / 'supervisord'))} -n -c {shlex.quote(str(host.supervisor_config))}",
    ]
    return "\n".join(lines) + "\n"


def render_names(layout: Layout) -> str:
    """Return /etc/hosts of every host: all hosts that the cloud may ever have, so that growing changes nothing."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{host.address} {host.name}" for host in layout.hosts(MOST_HOSTS)]
    return "\n".join(lines) + "\n"


def programs(layout: Layout, host: HostLayout, capacity: Capacity, *, agent: bool) -> tuple[Program, ...]:
    """Return what the host's init runs: libvirtd, and the agent where the plan has one."""
    libvirtd = Program(
        name="libvirtd",
        command=("/usr/sbin/libvirtd", "--listen", "--config", "/etc/libvirt/libvirtd.conf"),
        log=host.logs / "libvirtd.log",
        autostart=True,
    )
    nephos_agent = Program(
        name="agent",
        command=(str(_SCRIPTS / "nephos-agent"),),
        log=host.logs / "agent.log",
        environment=environment.agent(layout, host, capacity, environment.measure_acceleration()),
        autostart=True,
    )
    return (libvirtd, nephos_agent) if agent else (libvirtd,)


def write(layout: Layout, host: HostLayout, capacity: Capacity, *, agent: bool) -> None:
    """Write everything that the host finds when it starts. Raises FailureError if its mounts would hide it."""
    hidden = [path for path in (*_OVERLAID, "/run") if layout.work_tree.is_relative_to(path)]
    if hidden:
        raise FailureError(f"hosts have a {hidden[0]} of their own: clone the project to a place outside of it")
    for source in _OWN_FOLDERS.values():
        (host.root / source).mkdir(parents=True, exist_ok=True)
    for name in (*_RUN_FOLDERS, "overlay"):
        (host.run / name).mkdir(parents=True, exist_ok=True)
    host.logs.mkdir(parents=True, exist_ok=True)
    credential = credentials.ensure_host(layout, host)
    hypervisor.write_configuration(host, layout.cloud_id)
    hypervisor.write_certificates(host, credentials.authority_certificate(layout.pki), credential)
    files.write(host.root / "etc" / "hosts", render_names(layout))
    files.write(host.init_script, render_init(host), mode=0o755)
    config = supervision.render_supervisor(
        socket=Path("/run/nephos/launcher.sock"),
        pid_file=Path("/run/nephos/launcher.pid"),
        log=host.logs / "supervisord.log",
        programs=programs(layout, host, capacity, agent=agent),
        include=Path("/run/nephos/launcher.d"),
    )
    files.write(host.supervisor_config, config)


def mount_namespaces(hosts: Sequence[HostLayout]) -> tuple[str, ...]:
    """Return each host's mount namespace, empty for a host that does not run."""
    return tuple(processes.recorded_namespace(host.namespace_record) for host in hosts)


def execute(host: HostLayout, init_pid: int, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command inside the host and return how it ended, with its output."""
    enter = ["nsenter", f"--target={init_pid}", "--net", "--mount", "--uts", "--root", f"--wd={host.root}"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=False)
