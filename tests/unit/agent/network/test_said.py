"""What is understood of the kernel's announcements."""

from __future__ import annotations

import struct

from pyroute2.netlink.rtnl import RTM_NEWLINK

from nephos_agent.network.linux.netlink_codec import attribute
from nephos_agent.network.linux.said import Said

IFLA_IFNAME = 3
IFF_UP = 1


def link(index: int, name: bytes) -> memoryview:
    return memoryview(struct.pack("=BxHiII", 0, 1, index, IFF_UP, 0) + attribute(IFLA_IFNAME, name + b"\0"))


def test_a_device_of_another_name_is_the_end_of_the_one_that_it_was() -> None:
    said, names = Said(), {7: "leg"}
    said.take(RTM_NEWLINK, link(7, b"other"), names)
    assert [(event.name, event.is_gone) for event in said.links] == [("leg", True), ("other", False)]
    assert names == {7: "other"}


def test_a_device_that_is_changed_keeps_its_name_and_is_not_gone() -> None:
    said, names = Said(), {7: "leg"}
    said.take(RTM_NEWLINK, link(7, b"leg"), names)
    assert [(event.name, event.is_gone, event.is_up) for event in said.links] == [("leg", False, True)]


def test_a_name_that_is_no_text_is_heard_like_any_other() -> None:
    said = Said()
    said.take(RTM_NEWLINK, link(8, b"\xff\xfe"), {})
    assert [event.index for event in said.links] == [8]
