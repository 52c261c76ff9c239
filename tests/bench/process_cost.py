"""What processes cost: resident memory and processor time, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """A process' cost at one moment."""

    resident_mb: float
    cpu_s: float


def cost(pid: int) -> Cost:
    """Return the resident memory in MB (10^6 bytes) and the processor seconds used since its start."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    resident_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return Cost(resident_kib * 1024 / 1e6, (int(fields[11]) + int(fields[12])) / _TICKS_PER_S)
