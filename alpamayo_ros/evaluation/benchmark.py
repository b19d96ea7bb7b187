"""`alpamayo bench ros`: one publisher process, the planner node, and the public node's way beside it in the same run.

CPU is counted, so load on the machine does not matter to those ratios; latency ratios are of one run, and the load of
everybody else during that run is printed with them.
"""

from __future__ import annotations

import json
import os
import signal
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from alpamayo_ros.bags import bag_span, bag_topics
from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.keeper import Limits
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.engine.worker import keep_freed_memory
from alpamayo_ros.evaluation.processes import CpuMeter
from alpamayo_ros.evaluation.public_way import PublicNodesWay, expected_checksums, window_cpu_ms
from alpamayo_ros.nodes.client import PlanCollector, client_node, node_process, spin_until, subscribe_cameras
from alpamayo_ros.pipeline.decode import stamp_ns
from alpamayo_ros.pipeline.findings import findings_of
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.types import EgoHistory, EgoPose, EngineFailure, Observation, Request

READY_S = 30.0
SETTLE_S = 3.0  # after the replay started: discovery and the first window are not measured
DEADLINE_MS = 100.0  # of the engine in the fault measurements
GOALS = {
    "lost": "0",
    "wrong_windows": "0",
    "outside_tolerance": "0",
    "stamps_not_of_an_anchor_frame": "0",
    "cpu_ratio_full_decode": ">= 8",
    "cpu_ratio_same_decoder": ">= 4.5",
    "ready_ratio_p50": ">= 6",
    "cores_node": "<= 1.0",
    "timer_late_ms_p99": "<= 25",
    "kill_noticed_ms_max": "<= 50",
    "hang_past_deadline_ms_max": "<= 20",
}


def bench_ros(bag: Path, rig: Rig, profile: InputProfile, out: Path) -> dict[str, Any]:
    """Replay a bag into the planner node in real time, twice; prints the table. Raises EngineFailure when a node fails."""
    out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()  # as our nodes do, or fresh pages would be counted against the public node's way
    baseline = PublicNodesWay(rig, profile)
    live = _run_live(bag, rig, baseline, out, probe_timer_ms=0.0)
    probed = _run_live(bag, rig, None, out, probe_timer_ms=5.0)
    figures = _ingest_figures(bag, rig, profile, live, out / "windows.csv")
    figures |= _ratios(live, baseline, window_cpu_ms(bag, rig, profile))
    figures |= {"timer_late_ms_p99": float(probed.planner["timer_late_ms_p99"]), **_engine_faults(profile)}
    _print_table(figures)
    (out / "bench_ros.json").write_text(json.dumps(figures, indent=1))
    return figures


@dataclass(frozen=True)
class Live:
    """What one run over DDS produced: no holds and no stops, which nothing was planned for."""

    status: list[Any]  # of cycles
    trajectory: list[Any]  # of the model
    cameras: Mapping[str, Mapping[str, str]]  # role -> key-values of its diagnostic
    planner: Mapping[str, str]
    cores: Mapping[str, float]


def _run_live(bag: Path, rig: Rig, baseline: PublicNodesWay | None, out: Path, probe_timer_ms: float) -> Live:
    length_s = (bag_span(bag)[1] - bag_span(bag)[0]) / 1e9
    with client_node("alpamayo_bench", use_sim_time=True) as node:
        collector = PlanCollector(node)
        if baseline is not None:
            subscribe_cameras(node, rig, baseline.take)
        planner = {"rig": rig.name, "use_sim_time": True, "probe_timer_ms": probe_timer_ms}
        with node_process("planner_node", planner, out / "planner.log"):
            if not spin_until(node, lambda: bool(collector.values("engine")), READY_S):
                raise EngineFailure(f"the planner node did not start in {READY_S} s: see {out / 'planner.log'}")
            pids = {name: int(collector.values("engine")[f"{name}_pid"]) for name in ("node", "engine")}
            replayed = {"bag": bag.resolve(), "wait_for_subscribers_s": 10.0}
            with node_process("replay_node", replayed, out / "replay.log") as replay:
                spin_until(node, lambda: len(collector.status) > 0, READY_S)
                spin_until(node, lambda: False, SETTLE_S)
                meter = CpuMeter(pids | {"publisher": replay.pid, "bench": os.getpid()})
                spin_until(node, lambda: replay.poll() is not None, length_s - 2 * SETTLE_S)
                cores = meter.cores()
                spin_until(node, lambda: replay.poll() is not None, READY_S)
                spin_until(node, lambda: False, 2.5)  # the last plans, and a last round of diagnostics
        cameras = {role: collector.values(f"camera {role}") for role in rig.cameras}
        cycles = [status for status in collector.status if status.stages]
        plans = [plan for plan in collector.trajectory if plan.source == plan.SOURCE_MODEL]
        return Live(cycles, plans, cameras, collector.values("planner"), cores)


