"""`alpamayo demo`: a bag through the real node over real DDS, in separate processes, recorded, with a table at the end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from alpamayo_ros.bags import bag_span, bag_topics
from alpamayo_ros.evaluation.single import Asked, draw_plan, plan_at
from alpamayo_ros.nodes.client import OUTPUTS, PlanCollector, client_node, node_process, spin_until
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.pipeline.decode import stamp_ns
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import EngineFailure

PLANNER = "/alpamayo_planner"
READY_S = 30.0


def run_demo(bag: Path, out: Path, rig_name: str, bundle: str) -> dict[str, Any]:
    """Replay `bag` into the planner node and record its outputs in `out`; prints the table and the paths of the files.

    Raises EngineFailure when a process does not do its part; its log is named.
    """
    rig = read_rig(rig_name)
    recording = out.resolve() / "recording"
    with client_node("alpamayo_demo", use_sim_time=True) as node:
        collector = PlanCollector(node, PLANNER)
        _drive(node, collector, bag.resolve(), recording, out.resolve(), {"rig": rig_name, "bundle": bundle})
        counts = {role: collector.values(f"camera {role}") for role in rig.cameras}
    if not collector.trajectory:
        raise EngineFailure(f"no trajectory came out of the node: see {out / 'planner.log'}")
    figures = _figures(bag, rig, collector, counts)
    _print_table(figures)
    turning = max(collector.trajectory, key=lambda plan: abs(float(plan.points[-1].pose.position.y)))
    picture = out / "plan.jpg"
    cycle, weights = plan_at(Asked(bag, stamp_ns(turning.header.stamp), rig, bundle, "seven_camera"))
    draw_plan(bag, cycle, rig, weights, picture)
    same = _same_points(turning, cycle)
    print(f"offline plan of the same t0 {'has the same points' if same else 'DIFFERS'}")
    for what, path in {"picture": picture, "recording": recording, "logs": out}.items():
        print(f"{what}: {path}")
    return figures | {"offline_equal": same, "files": [str(picture), str(recording)]}


def _drive(node: Any, collector: PlanCollector, bag: Path, recording: Path, out: Path, planner: dict[str, object]) -> None:
    """Start planner and recorder, replay the bag into them, stop them; the collector holds what came out."""
    topics = [f"{PLANNER}/{name}" for name in (*OUTPUTS, "path")] + ["/diagnostics"]
    with ExitStack() as running:

        def start(name: str, parameters: dict[str, object]) -> subprocess.Popen[bytes]:
            log = out / f"{name.removesuffix('_node')}.log"
            return running.enter_context(node_process(name, parameters | {"use_sim_time": True}, log))

        planning = start("planner_node", planner)
        start("recorder_node", {"out": recording, "topics": topics})
        ready = spin_until(node, lambda: bool(collector.values("engine")) or planning.poll() is not None, READY_S)
        _expect(ready, planning, out / "planner.log")
        replaying = start("replay_node", {"bag": bag, "wait_for_subscribers_s": 10.0})
        length_s = (bag_span(bag)[1] - bag_span(bag)[0]) / 1e9
        done = spin_until(node, lambda: replaying.poll() is not None, length_s * 2 + 30)
        _expect(done and replaying.returncode == 0, planning, out / "replay.log")
        spin_until(node, lambda: False, 1.5)  # the last plans and diagnostics


def _expect(fulfilled: bool, planning: subprocess.Popen[bytes], log: Path) -> None:
    if not fulfilled or planning.poll() is not None:
        words = log.read_text(errors="replace").strip().splitlines()
        raise EngineFailure(f"a node did not do its part: {words[-1] if words else 'it said nothing'} (all of it: {log})")


def _figures(bag: Path, rig: Rig, collector: PlanCollector, counts: dict[str, dict[str, str]]) -> dict[str, Any]:
    sent = {role: bag_topics(bag)[camera.topic].count for role, camera in rig.cameras.items()}
    received = {role: int(counts[role].get("received", 0)) for role in sent}
    valid = [status for status in collector.status if status.valid]
    late = [status for status in collector.status if not status.valid and status.state != status.STATE_WARMUP]
    stages = {name for status in valid for name in status.stages}
    return {
        "weights": valid[-1].weights,
        "camera_messages_in": sum(sent.values()),
        "camera_messages_lost": sum(sent.values()) - sum(received.values()),
        "odometry_in": bag_topics(bag)[rig.odometry.topic].count,
        "plans": len(collector.trajectory),
        "points": sorted({len(trajectory.points) for trajectory in collector.trajectory}),
        "no_plan_while_first_window_filled": sum(status.state == status.STATE_WARMUP for status in collector.status),
        "refused": len(late),
        "refusals": sorted({reason for status in late for reason in status.reasons})[:5],
        "sync_error_ms_max": max(abs(error) for status in valid for error in status.sync_error_ms),
        "age_ms": _percentiles([status.age_ms for status in valid]),
        "stage_ms": {
            name: _percentiles([_stage(status, name) for status in valid if name in status.stages]) for name in sorted(stages)
        },
    }


def _stage(status: Any, name: str) -> float:
    return float(dict(zip(status.stages, status.stage_ms, strict=True))[name])


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 95, 99)}


def _print_table(figures: dict[str, Any]) -> None:
    table = Table("figure", "value", title="seven cameras -> planner node -> trajectories, over DDS")
    for name in (
        "camera_messages_in",
        "camera_messages_lost",
        "odometry_in",
        "plans",
        "points",
        "no_plan_while_first_window_filled",
        "refused",
        "weights",
    ):
        table.add_row(name.replace("_", " "), str(figures[name]))
    table.add_row("largest sync error", f"{figures['sync_error_ms_max']:.1f} ms")
    rows = {"t0 to published, simulated clock": figures["age_ms"]} | {f"stage {k}": v for k, v in figures["stage_ms"].items()}
    for name, ms in rows.items():
        table.add_row(name, f"p50 {ms['p50']:.1f} · p95 {ms['p95']:.1f} · p99 {ms['p99']:.1f} ms")
    Console(width=100).print(table)
    for reason in figures["refusals"]:
        print(f"refused: {reason}")


def _same_points(message: Any, cycle: Cycle) -> bool:
    published = np.array([(p.pose.position.x, p.pose.position.y, p.speed_mps) for p in message.points])
    if cycle.plan is None:
        return False
    planned = cycle.plan.trajectory
    return bool(np.array_equal(published, np.column_stack([planned.xyz[:, :2], planned.speed_mps])))
