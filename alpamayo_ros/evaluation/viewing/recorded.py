"""Plans that a planner published, from a recording of its topics: messages back to values.

A planner publishes below its own name, and below shadow/ while nobody drives by its plans; both are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console
from rich.progress import track

from alpamayo_ros import types
from alpamayo_ros.bags import bag_topics, deserialize, message, read_bag
from alpamayo_ros.evaluation.viewing.scenes import Scene, Status, Surroundings
from alpamayo_ros.geometry import apply, inverse, odom_from_ego, rotation_from_quaternion, yaw_of
from alpamayo_ros.pipeline.decode import stamp_ns, trajectory_values
from alpamayo_ros.types import (
    F64,
    Consistency,
    CriticalComponent,
    Decision,
    EgoPose,
    InvalidInput,
    MetaAction,
    Plan,
    ReasoningTrace,
)

KINDS = {
    "status": "alpamayo_ros/msg/PlanStatus",
    "trajectory": "alpamayo_ros/msg/UnicycleTrajectory",
    "reasoning": "alpamayo_ros/msg/ReasoningTrace",
    "candidates": "alpamayo_ros/msg/TrajectoryCandidates",
}
"""Topics of a planner, below its name, and their types."""

SHADOW = "shadow/"
MODEL = 0  # UnicycleTrajectory.SOURCE_MODEL
_Key = tuple[int, int, int, int, int]  # epoch, plan, stamp, source, how many of those came before

PENDING = 8
"""Cycles that wait for the rest of their messages: a recorder takes topics in any order, the planner one cycle at a time."""

NO_TRACE = ReasoningTrace("", Decision(), (), 0, complete=True)
UNKNOWN = Status("unknown", "unknown", "unknown", None)


def _names(kind: str, prefix: str, values: Iterable[str]) -> Mapping[int, Any]:
    """Names by their number in a message."""
    return {getattr(message(f"alpamayo_ros/msg/{kind}"), f"{prefix}_{value}".upper()): value for value in values}


STATE = _names("PlanStatus", "STATE", ("init", "warmup", "nominal", "degraded", "stopping", "stopped", "silent"))
SOURCE = _names("UnicycleTrajectory", "SOURCE", ("model", "hold", "stop"))
LONGITUDINAL = {0: None, **_names("ReasoningTrace", "LONGITUDINAL", get_args(types.Longitudinal))}
LATERAL = {0: None, **_names("ReasoningTrace", "LATERAL", get_args(types.Lateral))}
DIRECTION = {0: None, **_names("ReasoningTrace", "DIRECTION", get_args(types.Direction))}
CATEGORY = _names("CriticalComponent", "CATEGORY", get_args(types.ComponentCategory))
AXIS = _names("MetaAction", "AXIS", ("longitudinal", "lateral"))
ACTION = {
    "longitudinal": _names("MetaAction", "LONGITUDINAL", get_args(types.LongitudinalAction)),
    "lateral": _names("MetaAction", "LATERAL", get_args(types.LateralAction)),
}
AGREES = {0: None, 1: True, 2: False}  # ReasoningTrace.CONSISTENT_*


@dataclass
class _Cycle:
    """What was recorded so far of one cycle, of one hold or of one stop."""

    stamp_ns: int
    epoch: int
    is_shadow: bool = False
    status: Any = None
    trajectory: Any = None
    reasoning: Any = None
    candidates: Any = None


def holds_plans(bag: Path, planner: str) -> bool:
    """Whether a bag holds the trajectories of a planner."""
    return not bag_topics(bag).keys().isdisjoint({f"{planner}/trajectory", f"{planner}/shadow/trajectory"})


def recorded_scenes(around: Surroundings, bag: Path, planner: str) -> Iterator[Scene]:
    """Every cycle that the planner's recorded topics tell of. Raises InvalidInput for messages that are no plan."""
    for cycle in _cycles(bag, planner):
        yield _scene(around, cycle)


