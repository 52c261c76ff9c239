"""Netlink's framing, and what is read out of it."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nephos_agent.network.addresses import link_local
from nephos_agent.network.linux.netlink_codec import attribute, attributes, message, messages

VALUES = st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=8)


@given(VALUES)
def test_attributes_are_read_as_they_were_written(values: list[tuple[int, bytes]]) -> None:
    payload = b"head" + b"".join(attribute(kind, value) for kind, value in values)
    assert list(attributes(memoryview(payload), 4)) == values


@given(st.lists(st.tuples(st.integers(16, 100), st.binary(max_size=50)), max_size=6))
def test_messages_are_read_as_they_were_written(values: list[tuple[int, bytes]]) -> None:
    data = b""
    for kind, body in values:
        packed = message(kind, 0, 1, body)
        data += packed + bytes(-len(packed) % 4)
    assert [(kind, bytes(body)) for kind, body in messages(memoryview(data))] == values


@pytest.mark.parametrize(
    ("mac", "address"),
    [("52:54:00:81:b5:fa", "fe80::5054:ff:fe81:b5fa"), ("00:00:5e:00:53:01", "fe80::200:5eff:fe00:5301")],
)
def test_an_interfaces_own_address_follows_its_mac(mac: str, address: str) -> None:
    assert link_local(mac) == address
    assert socket.inet_pton(socket.AF_INET6, link_local(mac))
