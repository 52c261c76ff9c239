"""Somebody whom nobody filters asks in a guest's name, so that the guest gets an answer to what it never asked."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace

import pytest

from contract.frames import packet_socket, udp_frame
from contract.group_lab import EVERYTHING_OUT, group, with_groups
from contract.guest_sockets import Datagrams, datagrams
from contract.network_lab import Guest, Lab, inside, network, port
from contract.router_lab import INTERNET, Outside, public_network
from nephos_agent.network.model import HostNetwork, PortAddress
from nephos_agent.network.names import network_names

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")

SHUT = group("shut", *EVERYTHING_OUT)
SAID = bytes(20)
"""What ``udp_frame`` says."""
SOMEBODY = "52:54:00:00:00:99"
LAST = {"shut": 51, "friendly": 52, "open": 53}


@dataclass
class Forger:
    """Who sends whole frames from a device, and may do so in anybody's name."""

    speaker: socket.socket
    address: str
    mac: str

    def says(self, mac: str, sender: tuple[str, int], receiver: tuple[str, int]) -> None:
        self.speaker.send(udp_frame(self.mac, mac, sender[0], receiver[0], sender[1], receiver[1]))


@dataclass
class Scene:
    """On one host: ``shut`` lets in nothing, ``friendly`` all; ``open`` has no port security."""

    guests: dict[str, Guest]
    prefix: str
    forger: Forger
    stranger: Guest
    """Where the forger is."""
    service_mac: str
    """Of somebody who is not filtered."""

    def address(self, name: str) -> str:
        return f"{self.prefix}.{LAST[name]}"

    def socket(self, name: str, number: int) -> Datagrams:
        return datagrams(self.guests[name], self.address(name), number)


async def _scene(lab: Lab, plain: HostNetwork, prefix: str, internet: Outside | None) -> Scene:
    subnet = plain.subnets[0].uid
    groups = {"shut": ("shut",), "friendly": ("allow-all",), "open": ()}
    ports = tuple(
        replace(
            port(name, f"{prefix}.{last}", lab.one, groups=groups[name]),
            addresses=(PortAddress(f"{prefix}.{last}", subnet, 24),),
            port_security=name != "open",
        )
        for name, last in LAST.items()
    )
    described = with_groups(replace(plain, ports=ports), SHUT)
    guests = {each.uid: await lab.one.boot(described, each) for each in ports}
    for name, guest in guests.items():
        await guest.run("ip", "addr", "add", f"{prefix}.{LAST[name]}/24", "dev", "eth0")
    if internet is None:
        stranger, device, address, mac = guests["open"], "eth0", f"{prefix}.{LAST['open']}", guests["open"].mac
    else:
        stranger, device, address, mac = Guest(internet.namespace, lab.one.folder, ""), "br-pub", INTERNET, SOMEBODY
        lab.one.guests.append(stranger)
    speaker = inside(stranger.namespace, lambda: packet_socket(device))
    stranger.sockets.append(speaker)
    return Scene(
        guests, prefix, Forger(speaker, address, mac), stranger, network_names(plain.uid, "nephos").service_mac
    )


@pytest.fixture(params=["by the wire", "without port security"])
async def scene(request: pytest.FixtureRequest, router_lab: Lab, internet: Outside) -> Scene:
    if request.param == "by the wire":
        return await _scene(router_lab, public_network(), "203.0.113", internet)
    return await _scene(router_lab, network(1), "10.10.0", None)


async def test_nobody_gets_an_answer_to_what_somebody_else_asked_in_his_name(scene: Scene) -> None:
    """Whether it was nobody who was asked for it, or somebody who lets everything in."""
    forger, shut = scene.forger, scene.guests["shut"]
    victim = scene.socket("shut", 5000)
    own, its = victim.socket.getsockname(), (forger.address, 4000)
    friend = (scene.address("friendly"), 53)
    listening = scene.socket("friendly", 53)
    for mac, other in ((scene.service_mac, its), (scene.guests["friendly"].mac, friend)):
        for _ in range(2):
            forger.says(mac, own, other)
            forger.says(shut.mac, other, own)
            assert not await victim.hears(SAID), other
    assert await listening.hears(SAID), "it came where it may"


async def test_nobody_is_reached_by_what_a_neighbour_lets_in(scene: Scene) -> None:
    """What is addressed to one guest and handed to another makes no way to the first, not even with a forged answer."""
    forger, its = scene.forger, (scene.forger.address, 4000)
    victim, friend = scene.socket("shut", 5000), scene.socket("friendly", 5000)
    for _ in range(2):
        forger.says(scene.guests["friendly"].mac, its, victim.socket.getsockname())
        forger.says(scene.service_mac, victim.socket.getsockname(), its)
        forger.says(scene.guests["shut"].mac, its, victim.socket.getsockname())
        assert not await victim.hears(SAID)
    forger.says(scene.guests["friendly"].mac, its, friend.socket.getsockname())
    assert await friend.hears(SAID)


async def test_what_it_asks_itself_is_answered_even_then(scene: Scene) -> None:
    forger = scene.forger
    victim, friend = scene.socket("shut", 5000), scene.socket("friendly", 53)
    there = datagrams(scene.stranger, forger.address, 4000)
    forger.says(scene.guests["friendly"].mac, victim.socket.getsockname(), friend.socket.getsockname())
    assert await friend.hears(SAID)
    for other in (there, friend):
        for _ in range(2):
            assert await victim.reaches(other, b"question")
            assert await other.reaches(victim, b"answer")
    another = datagrams(scene.stranger, forger.address, 4001)
    assert not await another.reaches(victim)
    assert await another.reaches(friend)
    assert await friend.reaches(another)
