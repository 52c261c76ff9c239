from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_api.metadata import Key
from nephos_api.resources import Port, Subnet
from nephos_operator import addressing
from nephos_operator.addressing import AddressBook, Cursor, Range
from nephos_operator.allocation import address_problem, allocate, automatic_problem
from nephos_operator.claims import held_addresses
from nephos_operator.verdict import Stalls, Waits

MAC = "52:54:00:12:34:56"
OWN = "2001:db8::5054:ff:fe12:3456"
"""What a guest with that MAC makes of 2001:db8::/64."""
STATEFUL = {"ipv6Mode": "DHCPv6Stateful"}


def subnet(cidr: str = "10.0.0.0/29", **spec: Any) -> Subnet:
    network = ip_network(cidr)
    gateway = addressing.default_gateway(network)
    status = {"phase": "Active", "gateway": gateway, "serviceAddress": addressing.text(int(network[-2]), network)}
    metadata = {"name": f"s-{network.network_address.packed.hex()}", "namespace": "demo", "uid": cidr}
    return Subnet.model_validate(
        {"metadata": metadata, "spec": {"network": "n", "cidr": cidr} | spec, "status": status}
    )


def port(name: str, addresses: str | set[str], of: Subnet) -> Port:
    allocations = [
        {"subnet": of.metadata.name, "subnetUID": of.uid, "address": address, "prefixLength": 24}
        for address in sorted({addresses} if isinstance(addresses, str) else addresses)
    ]
    metadata = {"name": name, "namespace": "demo", "uid": name}
    return Port.model_validate({"metadata": metadata, "spec": {"network": "n", "allocations": allocations}})


def key(name: str) -> Key:
    return Key("Port", "demo", name)


