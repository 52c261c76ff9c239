"""What every network driver does, and what the Linux one does to real frames between two hosts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from contract.network_lab import Guest, Host, Lab, OneServer, eventually, inside, network, port, running_lab
from nephos_agent.metadata.server import MetadataServer
from nephos_agent.network.addresses import link_local
from nephos_agent.network.desired import HostContext, facts
from nephos_agent.network.facts import Dnsmasq
from nephos_agent.network.linux import driver as linux_driver
from nephos_agent.network.linux.kernel import Kernel
from nephos_agent.network.linux.taps import open_tap as linux_open_tap
from nephos_agent.network.memory import MemoryNetwork
from nephos_agent.network.model import HostNetwork, HostPort, PortAddress, RateLimit
from nephos_agent.network.names import network_names, tap_name
from nephos_agent.network.plan import Changes
from nephos_agent.network.protocol import NetworkDriver
from nephos_api.errors import TemporaryFault
from nephos_api.resources.network import SubnetView

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


@dataclass
class World:
    """A driver, and a way to open a tap as QEMU does."""

    driver: NetworkDriver
    host: str
    address: str
    changed: list[str]
    open_tap: Callable[[str], Callable[[], None]]
    """Opens the port's tap; the result closes it."""

    def port(self, uid: str, address: str) -> HostPort:
        return replace(
            port(uid, address, Host(self.host, self.address, Path(), MetadataServer(OneServer()))), host=self.host
        )


