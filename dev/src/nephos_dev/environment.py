"""What the cloud's processes are told through their environment: the names in one place."""

import json
import os
import shlex
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nephos_dev import files
from nephos_dev.internet import PHYSICAL_NETWORK, PROVIDER_BRIDGE
from nephos_dev.layout import HostLayout, Layout

SYSTEM_NAMESPACE = "nephos-system"
AGENT_METRICS_PORT = 9640  # every host has a network namespace, so the port is the same on all
_HOST_RESERVE_MIB = 1024  # for the control plane, outside of what is divided among hosts
_MIB_PER_GIB = 1024


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What one host offers to Servers."""

    vcpus: int
    memory_mib: int
    disk_gib: int


def divide(machine: Capacity, hosts: int) -> Capacity:
    """Return each host's share of the machine, at least one vCPU; the control plane's memory is kept back."""
    share = max(hosts, 1)
    return Capacity(
        vcpus=max(1, machine.vcpus // share),
        memory_mib=max(0, machine.memory_mib - _HOST_RESERVE_MIB) // share,
        disk_gib=machine.disk_gib // share,
    )


def measure_machine(state: Path) -> Capacity:
    """Return the machine's CPUs, its memory, and what was free where `state` lies when the cloud was first measured.

    Kept, because the cloud's own guests fill the disk, and agents are restarted when their share changes.
    """
    record = state / "machine.json"
    if record.is_file():
        return Capacity(**json.loads(record.read_text()))
    disk = os.statvfs(state)
    measured = Capacity(
        vcpus=os.cpu_count() or 1,
        memory_mib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // (1024 * 1024),
        disk_gib=disk.f_bavail * disk.f_frsize // (1024 * 1024 * _MIB_PER_GIB),
    )
    files.write(record, json.dumps(asdict(measured)))
    return measured


def acceleration(cpu_flags: Collection[str], *, has_device: bool) -> str:
    """Return how guests of the local cloud run: `kvm` only on a CPU that says it can.

    Some machines offer a /dev/kvm without the CPU's virtualization, and guests do not boot with it.
    """
    return "kvm" if has_device and not {"vmx", "svm"}.isdisjoint(cpu_flags) else "tcg"


def measure_acceleration() -> str:
    """Return what this machine's guests run with: `kvm` or `tcg`."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return acceleration(flags, has_device=Path("/dev/kvm").exists())


def operator(layout: Layout, replica: int) -> Mapping[str, str]:
    """Return the environment of replica `replica` (from 1) of the operator."""
    return _common(layout, layout.kubeconfigs / "nephos-operator") | {
        "NEPHOS_REPLICA_NAME": f"operator-{replica}",
        "NEPHOS_METRICS_HOST": "127.0.0.1",
        "NEPHOS_METRICS_PORT": str(layout.ports.operator_metrics[replica - 1]),
        "NEPHOS_WEBHOOK_HOST": str(layout.gateway),
        "NEPHOS_WEBHOOK_PORT": str(layout.ports.webhook),
        "NEPHOS_WEBHOOK_CERT": str(layout.pki / "webhook.crt"),
        "NEPHOS_WEBHOOK_KEY": str(layout.pki / "webhook.key"),
    }


def image_service(layout: Layout) -> Mapping[str, str]:
    """Return the environment of the image service."""
    return _common(layout, layout.kubeconfigs / "nephos-image-service") | {
        "NEPHOS_IMAGE_ALLOW_CIDRS": os.environ.get("NEPHOS_IMAGE_ALLOW_CIDRS", ""),
        "NEPHOS_IMAGE_FILE_ROOT": str(layout.image_files),
        "NEPHOS_IMAGE_LISTEN": f"{layout.gateway}:{layout.ports.image_service}",
        "NEPHOS_IMAGE_STORE_DIR": str(layout.image_store),
        "NEPHOS_METRICS_HOST": "127.0.0.1",
        "NEPHOS_METRICS_PORT": str(layout.ports.image_service_metrics),
        "NEPHOS_TLS_CA": str(layout.pki / "ca.crt"),
        "NEPHOS_TLS_CERT": str(layout.pki / "image-service.crt"),
        "NEPHOS_TLS_KEY": str(layout.pki / "image-service.key"),
    }


def agent(layout: Layout, host: HostLayout, capacity: Capacity, guests_run_with: str) -> Mapping[str, str]:
    """Return the environment of the agent of `host`; its paths are those inside the host."""
    return _common(layout, layout.kubeconfigs / host.name) | {
        "MALLOC_ARENA_MAX": "1",  # as in the image: its threads take turns anyway
        "NEPHOS_AGENT_ACCELERATION": guests_run_with,
        "NEPHOS_AGENT_CAPACITY_DISK_GIB": str(capacity.disk_gib),
        "NEPHOS_AGENT_CAPACITY_MEMORY_MIB": str(capacity.memory_mib),
        "NEPHOS_AGENT_CAPACITY_VCPUS": str(capacity.vcpus),
        "NEPHOS_HOST_ADDRESS": str(host.address),
        "NEPHOS_HOST_NAME": host.name,
        "NEPHOS_IMAGE_SERVICE_URL": layout.image_service_url,
        "NEPHOS_LAUNCHER": "supervisor",
        "NEPHOS_LAUNCHER_DIR": "/run/nephos/launcher.d",
        "NEPHOS_LAUNCHER_SOCKET": "/run/nephos/launcher.sock",
        "NEPHOS_LIBVIRT_URI": "qemu:///system",
        "NEPHOS_METRICS_HOST": str(host.address),
        "NEPHOS_METRICS_PORT": str(AGENT_METRICS_PORT),
        "NEPHOS_PHYSICAL_NETWORKS": f"{PHYSICAL_NETWORK}={PROVIDER_BRIDGE}",
        "NEPHOS_RUN_DIR": "/run/nephos",
        "NEPHOS_STATE_DIR": "/var/lib/nephos",
        "NEPHOS_TLS_CA": "/etc/pki/CA/cacert.pem",
        "NEPHOS_TLS_CERT": "/etc/pki/libvirt/clientcert.pem",
        "NEPHOS_TLS_KEY": "/etc/pki/libvirt/private/clientkey.pem",
    }


def shell_settings(layout: Layout, binaries: Path) -> str:
    """Return what a person's shell sources to use this cloud with the kubectl that fits it."""
    path = ":".join(shlex.quote(str(folder)) for folder in (binaries, layout.work_tree / ".venv" / "bin"))
    return (
        f"export KUBECONFIG={shlex.quote(str(layout.kubeconfig))}\n"
        f"export NEPHOS_CLOUD={layout.name}\n"
        f'export PATH={path}:"$PATH"\n'
    )


def _common(layout: Layout, kubeconfig: Path) -> dict[str, str]:
    return {
        "KUBECONFIG": str(kubeconfig),
        "NEPHOS_CLOUD_ID": layout.cloud_id,
        "NEPHOS_NAMESPACE": SYSTEM_NAMESPACE,
        # Whatever this machine's shells are told: compiling anew costs each start a second, and memory until its end.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(layout.bytecode),
        "PYTHONUNBUFFERED": "1",
    }
