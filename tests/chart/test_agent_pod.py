"""On a real node the agent's pod comes and goes, and what it started for guests stays."""

import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from nephos_dev import environment
from nephos_dev.cloud import Cloud, Plan
from nephos_dev.environment import SYSTEM_NAMESPACE
from nephos_dev.layout import HostLayout, name_for_tests
from nephos_dev.node import ContainerImage, Node, agent_image, pause_image
from nephos_dev.progress import Silent
from nephos_dev.supervisor_client import Supervisor
from nephos_dev.tenant import Tenant, manifest, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, wait_for

from .conftest import Document, Render

PINGS_EVERY_S = 0.1
ANSWER_BOUND_S = 2.0


@dataclass(frozen=True)
class Process:
    """A process that cannot be taken for a later one of the same number."""

    pid: int
    started_at: int


@pytest.fixture(scope="module")
def image() -> ContainerImage:
    return agent_image(Silent())


@pytest.fixture
def cloud(image: ContainerImage) -> Iterator[Cloud]:
    """One host without an agent: the pod is to be its agent. The image is built first, while nothing else runs."""
    cloud = Cloud(name_for_tests("node"))
    cloud.up(Plan(hosts=1, operators=1, agents=False))
    yield cloud
    cloud.down()


@pytest.fixture
def node(cloud: Cloud, image: ContainerImage) -> Iterator[Node]:
    node = Node(cloud=cloud, host=cloud.hosts[0], progress=Silent())
    node.start(pause_image(Silent()), [image])
    yield node
    node.stop()


@pytest.fixture
def tenant(cloud: Cloud) -> Tenant:
    tenant = Tenant(cloud.cluster, "pods")
    tenant.create()
    return tenant


def test_deleting_the_agents_pod_leaves_qemu_and_dnsmasq_running(
    cloud: Cloud, node: Node, image: ContainerImage, render: Render, tenant: Tenant
) -> None:
    install_agent(cloud, render, image)
    first = wait_agent(cloud)
    tenant.apply(
        *network_manifests("blue", "10.30.0.0/24"),
        manifest("SecurityGroup", "ping", rules=[{"direction": "Ingress", "protocol": "ICMP"}]),
        server_manifest("one", "blue", securityGroups=["ping"]),
    )
    server = tenant.wait_phase("one", "Active", timeout_s=120)
    address = server["status"]["addresses"][0]["address"]
    qemu, dnsmasq = qemu_of(node.host, server), dnsmasq_of(node.host)
    inside = {process(pid) for pid in node.processes_of(first)}
    assert inside
    assert not inside & {qemu, dnsmasq}
    wait_for(lambda: ping_once(dnsmasq, address), what=f"ping {address}", timeout_s=90)

    with pinging(dnsmasq, address) as pings:
        cloud.kubectl("delete", "pod", f"--namespace={SYSTEM_NAMESPACE}", "--selector", AGENT, "--timeout=60s")
        second = wait_agent(cloud)
    assert second != first
    assert not any(map(lives, inside))
    assert qemu_of(node.host, server) == qemu
    assert dnsmasq_of(node.host) == dnsmasq
    assert pings.lost == 0, f"{pings.lost} of {pings.sent} pings lost"

    tenant.patch_spec("server", "one", {"state": "Shutoff"})
    tenant.wait_phase("one", "Shutoff", timeout_s=90)
    tenant.destroy()


AGENT = "app.kubernetes.io/name=nephos-agent"


