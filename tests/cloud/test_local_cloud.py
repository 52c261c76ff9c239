"""The local cloud itself: what it starts again, what outlives what, and that it leaves no trace."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nephos_dev import hosts, internet, processes
from nephos_dev.asking import eventually, outside
from nephos_dev.bringup import Plan
from nephos_dev.cloud import Cloud
from nephos_dev.layout import name_for_tests
from nephos_dev.waiting import NotYet, wait_for

_HOSTS_ALONE = Plan(hosts=2, operators=0, image_service=False, agents=False, catalog=False)
_GUEST = """
<domain type='qemu'><name>outlives</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type machine='q35'>hvm</type></os><devices><serial type='pty'/></devices></domain>
"""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    made = Cloud(name_for_tests("traces"))
    made.up(_HOSTS_ALONE)
    yield made
    made.down()


def test_a_guest_outlives_libvirtd_and_ends_with_its_host(cloud: Cloud) -> None:
    host = cloud.hosts[0]
    definition = host.root / "guest.xml"
    definition.write_text(_GUEST)
    assert cloud.execute(host, "virsh", "create", str(definition)).returncode == 0
    qemu = _qemu(cloud)

    cloud.wait_restarted(f"{host.name}/libvirtd", killed=cloud.kill(f"{host.name}/libvirtd"))
    assert _qemu(cloud) == qemu

    cloud.wait_restarted(host.name, killed=cloud.kill(host.name))

    def ended() -> None:
        if _qemu(cloud) & qemu:
            raise NotYet("the guest still runs")

    wait_for(ended, what="guest ends with its host", timeout_s=30)
    assert not _qemu(cloud)


def test_the_api_server_comes_back_with_what_it_knew(cloud: Cloud) -> None:
    cloud.kubectl("create", "namespace", "remembered")
    cloud.wait_restarted("kube-apiserver", killed=cloud.kill("kube-apiserver"))
    cloud.up(_HOSTS_ALONE)
    assert "remembered" in cloud.kubectl("get", "namespaces", "--output=name")


def test_hosts_reach_each_other_by_libvirt_over_mutual_tls(cloud: Cloud) -> None:
    one, two = cloud.hosts
    answer = cloud.execute(one, "virsh", "--connect", f"qemu://{two.name}/system", "hostname")
    assert answer.stdout.strip() == two.name, answer.stderr


def test_the_outside_is_started_again_and_found_again(cloud: Cloud) -> None:
    before = processes.network_namespaces([cloud.layout.internet_netns])
    page = outside(cloud.layout, "curl", "-sS", "--max-time", "2", f"http://{internet.WORLD[0][0]}/")
    eventually(page, "hello from the internet", what="the outside's web server")
    cloud.wait_restarted("internet", killed=cloud.kill("internet"))
    cloud.up(_HOSTS_ALONE)
    eventually(page, "hello from the internet", what="the outside's web server again")
    assert processes.network_namespaces([cloud.layout.internet_netns]) == before


def test_hosts_answer_nothing_on_the_providers_network(cloud: Cloud) -> None:
    host = cloud.hosts[0]
    ask = ("arping", "-I", "wire", "-c", "2", "-w", "2", str(host.address))
    bridge = cloud.execute(host, "ip", "-brief", "address", "show", "dev", internet.PROVIDER_BRIDGE).stdout.split()
    assert bridge[:2] == [internet.PROVIDER_BRIDGE, "UP"]
    assert len(bridge) == 2, "an address of the host's"
    assert outside(cloud.layout, "busybox", *ask)().status, "the address of another of its interfaces"


def test_down_leaves_no_process_namespace_interface_mount_or_file() -> None:
    cloud = Cloud(name_for_tests("gone"))
    cloud.up(_HOSTS_ALONE)
    layout, namespaces = cloud.layout, hosts.mount_namespaces(cloud.hosts)
    assert processes.find(namespaces, layout.state)

    cloud.down()

    assert not processes.find(namespaces, layout.state)
    assert not list(Path("/run/netns").glob(f"{cloud.name}-*"))
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    assert f"{cloud.name}-" not in links
    assert str(layout.state) not in Path("/proc/self/mountinfo").read_text()
    assert not layout.state.exists()
    assert not layout.run.exists()
    assert not cloud.exists


def _qemu(cloud: Cloud) -> set[int]:
    """Return the process IDs of QEMU in this cloud's hosts."""
    ours = processes.find(hosts.mount_namespaces(cloud.hosts))
    return {pid for pid in ours if "qemu-system" in _program(pid)}


def _program(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:  # it ended meanwhile
        return ""
