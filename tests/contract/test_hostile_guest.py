"""What somebody who is root in a guest may not say to its neighbours, by real frames to guests on both hosts."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from contract.frames import frames_until, packed_mac, packet_socket
from contract.group_lab import EVERYTHING_OUT, IN, V4, V6, Guests
from contract.guest_sockets import datagrams
from contract.network_lab import inside
from nephos_agent.network.addresses import link_local
from nephos_agent.network.model import SecurityRule
from nephos_agent.network.names import network_names

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")

OWN, OWN_IPV6 = "10.10.0.11", "fd00:10::11"
EVERYBODY = "ff:ff:ff:ff:ff:ff"
IPV4, IPV6, ARP, VLAN, QINQ = 0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8
TCP, UDP, FRAGMENT, ICMPV6, HOPS, OPTIONS = 6, 17, 44, 58, 0, 60
_DECLINE, _RELEASE = 4, 7
ROUTER_ADVERTISEMENT = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
_BODY = b"from somebody who is not what he seems to be.."
_FILLING = bytes.fromhex("010400000000")
"""An option that fills a header of extensions (RFC 8200, 4.2)."""


_TELLING = 24
"""So many bytes at its end tell a frame from others, whatever tag was taken off it."""


def _frame(target: str, source: str, kind: int, body: bytes) -> bytes:
    return packed_mac(target) + packed_mac(source) + struct.pack("!H", kind) + body


def _ipv4(source: str, target: str, body: bytes, ports: tuple[int, int] = (4000, 4000)) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + 8 + len(body), 7, 0, 64, UDP, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", head))
    head = head[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + head[12:]
    return head + struct.pack("!HHHH", *ports, 8 + len(body), 0) + body


def _ipv6(source: str, target: str, following: int, body: bytes) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(body), following, 255)
    return head + socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target) + body


def _arp(operation: int, sender_mac: str, sender: str, target: str, *, mac_bytes: int = 6) -> bytes:
    head = struct.pack("!HHBBH", 1, IPV4, mac_bytes, 4, operation)
    return head + packed_mac(sender_mac) + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(target)


def _solicitation(subject: str) -> bytes:
    return struct.pack("!BBHI", 135, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, subject)


def _said(own: str, mac: str, address: str, address_ipv6: str) -> dict[str, bytes]:
    """Return frames of a guest with the MAC ``own`` to one that has the other addresses, by what is wrong with each."""
    fine, fine_ipv6 = _ipv4(OWN, address, b""), _ipv6(OWN_IPV6, address_ipv6, UDP, struct.pack("!HHHH", 1, 1, 8, 0))
    group = f"ff02::1:ff00:{address_ipv6.rsplit(':', 1)[1]}"
    group_mac = "33:33:ff:00:00:" + address_ipv6.rsplit(":", 1)[1]
    advertised = link_local(own), "ff02::1"
    return {
        "tagged": _frame(mac, own, VLAN, struct.pack("!HH", 5, IPV4) + fine),
        "tagged with priority alone": _frame(mac, own, VLAN, struct.pack("!HH", 0, IPV4) + fine),
        "tagged twice": _frame(mac, own, QINQ, struct.pack("!HHHH", 5, VLAN, 6, IPV4) + fine),
        "tagged, as somebody else": _frame(mac, own, VLAN, struct.pack("!HH", 0, ARP) + _arp(2, own, address, OWN)),
        "spanning tree": packed_mac("01:80:c2:00:00:00")
        + packed_mac(own)
        + struct.pack("!HBBB", 38, 0x42, 0x42, 3)
        + _BODY[:35],
        "LLDP": _frame("01:80:c2:00:00:0e", own, 0x88CC, _BODY),
        "802.1X to the port": _frame("01:80:c2:00:00:03", own, 0x888E, _BODY),
        "802.1X to a guest": _frame(mac, own, 0x888E, _BODY),
        "MPLS": _frame(mac, own, 0x8847, struct.pack("!I", 0x00010140) + fine),
        "PPPoE": _frame(mac, own, 0x8864, _BODY),
        "IP in 802.3": packed_mac(mac)
        + packed_mac(own)
        + struct.pack("!H6sH", 8 + len(fine), packed_mac("aa:aa:03:00:00:00"), IPV4)
        + fine,
        "from the receiver's MAC": _frame(mac, mac, IPV4, fine),
        "from everybody's MAC": _frame(mac, EVERYBODY, IPV4, fine),
        "from the receiver's address": _frame(mac, own, IPV4, _ipv4(address, address, b"")),
        "from the host's own address": _frame(mac, own, IPV4, _ipv4("127.0.0.1", address, b"")),
        "from an address mapped to IPv6": _frame(
            mac, own, IPV6, _ipv6("::ffff:10.10.0.13", address_ipv6, UDP, bytes(8))
        ),
        "from IPv6's own address": _frame(mac, own, IPV6, _ipv6("::1", address_ipv6, UDP, bytes(8))),
        "IPv6 that calls itself IPv4": _frame(mac, own, IPV4, fine_ipv6),
        "IPv4 that calls itself IPv6": _frame(mac, own, IPV6, fine),
        "ARP in another's name": _frame(EVERYBODY, own, ARP, _arp(1, own, address, address)),
        "ARP with another's MAC": _frame(EVERYBODY, own, ARP, _arp(1, mac, OWN, address)),
        "ARP of another kind": _frame(mac, own, ARP, _arp(9, own, OWN, address)),
        "a probe for another's IPv4": _frame(EVERYBODY, own, ARP, _arp(1, own, "0.0.0.0", address)),
        "a probe for another's IPv6": _frame(
            group_mac, own, IPV6, _ipv6("::", group, ICMPV6, _solicitation(address_ipv6))
        ),
        "a router, behind options": _frame(
            mac, own, IPV6, _ipv6(*advertised, OPTIONS, bytes([ICMPV6, 0]) + _FILLING + ROUTER_ADVERTISEMENT)
        ),
        "a router, behind hops": _frame(
            mac, own, IPV6, _ipv6(*advertised, HOPS, bytes([ICMPV6, 0]) + _FILLING + ROUTER_ADVERTISEMENT)
        ),
        "a router, in one fragment": _frame(
            mac, own, IPV6, _ipv6(*advertised, FRAGMENT, struct.pack("!BBHI", ICMPV6, 0, 0, 5) + ROUTER_ADVERTISEMENT)
        ),
    }


async def test_nothing_passes_that_is_not_a_guests_own(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4), SecurityRule(IN, V6))
    speaker = inside(guests.a.namespace, lambda: packet_socket("eth0"))
    guests.a.sockets.append(speaker)
    for guest, address, address_ipv6 in (
        (guests.b, "10.10.0.12", "fd00:10::12"),
        (guests.c, "10.10.0.13", "fd00:10::13"),
    ):
        hearer = inside(guest.namespace, lambda: packet_socket("eth0"))  # why: called at once
        guest.sockets.append(hearer)
        said = _said(guests.a.mac, guest.mac, address, address_ipv6)
        for frame in said.values():
            speaker.send(frame)
        own = _own_probes(guests.a.mac)
        for frame in own:
            speaker.send(frame)
        speaker.send(_frame(guest.mac, guests.a.mac, IPV4, _ipv4(OWN, address, b"the last")))
        heard = await frames_until(hearer, lambda frame: b"the last" in frame)
        assert [name for name, frame in said.items() if any(frame[-_TELLING:] in each for each in heard)] == []
        assert [frame in heard for frame in own] == [guest is guests.c] * len(own), "ARP and ND stay on their host"


def _own_probes(mac: str) -> tuple[bytes, ...]:
    solicitation = _ipv6("::", "ff02::1:ff00:11", ICMPV6, _solicitation(OWN_IPV6))
    return (
        _frame(EVERYBODY, mac, ARP, _arp(1, mac, "0.0.0.0", OWN)),
        _frame("33:33:ff:00:00:11", mac, IPV6, solicitation),
    )


async def test_who_may_talk_to_nobody_gets_no_way_to_a_friend_by_asking_the_service_in_his_place(
    guests: Guests,
) -> None:
    await guests.set_rules()
    neighbour = datagrams(guests.a, OWN, 4000)
    sender = datagrams(guests.c, "10.10.0.13", 4000)
    for mac in (network_names("network-1", "nephos").service_mac, guests.a.mac) * 2:
        await guests.c.run("ip", "neigh", "replace", OWN, "lladdr", mac, "dev", "eth0")
        assert not await sender.reaches(neighbour), mac
        assert not await neighbour.reaches(sender), mac


async def test_nobody_gives_back_or_declines_an_address_for_somebody_else(guests: Guests) -> None:
    await guests.c.dhcp()
    speaker = inside(guests.a.namespace, lambda: packet_socket("eth0"))
    guests.a.sockets.append(speaker)
    service = network_names(guests.network.uid, "nephos").service_mac
    for kind in (_DECLINE, _RELEASE):
        said = _dhcp(kind, guests.c.mac, "10.10.0.13", "10.10.0.254")
        speaker.send(_frame(EVERYBODY, guests.a.mac, IPV4, _ipv4("0.0.0.0", "255.255.255.255", said, ports=(68, 67))))
        speaker.send(_frame(service, guests.a.mac, IPV4, _ipv4(OWN, "10.10.0.254", said, ports=(68, 67))))
        speaker.send(_frame(service, guests.a.mac, IPV4, _ipv4(OWN, "10.10.0.254", said, ports=(4000, 67))))
    assert (await guests.a.dhcp())["ip"] == OWN, "what was said before is heard"
    assert (await guests.c.dhcp())["ip"] == "10.10.0.13"


def _dhcp(kind: int, mac: str, address: str, server: str) -> bytes:
    """Return a client's message (RFC 2131) about the address."""
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 7, 0, 0)
    head += (
        socket.inet_aton(address if kind == _RELEASE else "0.0.0.0")
        + bytes(12)
        + packed_mac(mac)
        + bytes(10 + 64 + 128)
    )
    options = bytes([53, 1, kind, 50, 4]) + socket.inet_aton(address) + bytes([54, 4]) + socket.inet_aton(server)
    return head + bytes.fromhex("63825363") + options + bytes([255])
