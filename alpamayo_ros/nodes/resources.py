"""What the node's processes hold of the machine: memory, file descriptors, threads; and whether memory grows."""

from __future__ import annotations

import resource
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alpamayo_ros.nodes.messages import OK, WARN, Diagnostic

MEMORY_SHARE = 0.8
"""Of the machine's memory, in use by node and engine."""

DESCRIPTOR_SHARE = 0.8
"""Of the file descriptors that the process may open."""

SLOPE_MB_PER_H = 100.0
"""A node that grows faster than this fills 8 GB in three days."""

SLOPE_OVER_S, SLOPE_AFTER_S = 1800.0, 600.0
"""The slope is that of so long, and is told once there is so much of it: buffers and caches fill first."""


_PROC = Path("/", "proc")


class Held(NamedTuple):
    """What one process holds."""

    rss_mb: float
    fds: int
    threads: int


def held(pid: int) -> Held | None:
    """Of a process now; None when it is gone. Source: proc_pid_status(5), VmRSS and Threads."""
    process = _PROC / str(pid)
    try:
        lines = (process / "status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return Held(_kb(fields.get("VmRSS", "0 kB")) / 1e3, len(list((process / "fd").iterdir())), int(fields["Threads"]))
    except (FileNotFoundError, ProcessLookupError):
        return None


class Resources:
    """Held once a second against the machine's limits."""

    def __init__(self) -> None:
        self._rss: deque[tuple[float, float]] = deque()  # s on the steady clock, MB; of the node alone
        self._most_mb = _kb((_PROC / "meminfo").read_text().partition("MemTotal:")[2].splitlines()[0]) / 1e3
        self._most_fds, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

    def diagnose(self, node_pid: int, engine_pid: int | None) -> Diagnostic:
        """As of now; the engine may be gone."""
        node, engine = held(node_pid), held(engine_pid) if engine_pid else None
        assert node is not None, "a process can read what it holds itself"
        self._rss.append((time.monotonic(), node.rss_mb))
        while self._rss[-1][0] - self._rss[0][0] > SLOPE_OVER_S:
            self._rss.popleft()
        slope, both_mb = self._slope_mb_per_h(), node.rss_mb + (engine.rss_mb if engine else 0.0)
        values = {
            "node_rss_mb": f"{node.rss_mb:.1f}",
            "engine_rss_mb": f"{engine.rss_mb:.1f}" if engine else "none",
            "rss_slope_mb_per_h": "none" if slope is None else f"{slope:.1f}",
            "file_descriptors": str(node.fds),
            "threads": str(node.threads),
        }
        problems = []
        if both_mb > MEMORY_SHARE * self._most_mb:
            problems.append(f"node and engine hold {both_mb:.0f} MB of {self._most_mb:.0f}, limit {MEMORY_SHARE:.0%}")
        if node.fds > DESCRIPTOR_SHARE * self._most_fds:
            problems.append(f"{node.fds} file descriptors of {self._most_fds} open, limit {DESCRIPTOR_SHARE:.0%}")
        if slope is not None and slope > SLOPE_MB_PER_H:
            problems.append(f"memory grows by {slope:.0f} MB/h, limit {SLOPE_MB_PER_H:.0f}")
        said = f"{both_mb:.0f} MB, {node.fds} file descriptors, {node.threads} threads"
        return Diagnostic("resources", WARN if problems else OK, "; ".join(problems) or said, values)

    def _slope_mb_per_h(self) -> float | None:
        """By least squares; None before there is enough of it."""
        seconds, mb = np.array(self._rss).T
        if seconds[-1] - seconds[0] < SLOPE_AFTER_S:
            return None
        return float(np.polyfit(seconds - seconds[0], mb, 1)[0] * 3600)


def _kb(text: str) -> float:
    return float(text.split(maxsplit=1)[0])
