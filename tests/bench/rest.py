"""A cloud at rest: what it costs while nobody asks anything of it."""

import threading
from dataclasses import dataclass

from bench import api_writes
from bench.process_cost import cost
from nephos_dev.cloud import Cloud

_SETTLE_S = 15.0


@dataclass(frozen=True)
class Rest:
    """What was seen over the time watched."""

    operator_mb: float
    agent_mb: float
    operator_cpu_percent: float
    agent_cpu_percent: float
    writes: int
    what_was_written: str


def watch(cloud: Cloud, rest_s: float) -> Rest:
    """Let the cloud come to rest, then watch it for so many seconds."""
    clock = threading.Event()
    clock.wait(_SETTLE_S)
    operator, agent = cloud.process("operator-1").pid, cloud.process(f"{cloud.hosts[0].name}/agent").pid
    before = (cost(operator), cost(agent), api_writes.count(cloud.cluster))
    clock.wait(rest_s)
    after = (cost(operator), cost(agent), api_writes.count(cloud.cluster))
    written = after[2] - before[2]
    return Rest(
        operator_mb=after[0].resident_mb,
        agent_mb=after[1].resident_mb,
        operator_cpu_percent=100 * (after[0].cpu_s - before[0].cpu_s) / rest_s,
        agent_cpu_percent=100 * (after[1].cpu_s - before[1].cpu_s) / rest_s,
        writes=written.total(),
        what_was_written=", ".join(f"{count} {what}" for what, count in written.items()),
    )
