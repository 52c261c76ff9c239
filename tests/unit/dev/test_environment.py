"""Hosts share the machine, and processes are told where everything is."""

from pathlib import Path

import pytest

from nephos_dev import environment
from nephos_dev.environment import Capacity, divide
from nephos_dev.layout import Layout

LAYOUT = Layout(name="nephos", slot=3, cloud_id="0b1f6a52-2b0c-4c0e-9a55-6d7a0c8f3e11", cache=Path("/cache"))


@pytest.mark.parametrize(
    ("hosts", "share"),
    [
        (1, Capacity(vcpus=2, memory_mib=23_552, disk_gib=70)),
        (2, Capacity(vcpus=1, memory_mib=11_776, disk_gib=35)),
        (5, Capacity(vcpus=1, memory_mib=4_710, disk_gib=14)),
    ],
)
def test_hosts_divide_the_machine(hosts: int, share: Capacity) -> None:
    assert divide(Capacity(vcpus=2, memory_mib=24_576, disk_gib=70), hosts) == share


def test_a_share_stays_when_the_disk_fills(tmp_path: Path) -> None:
    measured = environment.measure_machine(tmp_path)
    assert environment.measure_machine(tmp_path) == measured
    (tmp_path / "machine.json").write_text('{"vcpus": 64, "memory_mib": 1024, "disk_gib": 3}')
    assert environment.measure_machine(tmp_path) == Capacity(vcpus=64, memory_mib=1024, disk_gib=3)


def test_all_replicas_serve_admission_at_one_port_and_metrics_at_their_own() -> None:
    first, second = environment.operator(LAYOUT, 1), environment.operator(LAYOUT, 2)
    assert first["NEPHOS_WEBHOOK_PORT"] == second["NEPHOS_WEBHOOK_PORT"]
    assert first["NEPHOS_METRICS_PORT"] != second["NEPHOS_METRICS_PORT"]
    assert first["NEPHOS_REPLICA_NAME"] != second["NEPHOS_REPLICA_NAME"]


def test_an_agent_knows_its_host_only() -> None:
    host = LAYOUT.host(2)
    told = environment.agent(LAYOUT, host, Capacity(vcpus=1, memory_mib=1024, disk_gib=10), "tcg")
    assert told["NEPHOS_HOST_NAME"] == "nephos-h2"
    assert told["NEPHOS_HOST_ADDRESS"] == str(host.address)
    assert told["KUBECONFIG"].endswith("/kubeconfigs/nephos-h2")


def test_no_process_compiles_what_another_has_compiled_whatever_this_shell_is_told() -> None:
    host = LAYOUT.host(1)
    agent = environment.agent(LAYOUT, host, Capacity(vcpus=1, memory_mib=1024, disk_gib=10), "tcg")
    for told in (agent, environment.operator(LAYOUT, 1), environment.image_service(LAYOUT)):
        assert told["PYTHONPYCACHEPREFIX"] == "/cache/bytecode"
        assert told["PYTHONDONTWRITEBYTECODE"] == "", "empty: Python may write it"


@pytest.mark.parametrize(
    ("flags", "device", "expected"),
    [(["sse2", "svm"], True, "kvm"), (["vmx"], True, "kvm"), (["vmx"], False, "tcg"), (["sse2"], True, "tcg")],
)
def test_guests_run_in_hardware_only_where_the_cpu_can(flags: list[str], device: bool, expected: str) -> None:
    assert environment.acceleration(flags, has_device=device) == expected


def test_a_shell_gets_the_clouds_own_kubectl_before_the_machines() -> None:
    script = environment.shell_settings(LAYOUT, Path("/cache/bin/controlplane-1"))
    assert "export PATH=/cache/bin/controlplane-1:" in script
    assert script.rstrip().endswith(':"$PATH"')
    assert f"export KUBECONFIG={LAYOUT.kubeconfig}" in script
