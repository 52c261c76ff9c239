"""A host sees its own libvirt, its own namespaces and its own name."""

from pathlib import Path

import pytest

from nephos_dev import hosts, hypervisor
from nephos_dev.environment import Capacity
from nephos_dev.layout import Layout
from nephos_dev.progress import FailureError

CLOUD_ID = "0b1f6a52-2b0c-4c0e-9a55-6d7a0c8f3e11"
CAPACITY = Capacity(vcpus=1, memory_mib=1024, disk_gib=10)


def layout(work_tree: Path = Path("/src")) -> Layout:
    return Layout(name="nephos", slot=0, cloud_id=CLOUD_ID, work_tree=work_tree, cache=Path("/cache"))


def test_the_hosts_run_folder_is_mounted_after_everything_that_is_read_from_the_machines() -> None:
    script = hosts.render_init(layout().host(1)).splitlines()
    own_run = next(index for index, line in enumerate(script) if line.endswith(" /run"))
    assert script[own_run + 1].startswith("exec ")
    assert "hostname nephos-h1" in script[:own_run]


@pytest.mark.parametrize("path", ["/etc/libvirt", "/etc/pki", "/var/lib/libvirt", "/var/lib/nephos"])
def test_a_host_never_writes_the_machines_folders(path: str) -> None:
    host = layout().host(1)
    assert f"mount --bind {host.root}{path} {path}" in hosts.render_init(host)


def test_every_host_knows_every_other_by_name() -> None:
    names = hosts.render_names(layout()).splitlines()
    assert f"{layout().host(1).address} nephos-h1" in names
    assert f"{layout().host(99).address} nephos-h99" in names


def test_the_agent_is_left_out_where_the_plan_has_none() -> None:
    host = layout().host(1)
    with_agent = hosts.programs(layout(), host, CAPACITY, agent=True)
    without = hosts.programs(layout(), host, CAPACITY, agent=False)
    assert [program.name for program in with_agent] == ["libvirtd", "agent"]
    assert [program.name for program in without] == ["libvirtd"]


@pytest.mark.parametrize("place", ["/run/src", "/var/lib/ci/src", "/etc/src"])
def test_a_work_tree_that_the_hosts_mounts_would_hide_is_refused(place: str) -> None:
    here = layout(Path(place))
    with pytest.raises(FailureError, match="of their own"):
        hosts.write(here, here.host(1), CAPACITY, agent=True)


def test_libvirtd_listens_to_hosts_with_a_certificate_only() -> None:
    conf = hypervisor.libvirtd_conf(CLOUD_ID, layout().host(1))
    assert "listen_tcp = 0\n" in conf
    assert f'listen_addr = "{layout().host(1).address}"\n' in conf
    assert 'tls_allowed_dn_list = [ "O=nephos-host,CN=*", "CN=*,O=nephos-host" ]\n' in conf


def test_two_hosts_on_one_machine_have_two_identities() -> None:
    one, two = layout().hosts(2)
    assert hypervisor.host_uuid(CLOUD_ID, one.name) != hypervisor.host_uuid(CLOUD_ID, two.name)
    assert hypervisor.host_uuid(CLOUD_ID, one.name) == hypervisor.host_uuid(CLOUD_ID, one.name)
