"""Values to generated messages and back. Pure conversion: nothing is decided, looked up or published here.

Texts and lists longer than their message allows are cut and say so with "...". Control characters become spaces. Only
meta-actions have no place to say it; their shortest pieces are merged long before 64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, get_args

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from nav_msgs.msg import Path
from std_msgs.msg import Header

from alpamayo_ros import msg, types
from alpamayo_ros.engine.contract import Weights
from alpamayo_ros.geometry import apply, odom_from_ego, quaternion_from_rotation, rotation_from_quaternion, transform
from alpamayo_ros.pipeline.decode import stamp_ns as stamp_ns  # noqa: PLC0414 - the way back of time_message
from alpamayo_ros.pipeline.shadow import Difference
from alpamayo_ros.profile import Rig
from alpamayo_ros.safety.contract import Finding, Level, Mode, Output, Source, State
from alpamayo_ros.types import F64, Consistency, Decision, EgoPose, InvalidInput, Plan, Trajectory

MAX_POINTS, MAX_COMPONENTS, MAX_META_ACTIONS, MAX_ATTRIBUTES, MAX_REASONS, MAX_FINDINGS = 512, 16, 64, 16, 32, 32
"""Sizes of the bounded sequences in msg/."""

MAX_DIAGNOSTIC = 4096
"""Bytes of a text in a diagnostic."""


def _codes(message: Any, prefix: str, values: Iterable[str]) -> Mapping[str, int]:
    return {value: getattr(message, f"{prefix}_{value}".upper()) for value in values}


STATE = _codes(msg.PlanStatus, "STATE", get_args(State))
MODE = _codes(msg.PlanStatus, "MODE", get_args(Mode))
LEVEL = _codes(msg.CheckResult, "LEVEL", get_args(Level))
SOURCE = _codes(msg.UnicycleTrajectory, "SOURCE", get_args(Source))
LONGITUDINAL = _codes(msg.ReasoningTrace, "LONGITUDINAL", get_args(types.Longitudinal))
LATERAL = _codes(msg.ReasoningTrace, "LATERAL", get_args(types.Lateral))
DIRECTION = _codes(msg.ReasoningTrace, "DIRECTION", get_args(types.Direction))
CATEGORY = _codes(msg.CriticalComponent, "CATEGORY", get_args(types.ComponentCategory))
AXIS = _codes(msg.MetaAction, "AXIS", ("longitudinal", "lateral"))
ACTION = {
    "longitudinal": _codes(msg.MetaAction, "LONGITUDINAL", get_args(types.LongitudinalAction)),
    "lateral": _codes(msg.MetaAction, "LATERAL", get_args(types.LateralAction)),
}
CONSISTENT = _codes(msg.ReasoningTrace, "CONSISTENT", ("unknown", "yes", "no"))


class CameraStatus(NamedTuple):
    """How one camera stood in a cycle."""

    age_ms: float  # newest used frame to t0; NaN when no frame was used
    sync_error_ms: float  # largest distance of a used frame from the instant asked for; NaN as above
    dropped: int  # frames refused or lost since activation


@dataclass(frozen=True)
class CycleStatus:
    """What one cycle, or a hold or a stop between two cycles, has to say about itself, with a trajectory or without."""

    stamp_ns: int  # of the trajectory; without one: t0, or ROS time between two cycles
    epoch: int
    state: State
    bundle: str
    weights: Weights
    bundle_hash: str = ""  # of a folder
    engine: str = ""  # that runs a folder
    fallback: bool = False  # it is not the one that was named
    mode: Mode = "shadow"
    engaged: bool = False
    plan_id: int = 0  # 0 when there is no plan
    source: Source | None = None  # None when nothing is published
    valid: bool = False
    reasons: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    age_ms: float = 0.0  # stamp to this status, ROS clock
    odometry_extrapolated_ms: float = 0.0
    cameras: Mapping[str, CameraStatus] = field(default_factory=dict)  # by role
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    pixels_crc32: int = 0


OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


@dataclass(frozen=True)
class Diagnostic:
    """The health of one part of a node."""

    name: str  # "camera front_wide"
    level: bytes  # OK, WARN or ERROR
    message: str
    values: Mapping[str, str]


def time_message(stamp_ns: int) -> Time:
    """Nanoseconds as a time message. Raises InvalidInput for what does not fit (below 0, year 2038 and later)."""
    if not 0 <= stamp_ns < 2**31 * 1_000_000_000:
        raise InvalidInput(f"time: want 0 <= ns < 2^31 s, got {stamp_ns} ns")
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def published_plan(output: Output) -> Plan:
    """What the supervisor lets be published, as a plan at its own stamp.

    A hold is its plan with the points that are still ahead. A stop has no words and no samples. Raises InvalidInput when
    the output has no trajectory, or a hold no plan.
    """
    trajectory, source = output.trajectory, output.source
    if trajectory is None or source is None:
        raise InvalidInput(f"output at {output.stamp_ns}: want a trajectory to publish, got none")
    if source == "stop":
        return Plan(
            t0_ns=output.stamp_ns,
            epoch=output.epoch,
            source="stop",
            provisional=False,
            trajectory=trajectory,
            candidates=(trajectory,),
            chosen=0,
            scores=(1.0,),
            reasoning=types.ReasoningTrace("", Decision(), (), 0, complete=True),
            meta_actions=(),
            consistent=Consistency(agrees=None),
        )
    if output.plan is None:
        raise InvalidInput(f"{source} at {output.stamp_ns}: want the plan it is of, got none")
    return replace(output.plan, source=source, trajectory=trajectory)


def trajectory_message(plan: Plan, plan_id: int, ego: EgoPose, rig: Rig) -> msg.UnicycleTrajectory:
    """The trajectory of a plan in the ego frame at its stamp, with the ego pose at that stamp (never a newer one)."""
    score = plan.scores[plan.chosen] if plan.scores else 1.0
    return _trajectory(plan, plan.trajectory, plan.chosen, score, plan_id, ego, rig)


def candidates_message(plan: Plan, plan_id: int, ego: EgoPose, rig: Rig) -> msg.TrajectoryCandidates:
    """Every sample of a plan."""
    return msg.TrajectoryCandidates(
        header=_header(plan.t0_ns, rig.base_frame),
        epoch=plan.epoch,
        plan_id=plan_id,
        chosen_index=plan.chosen,
        candidates=[
            _trajectory(plan, candidate, index, score, plan_id, ego, rig)
            for index, (candidate, score) in enumerate(zip(plan.candidates, plan.scores, strict=True))
        ],
    )


def reasoning_message(plan: Plan, plan_id: int, rig: Rig, latency_ms: float) -> msg.ReasoningTrace:
    """The Chain of Causation of a plan, and how it agrees with the published trajectory."""
    trace, decision = plan.reasoning, plan.reasoning.decision
    agreement = {None: "unknown", True: "yes", False: "no"}[plan.consistent.agrees]
    return msg.ReasoningTrace(
        header=_header(plan.t0_ns, rig.base_frame),
        epoch=plan.epoch,
        plan_id=plan_id,
        text=bounded(trace.text, 2048),
        longitudinal=LONGITUDINAL[decision.longitudinal] if decision.longitudinal else msg.ReasoningTrace.LONGITUDINAL_NONE,
        lateral=LATERAL[decision.lateral] if decision.lateral else msg.ReasoningTrace.LATERAL_NONE,
        lateral_direction=DIRECTION[decision.direction] if decision.direction else msg.ReasoningTrace.DIRECTION_NONE,
        components=_components(trace.components),
        meta_actions=[_meta_action(action) for action in plan.meta_actions[:MAX_META_ACTIONS]],
        stated_meta_actions=bounded(trace.meta_actions, 256),
        complete=trace.complete,
        consistent=CONSISTENT[agreement],
        why_not=bounded(plan.consistent.why_not, 256) if agreement == "no" else "",
        tokens=trace.tokens,
        latency_ms=float(latency_ms),
    )


def status_message(status: CycleStatus, rig: Rig) -> msg.PlanStatus:
    """A status; its stamp is that of the trajectory it comes before."""
    cameras = status.cameras.values()
    return msg.PlanStatus(
        header=_header(status.stamp_ns, rig.base_frame),
        epoch=status.epoch,
        plan_id=status.plan_id,
        state=STATE[status.state],
        source=SOURCE[status.source] if status.source else msg.PlanStatus.SOURCE_NONE,
        mode=MODE[status.mode],
        engaged=status.engaged,
        valid=status.valid,
        reasons=_bounded_list(status.reasons, MAX_REASONS, 256),
        # What decides is told first: a list that is too long loses warnings, not the reason of a rejection.
        findings=[_check_result(finding) for finding in sorted(status.findings, key=_by_weight)[:MAX_FINDINGS]],
        bundle=bounded(status.bundle, 64),
        bundle_hash=status.bundle_hash,
        engine=status.engine,
        fallback=status.fallback,
        weights=status.weights,
        age_ms=float(status.age_ms),
        odometry_extrapolated_ms=float(status.odometry_extrapolated_ms),
        camera_roles=list(status.cameras),
        camera_age_ms=[camera.age_ms for camera in cameras],
        sync_error_ms=[camera.sync_error_ms for camera in cameras],
        camera_dropped=[camera.dropped for camera in cameras],
        stages=[bounded(stage, 32) for stage in status.stage_ms],
        stage_ms=list(status.stage_ms.values()),
        pixels_crc32=status.pixels_crc32,
    )


def difference_message(difference: Difference, rig: Rig) -> msg.ShadowDifference:
    """How a plan differed from what was driven; its stamp is t0 of the plan."""
    return msg.ShadowDifference(
        header=_header(difference.t0_ns, rig.base_frame),
        epoch=difference.epoch,
        plan_id=difference.plan_id,
        after_s=difference.after_s,
        along_m=difference.along_m,
        across_m=difference.across_m,
        speed_mps=difference.speed_mps,
        ade_m=difference.ade_m,
    )


def path_message(plan: Plan, ego: EgoPose, rig: Rig) -> Path:
    """The plan's trajectory in the odometry frame through the ego pose at t0; header.stamp is t0."""
    _check_pose_of(plan, ego)
    positions = apply(odom_from_ego(ego), plan.trajectory.xyz)
    turns = _turned(quaternion_from_rotation(ego.odom_from_ego), plan.trajectory.yaw_rad)
    stamps = [plan.t0_ns + after for after in nanoseconds(plan.trajectory.t_s)]
    poses = [
        PoseStamped(header=_header(stamp, rig.odometry.frame), pose=_pose(xyz, xyzw))
        for stamp, xyz, xyzw in zip(stamps, positions, turns, strict=True)
    ]
    return Path(header=_header(plan.t0_ns, rig.odometry.frame), poses=poses)


