"""`make bench`: every benchmark, a table, and the figures as JSON in `.nephos/bench.json`."""

import json
import statistics
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import click
from rich.console import Console
from rich.table import Table

from bench import agent_steps, api_writes, filter_cost, nephos_guest, rest, routed_paths, rule_latency
from bench.process_cost import cost
from bench.raw_guest import RawBridge
from bench.rule_latency import Change
from nephos_dev.cloud import Cloud, Plan
from nephos_dev.images import build_tiny, default_cache_dir
from nephos_dev.layout import WORK_TREE
from nephos_dev.progress import Lines
from nephos_dev.scale import create_servers, prepare, simulated_hosts
from nephos_dev.tenant import Tenant

_TOGETHER = 10
_NETWORKS = 20
_PATH_RUN_S = 1
_MEMBER_HOSTS = 20
_RULE_CHANGES = 15
_VCPU_RATIO = 32.0  # ten guests and more on a machine of two cores
_RESULTS = WORK_TREE / ".nephos" / "bench.json"


@dataclass(frozen=True)
class Figure:
    """One measured figure, beside its bound where the project has set one."""

    name: str
    value: float
    unit: str
    bound: str = ""
    detail: str = ""


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Rounds of single starts, raw and Nephos in turn.")
@click.option("--servers", default=2000, show_default=True, help="Servers on simulated hosts; 0 leaves it out.")
@click.option("--hosts", default=100, show_default=True, help="Simulated hosts.")
@click.option("--members", default=2000, show_default=True, help="Members of a changing group; 0 leaves it out.")
@click.option("--paths", default=15, show_default=True, help="Runs of each network path; 0 leaves them out.")
@click.option("--rest-s", default=30.0, show_default=True, help="How long the cloud at rest is watched, in seconds.")
def main(rounds: int, servers: int, hosts: int, members: int, paths: int, rest_s: float) -> None:
    """Measure starts against raw starts, API writes, what a cloud at rest costs, and network paths against others."""
    screen = Console()
    figures: list[Figure] = measure_filters()
    with _cloud(screen) as (cloud, tenant, raw):
        figures += measure_starts(cloud, tenant, raw, rounds)
        figures += measure_together(cloud, tenant, raw)
        figures += measure_rest(cloud, tenant, rest_s)
    if paths:
        figures += measure_paths(paths)
    if members:
        figures += measure_rule_changes(screen, members)
    if servers:
        figures += measure_scale(screen, servers, hosts)
    _RESULTS.parent.mkdir(exist_ok=True)
    _RESULTS.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
    show(figures, screen)


def measure_starts(cloud: Cloud, tenant: Tenant, raw: RawBridge, rounds: int) -> list[Figure]:
    """One guest at a time, raw and Nephos in turn: medians, ratio and difference."""
    one = range(1)
    raw_starts, starts, writes = [], [], []
    steps_before = agent_steps.read(raw.host)
    for _ in range(rounds):
        raw_starts.append(raw.start(one))
        raw.stop(one)
        before = api_writes.count(cloud.cluster)
        starts.append(nephos_guest.start(cloud, raw.host, tenant, one))
        writes.append(api_writes.count(cloud.cluster) - before)
        nephos_guest.stop(tenant, one)
    steps = agent_steps.mean_ms(steps_before, agent_steps.read(raw.host))
    raw_ping = statistics.median(start.ping_s for start in raw_starts)
    ping = statistics.median(start.ping_s for start in starts)
    raw_running = statistics.median(start.running_s for start in raw_starts)
    active = statistics.median(start.active_s for start in starts)
    count = statistics.median(counter.total() - 1 for counter in writes)  # the user's own create is one of them
    return [
        Figure("raw start to ping", raw_ping, "s", detail=f"median of {rounds}"),
        Figure("apply to ping", ping, "s", detail=f"median of {rounds}"),
        Figure("apply to ping / raw", ping / raw_ping, "x"),
        Figure("apply to ping - raw", ping - raw_ping, "s", "<= 0.7"),
        Figure("raw virsh create", raw_running, "s", detail=f"median of {rounds}"),
        Figure("apply to Active", active, "s", detail=f"median of {rounds}"),
        Figure("apply to Active - raw create", active - raw_running, "s", "<= 0.7"),
        Figure("API writes for one Server", count, "writes", "<= 5", ", ".join(sorted(writes[-1]))),
        *(Figure(f"step {step}", duration, "ms", detail="mean, on the agent") for step, duration in steps.items()),
    ]


