"""Whatever a host is found like, it becomes as it is described: changed by hand, half made, or just so already.

What the kernel tells of is made so again at once, all else after a sweep.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from contract.kept_lab import Kept, build_kept
from contract.network_lab import inside, network, port
from contract.router_lab import gateway, running_lab
from contract.waiting import eventually
from nephos_agent.network.linux import driver as linux_driver
from nephos_agent.network.linux.announce import arp_frame, packet_socket
from nephos_agent.network.linux.libnftables import Nftables
from nephos_agent.network.linux.neighbours import Entry, NeighbourSocket
from nephos_agent.network.linux.router_change import Change
from nephos_agent.network.linux.said import Said
from nephos_agent.network.router.plan import Step
from nephos_api.errors import TemporaryFault

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kept]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linux_driver, "_FIRST_SWEEP_S", 3600.0)  # these tests say when it is
        async with running_lab(tmp_path_factory.mktemp("kept")) as lab:
            yield await build_kept(lab)


@pytest.mark.parametrize(
    ("place", "by_hand"),
    [
        ("tenants", "bridge link set dev {vxlan} learning on"),
        ("tenants", "bridge link set dev {tap} flood on"),
        ("tenants", "bridge link set dev {door} flood on"),
        ("tenants", "ip link set {tap} mtu 1300"),
        ("tenants", "ip link set {bridge} type bridge nf_call_iptables 0"),
        ("tenants", "bridge fdb del {mac} dev {vxlan} self"),
        ("tenants", "bridge fdb replace {mac} dev {vxlan} self dst 192.0.2.99 permanent"),
        ("tenants", "bridge fdb del 00:00:00:00:00:00 dev {vxlan} self dst 192.0.2.2"),
        ("tenants", "bridge fdb append 00:00:00:00:00:00 dev {vxlan} self dst 192.0.2.99 permanent"),
        ("tenants", "bridge fdb del {mac} dev {vxlan} master"),
        ("tenants", "bridge fdb replace {mac} dev {tap} master static"),
        ("tenants", "bridge fdb add 52:54:00:00:00:99 dev {tap} master static"),
        ("tenants", "ip neigh del 10.10.0.13 dev {bridge}"),
        ("tenants", "ip neigh replace 10.10.0.13 lladdr 52:54:00:00:00:99 dev {bridge} nud permanent"),
        ("tenants", "ip neigh add 10.10.0.99 lladdr 52:54:00:00:00:99 dev {bridge} nud permanent"),
        ("tenants", "ip -6 neigh flush dev {bridge} nud permanent"),
        ("tenants", "sysctl -w net.ipv4.ip_forward=1"),
        ("tenants", "sysctl -w net.ipv6.conf.all.forwarding=1"),
        ("tenants", "nft delete element bridge nephos role '{ {door} }'"),
        ("tenants", "nft flush chain inet nephos to_port"),
        ("tenants", "nft delete table inet nephos"),
        ("router", "ip neigh del 10.10.0.13 dev {leg}"),
        ("router", "ip neigh replace 10.10.0.13 lladdr 52:54:00:00:00:99 dev {leg} nud permanent"),
        ("router", "ip neigh flush all nud permanent"),
        ("router", "ip addr del 10.10.0.1/24 dev {leg}"),
        ("router", "ip addr add 10.10.0.99/24 dev {leg}"),
        ("router", "ip addr del 203.0.113.21/32 dev {ext}"),
        ("router", "ip route del default"),
        ("router", "ip route replace default via 203.0.113.99 dev {ext} onlink"),
        ("router", "ip route flush table 100"),
        ("router", "ip route del 10.10.0.0/24 dev {leg}"),
        ("router", "ip -6 route del 2001:db8:113::/64 dev {ext}"),
        ("router", "ip -6 route del default"),
        ("router", "ip rule del priority 120"),
        ("router", "ip rule add priority 7 from 10.10.0.0/24 lookup 99"),
        ("router", "sysctl -w net.ipv4.ip_forward=0"),
        ("router", "sysctl -w net.ipv6.conf.all.forwarding=0"),
        ("router", "sysctl -w net.ipv4.conf.{leg}.forwarding=0"),
        ("router", "sysctl -w net.ipv4.conf.{leg}.rp_filter=1"),
        ("router", "sysctl -w net.ipv4.conf.{leg}.proxy_arp=1"),
        ("router", "nft delete element ip nephos floating_in '{ 203.0.113.21 }'"),
        ("router", "nft flush chain ip nephos translate"),
        ("router", "nft delete table ip nephos"),
        ("service", "ip addr del 10.10.0.254/24 dev service"),
        ("service", "ip addr add 10.10.0.99/24 dev service"),
        ("service", "ip route del 10.10.0.0/24 dev service"),
        ("service", "ip addr del fe80::a9fe:a9fe/64 dev service"),
        ("service", "sysctl -w net.ipv4.ip_forward=1"),
        ("service", "sysctl -w net.ipv6.conf.service.forwarding=1"),
        ("service", "sysctl -w net.ipv4.conf.service.proxy_arp=1"),
    ],
)
async def test_what_somebody_changes_is_as_it_was_at_once(kept: Kept, place: str, by_hand: str) -> None:
    before = kept.spoil(place, by_hand)
    await eventually(lambda: kept.is_again(place, before), 10)


@pytest.mark.parametrize("place", ["tenants", "router"])
async def test_a_sweep_leaves_rules_alone_that_nobody_changed(kept: Kept, place: str) -> None:
    with_handles = "nft -ast list ruleset"
    before = kept.run(place, with_handles)
    await kept.cloud.lab.one.driver._sweep()
    await kept.apply()
    assert kept.run(place, with_handles) == before


@pytest.mark.parametrize(
    ("place", "by_hand"),
    [
        ("tenants", "sysctl -w net.bridge.bridge-nf-call-arptables=1"),
        ("tenants", "sysctl -w net.ipv4.conf.all.arp_ignore=0"),
        ("tenants", "bridge fdb replace {mac} dev {vxlan} master dynamic"),
        ("router", "sysctl -w net.ipv4.conf.all.arp_ignore=0"),
        ("router", "sysctl -w net.ipv6.conf.{leg}.accept_ra=2"),
        ("router", "sysctl -w net.ipv4.icmp_errors_use_inbound_ifaddr=0"),
        ("service", "sysctl -w net.ipv4.conf.all.arp_ignore=0"),
        ("service", "sysctl -w net.ipv6.conf.service.accept_ra=2"),
        ("service", "sysctl -w net.ipv6.conf.service.disable_ipv6=1"),
        ("host", "sysctl -w net.ipv6.conf.{uplink}.disable_ipv6=0"),
    ],
)
async def test_what_the_kernel_does_not_tell_is_as_it_was_after_a_sweep(kept: Kept, place: str, by_hand: str) -> None:
    before = kept.spoil(place, by_hand)
    await kept.cloud.lab.one.driver._sweep()
    await eventually(lambda: kept.is_again(place, before), 10)


async def test_a_host_at_rest_is_woken_by_nobody_and_writes_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, guests = kept.cloud.lab.one, kept.cloud.guests
    worker = host.driver._worker
    heard: list[dict[str, Said]] = []
    written: list[Path] = []
    listen = worker.events.said

    def said() -> dict[str, Said]:
        heard.append(listen())
        return heard[-1]

    monkeypatch.setattr(worker.events, "said", said)
    await eventually(partial(_is_quiet, heard))
    host.changed.clear()
    monkeypatch.setattr(Path, "write_text", lambda path, _text: written.append(path))
    traffic = (
        guests["a"].run("ping", "-i0.02", "-c50", "10.10.0.13"),
        guests["d"].run("ping", "-i0.02", "-c50", "198.51.100.7"),
        kept.internet.run("ping", "-i0.02", "-c50", "203.0.113.21"),
        asyncio.to_thread(inside, kept.internet.namespace, _speak_with_many_macs),
    )
    for code, output in [answer for answer in await asyncio.gather(*traffic) if answer is not None]:
        assert code == 0, output
    assert len(host.in_host("bridge", "fdb", "show", "br", "br-ex", "dynamic").splitlines()) > 100
    assert heard == []

    await host.driver._sweep()
    await host.driver._run(worker.judge)
    assert written == []
    assert all(not (each.links or each.facts or each.sysctls) for place in heard for each in place.values())
    assert host.changed == []


async def _is_quiet(heard: list[dict[str, Said]]) -> bool:
    """Tell whether nothing is said for a second: as late the kernel may tell of links that were changed before."""
    heard.clear()
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            await eventually(partial(_is_any, heard))
    return not heard


async def _is_any(heard: list[dict[str, Said]]) -> bool:
    return bool(heard)


def _speak_with_many_macs() -> None:
    """Have bridges learn, as the hosts of a busy network do."""
    with packet_socket("br-pub") as opened:
        for number in range(200):
            mac = f"02:00:00:00:00:{number:02x}"
            opened.send(arp_frame(1, mac, "203.0.113.99", "00:00:00:00:00:00", "203.0.113.98"))


@pytest.mark.parametrize("mishap", ["what was said could not be judged", "what was said was lost"])
async def test_whatever_happened_to_what_was_said_the_next_change_by_hand_is_heard(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, mishap: str
) -> None:
    worker, before = kept.cloud.lab.one.driver._worker, kept.snapshot("tenants")
    if mishap == "what was said was lost":
        worker._kernel.tables.commits += 5
        worker.events.leave("tenants")
        await kept.cloud.lab.one.driver._sweep()
    else:
        judge, mishaps = worker.judge, iter([ValueError("a device that nobody can spell")])

        def judge_or_fail() -> frozenset[str]:
            if error := next(mishaps, None):
                raise error
            return judge()

        monkeypatch.setattr(worker, "judge", judge_or_fail)
        kept.run("tenants", "ip link set {tap} mtu 1300")
        await eventually(lambda: kept.is_again("tenants", before), 10)
    for _ in range(2):
        kept.run("tenants", "nft flush chain inet nephos to_port")
        await eventually(lambda: kept.is_again("tenants", before), 10)


async def test_a_network_of_a_thousand_ports_comes_and_goes_without_a_word(kept: Kept) -> None:
    host = kept.cloud.lab.one
    host.changed.clear()
    peers = tuple(
        port(f"p{number}", f"10.30.{number // 250}.{number % 250 + 1}", kept.cloud.lab.two) for number in range(1000)
    )
    await host.driver.apply(network(3, *peers, cidr="10.30.0.0/16"))
    await host.driver.remove("network-3")
    await host.driver._run(host.driver._worker.judge)
    assert host.changed == []


async def test_rules_that_are_refused_in_the_middle_leave_the_old_ones_and_come_with_the_next_attempt(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, before = kept.cloud.lab.one, kept.snapshot("tenants")
    grown = replace(kept.cloud.blue, ports=(*kept.cloud.blue.ports, port("e", "10.10.0.15", kept.cloud.lab.two)))
    with monkeypatch.context() as patch:
        patch.setattr(Nftables, "run", _spoilt(Nftables.run))
        with pytest.raises(TemporaryFault, match="No such file"):
            await host.driver.apply(grown)
    assert kept.snapshot("tenants") == before
    await host.driver.apply(grown)
    assert "10.10.0.15" in host.in_tenants("nft", "list", "map", "inet", "nephos", "member_ipv4")
    await kept.apply()
    assert kept.snapshot("tenants") == before


def _spoilt(run: Callable[[Nftables, str], dict[str, Any]]) -> Callable[[Nftables, str], dict[str, Any]]:
    """Return what the kernel is told, with an element for a set that it does not know at the end of each change."""

    def run_spoilt(nft: Nftables, commands: str) -> dict[str, Any]:
        if commands.startswith("{"):
            spoilt = json.loads(commands)
            nowhere = {"family": "bridge", "table": "nephos", "name": "nowhere", "elem": ["x"]}
            spoilt["nftables"].append({"add": {"element": nowhere}})
            commands = json.dumps(spoilt)
        return run(nft, commands)

    return run_spoilt


async def test_entries_of_which_half_are_made_are_all_there_after_the_next_attempt(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, before = kept.cloud.lab.one, kept.snapshot("tenants")
    peers = tuple(port(f"q{number}", f"10.10.0.{number}", kept.cloud.lab.two) for number in range(30, 40))
    grown = replace(kept.cloud.blue, ports=(*kept.cloud.blue.ports, *peers))
    with monkeypatch.context() as patch:
        patch.setattr(NeighbourSocket, "replace", _halved(NeighbourSocket.replace))
        with pytest.raises(TemporaryFault, match="killed"):
            await host.driver.apply(grown)
    await host.driver.apply(grown)
    neighbours = kept.run("tenants", "ip neigh show nud permanent")
    assert all(f"{peer.addresses[0].address} " in neighbours for peer in peers)
    await kept.apply()
    assert kept.snapshot("tenants") == before


def _halved(
    replace_entries: Callable[[NeighbourSocket, list[Entry]], None],
) -> Callable[[NeighbourSocket, list[Entry]], None]:
    def replace_half(neighbours: NeighbourSocket, entries: list[Entry]) -> None:
        replace_entries(neighbours, entries[: len(entries) // 2])
        raise OSError("killed")

    return replace_half


async def test_a_router_that_is_changed_half_way_is_finished_by_the_next_attempt(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, before = kept.cloud.lab.one, {place: kept.snapshot(place) for place in ("tenants", "router")}
    other = replace(kept.router, floating_ips=(), gateway=gateway(kept.cloud.lab.two))
    worker, deaths = host.driver._worker, 0
    for step in count():
        deaths_before = deaths
        for wanted in (other, kept.router):
            with monkeypatch.context() as patch:
                patch.setattr(Change, "carry_out", _dying(Change.carry_out, step))
                try:
                    await host.driver.apply_router(wanted)
                except TemporaryFault:
                    deaths += 1
            await host.driver.apply_router(wanted)
            assert not await host.driver._run(lambda: worker.routers.plan(wanted))  # noqa: B023  # why: run at once
        if deaths == deaths_before:
            break
    assert deaths > 10
    for place, was in before.items():  # a device that was made anew gets its own IPv6 address a moment later
        await eventually(partial(kept.is_again, place, was))


def _dying(carry_out: Callable[[Change, Step], None], after: int) -> Callable[[Change, Step], None]:
    """Return the change as a process makes it that is killed after so many steps."""
    left = iter(range(after))

    def die_in_the_middle(change: Change, step: Step) -> None:
        if next(left, None) is None:
            raise OSError("killed")
        carry_out(change, step)

    return die_in_the_middle