@pytest.fixture(params=["linux", "memory"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        twin = MemoryNetwork("h1", taps_open_by_themselves=False)
        changed: list[str] = []
        await twin.start(changed.append)

        def open_in_memory(port_uid: str) -> Callable[[], None]:
            twin.open_tap(port_uid)
            return lambda: twin.close_tap(port_uid)

        yield World(twin, "h1", "192.0.2.1", changed, open_in_memory)
        await twin.close()
        return
    async with running_lab(tmp_path) as lab:

        def open_in_kernel(port_uid: str) -> Callable[[], None]:
            descriptor = inside(lab.one.namespace, lambda: linux_open_tap(tap_name(port_uid)))
            return lambda: os.close(descriptor)

        yield World(lab.one.driver, "h1", "192.0.2.1", lab.one.changed, open_in_kernel)


# Both drivers


async def test_a_tap_is_bridged_once_a_process_has_it_open_and_not_before(world: World) -> None:
    a = world.port("a", "10.10.0.11")
    name = await world.driver.create_tap(a.uid, a.mac, 1450)
    assert name == tap_name(a.uid)
    await world.driver.apply(network(1, a))
    assert await world.driver.plugged() == frozenset()
    close = world.open_tap(a.uid)
    await world.driver.apply(network(1, a))
    assert await world.driver.plugged() == {a.uid}
    close()


async def test_every_call_may_be_repeated(world: World) -> None:
    a = world.port("a", "10.10.0.11")
    await world.driver.create_tap(a.uid, a.mac, 1450)
    await world.driver.create_tap(a.uid, a.mac, 1450)
    close = world.open_tap(a.uid)
    for _ in range(3):
        await world.driver.apply(network(1, a))
        assert await world.driver.create_tap(a.uid, a.mac, 1450) == tap_name(a.uid)
    assert await world.driver.plugged() == {a.uid}
    close()
    for _ in range(2):
        await world.driver.unplug(a.uid)
        await world.driver.remove("network-1")
    assert await world.driver.plugged() == frozenset()
    assert await world.driver.networks() == frozenset()


async def test_a_port_that_is_not_described_any_more_is_unplugged_and_comes_back_when_it_is(world: World) -> None:
    a, b = world.port("a", "10.10.0.11"), world.port("b", "10.10.0.12")
    closers = []
    for each in (a, b):
        await world.driver.create_tap(each.uid, each.mac, 1450)
        closers.append(world.open_tap(each.uid))
    await world.driver.apply(network(1, a, b))
    await world.driver.apply(network(1, b))
    assert await world.driver.plugged() == {b.uid}
    await world.driver.apply(network(1, a, b))
    assert await world.driver.plugged() == {a.uid, b.uid}
    for close in closers:
        close()


async def test_a_port_that_the_api_forgot_stays_plugged_while_it_is_said_to_be_kept(world: World) -> None:
    a = world.port("a", "10.10.0.11")
    await world.driver.create_tap(a.uid, a.mac, 1450)
    close = world.open_tap(a.uid)
    await world.driver.apply(network(1, a))
    await world.driver.apply(replace(network(1), keep_unknown=True))
    assert await world.driver.plugged() == {a.uid}
    await world.driver.apply(network(1))
    assert await world.driver.plugged() == frozenset()
    close()


async def test_a_tap_whose_qemu_died_is_not_plugged_and_is_made_afresh_for_the_next_start(world: World) -> None:
    a = world.port("a", "10.10.0.11")
    await world.driver.create_tap(a.uid, a.mac, 1450)
    close = world.open_tap(a.uid)
    await world.driver.apply(network(1, a))
    close()
    await eventually(lambda: _is(world.changed, ["network-1"]))
    assert await world.driver.plugged() == frozenset()
    await world.driver.create_tap(a.uid, a.mac, 1450)
    close = world.open_tap(a.uid)
    await world.driver.apply(network(1, a))
    assert await world.driver.plugged() == {a.uid}
    close()


async def test_every_plugged_port_tells_what_passed_it(world: World) -> None:
    described = network(1, world.port("a", "10.10.0.11"), world.port("b", "10.10.0.12"))
    await world.driver.create_tap("a", described.ports[0].mac, 1450)
    close = world.open_tap("a")
    await world.driver.apply(described)
    assert [traffic.port_uid for traffic in await world.driver.traffic()] == ["a"]
    close()


async def test_what_a_driver_observes_is_what_the_network_needs(world: World) -> None:
    described = network(1, world.port("a", "10.10.0.11"), world.port("b", "10.10.0.12"))
    await world.driver.create_tap("a", described.ports[0].mac, 1450)
    close = world.open_tap("a")
    await world.driver.apply(described)
    needed = facts(described, HostContext("h1", "192.0.2.1", "nephos", ""), frozenset({tap_name("a")}))
    seen = await world.driver.observed()
    assert {it for it in needed if not isinstance(it, Dnsmasq)} <= seen.networks
    assert seen.routers == {}
    close()


async def test_networks_are_listed_until_they_are_removed(world: World) -> None:
    await world.driver.apply(network(1))
    await world.driver.apply(network(2))
    assert await world.driver.networks() == {"network-1", "network-2"}
    await world.driver.remove("network-1")
    assert await world.driver.networks() == {"network-2"}


async def _is(changed: list[str], expected: list[str]) -> bool:
    return changed == expected


# The Linux driver: real frames


@dataclass
class Pair:
    """Guest ``a`` on host one and guest ``b`` on host two, of one network."""

    lab: Lab
    network: HostNetwork
    a: Guest
    b: Guest


@pytest.fixture
async def pair(lab: Lab) -> Pair:
    both = network(1, port("a", "10.10.0.11", lab.one), port("b", "10.10.0.12", lab.two))
    a = await lab.one.boot(both, both.ports[0])
    b = await lab.two.boot(both, both.ports[1])
    await a.dhcp()
    await b.dhcp()
    return Pair(lab, both, a, b)


async def test_guests_on_two_hosts_ping_each_other_by_address_and_by_name(pair: Pair) -> None:
    assert await pair.a.pings("10.10.0.12")
    assert await pair.b.pings("10.10.0.11")
    for name in ("b", "b.net1.lab.nephos.internal"):
        answer = await pair.a.resolve(name, "10.10.0.254")
        assert "10.10.0.12" in answer, answer


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


async def test_frames_of_full_size_cross_the_tunnel_and_larger_ones_do_not(pair: Pair) -> None:
    assert await pair.a.pings("10.10.0.12", "-M", "do", "-s", str(1450 - 28))
    assert not await pair.a.pings("10.10.0.12", "-M", "do", "-s", str(1450 - 27))


async def test_a_guest_reaches_its_peers_by_link_local_addresses_too(pair: Pair) -> None:
    peer = link_local(pair.b.mac)
    await eventually(lambda: pair.a.pings(f"{peer}%eth0"))


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


async def test_a_port_that_joins_later_is_known_to_all_within_one_apply(pair: Pair) -> None:
    c = port("c", "10.10.0.13", pair.lab.one)
    grown = replace(pair.network, ports=(*pair.network.ports, c))
    guest = await pair.lab.one.boot(grown, c)
    await pair.lab.two.driver.apply(grown)
    assert (await guest.dhcp())["ip"] == "10.10.0.13"
    assert await guest.pings("10.10.0.11")
    assert await guest.pings("10.10.0.12")
    await eventually(lambda: _resolves(pair.b, "c", "10.10.0.13"))
    await pair.lab.two.driver.apply(pair.network)
    await eventually(lambda: _does_not_resolve(pair.b, "c", "10.10.0.13"))


async def _resolves(guest: Guest, name: str, address: str) -> bool:
    return address in await guest.resolve(f"{name}.net1.lab.nephos.internal", "10.10.0.254")


async def _does_not_resolve(guest: Guest, name: str, address: str) -> bool:
    return not await _resolves(guest, name, address)


async def test_spoofed_addresses_do_not_leave_a_port(pair: Pair) -> None:
    await pair.a.run("ip", "addr", "add", "10.10.0.99/24", "dev", "eth0")
    assert not await pair.a.pings("10.10.0.12", "-I", "10.10.0.99")
    await eventually(lambda: pair.a.pings("10.10.0.12", "-I", "10.10.0.11"))
    assert not await pair.a.pings("169.254.169.254", "-I", "10.10.0.99")
    await pair.a.run("ip", "link", "set", "eth0", "address", "52:54:00:99:99:99")
    assert not await pair.a.pings("10.10.0.12")


async def test_a_guest_cannot_take_its_neighbours_address_by_arp(pair: Pair) -> None:
    c = port("c", "10.10.0.13", pair.lab.one)
    grown = replace(pair.network, ports=(*pair.network.ports, c))
    victim = await pair.lab.one.boot(grown, c)
    await victim.dhcp()
    assert await victim.pings("10.10.0.11")
    forged = _arp_reply(sender_mac=pair.a.mac, sender_ip="10.10.0.254", target_mac=c.mac, target_ip="10.10.0.13")
    honest = _arp_reply(sender_mac=pair.a.mac, sender_ip="10.10.0.11", target_mac=c.mac, target_ip="10.10.0.13")
    seen = inside(victim.namespace, lambda: _packet_socket("eth0"))
    sender = inside(pair.a.namespace, lambda: _packet_socket("eth0"))
    with seen, sender:
        for frame in (forged, honest):
            sender.send(frame)
        received = await _frames_until(seen, lambda frame: frame == honest)
    assert forged not in received


async def test_a_guest_is_no_dhcp_server_and_no_router(pair: Pair) -> None:
    c = port("c", "10.10.0.13", pair.lab.one)
    grown = replace(pair.network, ports=(*pair.network.ports, c))
    victim = await pair.lab.one.boot(grown, c)
    seen = inside(victim.namespace, lambda: _packet_socket("eth0"))
    sender = inside(pair.a.namespace, lambda: _packet_socket("eth0"))
    offer = _udp(pair.a.mac, c.mac, "10.10.0.11", "10.10.0.13", 67, 68)
    advertisement = _icmpv6(pair.a.mac, c.mac, link_local(pair.a.mac), link_local(c.mac), 134)
    stolen = _icmpv6(pair.a.mac, c.mac, link_local(pair.a.mac), link_local(c.mac), 136, link_local(c.mac))
    own = _icmpv6(pair.a.mac, c.mac, link_local(pair.a.mac), link_local(c.mac), 136, link_local(pair.a.mac))
    allowed = _udp(pair.a.mac, c.mac, "10.10.0.11", "10.10.0.13", 4000, 4000)
    with seen, sender:
        for frame in (offer, advertisement, stolen, own, allowed):
            sender.send(frame)
        received = await _frames_until(seen, lambda frame: frame == allowed)
    assert own in received
    assert not {offer, advertisement, stolen} & set(received)


async def test_networks_with_the_same_addresses_never_meet(pair: Pair) -> None:
    lab = pair.lab
    other = replace(
        network(2, port("x", "10.10.0.11", lab.one, "subnet-2"), port("y", "10.10.0.12", lab.two, "subnet-2"))
    )
    x = await lab.one.boot(other, other.ports[0])
    assert (await x.dhcp())["domain"] == "net2.lab.nephos.internal"
    assert not await x.pings("10.10.0.12")
    y = await lab.two.boot(other, other.ports[1])
    await y.dhcp()
    assert await x.pings("10.10.0.12")
    _, neighbours = await x.run("ip", "neigh", "show", "10.10.0.12")
    assert y.mac in neighbours
    assert pair.b.mac not in neighbours
    code, body = await x.run("curl", "-sf", "http://169.254.169.254/openstack/latest/meta_data.json")
    assert code == 0
    assert '"name": "x"' in body


async def test_what_a_host_answers_itself_does_not_cross_the_tunnel(pair: Pair) -> None:
    watcher = inside(pair.lab.two.tenants, lambda: _packet_socket(network_names("network-1", "nephos").vxlan))
    with watcher:
        await pair.a.dhcp()
        await pair.a.run("ip", "neigh", "flush", "all")
        await pair.a.pings("10.10.0.254")
        await pair.a.pings("10.10.0.77")
        assert await pair.a.pings("10.10.0.12")
        received = await _frames_until(watcher, lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 1)
    assert not [frame for frame in received if frame[12:14] == b"\x08\x06"]
    assert not [frame for frame in received if frame[12:14] == b"\x08\x00" and frame[23] == 17]


async def test_a_restart_of_the_driver_loses_no_ping_and_changes_nothing(pair: Pair) -> None:
    ping = asyncio.create_task(pair.a.run("ping", "-i0.01", "-c200", "10.10.0.12"))
    await asyncio.sleep(0)
    before = pair.lab.one.in_tenants("ip", "-o", "link")
    process = pair.lab.one.launcher.processes[network_names("network-1", "nephos").unit][1].pid
    await pair.lab.one.driver.close()
    await pair.lab.one.start()
    assert await pair.lab.one.driver.plugged() == {"a"}
    assert await pair.lab.one.driver.networks() == {"network-1"}
    await pair.lab.one.driver.apply(pair.network)
    _, output = await ping
    # At its end ping waits for two round trips only, which a busy machine may take longer for.
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", output)}
    assert answered >= set(range(1, 190)), output
    assert pair.lab.one.in_tenants("ip", "-o", "link") == before
    assert pair.lab.one.launcher.processes[network_names("network-1", "nephos").unit][1].pid == process


async def test_a_driver_that_dies_between_any_two_changes_is_finished_by_the_next(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = lab.one
    limits = RateLimit(kilobits_per_second=10_000, packets_per_second=1_000)
    limited = replace(port("a", "10.10.0.11", host), ingress=limits, egress=limits)
    described = network(1, limited, port("b", "10.10.0.12", lab.two))
    name = await host.driver.create_tap("a", described.ports[0].mac, 1450)
    guest = host.guest(described.ports[0])
    guest.plug_in(host.namespace, name, 1450)
    deaths = 0
    for step in range(40):
        for change in ("make", "remove"):
            with monkeypatch.context() as patch:
                patch.setattr(Kernel, change, _dying(getattr(Kernel, change), step))
                with contextlib.suppress(TemporaryFault):
                    await (host.driver.apply(described) if change == "make" else host.driver.remove("network-1"))
                    deaths -= 1
            deaths += 1
            await host.driver.close()
            await host.start()
            if change == "make":
                await host.driver.apply(described)
                assert await host.driver.plugged() == {"a"}
                worker = host.driver._worker
                assert not await host.driver._run(lambda: worker.plan(described))  # noqa: B023  # why: run at once
                await host.driver.remove("network-1") if step % 2 else None
            else:
                await host.driver.remove("network-1")
                assert host.tenant_links() == {"lo", name}
    assert deaths > 10
    await host.driver.apply(described)
    assert (await guest.dhcp())["ip"] == "10.10.0.11"


def _dying(change: Callable[[Kernel, Changes], None], after: int) -> Callable[[Kernel, Changes], None]:
    """Return the change as a process makes it that is killed after so many of them."""
    made = 0

    def die_in_the_middle(kernel: Kernel, changes: Changes) -> None:
        nonlocal made
        for fact in changes.facts:
            if made == after:
                raise OSError("killed")
            made += 1
            change(kernel, Changes(changes.kind, (fact,)))

    return die_in_the_middle


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


@pytest.mark.parametrize(
    "sabotage",
    [
        ("ip", "link", "del", "{bridge}"),
        ("ip", "link", "del", "{vxlan}"),
        ("ip", "link", "del", "{service}"),
        ("ip", "link", "set", "{vxlan}", "down"),
        ("ip", "link", "set", "{tap}", "nomaster"),
        ("nft", "delete", "table", "bridge", "nephos"),
        ("nft", "flush", "map", "bridge", "nephos", "port_ipv4"),
        ("nft", "flush", "chain", "bridge", "nephos", "incoming"),
    ],
    ids=lambda words: " ".join(words),
)
async def test_what_somebody_breaks_is_told_and_repaired(pair: Pair, sabotage: tuple[str, ...]) -> None:
    names = network_names("network-1", "nephos")
    words = [
        word.format(bridge=names.bridge, vxlan=names.vxlan, service=names.service, tap=tap_name("a"))
        for word in sabotage
    ]
    pair.lab.one.in_tenants(*words)

    async def told() -> bool:
        return bool(pair.lab.one.changed)

    await eventually(told)
    await pair.lab.one.driver.apply(pair.network)
    await pair.a.run("ip", "neigh", "flush", "all")
    assert await pair.a.pings("10.10.0.12")
    assert await pair.a.pings("10.10.0.254")
    await eventually(lambda: _resolves(pair.a, "b", "10.10.0.12"))
    await pair.a.run("ip", "addr", "add", "10.10.0.99/24", "dev", "eth0")
    assert not await pair.a.pings("10.10.0.12", "-I", "10.10.0.99")


@pytest.mark.parametrize(
    "stale",
    [
        ("bridge", "fdb", "del", "{mac}", "dev", "{vxlan}", "self"),
        ("bridge", "fdb", "replace", "{mac}", "dev", "{vxlan}", "dst", "192.0.2.99", "self", "permanent"),
        ("bridge", "fdb", "del", "{mac}", "dev", "{vxlan}", "master"),
        ("ip", "neigh", "del", "10.10.0.12", "dev", "{bridge}"),
        ("ip", "neigh", "replace", "10.10.0.12", "lladdr", "52:54:00:00:00:99", "dev", "{bridge}", "nud", "permanent"),
        ("sysctl", "-qw", "net.ipv4.ip_forward=1"),
    ],
    ids=lambda words: " ".join(words),
)
async def test_what_leads_astray_or_opens_a_way_is_right_again_after_a_sweep(
    pair: Pair, stale: tuple[str, ...]
) -> None:
    host, names = pair.lab.one, network_names("network-1", "nephos")
    mac = pair.network.ports[1].mac
    host.in_tenants(*(word.format(mac=mac, vxlan=names.vxlan, bridge=names.bridge) for word in stale))
    await host.driver._sweep()
    for uid in host.changed:
        assert uid in ("", pair.network.uid)
    await host.driver.apply(pair.network)
    await pair.a.run("ip", "neigh", "flush", "all")
    assert await pair.a.pings("10.10.0.12")
    assert host.in_tenants("sysctl", "-n", "net.ipv4.ip_forward").strip() == "0"


async def test_removal_leaves_nothing(pair: Pair) -> None:
    for host, guest, uid in ((pair.lab.one, pair.a, "a"), (pair.lab.two, pair.b, "b")):
        guest.unplug()
        await host.driver.unplug(uid)
        await host.driver.remove("network-1")
        assert host.tenant_links() == {"lo"}
        assert await host.driver.networks() == frozenset()
        assert host.launcher.processes == {}
        assert list((host.folder / "run").iterdir()) == []
        assert {path.name for path in (host.folder / "netns").glob("nephos*")} == {"nephos"}
        for name in ("role", "port_mac", "port_ipv4", "port_ipv6", "port_nd_target"):
            assert "elements" not in host.in_tenants(
                "nft", "list", "map" if name in ("role", "port_ipv4", "port_ipv6") else "set", "bridge", "nephos", name
            )


async def test_a_network_with_two_subnets_and_no_ports_needs_nothing_more(lab: Lab) -> None:
    first = network(1)
    second = SubnetView(name="more", uid="subnet-9", cidr="fd00:9::/64", service_address="fd00:9::ffff", dhcp=True)
    await lab.one.driver.apply(first)
    grown = replace(
        first,
        subnets=(*first.subnets, second),
        ports=(
            replace(
                port("a", "10.10.0.11", lab.one),
                addresses=(PortAddress("10.10.0.11", "subnet-1", 24), PortAddress("fd00:9::11", "subnet-9", 64)),
            ),
        ),
    )
    guest = await lab.one.boot(grown, grown.ports[0])
    await guest.dhcp()
    await guest.run("ip", "addr", "add", "fd00:9::11/64", "dev", "eth0", "nodad")
    await eventually(lambda: guest.pings("fd00:9::ffff"))
    answer = await guest.resolve("a.net1.lab.nephos.internal", "10.10.0.254")
    assert "fd00:9::11" in answer


async def test_a_namespace_of_another_cloud_is_not_touched(lab: Lab) -> None:
    other = replace(lab.one.settings, cloud_id="another")
    driver = type(lab.one.driver)(other, lab.one.launcher, MetadataServer(OneServer()))
    with pytest.raises(Exception, match="belongs to nephos/lab"):
        await driver.start(lambda _uid: None)
    await driver.close()


async def test_a_device_that_carries_no_mark_of_ours_stays(pair: Pair) -> None:
    pair.lab.one.in_tenants("ip", "link", "add", "stranger", "type", "bridge")
    await pair.lab.one.driver.close()
    await pair.lab.one.start()
    pair.a.unplug()
    await pair.lab.one.driver.unplug("a")
    await pair.lab.one.driver.remove("network-1")
    assert "stranger" in pair.lab.one.tenant_links()


async def test_what_a_killed_agent_left_of_a_port_goes_soon_after_it_starts_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux_driver, "_FIRST_SWEEP_S", 0.1)
    host = lab.one
    host.in_tenants("nft", "add", "element", "bridge", "nephos", "port_mac", "{ tapgone . 52:54:00:00:00:09 }")
    await host.driver.close()
    await host.start()

    async def gone() -> bool:
        return "tapgone" not in host.in_tenants("nft", "list", "set", "bridge", "nephos", "port_mac")

    await eventually(gone)


async def test_a_sweep_collects_taps_and_elements_that_belong_to_no_port(lab: Lab) -> None:
    host = lab.one
    left = await host.driver.create_tap("left", "52:54:00:00:00:09", 1450)
    await host.driver.close()
    await host.start()
    fresh = await host.driver.create_tap("fresh", "52:54:00:00:00:0a", 1450)
    host.in_tenants("nft", "add", "element", "bridge", "nephos", "port_mac", "{ tapgone . 52:54:00:00:00:09 }")
    await host.driver._sweep()
    assert left in host.links(), "one sweep is not enough: its guest may be about to start"
    await host.driver._sweep()
    assert left not in host.links()
    assert fresh in host.links()
    assert "tapgone" not in host.in_tenants("nft", "list", "set", "bridge", "nephos", "port_mac")


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


# Frames


def _packet_socket(device: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    opened.bind((device, 0))
    opened.setblocking(False)
    return opened


async def _frames_until(source: socket.socket, last: Callable[[bytes], bool]) -> list[bytes]:
    received: list[bytes] = []
    async with asyncio.timeout(5):
        while not received or not last(received[-1]):
            received.append(await asyncio.get_running_loop().sock_recv(source, 2048))
    return received


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _arp_reply(*, sender_mac: str, sender_ip: str, target_mac: str, target_ip: str) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2)
    body += _mac(sender_mac) + socket.inet_aton(sender_ip) + _mac(target_mac) + socket.inet_aton(target_ip)
    return _mac(target_mac) + _mac(sender_mac) + b"\x08\x06" + body + bytes(18)


def _udp(source_mac: str, target_mac: str, source: str, target: str, source_port: int, target_port: int) -> bytes:
    udp = struct.pack("!HHHH", source_port, target_port, 8 + 20, 0) + bytes(20)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    header += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", header))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    header = header[:10] + struct.pack("!H", checksum) + header[12:]
    return _mac(target_mac) + _mac(source_mac) + b"\x08\x00" + header + udp


def _icmpv6(source_mac: str, target_mac: str, source: str, target: str, kind: int, subject: str = "::") -> bytes:
    body = struct.pack("!BBHI", kind, 0, 0, 0) + socket.inet_pton(socket.AF_INET6, subject)
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255)
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return _mac(target_mac) + _mac(source_mac) + b"\x86\xdd" + header + addresses + body