def measure_together(cloud: Cloud, tenant: Tenant, raw: RawBridge) -> list[Figure]:
    """Ten guests at once, raw and Nephos: when the last one answers."""
    ten = range(_TOGETHER)
    raw_start = raw.start(ten)
    raw.stop(ten)
    start = nephos_guest.start(cloud, raw.host, tenant, ten)
    nephos_guest.stop(tenant, ten)
    return [
        Figure(f"{_TOGETHER} raw starts at once to the last ping", raw_start.ping_s, "s"),
        Figure(f"{_TOGETHER} Servers at once to the last ping", start.ping_s, "s"),
        Figure(f"{_TOGETHER} at once / raw", start.ping_s / raw_start.ping_s, "x", "<= 1.3"),
    ]


def measure_rest(cloud: Cloud, tenant: Tenant, rest_s: float) -> list[Figure]:
    """Ten Servers that only run: memory, idle processor time, and API writes."""
    agent = cloud.process(f"{cloud.hosts[0].name}/agent").pid
    empty_mb = cost(agent).resident_mb
    nephos_guest.start(cloud, cloud.hosts[0], tenant, range(_TOGETHER))
    found = rest.watch(cloud, rest_s)
    nephos_guest.stop(tenant, range(_TOGETHER))
    return [
        Figure("operator resident", found.operator_mb, "MB", "< 160"),
        Figure("agent resident", found.agent_mb, "MB", "< 120"),
        Figure("agent's growth per Server", (found.agent_mb - empty_mb) / _TOGETHER, "MB", "< 1"),
        Figure("operator idle", found.operator_cpu_percent, "% of a core", "< 1"),
        Figure("agent idle", found.agent_cpu_percent, "% of a core", "< 1"),
        Figure("API writes at rest, Leases not counted", found.writes, "writes", "0", found.what_was_written),
    ]


def measure_paths(rounds: int) -> list[Figure]:
    """One TCP stream on each network path, beside the same path wired by hand; what moves of addresses cost."""
    throughputs, outages = routed_paths.measure(rounds, _PATH_RUN_S)
    figures = []
    median = f"median of {rounds}"
    for each in throughputs:
        path = f"TCP {each.path}"
        sides = (("", each.nephos), (", by hand", each.by_hand), (", by hand, unfiltered", each.unfiltered))
        figures += [
            Figure(
                f"{path}{side}", carried.gigabits, "Gbit/s", detail=f"{carried.cpu_s:.2f} s of a core a GB, {median}"
            )
            for side, carried in sides
        ]
        figures.append(Figure(f"{path} / by hand", each.ratio, "x", ">= 0.9"))
        figures.append(Figure(f"{path} / by hand, unfiltered", each.unfiltered_ratio, "x"))
    for outage in outages:
        figures.append(Figure(f"{outage.what}: pings lost", outage.lost, f"of {outage.sent}"))
        figures.append(Figure(f"{outage.what}: longest time without an answer", outage.longest_ms, "ms"))
    return figures


def measure_filters() -> list[Figure]:
    """A packet's way through security groups, and a rule more in a group with many members; veths stand for guests."""
    figures: list[Figure] = []
    for rules in (10, 1000):
        cost = filter_cost.packet_cost(rules)
        where = f"{rules} rules, 200 ports"
        for name, side, bound in (("", cost.filtered, "<= 1.7"), (", by iptables' chains", cost.by_chains, "")):
            known = f"{side.known_ns:.0f} ns; bare bridge {cost.bare.known_ns:.0f} ns"
            first = f"{side.first_ns:.0f} ns; bare bridge {cost.bare.first_ns:.0f} ns"
            known_ratio, first_ratio = side.known_ns / cost.bare.known_ns, side.first_ns / cost.bare.first_ns
            figures += [
                Figure(f"packet of a known flow, {where}{name} / bare", known_ratio, "x", bound, known),
                Figure(f"first packet of a flow, {where}{name} / bare", first_ratio, "x", "", first),
            ]
    change = filter_cost.change_cost()
    detail = f"transactions: {change.transactions}, elements: {change.elements}"
    return [*figures, Figure("one rule more for 2,000 members, the driver alone", change.enforced_ms, "ms", "", detail)]


