"""What dnsmasq is told; compared with files that people read in review."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from nephos_agent.network import dnsmasq
from nephos_agent.network.model import HostNetwork, PortAddress
from nephos_agent.network.names import network_names
from nephos_api.errors import PermanentFault
from unit.agent.network.examples import LONELY, MANUAL, RICH, SLAAC, STATELESS, V4, V6, network, port

GOLDEN = Path(__file__).parent / "golden"
NAMES = network_names("network-1", "nephos")
CASES = {
    "one-subnet": network(),
    "dual-stack": network(subnets=(V4, V6)),
    "no-gateway-and-no-dhcp": network(subnets=(LONELY, MANUAL)),
    "all-options": network(subnets=(RICH, SLAAC, STATELESS)),
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
    leasing = frozenset({"subnet-1", "subnet-2", "subnet-3"})
    assert dnsmasq.dhcp_host(both, leasing) == "52:54:00:00:00:0b,id:*,10.10.0.11,[fd00:10::b],web-11\n"
    more = replace(both, addresses=(*both.addresses, PortAddress("10.30.0.9", "subnet-3", 16)))
    assert dnsmasq.dhcp_host(more, leasing) == dnsmasq.dhcp_host(both, leasing)


def test_a_port_is_leased_what_its_subnet_leases_and_is_known_without_it() -> None:
    both = port(11, ipv6=True)
    assert dnsmasq.dhcp_host(both, frozenset({"subnet-2"})) == "52:54:00:00:00:0b,id:*,[fd00:10::b],web-11\n"
    assert dnsmasq.dhcp_host(both, frozenset()) == "52:54:00:00:00:0b,id:*\n"


def test_addresses_are_leased_where_the_guest_does_not_make_its_own() -> None:
    subnets = (V4, V6, MANUAL, SLAAC, STATELESS)
    assert dnsmasq.leasing(network(subnets=subnets)) == {V4.uid, V6.uid}


def test_a_port_without_addresses_is_leased_nothing_and_has_no_name() -> None:
    bare = replace(port(11), addresses=())
    assert dnsmasq.dhcp_host(bare, frozenset()) == ""
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
    assert name not in dnsmasq.dhcp_host(odd, frozenset({"subnet-1"}))
    assert dnsmasq.dns_host(odd, "d") == ""


def test_a_network_where_nothing_of_ours_answers_needs_no_process() -> None:
    assert dnsmasq.is_needed(network())
    assert dnsmasq.is_needed(network(subnets=(MANUAL,))), "names of servers are for guests without DHCP too"
    outside = MANUAL.model_copy(update={"service_address": None})
    assert not dnsmasq.is_needed(network(subnets=(outside,)))
    assert not dnsmasq.is_needed(network(subnets=()))
    assert not dnsmasq.is_needed(replace(network(), serves_guests=False))


@pytest.mark.parametrize(
    "value",
    ["fe80::1%a\nserver=192.0.2.1", "fe80::1%a,option6:dns-server", "10.0.0.1\nx", "10.0.0.1,10.0.0.2", "::1\0"],
)
@pytest.mark.parametrize("field", ["dns_servers", "ntp_servers", "gateway", "service_address"])
def test_no_value_breaks_out_of_its_line(field: str, value: str) -> None:
    for subnet in (V4, SLAAC):
        # As no API server lets it through: by a copy that is not validated.
        odd = subnet.model_copy(update={field: (value,) if field.endswith("servers") else value})
        rendered = ""
        with suppress(PermanentFault, ValueError):
            rendered = dnsmasq.configuration(network(subnets=(odd,)), NAMES, "/run/nephos/network")
        assert value not in rendered