@pytest.mark.parametrize(
    ("cidr", "first", "last"),
    [
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.254"),
        ("10.0.0.0/29", "10.0.0.1", "10.0.0.6"),
        ("10.0.0.0/31", "10.0.0.0", "10.0.0.1"),
        ("2001:db8::/64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
    ],
)
def test_network_and_broadcast_addresses_are_not_given_out(cidr: str, first: str, last: str) -> None:
    assert addressing.usable(ip_network(cidr)) == Range(int(ip_address(first)), int(ip_address(last)))


def test_a_full_subnet_gives_nothing_and_a_freed_address_comes_back() -> None:
    book, small = AddressBook(), subnet()
    given_out = [book.reserve_next(small, key(str(number))) for number in range(6)]
    assert given_out == ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", None, None]
    book.cancel(key("1"))
    assert book.reserve_next(small, key("new")) == "10.0.0.3"


def test_what_an_object_will_have_after_all_is_not_given_back_with_the_rest() -> None:
    book, small, other = AddressBook(), subnet(), subnet("10.1.0.0/29")
    for reserved in (small, other):
        book.reserve(reserved, key("a"), "10.0.0.3" if reserved is small else "10.1.0.3")
    book.reserve(small, key("b"), "10.0.0.4")
    book.cancel(key("a"), but=[(small.uid, "10.0.0.3")])
    assert [book.count(found.uid) for found in (small, other)] == [2, 0]
    book.cancel(key("a"))
    assert book.holders(small.uid, "10.0.0.4") == {key("b")}
    assert book.count(small.uid) == 1


def test_the_same_port_gets_the_same_address_when_it_asks_again() -> None:
    book, small = AddressBook(), subnet()
    assert book.reserve_next(small, key("a")) == book.reserve_next(small, key("a"))


def test_a_reservation_becomes_the_ports_own_and_is_free_when_the_port_is_gone() -> None:
    book, small = AddressBook(), subnet()
    address = book.reserve_next(small, key("a")) or ""
    made = port("a", address, small)
    book.hold(made.key, held_addresses(made))
    assert book.count(small.uid) == 1
    assert book.holders(small.uid, address) == {key("a")}
    book.release(made.key, held_addresses(made))
    assert book.count(small.uid) == 0
    assert not book.is_taken(small.uid, int(ip_address(address)))


def test_addresses_come_from_the_pools() -> None:
    pools = [{"start": "10.0.0.3", "end": "10.0.0.4"}, {"start": "10.0.0.2", "end": "10.0.0.2"}]
    book, small = AddressBook(), subnet(allocationPools=pools)
    assert [book.reserve_next(small, key(str(n))) for n in range(4)] == ["10.0.0.3", "10.0.0.4", "10.0.0.2", None]


def test_changed_pools_are_looked_at_anew() -> None:
    book = AddressBook()
    before = subnet(allocationPools=[{"start": "10.0.0.2", "end": "10.0.0.2"}])
    assert book.reserve_next(before, key("a")) == "10.0.0.2"
    assert book.reserve_next(before, key("b")) is None
    assert book.reserve_next(subnet(), key("b")) == "10.0.0.3"


def test_a_huge_subnet_costs_nothing() -> None:
    book, huge = AddressBook(), subnet("2001:db8::/64")
    assert [book.reserve_next(huge, key(str(n))) for n in range(3)] == [f"2001:db8::{n}" for n in (2, 3, 4)]


@given(
    st.lists(
        st.tuples(st.sampled_from(["next", "fixed", "made", "gone", "cancel"]), st.integers(0, 7), st.integers(0, 15)),
        max_size=60,
    )
)
def test_no_address_is_ever_given_twice_nor_a_reserved_one(steps: list[tuple[str, int, int]]) -> None:
    book, small = AddressBook(), subnet("10.0.0.0/28")
    reserved: dict[str, set[str]] = {}
    ports: dict[str, Port] = {}
    for step, who, offset in steps:
        name, wanted = str(who), f"10.0.0.{offset}"
        match step:
            case "next" if name not in ports:
                if (address := book.reserve_next(small, key(name))) is not None:
                    reserved.setdefault(name, set()).add(address)
            case "fixed" if name not in ports and offset not in (0, 1, 14, 15):
                if book.reserve(small, key(name), wanted):
                    reserved.setdefault(name, set()).add(wanted)
            case "made" if name in reserved:
                ports[name] = port(name, reserved.pop(name), small)
                book.hold(key(name), held_addresses(ports[name]))
            case "gone" if name in ports:
                book.release(key(name), held_addresses(ports.pop(name)))
            case "cancel" if name not in ports:
                book.cancel(key(name))
                reserved.pop(name, None)
        held = [allocation.address for made in ports.values() for allocation in made.spec.allocations]
        taken = [address for addresses in reserved.values() for address in addresses] + held
        assert len(taken) == len(set(taken))
        assert not {"10.0.0.0", "10.0.0.1", "10.0.0.14", "10.0.0.15"} & set(taken)
        assert book.count(small.uid) == len(taken)


@given(st.sets(st.integers(0, 30)), st.lists(st.integers(0, 30), max_size=20))
def test_a_cursor_finds_every_free_number_and_only_those(taken: set[int], freed: list[int]) -> None:
    cursor = Cursor((Range(0, 10), Range(20, 30)))
    busy = set(taken)
    for given_back in freed:
        busy.discard(given_back)
        cursor.free(given_back)
    found = set()
    while (number := cursor.next_free(busy.__contains__)) is not None:
        assert number not in busy
        busy.add(number)
        found.add(number)
    inside = set(range(11)) | set(range(20, 31))
    assert found == inside - (taken - set(freed))


def test_the_highest_free_address_serves() -> None:
    network = ip_network("10.0.0.0/29")
    assert addressing.highest_free(network, lambda _: False) == "10.0.0.6"
    assert addressing.highest_free(network, lambda number: number == int(ip_address("10.0.0.6"))) == "10.0.0.5"
    assert addressing.highest_free(network, lambda _: True) is None


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("10.0.0.4", None),
        ("10.0.0.1", "AddressReserved"),
        ("10.0.0.6", "AddressReserved"),
        ("10.0.0.0", "AddressNotUsable"),
        ("10.0.0.7", "AddressNotUsable"),
        ("10.0.1.1", "AddressOutside"),
        ("2001:db8::1", "AddressOutside"),
    ],
)
def test_a_fixed_address_is_judged(address: str, reason: str | None) -> None:
    problem = address_problem("spec.addresses", address, [subnet()])
    assert (problem.reason if problem else None) == reason


