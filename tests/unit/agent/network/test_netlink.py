"""Netlink's framing, and what is read out of it."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import NLM_F_DUMP_INTR, NLMSG_DONE

from nephos_agent.network.addresses import link_local
from nephos_agent.network.linux.netlink_codec import attribute, attributes, message, messages
from nephos_agent.network.linux.netlink_socket import NetlinkSocket, whole

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


class Interrupted:
    """A socket over which the kernel dumps two entries, and says so many times that they changed meanwhile."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked = 0

    def send(self, _request: bytes) -> None:
        self.asked += 1

    def recv(self, _size: int) -> bytes:
        flag = NLM_F_DUMP_INTR if self.asked <= self.times else 0
        return message(28, 0, 1, b"oneX") + message(28, flag, 1, b"twoX") + message(NLMSG_DONE, 0, 1, bytes(4))


@pytest.mark.parametrize("times", [0, 1, 4])
def test_a_dump_that_changed_meanwhile_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    kernel, opened = Interrupted(times), NetlinkSocket(socket.NETLINK_ROUTE, "entries")
    opened.close()
    monkeypatch.setattr(opened, "_socket", kernel)
    assert [bytes(payload) for _kind, payload in whole(lambda: opened.dump(30, b""))] == [b"oneX", b"twoX"]
    assert kernel.asked == times + 1


def test_a_dump_that_always_changes_meanwhile_is_an_error_and_no_half_list(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = NetlinkSocket(socket.NETLINK_ROUTE, "entries")
    opened.close()
    monkeypatch.setattr(opened, "_socket", Interrupted(100))
    with pytest.raises(OSError, match="changed meanwhile"):
        whole(lambda: opened.dump(30, b""))


@pytest.mark.parametrize(
    ("mac", "address"),
    [("52:54:00:81:b5:fa", "fe80::5054:ff:fe81:b5fa"), ("00:00:5e:00:53:01", "fe80::200:5eff:fe00:5301")],
)
def test_an_interfaces_own_address_follows_its_mac(mac: str, address: str) -> None:
    assert link_local(mac) == address
    assert socket.inet_pton(socket.AF_INET6, link_local(mac))