def diagnostics_message(
    now_ns: int, diagnostics: Iterable[Diagnostic], node_name: str = "alpamayo_planner", hardware_id: str = ""
) -> DiagnosticArray:
    """Diagnostics for /diagnostics, each named "node_name: name"."""
    return DiagnosticArray(
        header=_header(now_ns, ""),
        status=[
            DiagnosticStatus(
                level=diagnostic.level,
                name=f"{node_name}: {diagnostic.name}",
                # What an engine or a driver said may be in them: what no UTF-8 holds would end the node.
                message=bounded(diagnostic.message, MAX_DIAGNOSTIC),
                hardware_id=hardware_id,
                values=[KeyValue(key=key, value=bounded(value, MAX_DIAGNOSTIC)) for key, value in diagnostic.values.items()],
            )
            for diagnostic in diagnostics
        ],
    )


def pose_matrix(pose: Any) -> F64:
    """A pose message as a matrix (4, 4) parent_from_child. Raises InvalidInput for a quaternion that is none."""
    p, q = pose.position, pose.orientation
    return transform(rotation_from_quaternion(np.array([q.x, q.y, q.z, q.w])), np.array([p.x, p.y, p.z]))


def nanoseconds(t_s: F64) -> list[int]:
    """Times after the stamp in s as integer ns; multiples of 0.1 s come out as exact multiples of 100 000 000."""
    return [round(t * 1e9) for t in t_s.tolist()]