def test_where_one_address_of_several_fails_none_is_kept() -> None:
    book, small = AddressBook(), subnet()
    book.hold(key("other"), {(small.uid, "10.0.0.4")})
    refused = allocate(key("a"), "spec.addresses", ["10.0.0.3", "10.0.0.4"], [small], book, MAC)
    assert isinstance(refused, Waits)
    assert "Port demo/other" in refused.message
    assert book.reserve(small, key("b"), "10.0.0.3")


def test_several_addresses_of_one_subnet_are_all_kept_for_the_port_that_asks() -> None:
    book, small = AddressBook(), subnet()
    assert not isinstance(allocate(key("a"), "", ["10.0.0.2", "10.0.0.3"], [small], book, MAC), Waits | Stalls)
    assert book.reserve_next(small, key("b")) == "10.0.0.4"
    assert isinstance(allocate(key("c"), "", ["10.0.0.2"], [small], book, MAC), Waits)


def test_a_second_subnet_helps_out_when_the_first_is_full() -> None:
    book = AddressBook()
    first, second = subnet("10.0.0.0/30", gateway="10.0.0.1"), subnet("10.0.1.0/29")
    allocations = allocate(key("a"), "", (), [first, second], book, MAC)
    assert not isinstance(allocations, Waits | Stalls)
    assert [allocation.subnet_uid for allocation in allocations] == [second.uid]


def taken(*subnets: Subnet, asked: tuple[str, ...] = (), mac: str = MAC, book: AddressBook | None = None) -> list[str]:
    found = allocate(key("a"), "spec.addresses", asked, subnets, book or AddressBook(), mac)
    assert not isinstance(found, Waits | Stalls), found
    return [allocation.address for allocation in found]


@given(
    st.binary(min_size=6, max_size=6).map(lambda octets: ":".join(f"{octet:02x}" for octet in octets)),
    st.integers(0, 2**64 - 1).map(lambda prefix: ip_network((prefix << 64, 64))),
)
def test_a_guests_own_address_says_its_mac_and_no_other_guest_makes_it(mac: str, cidr: Any) -> None:
    address = ip_address(addressing.automatic_address(cidr, mac))
    assert address in cidr
    octets = bytearray(address.packed[8:])
    assert octets[3:5] == b"\xff\xfe"
    octets[0] ^= 2
    assert ":".join(f"{octet:02x}" for octet in octets[:3] + octets[5:]) == mac


@pytest.mark.parametrize(
    ("subnets", "asked", "addresses"),
    [
        ([subnet("2001:db8::/64")], (), [OWN]),
        ([subnet("2001:db8::/64", ipv6Mode="SLAAC")], (), [OWN]),
        ([subnet("2001:db8::/64", ipv6Mode="DHCPv6Stateless")], (), [OWN]),
        ([subnet("2001:db8::/64", **STATEFUL)], (), ["2001:db8::2"]),
        ([subnet("2001:db8::/64", dhcp=False)], (), [OWN]),
        ([subnet("10.0.0.0/24"), subnet("2001:db8::/64")], (), ["10.0.0.2", OWN]),
        ([subnet("2001:db8::/64"), subnet("10.0.0.0/24")], ("10.0.0.9",), ["10.0.0.9", OWN]),
        ([subnet("2001:db8::/64", dhcp=False), subnet("10.0.0.0/24")], ("10.0.0.9",), ["10.0.0.9"]),
        ([subnet("2001:db8::/64", **STATEFUL), subnet("10.0.0.0/24")], ("10.0.0.9",), ["10.0.0.9"]),
        ([subnet("2001:db8::/64"), subnet("2001:db8:1::/64")], (), [OWN, "2001:db8:1:0:5054:ff:fe12:3456"]),
        ([subnet("2001:db8::/64"), subnet("2001:db8:1::/64", **STATEFUL)], (), [OWN, "2001:db8:1::2"]),
        ([subnet("2001:db8::/64", dhcp=False)], ("2001:db8::99",), ["2001:db8::99"]),
        ([subnet("2001:db8::/64")], (OWN,), [OWN]),
    ],
)
def test_a_port_has_the_addresses_that_its_guest_will_take(
    subnets: list[Subnet], asked: tuple[str, ...], addresses: list[str]
) -> None:
    assert taken(*subnets, asked=asked) == addresses