def _cycles(bag: Path, planner: str) -> Iterator[_Cycle]:
    recorded = bag_topics(bag)
    places = {f"{planner}/{below}{name}": name for below in ("", SHADOW) for name in KINDS}
    fields = {topic: name for topic, name in places.items() if topic in recorded}
    if other := [f"{t} of {recorded[t].type_name}" for t, name in fields.items() if recorded[t].type_name != KINDS[name]]:
        raise InvalidInput(f"{bag}: {', '.join(other)}, want {', '.join(KINDS[fields[t.split()[0]]] for t in other)}")
    pending: dict[_Key, _Cycle] = {}
    times: Counter[tuple[str, tuple[int, ...]]] = Counter()
    records = read_bag(bag, list(fields))
    count = sum(recorded[topic].count for topic in fields)
    for record in track(records, "reading plans", total=count, console=Console(stderr=True), transient=True):
        said = deserialize(record.cdr, record.type_name)
        stamp, name = stamp_ns(said.header.stamp), fields[record.topic]
        # Words and candidates are the model's. A hold has stamp and number of its plan, and comes again and again.
        key = (said.epoch, said.plan_id, stamp, getattr(said, "source", MODEL))
        cycle = pending.setdefault((*key, times[name, key]), _Cycle(stamp, said.epoch))
        times[name, key] += 1
        setattr(cycle, name, said)
        cycle.is_shadow |= record.topic.startswith(f"{planner}/{SHADOW}")
        if len(pending) > PENDING:
            yield from _finished(pending)
    while pending:
        yield from _finished(pending)


def _finished(pending: dict[_Key, _Cycle]) -> Iterator[_Cycle]:
    """Take the oldest cycle out. It is worth showing unless a refined plan for its t0 follows, or most of it was lost."""
    cycle = pending.pop(next(iter(pending)))
    same = [other for other in pending.values() if (other.epoch, other.stamp_ns) == (cycle.epoch, cycle.stamp_ns)]
    refined = cycle.trajectory is not None and cycle.trajectory.provisional and any(other.trajectory for other in same)
    if not refined and (cycle.status is not None or cycle.trajectory is not None):
        yield cycle


def _scene(around: Surroundings, cycle: _Cycle) -> Scene:
    status = (UNKNOWN if cycle.status is None else _status(cycle.status))._replace(is_shadow=cycle.is_shadow)
    if cycle.trajectory is None:
        refused = "; ".join(cycle.status.reasons) or f"the recording lacks the trajectory of plan {cycle.status.plan_id}"
        return around.scene(cycle.stamp_ns, None, None, refused, status)
    plan, ego = _plan(cycle), _ego(cycle.trajectory)
    if plan.source != "hold" or cycle.status is None:
        return around.scene(cycle.stamp_ns, ego, plan, "", status)
    # A held plan keeps its stamp, and the vehicle moves on: it is shown where the vehicle was when it was held.
    shown_ns = cycle.stamp_ns + round(cycle.status.age_ms * 1e6)
    scene = around.scene(shown_ns, None, plan, "", status)
    if scene.ego is None:
        return replace(scene, plan=None, refused=f"plan of t0 {plan.t0_ns} is held, and no odometry says where the vehicle is")
    return replace(scene, plan=_seen_from(plan, inverse(odom_from_ego(scene.ego)) @ odom_from_ego(ego)))


def _seen_from(plan: Plan, now_from_t0: F64) -> Plan:
    """The plan with its trajectory in another ego frame, and no other candidate."""
    path = plan.trajectory
    turned_rad = path.yaw_rad + yaw_of(now_from_t0[:3, :3])
    moved = replace(path, xyz=apply(now_from_t0, path.xyz), yaw_rad=turned_rad)
    return replace(plan, trajectory=moved, candidates=(moved,), chosen=0, scores=plan.scores[plan.chosen : plan.chosen + 1])


