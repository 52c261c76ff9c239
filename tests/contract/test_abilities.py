"""What the kernel of this machine is asked, and that asking changes nothing."""

from __future__ import annotations

import os
import subprocess

import pytest

from nephos_agent.network.linux import abilities as linux_abilities

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


def test_a_probe_finds_the_underlay_and_leaves_no_device() -> None:
    found = linux_abilities.probe("127.0.0.1")
    assert found.underlay_mtu == 65_536
    assert linux_abilities.probe("192.0.2.77").underlay_mtu is None
    assert b"nprobe" not in subprocess.check_output(["ip", "-o", "link"])


def test_what_it_says_of_802_1q_devices_is_what_ip_finds() -> None:
    added = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "link", "lo", "name", "tagged", "type", "vlan", "id", "7"],
        check=False,
        capture_output=True,
    )
    assert linux_abilities.probe("127.0.0.1").has_vlan == (added.returncode == 0)
