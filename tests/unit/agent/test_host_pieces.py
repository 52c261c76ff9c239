"""Collection under the fourth rule, console logs, the host's description, shared runs, metrics."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nephos_agent import collect
from nephos_agent.coalescing import Coalescing
from nephos_agent.collector import Collector
from nephos_agent.compute.memory import MemoryCompute
from nephos_agent.compute.protocol import ComputeFacts
from nephos_agent.config import CapacityLimits
from nephos_agent.consoles import Consoles
from nephos_agent.host import description
from nephos_agent.metrics import Exposition, traffic_metrics
from nephos_agent.network.traffic import DropReason, Passed, PortTraffic
from nephos_api.errors import TemporaryFault
from nephos_api.kube.memory import MemoryKubernetes
from nephos_api.resources import Port, Server
from nephos_api.resources.host import Hypervisor, HypervisorType, Resources
from nephos_api.resources.security_group import Direction
from nephos_api.resources.server import ServerImage

from .conftest import World, eventually

DAY_S = 24 * 3600.0


@pytest.mark.parametrize(
    ("orphans", "here", "placed", "age_s", "collected", "stopped"),
    [
        (0, 10, 10, 2 * DAY_S, 0, False),
        (1, 10, 9, DAY_S - 1, 0, False),
        (1, 10, 9, DAY_S, 1, False),
        (3, 3, 0, 9 * DAY_S, 0, True),
        (20, 30, 10, 9 * DAY_S, 20, False),
        (21, 30, 9, 9 * DAY_S, 0, True),
        (21, 1000, 979, 9 * DAY_S, 21, False),
    ],
)
def test_what_is_collected(orphans: int, here: int, placed: int, age_s: float, collected: int, stopped: bool) -> None:
    missed = {f"u{number}": age_s for number in range(orphans)}
    verdict = collect.judge(missed, here=here, placed=placed)
    assert len(verdict.collect) == collected
    assert (verdict.stopped is not None) is stopped


def test_an_orphan_that_was_found_in_between_starts_anew() -> None:
    known = collect.update({}, frozenset({"a", "b"}), 600.0)
    known = collect.update(known, frozenset({"b"}), 600.0)
    assert collect.update(known, frozenset({"a", "b"}), 600.0) == {"a": 0.0, "b": 1200.0}


@pytest.mark.parametrize(("passed_s", "counted_s"), [(600.0, 600.0), (30 * DAY_S, 3600.0), (-DAY_S, 0.0)])
def test_only_time_in_which_somebody_looked_counts(passed_s: float, counted_s: float) -> None:
    assert collect.update({"a": 10.0}, frozenset({"a"}), passed_s) == {"a": 10.0 + counted_s}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def _collector(world: World, clock: Clock) -> Collector:
    assert world.agent
    consoles = Consoles(world.state_dir / "consoles")
    memory = world.state_dir / "orphans.json"
    return Collector(
        "h1", world.api, world.agent.watches, world.compute, world.storage, consoles, memory, monotonic=clock
    )


def _why_stopped(collector: Collector) -> str | None:
    return collector.stopped


async def _look_for_a_day(collector: Collector, clock: Clock) -> None:
    """Look every hour, from the first look to the one that makes the day full."""
    for _ in range(25):
        await collector.run()
        clock.now += 3600.0


async def _image(world: World) -> ServerImage:
    image = (await world.get(Server, "stays")).status.image
    assert image is not None
    return image


async def _vanish(world: World, name: str) -> None:
    """Remove a Server without its finalizer, as a restore from an old backup does."""
    found = await world.get(Server, name)
    await world.end()
    await world.api.delete(Server, name, "demo")
    await world.api.set_finalizers(await world.get(Server, name), ())
    await world.start()
    await world.settled()
    assert found.uid in {domain.server_uid for domain in await world.compute.domains()}


async def test_an_orphan_goes_after_a_day_and_its_disk_to_the_trash(world: World) -> None:
    await world.active("stays")
    orphan = await world.active("one")
    await _vanish(world, "one")
    clock = Clock()
    for _ in range(2):  # two looks a long time apart are no day
        await (await _collector(world, clock)).run()
        clock.now += DAY_S
    assert len(await world.compute.domains()) == 2
    await _look_for_a_day(await _collector(world, clock), clock)
    assert [domain.server_name for domain in await world.compute.domains()] == ["stays"]
    assert [disk.server_name for disk in await world.storage.disks()] == ["stays"]
    await world.storage.ensure_disk(orphan.uid, "demo", "one", await _image(world), 1)  # comes back from the trash
    assert len(await world.storage.disks()) == 2


async def test_an_api_without_our_servers_collects_nothing_and_alerts(world: World) -> None:
    await world.active("one")
    await world.end()
    world.api = MemoryKubernetes()
    await world.start()
    await world.settled()
    clock = Clock()
    collector = await _collector(world, clock)
    await _look_for_a_day(collector, clock)
    assert _why_stopped(collector)
    assert len(await world.compute.domains()) == 1
    await world.active("another")  # now the API knows something of this host: the day begins
    await collector.run()
    assert _why_stopped(collector) is None
    assert len(await world.compute.domains()) == 2


async def test_many_orphans_at_once_collect_nothing_and_alert(world: World) -> None:
    await world.active("stays")
    for number in range(collect.MANY + 1):
        await world.storage.ensure_disk(f"uid-{number}", "demo", f"s{number}", (await _image(world)), 1)
    clock = Clock()
    collector = await _collector(world, clock)
    await _look_for_a_day(collector, clock)
    assert collector.stopped
    assert len(await world.storage.disks()) == collect.MANY + 2


async def test_an_orphans_network_goes_with_it(world: World) -> None:
    network = world.add_network()
    await world.active("stays")
    orphan = await world.active("one", networks=(network,))
    for kind, name in ((Port, "one-net0"), (Server, "one")):  # the agent sees them go, without a deletion before
        await world.api.delete(kind, name, "demo")
        await world.api.set_finalizers(await world.get(kind, name), ())
    await world.settled()
    assert await world.network.networks() == {network.uid}
    clock = Clock()
    await _look_for_a_day(await _collector(world, clock), clock)
    await eventually(world.network.networks, lambda networks: not networks)
    assert await world.compute.domain(orphan.uid) is None


async def test_nothing_is_concluded_while_the_api_is_away(world: World) -> None:
    await world.active("one")
    await _vanish(world, "one")
    world.api.set_available(False)
    with pytest.raises(TemporaryFault):
        await (await _collector(world, Clock())).run()
    world.api.set_available(True)


async def test_full_console_logs_are_cut_and_one_older_is_kept(tmp_path: Path) -> None:
    consoles = Consoles(tmp_path, full_bytes=10)
    (tmp_path / "a.log").write_text("0123456789")
    (tmp_path / "b.log").write_text("short")
    with (tmp_path / "a.log").open("a") as guest:
        await consoles.rotate()
        guest.write("after")
    assert (tmp_path / "a.log").read_text() == "after"
    assert (tmp_path / "a.log.1").read_text() == "0123456789"
    assert (tmp_path / "b.log").read_text() == "short"
    await consoles.delete("a")
    left = [name for name in ("a.log", "a.log.1", "b.log") if (tmp_path / name).exists()]
    assert left == ["b.log"]


def _facts(hypervisor: HypervisorType) -> ComputeFacts:
    return ComputeFacts(Hypervisor(type=hypervisor), "x86_64", ("q35",), ("BIOS", "UEFI"), 8, 16_000)


def test_the_cpus_features_are_traits_only_where_guests_run_on_it() -> None:
    flags = frozenset({"avx2", "sse4_2", "unheard-of"})
    kvm = description.traits(_facts(HypervisorType.KVM), flags)
    assert {"HW_CPU_X86_AVX2", "HW_CPU_X86_SSE42"} <= set(kvm)
    assert not any(trait.startswith("HW_") for trait in description.traits(_facts(HypervisorType.TCG), flags))


def test_a_host_offers_what_it_has_or_less() -> None:
    limits = CapacityLimits(vcpus=2, disk_gib=5)
    size = description.capacity(_facts(HypervisorType.TCG), 100, limits)
    assert size == Resources(vcpus=2, memory_mib=16_000, disk_gib=5)


async def test_those_who_ask_during_a_run_share_the_next() -> None:
    runs: list[int] = []
    gate = asyncio.Event()

    async def work(key: str) -> None:
        runs.append(len(runs))
        await gate.wait()

    coalescing = Coalescing(work)
    first = asyncio.create_task(coalescing.run("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(coalescing.run("a")) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others)
    assert len(runs) == 2


async def test_a_run_that_fails_fails_all_who_shared_it_and_the_next_works() -> None:
    outcomes = iter([TemporaryFault("no"), None])

    async def work(key: str) -> None:
        if error := next(outcomes):
            raise error

    coalescing = Coalescing(work)
    both = await asyncio.gather(coalescing.run("a"), coalescing.run("a"), return_exceptions=True)
    assert [str(error) for error in both] == ["no", "no"]
    await coalescing.run("a")


async def scrape(world: World) -> str:
    assert world.agent
    exposition = Exposition(world.agent.metrics, world.compute, world.network, world.agent.watches.port)
    return (await exposition.render()).decode()


async def test_a_scrape_shows_domains_ports_steps_and_use(world: World) -> None:
    await world.active(networks=(world.add_network(),))
    await world.until(Port, "one-net0", lambda port: port.status.phase == "Active")
    text = await scrape(world)
    for line in (
        'nephos_agent_domains{state="Running"} 1.0',
        "nephos_agent_ports 1.0",
        'nephos_agent_step_duration_seconds_count{step="start"} 1.0',
        "nephos_agent_hypervisor_up 1.0",
    ):
        assert line in text
    assert 'nephos_server_memory_bytes{namespace="demo",server="one"' in text
    assert 'nephos_port_bytes_total{direction="Ingress",namespace="demo",port="one-net0",server="one"} 0.0' in text


def test_drops_of_a_port_are_told_by_reason() -> None:
    spec = {"network": "blue", "server": "one"}
    known = Port.model_validate({"metadata": {"name": "one-net0", "namespace": "demo", "uid": "p"}, "spec": spec})
    drops = ((Direction.EGRESS, DropReason.SPOOFED, 3), (Direction.INGRESS, DropReason.NOT_ALLOWED, 4))
    traffic = [PortTraffic(uid, Passed(1, 100), Passed(2, 200), drops) for uid in ("p", "unknown")]
    size, packets, dropped = traffic_metrics(traffic, {"p": known}.get)
    assert [sample.value for sample in size.samples] == [100, 200]
    assert [sample.value for sample in packets.samples] == [1, 2]
    assert [(sample.labels["direction"], sample.labels["reason"], sample.value) for sample in dropped.samples] == [
        ("Egress", "Spoofed", 3),
        ("Ingress", "NotAllowed", 4),
    ]


async def test_a_scrape_without_a_hypervisor_still_answers(world: World) -> None:
    compute = MemoryCompute()
    compute.lose_connection()
    world.compute = compute
    text = await scrape(world)
    assert "nephos_agent_hypervisor_up 0.0" in text
