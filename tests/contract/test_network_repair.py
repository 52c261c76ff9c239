"""A driver that dies or restarts, and what others break: all of it is right again."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from contract.network_lab import Lab, OneServer, Pair, network, port, resolves
from contract.waiting import assert_all_answered, eventually
from nephos_agent.launcher.protocol import Unit
from nephos_agent.metadata.server import MetadataServer
from nephos_agent.network.linux import driver as linux_driver
from nephos_agent.network.linux.kernel import Kernel
from nephos_agent.network.model import RateLimit
from nephos_agent.network.names import network_names, tap_name
from nephos_agent.network.plan import Changes
from nephos_api.errors import TemporaryFault

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


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
    assert_all_answered(output, 200)
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
    for address in ("10.10.0.12", "10.10.0.254"):
        await eventually(partial(pair.a.pings, address))
    await eventually(lambda: resolves(pair.a, "b", "10.10.0.12"))
    await pair.a.run("ip", "addr", "add", "10.10.0.99/24", "dev", "eth0")
    assert not await pair.a.pings("10.10.0.12", "-I", "10.10.0.99")


@pytest.mark.parametrize("restarts", [False, True], ids=["the same driver", "one that was started meanwhile"])
@pytest.mark.parametrize("domain", ["other.nephos.internal", "former one"])
async def test_a_process_that_ended_and_could_not_be_started_is_started_by_the_next(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, domain: str, restarts: bool
) -> None:
    host, unit = pair.lab.one, network_names("network-1", "nephos").unit

    async def refuse(_unit: Unit) -> None:
        await host.launcher.stop(unit)
        raise TemporaryFault("nobody starts anything")

    described = pair.network if domain == "former one" else replace(pair.network, dns_domain=domain)
    with monkeypatch.context() as patch:
        patch.setattr(host.launcher, "start", refuse)
        with pytest.raises(TemporaryFault):
            await host.driver.apply(replace(pair.network, dns_domain="never.nephos.internal"))
    if restarts:
        await host.driver.close()
        await host.start()
    await host.driver.apply(described)
    started, process = host.launcher.processes[unit]
    assert process.poll() is None
    (configuration,) = host.settings.run_dir.glob("*/dnsmasq-*.conf")
    assert f"--conf-file={configuration}" in started.argv
    assert f"domain={described.dns_domain}\n" in configuration.read_text()


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
