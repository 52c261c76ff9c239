"""Where the time of a start goes: the agent's own histogram of steps, read before and after."""

from collections.abc import Mapping
from dataclasses import dataclass

import requests
from prometheus_client.parser import text_string_to_metric_families

from nephos_dev.environment import AGENT_METRICS_PORT
from nephos_dev.layout import HostLayout

_FAMILY = "nephos_agent_step_duration_seconds"


@dataclass(frozen=True)
class Spent:
    """How often a step was taken, and how long all of them took together."""

    count: float
    total_s: float


def read(host: HostLayout) -> dict[str, Spent]:
    """Return what each step has cost on the host so far."""
    answer = requests.get(f"http://{host.address}:{AGENT_METRICS_PORT}/metrics", timeout=10)
    answer.raise_for_status()
    totals: dict[str, float] = {}
    counts: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.text):
        if family.name != _FAMILY:
            continue
        for sample in family.samples:
            into = {f"{_FAMILY}_sum": totals, f"{_FAMILY}_count": counts}.get(sample.name)
            if into is not None:
                into[sample.labels["step"]] = sample.value
    return {step: Spent(counts[step], total) for step, total in totals.items()}


def mean_ms(before: Mapping[str, Spent], after: Mapping[str, Spent]) -> dict[str, float]:
    """Return the mean duration in milliseconds of each step taken in between, the longest first."""
    nothing = Spent(0, 0)
    taken = {
        step: 1000 * (spent.total_s - before.get(step, nothing).total_s) / times
        for step, spent in after.items()
        if (times := spent.count - before.get(step, nothing).count)
    }
    return dict(sorted(taken.items(), key=lambda entry: -entry[1]))