def _ingest_figures(bag: Path, rig: Rig, profile: InputProfile, live: Live, listing: Path) -> dict[str, Any]:
    """What came in and what was made of it, held against the bag itself; `listing` gets the checksum of every window."""
    topics = bag_topics(bag)
    sent = sum(topics[rig.cameras[role].topic].count for role in profile.cameras)
    expected = expected_checksums(bag, rig, profile)
    valid = [status for status in live.status if status.valid]
    limits = {role: rig.cameras[role].tolerance_ns / 1e6 for role in rig.cameras}
    windows = {stamp_ns(status.header.stamp): status.pixels_crc32 for status in valid}
    errors = [(role, error) for status in valid for role, error in zip(status.camera_roles, status.sync_error_ms, strict=True)]
    lines = [f"{t0_ns},{crc:08x},{expected.get(t0_ns, 0):08x}" for t0_ns, crc in sorted(windows.items())]
    listing.write_text("\n".join(["t0_ns,pixels_crc32,expected", *lines]) + "\n")
    checksum = zlib.crc32(listing.read_bytes())
    return {
        "duration_s": (bag_span(bag)[1] - bag_span(bag)[0]) / 1e9,
        "camera_messages": sent,
        "lost": sent - sum(int(row["received"]) for row in live.cameras.values()),
        "plans": len(live.trajectory),
        "rejected": sum(any(finding.rejects for finding in findings_of(status)) for status in live.status),
        "windows_in_bag": len(expected),
        "wrong_windows": sum(expected.get(t0_ns) != crc for t0_ns, crc in windows.items()),
        "outside_tolerance": sum(abs(error) > limits[role] for role, error in errors),
        "stamps_not_of_an_anchor_frame": sum(stamp_ns(plan.header.stamp) not in expected for plan in live.trajectory),
        "pixels_checksum": f"{checksum:08x}",
        **{f"cores_{name}": round(cores, 3) for name, cores in live.cores.items()},
    }


def _ratios(live: Live, baseline: PublicNodesWay, window_ms: Mapping[str, float]) -> dict[str, float]:
    """Ours against the public node's way: CPU per plan, and time from the last message of a tick to the observation."""
    decode_ms = sum(int(row["decode_ns"]) for row in live.cameras.values()) / 1e6
    ours_ms = decode_ms / len(live.trajectory)
    ready = [dict(zip(s.stages, s.stage_ms, strict=True)).get("ready") for s in live.status if s.valid]
    ready_ms = np.array([ms for ms in ready if ms is not None])
    age_ms = np.array([status.age_ms for status in live.status if status.valid])
    theirs_ms = np.array(baseline.ready_ms)
    return {
        "decode_cpu_ms_per_plan": round(ours_ms, 2),
        "cpu_ratio_full_decode": round(window_ms["full_decode"] / ours_ms, 2),
        "cpu_ratio_same_decoder": round(window_ms["same_decoder"] / ours_ms, 2),
        "ready_ms_p50": round(float(np.percentile(ready_ms, 50)), 2),
        "ready_ms_p95": round(float(np.percentile(ready_ms, 95)), 2),
        "baseline_ready_ms_p50": round(float(np.percentile(theirs_ms, 50)), 2),
        "baseline_windows": len(theirs_ms),
        "ready_ratio_p50": round(float(np.percentile(theirs_ms, 50) / np.percentile(ready_ms, 50)), 2),
        "p50_ms": round(float(np.percentile(age_ms, 50)), 2),
        "p95_ms": round(float(np.percentile(age_ms, 95)), 2),
    }


def _engine_faults(profile: InputProfile, times: int = 10) -> dict[str, float]:
    """How soon the parent notices an engine process that was killed, and one that was stopped while it was asked."""
    kills, hangs = [], []
    ring = FrameRing(profile.image_shape, 1)
    patient = Limits(quick_failures=10 * times, settled_s=0.0)  # it is meant to fail this often
    with EngineClient("kinematic", profile, ring, DEADLINE_MS, limits=patient) as engine:
        for _ in range(times):
            engine.wait_ready(READY_S)
            os.kill(engine.pid or 0, signal.SIGKILL)
            killed = time.perf_counter()
            while engine.alive:
                time.sleep(0.0002)
            kills.append((time.perf_counter() - killed) * 1e3)
        for _ in range(times):
            engine.wait_ready(READY_S)
            os.kill(engine.pid or 0, signal.SIGSTOP)
            hangs.append(_failure_ms(engine) - DEADLINE_MS)
    ring.close()
    return {"kill_noticed_ms_max": round(max(kills), 2), "hang_past_deadline_ms_max": round(max(hangs), 2)}


def _failure_ms(engine: EngineClient) -> float:
    """How long a request to an engine takes to fail, ms. Raises EngineFailure when it does not fail."""
    still = EgoPose(0, np.zeros(3), np.eye(3), np.zeros(3), np.zeros(3))
    history = EgoHistory(0, np.zeros((16, 3), np.float32), np.tile(np.eye(3, dtype=np.float32), (16, 1, 1)))
    asked = time.perf_counter()
    try:
        engine.infer(Observation(0, 0, {}, history, still), Request())
    except EngineFailure:
        return (time.perf_counter() - asked) * 1e3
    raise EngineFailure("a stopped engine answered")


def _print_table(figures: Mapping[str, Any]) -> None:
    table = Table("figure", "measured", "goal", title="alpamayo bench ros")
    for name, value in figures.items():
        table.add_row(name, f"{value:g}" if isinstance(value, float) else str(value), GOALS.get(name, ""))
    Console(width=100).print(table)
