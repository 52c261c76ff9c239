"""What a Server does from its birth to its end, as its user sees it."""

from collections.abc import Callable

import pytest

from nephos_dev.cloud import Cloud
from nephos_dev.console import Answer, Console
from nephos_dev.progress import FailureError
from nephos_dev.tenant import Tenant, conditions, network_manifests, server_manifest
from nephos_dev.waiting import NotYet, passing, wait_for

Guest = Callable[[str], Console]
ACTION = {"apiVersion": "nephos.cloud/v1alpha1", "kind": "ServerAction"}


@pytest.fixture
def server(tenant: Tenant) -> str:
    tenant.apply(*network_manifests("blue", "10.20.0.0/24"), server_manifest("web", "blue"))
    tenant.wait_phase("web", "Active")
    return "web"


def test_a_server_that_is_set_to_shutoff_stops_and_starts_again(tenant: Tenant, server: str, guest: Guest) -> None:
    guest(server)
    tenant.patch_spec("server", server, {"state": "Shutoff"})
    tenant.wait_phase(server, "Shutoff")
    tenant.patch_spec("server", server, {"state": "Active"})
    tenant.wait_phase(server, "Active")


def test_a_guest_that_powers_itself_off_stays_off_until_it_is_started(
    tenant: Tenant, server: str, guest: Guest
) -> None:
    guest(server).send_line("poweroff")
    stopped = tenant.wait_phase(server, "Shutoff")
    assert stopped["spec"]["state"] == "Active"
    assert stopped["status"]["stoppedAtGeneration"] == stopped["metadata"]["generation"]
    act(tenant, "start", server, action="Start")
    tenant.wait_phase(server, "Active")


def test_a_guest_whose_policy_is_always_comes_back_when_it_powers_itself_off(
    cloud: Cloud, tenant: Tenant, guest: Guest
) -> None:
    tenant.apply(*network_manifests("blue", "10.20.0.0/24"), server_manifest("web", "blue", restartPolicy="Always"))
    tenant.wait_phase("web", "Active")
    assert guest("web").run("touch /tmp/before").status == 0
    guest("web").send_line("poweroff")
    wait_for(lambda: _forgot(cloud, tenant, "web"), what="the guest booted again", timeout_s=90)


def test_a_guest_that_reboots_itself_stays_active(cloud: Cloud, tenant: Tenant, server: str, guest: Guest) -> None:
    assert guest(server).run("touch /tmp/before").status == 0
    guest(server).send_line("reboot")
    wait_for(lambda: _forgot(cloud, tenant, server), what="the guest booted again", timeout_s=90)
    assert tenant.wait_phase(server, "Active")["status"]["phase"] == "Active"


@pytest.mark.parametrize("reboot_type", ["Soft", "Hard"])
def test_a_reboot_that_is_asked_for_happens_once(
    cloud: Cloud, tenant: Tenant, server: str, guest: Guest, reboot_type: str
) -> None:
    assert guest(server).run("touch /tmp/before").status == 0
    act(tenant, "reboot", server, action="Reboot", reboot={"type": reboot_type})
    tenant.wait_phase(server, "Active")
    wait_for(lambda: _forgot(cloud, tenant, server), what="the guest booted again", timeout_s=90)


def test_an_action_that_the_phase_forbids_is_refused_and_says_which_phases_allow_it(
    tenant: Tenant, server: str
) -> None:
    failed = act(tenant, "start", server, action="Start", phase="Failed")
    assert "Shutoff" in failed["status"]["message"]


def test_a_domain_that_somebody_destroyed_is_seen_and_told(cloud: Cloud, tenant: Tenant, server: str) -> None:
    placed = tenant.wait_phase(server, "Active")
    host = next(host for host in cloud.hosts if host.name == placed["status"]["host"])
    assert cloud.execute(host, "virsh", "destroy", placed["metadata"]["uid"]).returncode == 0
    tenant.wait_phase(server, "Shutoff")


def test_a_server_waits_for_what_does_not_exist_yet_and_says_for_what(tenant: Tenant) -> None:
    tenant.apply(server_manifest("web", "blue", flavor="absent"))

    def lack(found: dict) -> str:  # type: ignore[type-arg]  # why: a JSON document
        ready = conditions(found).get("Ready", {})
        return "" if "absent" in ready.get("message", "") else f"it says {ready}"

    tenant.wait("server", "web", lack)
    tenant.cluster.apply_objects(
        {
            "apiVersion": "nephos.cloud/v1alpha1",
            "kind": "Flavor",
            "metadata": {"name": "absent"},
            "spec": {"vcpus": 1, "memoryMiB": 128, "diskGiB": 1},
        }
    )
    try:
        tenant.apply(*network_manifests("blue", "10.20.0.0/24"))
        tenant.wait_phase("web", "Active")
    finally:
        tenant.cluster.kubectl("delete", "flavor", "absent", "--ignore-not-found")


def test_no_valid_host_says_how_many_hosts_each_filter_refused(tenant: Tenant) -> None:
    tenant.cluster.apply_objects(
        {
            "apiVersion": "nephos.cloud/v1alpha1",
            "kind": "Flavor",
            "metadata": {"name": "giant"},
            "spec": {"vcpus": 1, "memoryMiB": 1_000_000, "diskGiB": 1},
        }
    )
    try:
        tenant.cluster.apply_objects(
            {
                "apiVersion": "nephos.cloud/v1alpha1",
                "kind": "Project",
                "metadata": {"name": tenant.name},
                "spec": {"quota": {"ramMiB": -1}},
            }
        )
        tenant.apply_once_heard(
            *network_manifests("blue", "10.20.0.0/24"), server_manifest("web", "blue", flavor="giant")
        )
        failed = tenant.wait_phase("web", "Error")
        message = conditions(failed)["Ready"]["message"]
        assert "No valid host" in message
        assert "2" in message, message
    finally:
        tenant.delete("server", "web")
        tenant.cluster.kubectl("delete", "flavor", "giant", "--ignore-not-found")


def act(tenant: Tenant, name: str, server: str, *, phase: str = "Succeeded", **spec: object) -> dict:  # type: ignore[type-arg]  # why: JSON
    """Ask for an action and wait until it ended in that phase."""
    tenant.apply({**ACTION, "metadata": {"name": name}, "spec": {"server": server, **spec}})
    return tenant.wait(
        "serveraction",
        name,
        lambda found: "" if found.get("status", {}).get("phase") == phase else f"its status is {found.get('status')}",
    )


def _forgot(cloud: Cloud, tenant: Tenant, server: str) -> None:
    """The root file system of `tiny` is in memory: a file that is gone means a new boot."""
    if _ask(cloud, tenant, server, "test -e /tmp/before").status == 0:
        raise NotYet("the guest still remembers")


def _ask(cloud: Cloud, tenant: Tenant, server: str, command: str) -> Answer:
    """Ask a guest that is about to reboot: one that is between two lives, or goes down beneath the command, later."""
    with passing(FailureError), cloud.console(tenant.name, server) as console:
        console.log_in(timeout_s=30)
        return console.run(command, timeout_s=5)
