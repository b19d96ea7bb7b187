"""`alpamayo demo`: a bag through the real node over real DDS, in separate processes, recorded, with a table at the end."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from alpamayo_ros.bags import bag_span, bag_topics
from alpamayo_ros.evaluation.replay import rejecting
from alpamayo_ros.evaluation.single import Asked, draw_plan, plan_at
from alpamayo_ros.nodes.client import OUTPUTS, PlanCollector, client_node, node_process, spin_until
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.pipeline.decode import stamp_ns
from alpamayo_ros.pipeline.findings import findings_of
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import EngineFailure

PLANNER = "/alpamayo_planner"
READY_S = 30.0


def run_demo(bag: Path, out: Path, rig_name: str, bundle: str) -> dict[str, Any]:
    """Replay `bag` into the planner node, in shadow, and record its outputs in `out`; prints the table and the files' paths.

    A node all of whose plans were rejected did its part. Raises EngineFailure when a process does not; its log is named.
    """
    rig = read_rig(rig_name)
    recording = out.resolve() / "recording"
    with client_node("alpamayo_demo") as node:
        collector = PlanCollector(node, PLANNER)
        _drive(node, collector, bag.resolve(), recording, out.resolve(), {"rig": rig_name, "bundle": bundle})
        counts = {role: collector.values(f"camera {role}") for role in rig.cameras}
    said = sorted_out(collector)
    if not said.planned:
        why = "; ".join(said.waiting[-1].reasons) if said.waiting else "no cycle at all"
        raise EngineFailure(f"no plan came out of the node, its last word: {why} (see {out / 'planner.log'})")
    figures = _figures(bag, rig, said, counts)
    _print_table(figures)
    picture = out / "plan.jpg"
    shown = max(said.plans, key=_sideways_m, default=None) or said.rejected[0]
    cycle, weights = plan_at(Asked(bag, stamp_ns(shown.header.stamp), rig, bundle, "seven_camera"))
    draw_plan(bag, cycle, rig, weights, picture)
    same = _same_points(shown, cycle) if said.plans else _same_checks(shown, cycle)
    what = "has the same points" if said.plans else "is rejected by the same checks"
    print(f"offline plan of the same t0 {what if same else 'DIFFERS'}")
    for what, path in {"picture": picture, "recording": recording, "logs": out}.items():
        print(f"{what}: {path}")
    return figures | {"offline_equal": same, "files": [str(picture), str(recording)]}


def _drive(node: Any, collector: PlanCollector, bag: Path, recording: Path, out: Path, planner: dict[str, object]) -> None:
    """Start planner and recorder, replay the bag into them, stop them; the collector holds what came out."""
    driven = [*OUTPUTS, "path"]
    shadow = [f"shadow/{name}" for name in (*driven, "difference") if name != "status"]
    topics = [*(f"{PLANNER}/{name}" for name in driven + shadow), "/diagnostics"]
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


class Said(NamedTuple):
    """What a planner published, by what it was."""

    plans: list[Any]  # trajectories of the model
    holds: list[Any]  # trajectories
    stops: list[Any]
    planned: list[Any]  # statuses of cycles whose plan was published or rejected
    rejected: list[Any]  # those of rejected plans
    waiting: list[Any]  # statuses of cycles without a plan before the first one that planned
    refused: list[Any]  # of those after it


def sorted_out(collector: PlanCollector) -> Said:
    """The messages of a collector; what was said between two cycles (a change of state) is left out."""
    cycles = [status for status in collector.status if status.stages]
    planned = [status for status in cycles if "infer" in status.stages and (status.valid or _rejecting(status))]
    first = cycles.index(planned[0]) if planned else len(cycles)
    without = [(number, status) for number, status in enumerate(cycles) if status not in planned]
    return Said(
        plans=[one for one in collector.trajectory if one.source == one.SOURCE_MODEL],
        holds=[one for one in collector.trajectory if one.source == one.SOURCE_HOLD],
        stops=[one for one in collector.trajectory if one.source == one.SOURCE_STOP],
        planned=planned,
        rejected=[status for status in planned if not status.valid],
        waiting=[status for number, status in without if number < first],
        refused=[status for number, status in without if number > first],
    )


def _rejecting(status: Any) -> tuple[str, ...]:
    return rejecting(findings_of(status))


def _figures(bag: Path, rig: Rig, said: Said, counts: dict[str, dict[str, str]]) -> dict[str, Any]:
    sent = {role: bag_topics(bag)[camera.topic].count for role, camera in rig.cameras.items()}
    received = {role: int(counts[role].get("received", 0)) for role in sent}
    stages = {name for status in said.planned for name in status.stages}
    return {
        "weights": said.planned[-1].weights,
        "camera_messages_in": sum(sent.values()),
        "camera_messages_lost": sum(sent.values()) - sum(received.values()),
        "odometry_in": bag_topics(bag)[rig.odometry.topic].count,
        "engaged": any(status.engaged for status in said.planned),
        "plans": len(said.plans),
        "points": sorted({len(trajectory.points) for trajectory in said.plans}),
        "rejected": len(said.rejected),
        "rejected_by": dict(Counter(check for status in said.rejected for check in _rejecting(status)).most_common()),
        "holds": len(said.holds),
        "stops": len(said.stops),
        "no_plan_while_first_window_filled": len(said.waiting),
        "refused": len(said.refused),
        "refusals": sorted({reason for status in said.refused for reason in status.reasons})[:5],
        "sync_error_ms_max": max(abs(error) for status in said.planned for error in status.sync_error_ms),
        "age_ms": _percentiles([status.age_ms for status in said.planned]),
        "stage_ms": {
            name: _percentiles([_stage(status, name) for status in said.planned if name in status.stages])
            for name in sorted(stages)
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
        "engaged",
        "plans",
        "points",
        "rejected",
        "holds",
        "stops",
        "no_plan_while_first_window_filled",
        "refused",
        "weights",
    ):
        table.add_row(name.replace("_", " "), str(figures[name]))
    table.add_row("largest sync error", f"{figures['sync_error_ms_max']:.1f} ms")
    rows = {"t0 to published, simulated clock": figures["age_ms"]} | {f"stage {k}": v for k, v in figures["stage_ms"].items()}
    for name, ms in rows.items():
        table.add_row(name, f"p50 {ms['p50']:.1f} · p95 {ms['p95']:.1f} · p99 {ms['p99']:.1f} ms")
    for check, plans in figures["rejected_by"].items():
        table.add_row(f"rejected by {check}", str(plans))
    Console(width=100).print(table)
    if not figures["plans"]:
        print(f"all {figures['rejected']} plans were rejected by the checks: nothing was published to drive by")
    for reason in figures["refusals"]:
        print(f"refused: {reason}")


def _sideways_m(plan: Any) -> float:
    """How far the end of a plan is from straight ahead."""
    return abs(float(plan.points[-1].pose.position.y))


def _same_checks(status: Any, cycle: Cycle) -> bool:
    """Whether a plan fails the same checks offline, but for those of its age and of the plan before it."""
    return set(rejecting(cycle.findings)) == {check for check in _rejecting(status) if not check.startswith(("V2 ", "V14 "))}


def _same_points(message: Any, cycle: Cycle) -> bool:
    published = np.array([(p.pose.position.x, p.pose.position.y, p.speed_mps) for p in message.points])
    if cycle.plan is None:
        return False
    planned = cycle.plan.trajectory
    return bool(np.array_equal(published, np.column_stack([planned.xyz[:, :2], planned.speed_mps])))
