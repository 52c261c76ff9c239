"""Where images may be fetched from."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_operator.image_service.addresses import AddressPolicy, parse_networks

PUBLIC = AddressPolicy()


@pytest.mark.parametrize("address", ["8.8.8.8", "151.101.2.132", "2a04:4e42::644", "64:ff9b::808:808"])
def test_public_addresses_are_permitted(address: str) -> None:
    assert PUBLIC.permits(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "10.96.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::a9fe:a9fe",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:10:96::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::",
    ],
)
def test_local_private_and_special_addresses_are_refused_in_every_disguise(address: str) -> None:
    assert not PUBLIC.permits(address)


@pytest.mark.parametrize(
    "text", ["2130706433", "127.1", "0x7f.1", "0177.0.0.1", "localhost", "", "1.1.1.1.", "１.1.1.1"]
)
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    assert not PUBLIC.permits(text)


def test_the_cloud_can_allow_a_mirror_in_its_own_network() -> None:
    policy = AddressPolicy(allowed=parse_networks("10.1.2.0/24, fd00:1::/64"))
    assert policy.permits("10.1.2.3")
    assert policy.permits("::ffff:10.1.2.3")
    assert policy.permits("fd00:1::5")
    assert not policy.permits("10.1.3.3")
    assert not policy.permits("127.0.0.1")


def test_the_cloud_can_deny_a_public_network_that_is_its_clusters_even_where_it_is_allowed_too() -> None:
    policy = AddressPolicy(allowed=parse_networks("2600::/16"), denied=parse_networks("2600:1::/32"))
    assert policy.permits("2600:2::1")
    assert not policy.permits("2600:1::1")


def test_a_list_of_networks_with_host_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="host bits"):
        parse_networks("10.0.0.1/8")


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_is_judged_alike_in_all_its_ipv6_forms(address: IPv4Address) -> None:
    plain = PUBLIC.permits(str(address))
    mapped = IPv6Address((0xFFFF << 32) | int(address))
    translated = IPv6Address((0x0064_FF9B << 96) | int(address))
    assert PUBLIC.permits(str(mapped)) == PUBLIC.permits(str(translated)) == plain
