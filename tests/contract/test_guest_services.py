"""What a network's service on its host tells guests: leases, names, metadata."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import cast

import pytest

from contract.network_lab import Lab, OneServer, Pair, network, port
from contract.waiting import eventually
from nephos_agent.metadata.server import MetadataServer
from nephos_agent.network.names import network_names

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


async def test_a_lease_says_address_routes_mtu_resolver_and_domain(pair: Pair) -> None:
    lease = await pair.a.dhcp()
    assert lease["ip"] == "10.10.0.11"
    assert lease["mask"] == "24"
    assert lease["mtu"] == "1450"
    assert lease["router"] == "10.10.0.1"
    assert lease["staticroutes"] == "0.0.0.0/0 10.10.0.1 169.254.169.254/32 10.10.0.254"
    assert lease["dns"] == "10.10.0.254"
    assert lease["domain"] == lease["search"] == "net1.lab.nephos.internal"
    assert lease["hostname"] == "a"


async def test_a_guest_keeps_its_address_when_dnsmasq_forgot_its_leases(pair: Pair) -> None:
    launcher = pair.lab.one.launcher
    unit, _ = launcher.processes[network_names("network-1", "nephos").unit]
    await launcher.stop(unit.name)
    await launcher.start(unit)
    code, output = await pair.a.run(
        "busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-r", "10.10.0.11", "-s", "/bin/true", "-t", "5", "-T", "1"
    )
    assert code == 0, output
    assert "10.10.0.11 obtained" in output


async def test_metadata_answers_a_guest_of_itself_and_of_nobody_else(pair: Pair) -> None:
    for guest, name in ((pair.a, "a"), (pair.b, "b")):
        code, body = await guest.run(
            "curl", "-sf", "-H", "X-Forwarded-For: 10.10.0.12", "http://169.254.169.254/openstack/latest/meta_data.json"
        )
        assert code == 0
        assert f'"name": "{name}"' in body
    code, body = await pair.a.run("curl", "-sf", "http://169.254.169.254/latest/meta-data/")
    assert code == 0
    assert "instance-id" in body.splitlines()


async def test_metadata_answers_over_ipv6(pair: Pair) -> None:
    async def answered() -> bool:
        code, body = await pair.a.run("curl", "-sf", "-m2", "http://[fe80::a9fe:a9fe%25eth0]/openstack")
        return code == 0 and "latest/" in body

    await eventually(answered)


async def test_metadata_comes_back_with_the_next_agent(pair: Pair, tmp_path: Path) -> None:
    old = pair.lab.one.services
    assert isinstance(old, MetadataServer)
    await pair.lab.one.driver.close()
    await old.close()
    code, _ = await pair.a.run("curl", "-sf", "-m2", "http://169.254.169.254/openstack")
    assert code != 0
    pair.lab.one.services = fresh = MetadataServer(OneServer())
    await pair.lab.one.start()
    await pair.lab.one.driver.apply(pair.network)
    code, _ = await pair.a.run("curl", "-sf", "-m2", "http://169.254.169.254/openstack")
    assert code == 0
    await fresh.close()


async def test_names_of_the_world_are_asked_of_the_hosts_resolver(lab: Lab) -> None:
    resolver = Resolver()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: resolver, local_addr=("127.0.0.1", 0))
    lab.one.resolver_port = transport.get_extra_info("sockname")[1]
    await lab.one.driver.close()
    await lab.one.start()
    one = network(1, port("a", "10.10.0.11", lab.one))
    guest = await lab.one.boot(one, one.ports[0])
    await guest.dhcp()
    answer = await guest.resolve("www.example.org", "10.10.0.254")
    assert "203.0.113.7" in answer, answer
    assert "203.0.113.7" not in await guest.resolve("nobody.net1.lab.nephos.internal", "10.10.0.254")
    transport.close()


class Resolver(asyncio.DatagramProtocol):
    """Answers every question for an IPv4 address."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end = data.index(b"\0", 12) + 5
        is_ipv4 = data[end - 4 : end - 2] == b"\0\1"
        header = data[:2] + b"\x81\x80" + b"\0\1" + (b"\0\1" if is_ipv4 else b"\0\0") + bytes(4)
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("203.0.113.7") if is_ipv4 else b""
        self._transport.sendto(header + data[12:end] + record, addr)
