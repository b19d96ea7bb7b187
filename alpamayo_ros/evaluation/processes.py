"""CPU time of processes and of everybody else, read from /proc (Linux)."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time a process has used, s. Raises FileNotFoundError when it is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def busy_seconds() -> float:
    """Time all cores together were busy since boot, s."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


class CpuMeter:
    """Cores used by named processes, and by everybody else, between start and `cores()`."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._started = time.monotonic()
        self._before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        self._busy_before = busy_seconds()

    def cores(self) -> dict[str, float]:
        """Cores by name; "others" is what processes not named here used meanwhile."""
        elapsed = time.monotonic() - self._started
        used = {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}
        others = busy_seconds() - self._busy_before - sum(used.values())
        return {name: seconds / elapsed for name, seconds in (used | {"others": max(others, 0.0)}).items()}