def test_a_guest_that_makes_its_own_address_can_not_be_given_another() -> None:
    told = [subnet("2001:db8::/64")]
    refused = allocate(key("a"), "spec.addresses", ["2001:db8::99"], told, AddressBook(), MAC)
    assert isinstance(refused, Stalls)
    assert refused.reason == "AddressIsAutomatic"
    assert automatic_problem("spec.addresses", OWN, told, MAC) is None
    assert automatic_problem("spec.addresses", OWN, told, None) is not None


def test_of_two_ports_with_one_mac_the_second_waits() -> None:
    book, told = AddressBook(), subnet("2001:db8::/64")
    assert taken(told, book=book) == [OWN]
    waits = allocate(key("b"), "spec.addresses", (), [told], book, MAC)
    assert isinstance(waits, Waits)
    assert MAC in waits.message


def test_a_service_address_that_a_guest_would_make_is_told() -> None:
    told = subnet("2001:db8::/64", serviceAddress=OWN)
    told = told.model_copy(update={"status": told.status.model_copy(update={"service_address": OWN})})
    problem = allocate(key("a"), "spec.addresses", (), [told], AddressBook(), MAC)
    assert isinstance(problem, Stalls)
    assert problem.message.startswith("spec.macAddress")


MIXES: tuple[dict[str, Any], ...] = (
    {"cidr": "10.0.0.0/29"},
    {"cidr": "10.0.1.0/29", "allocationPools": [{"start": "10.0.1.3", "end": "10.0.1.4"}]},
    {"cidr": "2001:db8::/64"},
    {"cidr": "2001:db8:1::/64", "ipv6Mode": "DHCPv6Stateless"},
    {"cidr": "2001:db8:2::/120", **STATEFUL},
    {"cidr": "2001:db8:3::/64", "dhcp": False},
)


@given(
    st.lists(st.sampled_from(MIXES), min_size=1, max_size=6, unique_by=lambda spec: str(spec["cidr"])),
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12),
)
def test_whatever_subnets_a_network_has_ports_never_share_an_address(
    specs: list[dict[str, Any]], steps: list[tuple[int, bool]]
) -> None:
    book, subnets = AddressBook(), [subnet(**spec) for spec in specs]
    by_uid = {each.uid: each for each in subnets}
    held: dict[int, list[tuple[str, str]]] = {}
    for who, stays in steps:
        mac = f"52:54:00:00:00:{who:02x}"
        if not stays:
            book.cancel(key(str(who)))
            held.pop(who, None)
            continue
        found = allocate(key(str(who)), "spec.addresses", (), subnets, book, mac)
        if isinstance(found, Waits | Stalls):
            held.pop(who, None)
            continue
        held[who] = [(allocation.subnet_uid, allocation.address) for allocation in found]
        for allocation in found:
            of = by_uid[allocation.subnet_uid]
            assert address_problem("", allocation.address, [of]) is None
            assert automatic_problem("", allocation.address, [of], mac) is None
        versions = [ip_address(allocation.address).version for allocation in found]
        assert versions.count(4) == any(ip_network(of.spec.cidr).version == 4 for of in subnets)
        assert set(versions) == {ip_network(of.spec.cidr).version for of in subnets}
        told = {of.uid for of in subnets if of.spec.dhcp and addressing.is_automatic(of.spec)}
        assert told <= {allocation.subnet_uid for allocation in found}
    taken = [address for addresses in held.values() for address in addresses]
    assert len(taken) == len(set(taken))
