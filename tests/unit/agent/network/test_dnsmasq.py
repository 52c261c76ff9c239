"""What dnsmasq is told; compared with files that people read in review."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from nephos_agent.network import dnsmasq
from nephos_agent.network.model import HostNetwork, PortAddress
from nephos_agent.network.names import network_names
from unit.agent.network.examples import LONELY, MANUAL, V4, V6, network, port

GOLDEN = Path(__file__).parent / "golden"
NAMES = network_names("network-1", "nephos")
CASES = {
    "one-subnet": network(),
    "dual-stack": network(subnets=(V4, V6)),
    "no-gateway-and-no-dhcp": network(subnets=(LONELY, MANUAL)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_is_as_reviewed(name: str) -> None:
    rendered = dnsmasq.configuration(CASES[name], NAMES, "/run/nephos/network")
    assert rendered == (GOLDEN / f"{name}.conf").read_text()


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")
@pytest.mark.parametrize("described", CASES.values(), ids=CASES)
def test_dnsmasq_itself_accepts_it(described: HostNetwork, tmp_path: Path) -> None:
    for folder in ("dhcp", "dns"):
        (tmp_path / NAMES.directory / folder).mkdir(parents=True)
    path = tmp_path / "dnsmasq.conf"
    path.write_text(dnsmasq.configuration(described, NAMES, str(tmp_path)))
    checked = subprocess.run(["dnsmasq", "--test", f"--conf-file={path}"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_port_is_leased_its_first_address_of_each_version() -> None:
    both = port(11, ipv6=True)
    assert dnsmasq.dhcp_host(both) == "52:54:00:00:00:0b,id:*,10.10.0.11,[fd00:10::b],web-11\n"
    more = replace(both, addresses=(*both.addresses, PortAddress("10.30.0.9", "subnet-3", 16)))
    assert dnsmasq.dhcp_host(more) == dnsmasq.dhcp_host(both)


def test_a_port_without_addresses_is_leased_nothing_and_has_no_name() -> None:
    bare = replace(port(11), addresses=())
    assert dnsmasq.dhcp_host(bare) == ""
    assert dnsmasq.dns_host(bare, "blue.first.nephos.internal") == ""


def test_a_name_leads_to_every_address_of_the_server_on_the_network() -> None:
    assert dnsmasq.dns_host(port(11, ipv6=True), "blue.first.nephos.internal") == (
        "10.10.0.11 web-11.blue.first.nephos.internal web-11\nfd00:10::b web-11.blue.first.nephos.internal web-11\n"
    )


def test_a_port_without_a_server_is_called_by_its_own_name() -> None:
    alone = replace(port(11), server_name=None, name="vip")
    assert dnsmasq.dns_host(alone, "d") == "10.10.0.11 vip.d vip\n"


@pytest.mark.parametrize("name", ["two words", "a,b", "x\ny", "-a", "a" * 64, "dots.in.it"])
def test_what_is_no_host_name_never_reaches_a_file(name: str) -> None:
    odd = replace(port(11), server_name=name)
    assert name not in dnsmasq.dhcp_host(odd)
    assert dnsmasq.dns_host(odd, "d") == ""
