"""Networks on Linux, by real frames of guests on two hosts."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from contract.frames import arp_reply, frames_until, icmpv6_frame, packet_socket, udp_frame
from contract.network_lab import Guest, Lab, Pair, inside, network, port, resolves
from contract.waiting import eventually
from nephos_agent.network.addresses import link_local
from nephos_agent.network.model import PortAddress
from nephos_agent.network.names import network_names
from nephos_api.resources.network import SubnetView

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


async def test_guests_on_two_hosts_ping_each_other_by_address_and_by_name(pair: Pair) -> None:
    assert await pair.a.pings("10.10.0.12")
    assert await pair.b.pings("10.10.0.11")
    for name in ("b", "b.net1.lab.nephos.internal"):
        answer = await pair.a.resolve(name, "10.10.0.254")
        assert "10.10.0.12" in answer, answer


async def test_frames_of_full_size_cross_the_tunnel_and_larger_ones_do_not(pair: Pair) -> None:
    assert await pair.a.pings("10.10.0.12", "-M", "do", "-s", str(1450 - 28))
    assert not await pair.a.pings("10.10.0.12", "-M", "do", "-s", str(1450 - 27))


async def test_a_guest_reaches_its_peers_by_link_local_addresses_too(pair: Pair) -> None:
    peer = link_local(pair.b.mac)
    await eventually(lambda: pair.a.pings(f"{peer}%eth0"))


async def test_a_port_that_joins_later_is_known_to_all_within_one_apply(pair: Pair) -> None:
    c = port("c", "10.10.0.13", pair.lab.one)
    grown = replace(pair.network, ports=(*pair.network.ports, c))
    guest = await pair.lab.one.boot(grown, c)
    await pair.lab.two.driver.apply(grown)
    assert (await guest.dhcp())["ip"] == "10.10.0.13"
    assert await guest.pings("10.10.0.11")
    assert await guest.pings("10.10.0.12")
    await eventually(lambda: resolves(pair.b, "c", "10.10.0.13"))
    await pair.lab.two.driver.apply(pair.network)
    await eventually(lambda: _does_not_resolve(pair.b, "c", "10.10.0.13"))


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
    watcher = inside(pair.lab.two.tenants, lambda: packet_socket(network_names("network-1", "nephos").vxlan))
    with watcher:
        await pair.a.dhcp()
        await pair.a.run("ip", "neigh", "flush", "all")
        await pair.a.pings("10.10.0.254")
        await pair.a.pings("10.10.0.77")
        assert await pair.a.pings("10.10.0.12")
        received = await frames_until(watcher, lambda frame: frame[12:14] == b"\x08\x00" and frame[23] == 1)
    assert not [frame for frame in received if frame[12:14] == b"\x08\x06"]
    assert not [frame for frame in received if frame[12:14] == b"\x08\x00" and frame[23] == 17]


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
    forged = arp_reply(sender_mac=pair.a.mac, sender_ip="10.10.0.254", target_mac=c.mac, target_ip="10.10.0.13")
    honest = arp_reply(sender_mac=pair.a.mac, sender_ip="10.10.0.11", target_mac=c.mac, target_ip="10.10.0.13")
    seen = inside(victim.namespace, lambda: packet_socket("eth0"))
    sender = inside(pair.a.namespace, lambda: packet_socket("eth0"))
    with seen, sender:
        for frame in (forged, honest):
            sender.send(frame)
        received = await frames_until(seen, lambda frame: frame == honest)
    assert forged not in received


async def test_a_guest_is_no_dhcp_server_and_no_router(pair: Pair) -> None:
    c = port("c", "10.10.0.13", pair.lab.one)
    grown = replace(pair.network, ports=(*pair.network.ports, c))
    victim = await pair.lab.one.boot(grown, c)
    seen = inside(victim.namespace, lambda: packet_socket("eth0"))
    sender = inside(pair.a.namespace, lambda: packet_socket("eth0"))
    offer = udp_frame(pair.a.mac, c.mac, "10.10.0.11", "10.10.0.13", 67, 68)
    advertisement = icmpv6_frame(pair.a.mac, c.mac, link_local(pair.a.mac), link_local(c.mac), 134)
    stolen = icmpv6_frame(pair.a.mac, c.mac, link_local(pair.a.mac), link_local(c.mac), 136, link_local(c.mac))
    own = icmpv6_frame(pair.a.mac, c.mac, link_local(pair.a.mac), link_local(c.mac), 136, link_local(pair.a.mac))
    allowed = udp_frame(pair.a.mac, c.mac, "10.10.0.11", "10.10.0.13", 4000, 4000)
    with seen, sender:
        for frame in (offer, advertisement, stolen, own, allowed):
            sender.send(frame)
        received = await frames_until(seen, lambda frame: frame == allowed)
    assert own in received
    assert not {offer, advertisement, stolen} & set(received)


async def _does_not_resolve(guest: Guest, name: str, address: str) -> bool:
    return not await resolves(guest, name, address)