def install_agent(cloud: Cloud, render: Render, image: ContainerImage) -> None:
    """Apply the chart's DaemonSet, told what the local cloud tells its agents."""
    layout, host = cloud.layout, cloud.hosts[0]
    told = environment.agent(layout, host, environment.Capacity(vcpus=2, memory_mib=1024, disk_gib=10), "tcg")
    of_the_local_cloud = ("NEPHOS_AGENT_CAPACITY_", "NEPHOS_LAUNCHER_")
    documents = render(
        {
            "cloudID": layout.cloud_id,
            "apiServer": {"host": str(layout.gateway), "port": layout.ports.apiserver},
            "image": {"pullPolicy": "Never"},
            "imageService": {"url": layout.image_service_url},
            "agent": {
                "acceleration": told["NEPHOS_AGENT_ACCELERATION"],
                "image": image.name,
                "launcher": told["NEPHOS_LAUNCHER"],
                "extraEnv": [
                    {"name": name, "value": value}
                    for name, value in told.items()
                    if name.startswith(of_the_local_cloud)
                ],
            },
        }
    )
    (daemon_set,) = (document for document in documents if document["kind"] == "DaemonSet")
    cloud.kubectl("label", "node", host.name, "nephos.cloud/host=true", "--overwrite")
    cloud.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(daemon_set))


def wait_agent(cloud: Cloud) -> str:
    """Wait until one agent's pod, that is not about to go, is ready. Return its UID."""

    def probe() -> str:
        listed = cloud.kubectl("get", "pods", f"--namespace={SYSTEM_NAMESPACE}", "--selector", AGENT, "--output=yaml")
        pods: list[Document] = yaml.safe_load(listed)["items"]
        ready = [pod for pod in pods if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
        if len(pods) != 1 or not ready:
            raise NotYet(f"its pods are {[pod.get('status') for pod in pods]}")
        return str(ready[0]["metadata"]["uid"])

    return wait_for(probe, what="the agent's pod", timeout_s=90)


def is_ready(pod: Document) -> bool:
    conditions: list[dict[str, Any]] = pod.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def qemu_of(host: HostLayout, server: Document) -> Process:
    """Return the process of a Server's guest, by the file in which libvirtd keeps its number."""
    uid = server["metadata"]["uid"]
    found = [path for path in (host.run / "libvirt" / "qemu").glob("*.pid") if carries(path, uid)]
    assert len(found) == 1, f"guests of {uid}: {found}"
    return process(int(found[0].read_text()))


def carries(pid_file: Path, uid: str) -> bool:
    return uid in Path(f"/proc/{pid_file.read_text().strip()}/cmdline").read_text()


def dnsmasq_of(host: HostLayout) -> Process:
    """Return the process that answers DHCP on the host's only network, by what the host's supervisor says."""
    found = [state for state in Supervisor(host.supervisor_socket).processes() if state.name.startswith("nephos-")]
    assert len(found) == 1, f"long-lived processes: {[state.name for state in found]}"
    return process(found[0].pid)


def process(pid: int) -> Process:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return Process(pid, int(fields[19]))  # field 22 of proc(5), the first two being before the bracket


def lives(one: Process) -> bool:
    try:
        return process(one.pid) == one
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Pings:
    sent: int = 0
    lost: int = 0


def ping_once(near: Process, address: str) -> None:
    command = ["nsenter", f"--target={near.pid}", "--net", "ping", "-c1", "-W1", address]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise NotYet("the guest does not answer")


@contextmanager
def pinging(near: Process, address: str) -> Iterator[Pings]:
    """Ping a guest from the network namespace of `near`, and count when the block ends."""
    command = ["nsenter", f"--target={near.pid}", "--net", "ping", f"-i{PINGS_EVERY_S}", address]
    pings = Pings()
    with tempfile.TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output, text=True) as running:
        try:
            yield pings
        finally:
            running.send_signal(signal.SIGINT)
            running.wait()
            output.seek(0)
            said = output.read()
    summary = re.search(r"(\d+) packets transmitted", said)
    assert summary, said
    pings.sent = int(summary[1])
    answered = {int(number) for number in re.findall(r"bytes from .*icmp_seq=(\d+)", said)}
    sent_long_ago = range(1, pings.sent + 1 - round(ANSWER_BOUND_S / PINGS_EVERY_S))
    pings.lost = len({*range(1, max(answered, default=0)), *sent_long_ago} - answered)