def measure_rule_changes(screen: Console, members: int) -> list[Figure]:
    """Changes of a large group, from the user's request to the kernel of a real host."""
    cloud = Cloud("rules", progress=Lines(screen))
    try:
        with rule_latency.town(cloud, members, _MEMBER_HOSTS) as town:
            before = cost(town.agent)
            measures = rule_latency.measure(town, _RULE_CHANGES)
            after = cost(town.agent)
    finally:
        cloud.down()
    whose = f"{members} members on {_MEMBER_HOSTS} simulated hosts"
    return [
        _latency(f"a rule more for {whose}: enforced", measures.added),
        _latency("a rule less: its flow is cut", measures.removed),
        _latency("a Server joins the group: let through", measures.joined),
        Figure("agent resident, 1 Server beside these members", after.resident_mb, "MB"),
        Figure(
            "agent: processor time for such a change", 1000 * (after.cpu_s - before.cpu_s) / (4 * _RULE_CHANGES), "ms"
        ),
    ]


def _latency(name: str, changes: Sequence[Change]) -> Figure:
    enforced = sorted(change.enforced_ms for change in changes)
    transactions, elements = {each.transactions for each in changes}, {each.elements for each in changes}
    spread = f"{enforced[0]:.0f} to {enforced[-1]:.0f}, median of {len(changes)}"
    detail = f"{spread}; transactions: {_range(transactions)}, elements: {_range(elements)}"
    return Figure(name, statistics.median(enforced), "ms", "< 300", detail)


def _range(counts: Collection[int]) -> str:
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def measure_scale(screen: Console, servers: int, hosts: int) -> list[Figure]:
    """Servers on simulated hosts in one process, with a real API server and operator."""
    cloud = Cloud("scale", progress=Lines(screen))
    try:
        cloud.up(Plan(hosts=0, image_service=False, agents=False, catalog=False))
        tenant = Tenant(cloud.cluster, "many")
        prepare(cloud, tenant, _NETWORKS)
        with simulated_hosts(cloud, hosts) as agents:
            processes = {"operator": cloud.process("operator-1").pid, f"{hosts} agents": agents}
            processes["API server"] = cloud.process("kube-apiserver").pid
            before = {name: cost(pid) for name, pid in processes.items()}
            arrivals = create_servers(cloud, tenant, 0, servers, _NETWORKS)
            after = {name: cost(pid) for name, pid in processes.items()}
    finally:
        cloud.down()
    what = f"{servers} Servers on {hosts} simulated hosts"
    figures = [
        Figure(what, arrivals.per_second, "Servers/s", ">= 20"),
        Figure("its second half beside the first", arrivals.slowdown, "x", "1 is linear"),
    ]
    for name in processes:
        grown, used = after[name].resident_mb - before[name].resident_mb, after[name].cpu_s - before[name].cpu_s
        figures.append(Figure(f"{name}: processor time per Server", 1000 * used / servers, "ms"))
        figures.append(Figure(f"{name}: memory per Server", 1000 * grown / servers, "kB"))
    return figures


def show(figures: list[Figure], screen: Console) -> None:
    """Show the figures as a table."""
    table = Table("figure", "value", "unit", "bound", "detail")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.2f}", figure.unit, figure.bound, figure.detail)
    screen.print(table)
    screen.print(f"{_RESULTS.relative_to(WORK_TREE)} has them as JSON")


@contextmanager
def _cloud(screen: Console) -> Iterator[tuple[Cloud, Tenant, RawBridge]]:
    """One host, so that raw guests and Servers run at the same place; the first domain's start-up cost is paid."""
    cloud = Cloud("bench", progress=Lines(screen))
    try:
        cloud.up(Plan(hosts=1))
        host = cloud.hosts[0]
        overcommit = json.dumps({"spec": {"allocationRatio": {"vcpus": _VCPU_RATIO}}})
        cloud.kubectl("patch", "host", host.name, "--type=merge", f"--patch={overcommit}")
        tenant = Tenant(cloud.cluster, "bench")
        tenant.create(instances=-1, cores=-1, ramMiB=-1)
        nephos_guest.prepare(tenant)
        raw = RawBridge(cloud, host, build_tiny(default_cache_dir()).path, host.root / "raw")
        raw.make(_TOGETHER)
        raw.start(range(1))  # the first domain of a libvirtd pays for probing QEMU
        raw.stop(range(1))
        nephos_guest.start(cloud, host, tenant, range(1))
        nephos_guest.stop(tenant, range(1))
        yield cloud, tenant, raw
    finally:
        cloud.down()


if __name__ == "__main__":
    main()
