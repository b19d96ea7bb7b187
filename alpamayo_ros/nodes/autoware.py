"""Plans as Autoware's messages, where its message packages are installed; nothing else here needs them.

Conventions and where they come from: docs/autoware.md. The types are Any: they exist on some machines only.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion
from rclpy.node import Node
from std_msgs.msg import String
from unique_identifier_msgs.msg import UUID

from alpamayo_ros.geometry import quaternion_from_rotation
from alpamayo_ros.nodes.messages import nanoseconds, path_message
from alpamayo_ros.nodes.params import PlannerParams
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import EgoPose, InvalidInput, Plan, Trajectory

MAP = "map"
"""The frame of /localization/kinematic_state and of every trajectory (docs/autoware.md)."""

STEP_NS = 100_000_000
"""The step of Autoware's generators; autoware_trajectory_processor's smoother takes no other one."""


class TrajectoryTypes(NamedTuple):
    """Of autoware_planning_msgs."""

    trajectory: Any
    point: Any


class CandidateTypes(NamedTuple):
    """Of autoware_internal_planning_msgs."""

    candidates: Any
    candidate: Any
    scored_candidates: Any
    scored_candidate: Any
    generator: Any


def trajectory_types() -> TrajectoryTypes:
    """The only importer of autoware_planning_msgs. Raises ImportError where it is not installed."""
    from autoware_planning_msgs.msg import Trajectory, TrajectoryPoint

    return TrajectoryTypes(Trajectory, TrajectoryPoint)


def candidate_types() -> CandidateTypes:
    """The only importer of autoware_internal_planning_msgs. Raises ImportError where one of these types is not there."""
    from autoware_internal_planning_msgs.msg import (
        CandidateTrajectories,
        CandidateTrajectory,
        GeneratorInfo,
        ScoredCandidateTrajectories,
        ScoredCandidateTrajectory,
    )

    return CandidateTypes(
        CandidateTrajectories, CandidateTrajectory, ScoredCandidateTrajectories, ScoredCandidateTrajectory, GeneratorInfo
    )


@dataclass(frozen=True)
class Autoware:
    """What makes Autoware's messages of a plan."""

    trajectories: TrajectoryTypes
    candidates: CandidateTypes | None  # None: only the trajectory is published
    rig: Rig  # with its odometry in the map frame
    wheelbase_m: float
    generator_id: uuid.UUID
    generator_name: str

    @property
    def topics(self) -> dict[str, Any]:
        """Message type by topic, in the order of `messages`."""
        topics = {"~/output/trajectory": self.trajectories.trajectory}
        if self.candidates:
            topics["~/output/trajectories"] = self.candidates.candidates
            topics["~/output/scored_trajectories"] = self.candidates.scored_candidates
        return topics

    def messages(self, plan: Plan, ego: EgoPose) -> tuple[Any, ...]:
        """A plan, one message for each of `topics`. Raises InvalidInput for a plan that they cannot hold."""
        trajectory = autoware_trajectory(self, plan, ego)
        return (trajectory, *candidate_trajectories(self, plan, ego, trajectory)) if self.candidates else (trajectory,)


def autoware_outputs(node: Node, params: PlannerParams, rig: Rig) -> Autoware | None:
    """What the parameters ask for; None where that is nothing, or where the packages are not installed and need not be.

    Raises InvalidInput: a package that is `required` is missing, no wheelbase, odometry that is not in the map frame.
    """
    if params.autoware == "none":
        return None
    trajectories = candidates = None
    try:
        trajectories = trajectory_types()
        candidates = candidate_types()
    except ImportError as error:
        if params.autoware == "required":
            raise InvalidInput(f"autoware is required, but its messages cannot be imported: {error}") from error
        lacking = "all but ~/output/trajectory" if trajectories else "Autoware's messages"
        node.get_logger().info(f"autoware is auto, {lacking} will not be published: {error}")
    if trajectories is None:
        return None
    _check(params, rig)
    name = node.get_fully_qualified_name()
    return Autoware(
        trajectories=trajectories,
        candidates=candidates,
        rig=rig,
        wheelbase_m=params.wheelbase_m,
        generator_id=generator_id(name, params.bundle),
        generator_name=f"{name} {Path(params.bundle).name}",
    )


def _check(params: PlannerParams, rig: Rig) -> None:
    if params.wheelbase_m == 0.0:
        raise InvalidInput(f"wheelbase_m: not given, autoware: {params.autoware} needs it for the angle of the front wheels")
    if rig.odometry.frame != MAP:
        raise InvalidInput(
            f"autoware: {params.autoware} wants odometry in {MAP!r}, as /localization/kinematic_state is; "
            f"rig {rig.name} has {rig.odometry.topic} in {rig.odometry.frame!r}"
        )


