"""The filters themselves: what a change costs, and that they mend what is broken in them."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from contract.group_lab import EVERYTHING_OUT, IN, TCP, V4, V6, Guests, group, with_groups
from contract.network_lab import Lab
from contract.waiting import eventually
from nephos_agent.network.filters import guard
from nephos_agent.network.linux import kernel as linux_kernel
from nephos_agent.network.linux.tables import Tables
from nephos_agent.network.model import (
    AddressPair,
    SecurityRule,
)
from nephos_agent.network.names import network_names
from nephos_api.errors import PermanentFault, TemporaryFault

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


async def test_one_rule_more_is_one_transaction_of_one_element(guests: Guests, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[str] = []
    commit = Tables._commit

    def recording(tables: Tables, commands: str) -> None:
        commits.append(commands)
        commit(tables, commands)

    monkeypatch.setattr(Tables, "_commit", recording)
    await guests.lab.two.driver.apply(
        with_groups(guests.network, group("web", *EVERYTHING_OUT, SecurityRule(IN, V4, TCP, 22)))
    )
    assert len(commits) == 1
    assert commits[0].count("concat") == 1


async def test_a_network_that_is_gone_leaves_no_element(guests: Guests) -> None:
    await guests.set_rules(*EVERYTHING_OUT, SecurityRule(IN, V4, TCP, 22, remote_group="web"), SecurityRule(IN, V6))
    await guests.set_port(replace(guests.port("a"), address_pairs=(AddressPair("10.99.0.0/16", guests.a.mac),)))
    host = guests.lab.one
    for uid, guest in (("a", guests.a), ("c", guests.c)):
        guest.unplug()
        await host.driver.unplug(uid)
    await host.driver.remove("network-1")
    assert host.driver._worker._kernel.tables.read_elements() == frozenset()


@pytest.mark.parametrize(
    "older",
    [
        "set bridge nephos port_mac { type ifname; }",
        "set bridge nephos pair_ipv4 { type ifname . ether_addr . ipv4_addr; }",
        "map bridge nephos port_mac { type ifname : mark; }",
        "set bridge nephos role { type ifname; }",
        "map inet nephos member_ipv4 { type ipv4_addr : mark; }",
        "chain bridge nephos incoming { type filter hook prerouting priority 7; }",
        "chain bridge nephos incoming",
        "chain bridge nephos from_port { type filter hook input priority 7; }",
    ],
)
async def test_filters_that_an_older_agent_made_otherwise_are_made_anew(lab: Lab, older: str) -> None:
    await lab.one.driver.close()
    for family in guard.FAMILIES:
        lab.one.in_tenants("nft", f"delete table {family} nephos; add table {family} nephos")
    lab.one.in_tenants("nft", f"add {older}")
    await lab.one.start()
    await lab.one.driver._sweep()
    assert "type ifname . ether_addr" in lab.one.in_tenants("nft", "list", "set", "bridge", "nephos", "port_mac")


async def test_filters_stay_where_the_kernel_refuses_to_load_them_for_another_reason(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = guests.lab.one
    before = host.in_tenants("nft", "list", "maps", "inet")
    await host.driver.close()
    with monkeypatch.context() as patch:
        patch.setattr(guard, "skeleton", lambda: "add set inet nephos port_mac { flags unknown; }")
        with pytest.raises(TemporaryFault):
            await host.start()
    await host.driver.close()
    assert host.in_tenants("nft", "list", "maps", "inet") == before
    await host.start()
    await host.driver._sweep()
    assert host.changed == []
    assert await guests.c.pings("10.10.0.11")


async def test_where_bridged_packets_are_kept_from_the_filters_nothing_passes_and_the_sweep_repairs_it(
    guests: Guests,
) -> None:
    host = guests.lab.two
    assert await guests.b.pings("10.10.0.11")
    bridge = network_names(guests.network.uid, "nephos").bridge
    host.in_tenants("ip", "link", "set", bridge, "type", "bridge", "nf_call_iptables", "0", "nf_call_ip6tables", "0")
    assert not await guests.b.pings("10.10.0.11")
    assert not await guests.a.pings("10.10.0.12")
    assert not await guests.a.pings("fd00:10::12")
    host.changed.clear()
    await host.driver._sweep()
    assert host.changed == [guests.network.uid]
    await host.driver.apply(guests.network)
    await eventually(lambda: guests.b.pings("10.10.0.11"))
    assert not await guests.a.pings("10.10.0.12")


async def test_a_kernel_that_shows_no_bridged_packets_to_the_filters_is_refused(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.one.driver.close()
    with monkeypatch.context() as patch:
        patch.setattr(linux_kernel, "_BRIDGE_SYSCTLS", "/proc/sys/net/nothing")
        with pytest.raises(PermanentFault, match="modprobe br_netfilter"):
            await lab.one.start()
    await lab.one.start()


@pytest.mark.parametrize(
    "sabotage",
    [
        ("nft", "delete", "table", "inet", "nephos"),
        ("nft", "flush", "set", "inet", "nephos", "egress_ipv4"),
        ("nft", "flush", "map", "inet", "nephos", "device_zone"),
        ("nft", "flush", "map", "bridge", "nephos", "device_mark"),
        ("nft", "flush", "chain", "inet", "nephos", "to_port"),
    ],
    ids=" ".join,
)
async def test_rules_that_somebody_breaks_are_told_and_repaired(guests: Guests, sabotage: tuple[str, ...]) -> None:
    host = guests.lab.two
    host.changed.clear()
    host.in_tenants(*sabotage)

    async def told() -> bool:
        return bool(host.changed)

    await eventually(told)
    await host.driver.apply(guests.network)
    await eventually(lambda: guests.b.pings("10.10.0.11"))
    assert not await guests.a.pings("10.10.0.12")