def _status(said: Any) -> Status:
    reasons = tuple(said.reasons) if said.valid else ()  # otherwise they stand in place of the plan
    state = _named(STATE, said.state, "PlanStatus.state")
    return Status(state, said.bundle, said.weights, _stage_ms(said).get("total"), problems=reasons)


def _stage_ms(said: Any) -> dict[str, float]:
    if len(said.stages) != len(said.stage_ms):
        raise InvalidInput(f"PlanStatus: {len(said.stages)} stages, but {len(said.stage_ms)} stage_ms")
    return dict(zip(said.stages, map(float, said.stage_ms), strict=True))


def _plan(cycle: _Cycle) -> Plan:
    said = cycle.trajectory
    trajectory = trajectory_values(said)
    listed = [] if cycle.candidates is None else cycle.candidates.candidates
    chosen = cycle.candidates.chosen_index if listed else 0
    if listed and chosen >= len(listed):
        raise InvalidInput(f"TrajectoryCandidates.chosen_index: {chosen} of {len(listed)} candidates")
    candidates = tuple(trajectory_values(candidate) for candidate in listed) or (trajectory,)
    thought = cycle.reasoning
    actions = [] if thought is None else thought.meta_actions
    return Plan(
        t0_ns=cycle.stamp_ns,
        epoch=cycle.epoch,
        source=_named(SOURCE, said.source, "UnicycleTrajectory.source"),
        provisional=said.provisional,
        trajectory=trajectory,
        candidates=candidates,
        chosen=chosen,
        scores=tuple(float(candidate.score) for candidate in listed) or (float(said.score),),
        reasoning=NO_TRACE if thought is None else _trace(thought),
        meta_actions=tuple(_meta_action(action) for action in actions),
        consistent=Consistency(None) if thought is None else _consistency(thought),
        stage_ms={} if cycle.status is None else _stage_ms(cycle.status),
    )


def _ego(said: Any) -> EgoPose:
    """The ego pose that a trajectory carries; its twist is that of the first point, which is 0.1 s later."""
    p, q = said.odom_from_ego_t0.pose.position, said.odom_from_ego_t0.pose.orientation
    first = said.points[0]
    return EgoPose(
        stamp_ns(said.header.stamp),
        np.array([p.x, p.y, p.z]),
        rotation_from_quaternion(np.array([q.x, q.y, q.z, q.w])),
        np.array([first.speed_mps, 0.0, 0.0]),
        np.array([0.0, 0.0, first.heading_rate_rps]),
    )


def _trace(said: Any) -> ReasoningTrace:
    decision = Decision(
        _named(LONGITUDINAL, said.longitudinal, "ReasoningTrace.longitudinal"),
        _named(LATERAL, said.lateral, "ReasoningTrace.lateral"),
        _named(DIRECTION, said.lateral_direction, "ReasoningTrace.lateral_direction"),
    )
    components = tuple(
        CriticalComponent(
            _named(CATEGORY, component.category, "CriticalComponent.category"),
            component.description,
            tuple((key, value) for key, _, value in (text.partition("=") for text in component.attributes)),
        )
        for component in said.components
    )
    return ReasoningTrace(said.text, decision, components, said.tokens, said.complete, said.stated_meta_actions)


def _meta_action(said: Any) -> MetaAction:
    axis = _named(AXIS, said.axis, "MetaAction.axis")
    action = _named(ACTION[axis], said.action, f"MetaAction.action of {axis} motion")
    return MetaAction(axis, action, said.start_ns * 1e-9, said.end_ns * 1e-9)


def _consistency(said: Any) -> Consistency:
    return Consistency(_named(AGREES, said.consistent, "ReasoningTrace.consistent"), said.why_not)


def _named(table: Mapping[int, Any], number: int, field: str) -> Any:
    """What a number in a message stands for. Raises InvalidInput."""
    if number not in table:
        raise InvalidInput(f"{field}: want one of {', '.join(map(str, table))}, got {number}")
    return table[number]