def generator_id(node: str, bundle: str) -> uuid.UUID:
    """The same for the same node and bundle, after a restart too."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"alpamayo_ros:{node}:{bundle}")


def autoware_trajectory(autoware: Autoware, plan: Plan, ego: EgoPose) -> Any:
    """autoware_planning_msgs/Trajectory: the plan in the map frame through the ego pose at t0; header.stamp is t0."""
    path = path_message(plan, ego, autoware.rig)
    poses = [_pose_at(ego), *(point.pose for point in path.poses)]
    return autoware.trajectories.trajectory(header=path.header, points=_points(autoware, plan.trajectory, ego, poses))


def candidate_trajectories(autoware: Autoware, plan: Plan, ego: EgoPose, chosen: Any) -> tuple[Any, Any]:
    """CandidateTrajectories and ScoredCandidateTrajectories: every sample of a plan, in its order.

    `chosen` is the message of the one that is the plan's trajectory.
    """
    types = autoware.candidates
    assert types is not None
    generator = UUID(uuid=np.frombuffer(autoware.generator_id.bytes, np.uint8))
    info = [types.generator(generator_id=generator, generator_name=String(data=autoware.generator_name))]
    made = [
        chosen if index == plan.chosen else autoware_trajectory(autoware, replace(plan, trajectory=each), ego)
        for index, each in enumerate(plan.candidates)
    ]
    candidates = [types.candidate(header=each.header, generator_id=generator, points=each.points) for each in made]
    scores = np.clip(plan.scores, 0.0, 1.0).tolist()
    scored = [
        types.scored_candidate(candidate_trajectory=candidate, score=score)
        for candidate, score in zip(candidates, scores, strict=True)
    ]
    return (
        types.candidates(candidate_trajectories=candidates, generator_info=info),
        types.scored_candidates(scored_candidate_trajectories=scored, generator_info=info),
    )


def _points(autoware: Autoware, trajectory: Trajectory, ego: EgoPose, poses: list[Pose]) -> list[Any]:
    """The ego at t0, then the points of the plan: n + 1 of them, point i exactly i * 0.1 s after t0."""
    _check_steps(trajectory)
    rows = zip(poses, *_motion(trajectory, ego), strict=True)
    return [
        autoware.trajectories.point(
            time_from_start=_duration(index * STEP_NS),
            pose=pose,
            longitudinal_velocity_mps=speed,
            lateral_velocity_mps=0.0,
            acceleration_mps2=accel,
            heading_rate_rps=speed * curvature,
            front_wheel_angle_rad=float(np.arctan(autoware.wheelbase_m * curvature)),
            rear_wheel_angle_rad=0.0,
        )
        for index, (pose, speed, accel, curvature) in enumerate(rows)
    ]


def _motion(trajectory: Trajectory, ego: EgoPose) -> tuple[list[float], list[float], list[float]]:
    """Speed, acceleration and curvature at t0 and at each point.

    Our actions led to their points; Autoware's are those from a point on (a forward difference), so each moves one point
    to the front. After the last point nothing is planned: no acceleration, and the wheels stay as they are.
    """
    speed = np.append(ego.speed_mps, trajectory.speed_mps)
    accel = np.append(trajectory.accel_mps2, 0.0)
    curvature = np.append(trajectory.curvature_1pm, trajectory.curvature_1pm[-1])
    is_reverse = speed + np.append(speed[1:], speed[-1]) < 0  # over the step that begins at the point
    # Autoware's sign is that of absolute motion: faster is positive, in reverse too.
    return speed.tolist(), np.where(is_reverse, -accel, accel).tolist(), curvature.tolist()


def _check_steps(trajectory: Trajectory) -> None:
    for index, after_ns in enumerate(nanoseconds(trajectory.t_s), start=1):
        if after_ns != index * STEP_NS:
            raise InvalidInput(
                f"autoware: want points {STEP_NS * 1e-9:g} s apart from t0 on, point {index} is {after_ns * 1e-9:g} s after it"
            )


def _pose_at(ego: EgoPose) -> Pose:
    (x, y, z), (qx, qy, qz, qw) = ego.position.tolist(), quaternion_from_rotation(ego.odom_from_ego).tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def _duration(after_ns: int) -> Duration:
    return Duration(sec=after_ns // 1_000_000_000, nanosec=after_ns % 1_000_000_000)
