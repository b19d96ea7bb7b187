"""`alpamayo bench ros`: one publisher process, the planner node, and the public node's way beside it in the same run.

The public node's way: keep the compressed messages, and when a plan is due decode and resize all frames of the window.
CPU is counted, so load on the machine does not matter to those ratios; latency ratios are of one run.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from alpamayo_ros.bags import deserialize, read_bag
from alpamayo_ros.evaluation.processes import CpuMeter
from alpamayo_ros.nodes.client import CompressedSubscriber, PlanCollector, client_node, node_process, spin_until
from alpamayo_ros.pipeline.decode import camera_frame, pixels_into
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.types import U8, EncodedFrame, InvalidInput

PLANNER_READY_S = 20.0
BASELINE_EVERY_TICKS = 30
"""The public node's way blocks its process for half a second: often enough to measure, seldom enough to stay beside."""


def bench_ros(bag: Path, rig: Rig, profile: InputProfile, out: Path) -> dict[str, Any]:
    """Replay a bag into the planner node in real time; figures by name, the table printed. Raises InvalidInput."""
    out.mkdir(parents=True, exist_ok=True)
    window = _Window(rig, profile, bag)
    live = _run_live(bag, rig, window, out, probe_timer_ms=0.0)
    probed = _run_live(bag, rig, None, out, probe_timer_ms=5.0)
    expected = window.checksums()
    figures = _figures(live, probed, window, expected)
    return figures


@dataclass
class Live:
    """What one run over DDS produced."""

    status: list[Any]
    trajectory: list[Any]
    camera_counts: Mapping[str, Mapping[str, str]]  # role -> key-values of its diagnostic
    planner: Mapping[str, str]
    cores: Mapping[str, float]
    baseline_ready_ms: list[float] = field(default_factory=list)


def _run_live(bag: Path, rig: Rig, window: _Window | None, out: Path, probe_timer_ms: float) -> Live:
    with client_node("alpamayo_bench") as node:
        collector = PlanCollector(node)
        baseline = _PublicNodesWay(window) if window else None
        parameters = {"bundle": "kinematic", "rig": rig.name, "probe_timer_ms": probe_timer_ms, "max_plan_age_ms": 60_000.0}
        with node_process("planner_node", parameters | {"use_sim_time": True}, out / "planner.log"):
            if not spin_until(node, lambda: bool(collector.values("engine")), PLANNER_READY_S):
                raise InvalidInput(f"the planner node did not start in {PLANNER_READY_S} s: see {out / 'planner.log'}")
            pids = {name: int(collector.values("engine")[f"{name}_pid"]) for name in ("node", "engine")}
            subscriber = CompressedSubscriber(node, rig, baseline.take) if baseline else None
            with node_process(
                "replay_node", {"bag": bag.resolve(), "wait_for_subscribers_s": 10.0}, out / "replay.log"
            ) as replay:
                meter = CpuMeter(pids | {"publisher": replay.pid})
                spin_until(node, lambda: replay.poll() is not None, 600.0)
                cores = meter.cores()
            spin_until(node, lambda: False, 2.5)  # the last plans, and a last round of diagnostics
        counts = {role: collector.values(f"camera {role}") for role in rig.cameras}
        del subscriber
        return Live(
            collector.status,
            collector.trajectory,
            counts,
            collector.values("planner"),
            cores,
            baseline.ready_ms if baseline else [],
        )