def bounded(text: str, limit: int) -> str:
    """The text without control characters and at most `limit` bytes of UTF-8; a cut ends in "..."."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    encoded = clean.encode()
    return clean if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "..."


def _bounded_list(texts: Sequence[str], count: int, limit: int) -> list[str]:
    kept = [bounded(text, limit) for text in texts[:count]]
    if len(texts) > count:
        kept[-1] = f"... and {len(texts) - count + 1} more"
    return kept


def _header(stamp_ns: int, frame: str) -> Header:
    return Header(stamp=time_message(stamp_ns), frame_id=frame)


def _pose(xyz: F64, xyzw: F64) -> Pose:
    (x, y, z), (qx, qy, qz, qw) = xyz.tolist(), xyzw.tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def _turned(xyzw: F64, yaw_rad: F64) -> F64:
    """Quaternions (n, 4) of a rotation followed by a yaw about its own z."""
    (x, y, z, w), s, c = xyzw, np.sin(yaw_rad / 2), np.cos(yaw_rad / 2)
    return np.stack([x * c + y * s, y * c - x * s, z * c + w * s, w * c - z * s], axis=-1)


def _check_pose_of(plan: Plan, ego: EgoPose) -> None:
    if ego.stamp_ns != plan.t0_ns:
        raise InvalidInput(f"plan of t0 {plan.t0_ns}: want the ego pose at t0, got the one at {ego.stamp_ns}")


def _trajectory(
    plan: Plan, trajectory: Trajectory, index: int, score: float, plan_id: int, ego: EgoPose, rig: Rig
) -> msg.UnicycleTrajectory:
    _check_pose_of(plan, ego)
    if len(trajectory.t_s) > MAX_POINTS:
        raise InvalidInput(f"trajectory: want at most {MAX_POINTS} points, got {len(trajectory.t_s)}")
    pose = _pose(ego.position, quaternion_from_rotation(ego.odom_from_ego))
    return msg.UnicycleTrajectory(
        header=_header(plan.t0_ns, rig.base_frame),
        epoch=plan.epoch,
        source=SOURCE[plan.source],
        provisional=plan.provisional,
        odom_from_ego_t0=PoseStamped(header=_header(plan.t0_ns, rig.odometry.frame), pose=pose),
        points=_points(trajectory),
        plan_id=plan_id,
        sample_index=index,
        score=float(score),
    )


def _points(trajectory: Trajectory) -> list[msg.TrajectoryPoint]:
    turns = _turned(np.array([0.0, 0.0, 0.0, 1.0]), trajectory.yaw_rad)
    rows = zip(
        nanoseconds(trajectory.t_s),
        trajectory.xyz,
        turns,
        trajectory.speed_mps.tolist(),
        trajectory.accel_mps2.tolist(),
        trajectory.curvature_1pm.tolist(),
        strict=True,
    )
    return [
        msg.TrajectoryPoint(
            time_from_start_ns=after,
            pose=_pose(xyz, xyzw),
            speed_mps=speed,
            acceleration_mps2=accel,
            curvature_1pm=curvature,
            heading_rate_rps=speed * curvature,
        )
        for after, xyz, xyzw, speed, accel, curvature in rows
    ]


def _by_weight(finding: Finding) -> bool:
    return not finding.rejects


def _check_result(finding: Finding) -> msg.CheckResult:
    return msg.CheckResult(
        check=bounded(finding.check, 8),
        name=bounded(finding.name, 64),
        level=LEVEL[finding.level],
        shadow=finding.shadow,
        value=float(finding.value),
        limit=float(finding.limit),
        unit=bounded(finding.unit, 16),
        at_s=float("nan") if finding.at_s is None else finding.at_s,
        source=bounded(finding.source, 128),
    )


def _components(components: Sequence[types.CriticalComponent]) -> list[msg.CriticalComponent]:
    converted = [
        msg.CriticalComponent(
            category=CATEGORY[component.category],
            description=bounded(component.description, 128),
            attributes=_bounded_list([f"{key}={value}" for key, value in component.attributes], MAX_ATTRIBUTES, 64),
        )
        for component in components[:MAX_COMPONENTS]
    ]
    if len(components) > MAX_COMPONENTS:
        converted[-1].description = f"... and {len(components) - MAX_COMPONENTS + 1} more"
        converted[-1].attributes = []
    return converted


def _meta_action(action: types.MetaAction) -> msg.MetaAction:
    return msg.MetaAction(
        axis=AXIS[action.axis],
        action=ACTION[action.axis][action.action],
        start_ns=round(action.start_s * 1e9),
        end_ns=round(action.end_s * 1e9),
    )
