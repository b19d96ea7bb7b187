"""Autoware's messages: their conventions, when they are asked for and cannot be had, and a node that publishes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rclpy
import yaml
from nodes import autoware_interfaces
from nodes.planner_harness import CAMERA_LAG_NS, MS, START_NS, Vehicle, small_profile, small_rig
from rclpy.lifecycle import LifecycleNode

from alpamayo_ros import dynamics, msg
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.geometry import apply, rotation_from_quaternion, rotation_from_rpy, rotation_z, transform, yaw_of
from alpamayo_ros.nodes import autoware
from alpamayo_ros.nodes.client import client_node, node_environment, node_process, stop
from alpamayo_ros.nodes.messages import CycleStatus, stamp_ns
from alpamayo_ros.nodes.outputs import Outputs
from alpamayo_ros.nodes.params import PlannerParams
from alpamayo_ros.nodes.supervising import Supervising
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.pipeline.decode import trajectory_values
from alpamayo_ros.profile import Rig, read_profile, read_rig
from alpamayo_ros.safety.limits import LIMITS
from alpamayo_ros.types import (
    CameraFrame,
    Consistency,
    Decision,
    EgoHistory,
    EgoPose,
    InvalidInput,
    Observation,
    Plan,
    ReasoningTrace,
    Trajectory,
)

pytestmark = pytest.mark.thorough

WHEELBASE_M = 2.79
T0_NS = 1_700_000_000_123_456_789
EGO = EgoPose(
    stamp_ns=T0_NS,
    position=np.array([40.0, -7.0, 3.0]),
    odom_from_ego=rotation_from_rpy(0.01, -0.05, 2.0),
    velocity_mps=np.array([9.0, 0.0, 0.0]),
    angular_rps=np.zeros(3),
)
PACKAGES = list(autoware_interfaces.PACKAGES)


def in_map() -> Rig:
    rig = read_rig("seven_camera")
    return rig.model_copy(update={"odometry": rig.odometry.model_copy(update={"frame": "map"})})


def plan_of(*candidates: Trajectory, scores: tuple[float, ...] = (1.0,)) -> Plan:
    return Plan(
        t0_ns=T0_NS,
        epoch=0,
        source="model",
        provisional=False,
        trajectory=candidates[0],
        candidates=candidates,
        chosen=0,
        scores=scores,
        reasoning=ReasoningTrace("", Decision(), (), 0, complete=True),
        meta_actions=(),
        consistent=Consistency(None),
    )


def driven(accel_mps2: float, curvature_1pm: float, v0_mps: float) -> Trajectory:
    return dynamics.trajectory(np.full(64, accel_mps2), np.full(64, curvature_1pm), v0_mps)


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> autoware.Autoware:
    """What makes the messages, with stand-ins of the types: they know the same fields."""
    install(monkeypatch, *PACKAGES)
    made = asked_for("required")
    assert made is not None
    return made


def install(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let these packages be there, as stand-ins, and the others not."""
    for package in PACKAGES:
        module = types.ModuleType(package) if package in packages else None
        monkeypatch.setitem(sys.modules, package, module)
        if module:
            monkeypatch.setitem(sys.modules, f"{package}.msg", autoware_interfaces.stand_ins(package))  # type: ignore[misc]


class Asking(NamedTuple):
    """As much of a node as is asked."""

    said: list[str]

    def get_fully_qualified_name(self) -> str:
        return "/car/alpamayo_planner"

    def get_logger(self) -> Any:
        return types.SimpleNamespace(info=self.said.append)


def asked_for(
    when: Any, rig: Rig | None = None, wheelbase_m: float = WHEELBASE_M, node: Asking | None = None
) -> autoware.Autoware | None:
    params = PlannerParams(autoware=when, wheelbase_m=wheelbase_m, bundle="models/ar1_nano")
    return autoware.autoware_outputs(node or Asking([]), params, rig or in_map())  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------- conventions


def test_the_first_point_is_the_ego_at_t0_and_point_i_is_a_tenth_of_i_seconds_later(outputs: autoware.Autoware) -> None:
    plan = plan_of(driven(0.5, 0.01, 9.0))
    message = autoware.autoware_trajectory(outputs, plan, EGO)
    assert (message.header.frame_id, stamp_ns(message.header.stamp)) == ("map", T0_NS)
    after = [point.time_from_start.sec * 1_000_000_000 + point.time_from_start.nanosec for point in message.points]
    assert after == [100 * MS * i for i in range(65)], "in float seconds point 43 would be at 4 299 999 999 ns"
    xyz = [(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in message.points]
    ahead = np.vstack([np.zeros(3), plan.trajectory.xyz])
    np.testing.assert_allclose(xyz, apply(transform(EGO.odom_from_ego, EGO.position), ahead), atol=1e-9)
    for point, yaw in zip(message.points, [0.0, *plan.trajectory.yaw_rad], strict=True):
        q = point.pose.orientation
        turned = rotation_from_quaternion(np.array([q.x, q.y, q.z, q.w]))
        np.testing.assert_allclose(turned, EGO.odom_from_ego @ rotation_z(yaw), atol=1e-9)


def test_a_point_says_what_is_done_from_there_on(outputs: autoware.Autoware) -> None:
    """Autoware's acceleration is a forward difference; ours led to the point."""
    accel = np.linspace(-1.0, 1.0, 64)
    curvature = np.linspace(-0.02, 0.05, 64)
    trajectory = dynamics.trajectory(accel, curvature, 9.0)
    points = autoware.autoware_trajectory(outputs, plan_of(trajectory), EGO).points
    speed = np.array([point.longitudinal_velocity_mps for point in points])
    np.testing.assert_allclose(speed, [EGO.speed_mps, *trajectory.speed_mps])
    np.testing.assert_allclose([point.acceleration_mps2 for point in points[:-1]], np.diff(speed) / 0.1, atol=1e-9)
    assert points[-1].acceleration_mps2 == 0.0
    wheels = [point.front_wheel_angle_rad for point in points]
    np.testing.assert_allclose(np.tan(wheels) / WHEELBASE_M, [*curvature, curvature[-1]], atol=1e-12)
    np.testing.assert_allclose([point.heading_rate_rps for point in points], speed * [*curvature, curvature[-1]])
    assert {(point.lateral_velocity_mps, point.rear_wheel_angle_rad) for point in points} == {(0.0, 0.0)}


@pytest.mark.parametrize(
    ("v0_mps", "accel_mps2", "told_mps2"),
    [(9.0, 1.0, 1.0), (9.0, -1.0, -1.0), (-3.0, -0.2, 0.2), (-3.0, 0.2, -0.2), (0.0, -0.2, 0.2)],
    ids=["faster ahead", "slower ahead", "faster in reverse", "slower in reverse", "into reverse"],
)
def test_acceleration_is_positive_when_the_motion_grows(
    outputs: autoware.Autoware, v0_mps: float, accel_mps2: float, told_mps2: float
) -> None:
    ego = replace(EGO, velocity_mps=np.array([v0_mps, 0.0, 0.0]))
    points = autoware.autoware_trajectory(outputs, plan_of(driven(accel_mps2, 0.0, v0_mps)), ego).points
    assert points[0].acceleration_mps2 == pytest.approx(told_mps2)
    grown = abs(points[1].longitudinal_velocity_mps) - abs(points[0].longitudinal_velocity_mps)
    assert grown / 0.1 == pytest.approx(told_mps2)


def test_candidates_come_in_the_plans_order_with_their_scores(outputs: autoware.Autoware) -> None:
    plan = plan_of(driven(0.0, 0.0, 9.0), driven(0.0, 0.02, 9.0), driven(0.0, 0.0, 9.0), scores=(0.25, 1.5, -0.5))
    trajectory, candidates, scored = outputs.messages(plan, EGO)
    assert candidates.candidate_trajectories[plan.chosen].points is trajectory.points, "it is made once"
    ends = [c.points[-1].front_wheel_angle_rad > 0 for c in candidates.candidate_trajectories]
    assert ends == [False, True, False]
    assert [s.score for s in scored.scored_candidate_trajectories] == [0.25, 1.0, 0.0], "as they are, within [0, 1]"
    assert [s.candidate_trajectory for s in scored.scored_candidate_trajectories] == candidates.candidate_trajectories
    (info,) = candidates.generator_info
    assert info.generator_name.data == "/car/alpamayo_planner ar1_nano"
    identity = bytes(info.generator_id.uuid)
    assert all(bytes(c.generator_id.uuid) == identity for c in candidates.candidate_trajectories)


def test_a_generator_is_known_again_and_no_other(outputs: autoware.Autoware) -> None:
    known = outputs.generator_id
    assert known == autoware.generator_id("/car/alpamayo_planner", "models/ar1_nano")
    assert known != autoware.generator_id("/car/alpamayo_planner", "kinematic")
    assert known != autoware.generator_id("/alpamayo_planner", "models/ar1_nano")


def test_points_that_are_not_a_tenth_of_a_second_apart_are_refused(outputs: autoware.Autoware) -> None:
    trajectory = driven(0.0, 0.0, 9.0)
    later = replace(trajectory, t_s=trajectory.t_s + 0.1)
    with pytest.raises(InvalidInput, match=r"want points 0\.1 s apart from t0 on, point 1 is 0\.2 s after it"):
        autoware.autoware_trajectory(outputs, plan_of(later), EGO)


def test_the_pose_must_be_that_of_t0(outputs: autoware.Autoware) -> None:
    with pytest.raises(InvalidInput, match="want the ego pose at t0"):
        outputs.messages(plan_of(driven(0.0, 0.0, 9.0)), replace(EGO, stamp_ns=T0_NS + 30 * MS))


# ------------------------------------------------------------------------------------------------------------ beside our own


class Air(LifecycleNode):  # type: ignore[misc]
    """A node whose messages are noted, by topic, in the order in which they are sent."""

    def __init__(self, context: rclpy.Context) -> None:
        # Its services would outlive the node, and answer for those of other tests.
        super().__init__("air", context=context, enable_communication_interface=False)
        self.sent: list[str] = []

    def create_lifecycle_publisher(self, _kind: type, topic: str, _qos: object) -> Any:
        return types.SimpleNamespace(publish=lambda _message: self.sent.append(topic))

    def destroy_lifecycle_publisher(self, publisher: object) -> None:
        """Nothing to do."""


@pytest.fixture
def air() -> Iterator[Air]:
    context = rclpy.Context()
    rclpy.init(context=context)
    yield (node := Air(context))
    node.destroy_node()
    rclpy.shutdown(context=context)


OURS = ["~/status", "~/shadow/trajectory", "~/shadow/reasoning", "~/shadow/candidates", "~/shadow/path"]


def published(air: Air, outputs: autoware.Autoware, plan: Plan) -> list[str]:
    """The topics of a plan for now, when it is finished and nobody engaged the planner."""
    now_ns, rig, profile = time.time_ns(), in_map(), read_profile("seven_camera")
    buffers = Buffers(profile, rig, FrameRing(profile.image_shape, 2), threads=0)
    about = CycleStatus(0, 0, "init", "kinematic", "none")
    supervising = Supervising(air, PlannerParams(), LIMITS, buffers, Outputs(air, outputs, "shadow"), about, 0)
    frame = CameraFrame(rig.anchor, now_ns, 0, np.zeros(profile.image_shape, np.uint8))
    history = EgoHistory(now_ns, np.zeros((2, 3), np.float32), np.stack([np.eye(3, dtype=np.float32)] * 2))
    ego, sync_error_ms = replace(EGO, stamp_ns=now_ns), {rig.anchor: (0.0,)}
    observation = Observation(now_ns, 0, {rig.anchor: (frame,)}, history, ego, sync_error_ms=sync_error_ms)
    stage_ms = {"observe": 1.0, "infer": 1.0, "total": 2.0}
    cycle = Cycle(now_ns, buffers.epoch, observation, replace(plan, t0_ns=now_ns, epoch=buffers.epoch), stage_ms=stage_ms)
    supervising.take(cycle, replace(about, stage_ms=stage_ms))
    supervising.close()
    buffers.close()
    again = [place for place, topic in enumerate(air.sent) if topic == "~/status"][1:]
    return air.sent[: again[0]] if again else air.sent  # without what time alone brings: no odometry comes here


@pytest.mark.ros
@pytest.mark.patient
def test_ours_are_on_the_air_before_autowares_are_made(
    air: Air, outputs: autoware.Autoware, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[str] = []
    made = autoware.Autoware.messages

    def noted(self: autoware.Autoware, plan: Plan, ego: EgoPose) -> tuple[Any, ...]:
        before.extend(air.sent)
        return made(self, plan, ego)

    monkeypatch.setattr(autoware.Autoware, "messages", noted)
    monkeypatch.setattr("alpamayo_ros.nodes.supervising.on_the_wire", dict)  # these messages have fields, but no type support
    assert published(air, outputs, plan_of(driven(0.0, 0.0, 9.0))) == [
        *OURS,
        *(topic.replace("~/", "~/shadow/") for topic in outputs.topics),
    ]
    assert before == OURS


@pytest.mark.ros
@pytest.mark.patient
def test_a_plan_that_autowares_messages_cannot_hold_is_on_the_air_in_ours(
    air: Air, outputs: autoware.Autoware, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(autoware, "STEP_NS", 50_000_000)
    assert published(air, outputs, plan_of(driven(0.0, 0.0, 9.0))) == OURS
    assert "plan 1 has no Autoware messages: autoware: want points 0.05 s apart" in capfd.readouterr().err


# ------------------------------------------------------------------------------------------------------------- asking for it


def test_nothing_is_published_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, *PACKAGES)
    assert PlannerParams().autoware == "none"
    assert asked_for("none", read_rig("seven_camera"), wheelbase_m=0.0) is None


def test_without_the_packages_auto_is_one_line_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    node = Asking([])
    assert asked_for("auto", read_rig("seven_camera"), wheelbase_m=0.0, node=node) is None
    (line,) = node.said
    assert "autoware_planning_msgs" in line


def test_without_candidates_auto_publishes_the_trajectory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "autoware_planning_msgs")
    node = Asking([])
    made = asked_for("auto", node=node)
    assert made is not None
    assert list(made.topics) == ["~/output/trajectory"]
    assert len(made.messages(plan_of(driven(0.0, 0.0, 9.0)), EGO)) == 1
    assert "autoware_internal_planning_msgs" in node.said[0]


@pytest.mark.parametrize("missing", PACKAGES)
def test_a_required_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    install(monkeypatch, *(package for package in PACKAGES if package != missing))
    with pytest.raises(InvalidInput, match=f"autoware is required.*{missing}"):
        asked_for("required")


@pytest.mark.parametrize("when", ["auto", "required"])
def test_a_wheelbase_that_is_not_given_is_refused(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    install(monkeypatch, *PACKAGES)
    with pytest.raises(InvalidInput, match="wheelbase_m: not given"):
        asked_for(when, wheelbase_m=0.0)


@pytest.mark.parametrize("when", ["auto", "required"])
def test_odometry_in_another_frame_is_refused(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    install(monkeypatch, *PACKAGES)
    with pytest.raises(InvalidInput, match=r"wants odometry in 'map'.*rig seven_camera has .* in 'odom'"):
        asked_for(when, read_rig("seven_camera"))


# ------------------------------------------------------------------------------------------------------------- over real DDS

SPEED_MPS, YAW_RATE_RPS = 36.0, 0.1
SHADOW = "/alpamayo_planner/shadow"
"""Where a planner publishes that nobody engaged."""


class OnMotorway(Vehicle):
    """A long bend to the left at 130 km/h: what is anchored 30 ms too late is a metre off."""

    def pose(self, stamp: int) -> EgoPose:
        s = (stamp - START_NS) / 1e9
        yaw = YAW_RATE_RPS * s
        position = SPEED_MPS / YAW_RATE_RPS * np.array([np.sin(yaw), 1 - np.cos(yaw), 0.0]) + [1000.0, 2000.0, 0.0]
        return EgoPose(stamp, position, rotation_z(yaw), np.array([SPEED_MPS, 0.0, 0.0]), np.array([0.0, 0.0, YAW_RATE_RPS]))


class Heard(NamedTuple):
    """One plan in our messages and in Autoware's."""

    ours: msg.UnicycleTrajectory
    candidates: msg.TrajectoryCandidates
    autoware: Mapping[str, Any]  # by topic
    vehicle: Vehicle


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    if why_not := autoware_interfaces.missing_tool():
        pytest.skip(why_not)
    folder = tmp_path_factory.mktemp("autoware")
    environment = node_environment() | autoware_interfaces.environment_with(PACKAGES)
    with client_node(f"motorway_{os.getpid()}") as node, (folder / "heard").open("wb") as output:
        rig = rig_in_map(folder)
        given = {"rig": folder / "rig.yaml", "profile": small_profile(folder), "use_sim_time": True, "samples": 2}
        given |= {"autoware": "required", "wheelbase_m": WHEELBASE_M}
        with node_process("planner_node", given, folder / "log", environment):
            command = [sys.executable, autoware_interfaces.__file__, SHADOW]
            listener = subprocess.Popen(command, env=environment, stdout=output)
            try:
                vehicle = OnMotorway(node, rig, folder / "log")
                yield drive(vehicle, folder / "heard")
            finally:
                stop(listener)
        vehicle.executor.shutdown()


def rig_in_map(folder: Path) -> Rig:
    described = small_rig(folder).model_dump(mode="json")
    described["odometry"]["frame"] = "map"
    (folder / "rig.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return read_rig(str(folder / "rig.yaml"))


def drive(vehicle: Vehicle, heard: Path) -> Heard:
    topics = [f"{SHADOW}/{topic}" for topic in autoware_interfaces.TOPICS]
    assert vehicle.wait(lambda: vehicle.is_heard() and all(map(vehicle.node.count_subscribers, topics)), 20), (
        vehicle.log.read_text()
    )
    for _ in range(5):  # until the node surely has it: before the first /clock it refuses everything
        vehicle.publisher.clock(vehicle.now_ns)
        vehicle.pause(0.03)
    ours = vehicle.drive_until_plan()
    deadline = time.monotonic() + 10
    messages: dict[str, Any] = {}
    while len(messages) < len(topics) and time.monotonic() < deadline:
        vehicle.pause(0.05)
        messages = {
            topic: message for topic, message in complete_lines(heard) if stamp_of(message) == stamp_ns(ours.header.stamp)
        }
    assert vehicle.wait(lambda: stamp_ns(vehicle.plans.candidates[-1].header.stamp) == stamp_ns(ours.header.stamp))
    assert set(messages) == set(autoware_interfaces.TOPICS), vehicle.log.read_text()
    return Heard(ours, vehicle.plans.candidates[-1], messages, vehicle)


def complete_lines(path: Path) -> list[tuple[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def stamp_of(message: Mapping[str, Any]) -> int:
    for name, inside in {"candidate_trajectories": None, "scored_candidate_trajectories": "candidate_trajectory"}.items():
        if name in message:
            message = message[name][0][inside] if inside else message[name][0]
    stamp = message["header"]["stamp"]
    return int(stamp["sec"] * 1_000_000_000 + stamp["nanosec"])


def positions(message: Mapping[str, Any]) -> np.ndarray:
    return np.array([[point["pose"]["position"][axis] for axis in "xyz"] for point in message["points"]])


@pytest.mark.ros
@pytest.mark.patient
def test_the_published_trajectory_is_ours_in_the_map_through_the_pose_at_t0(heard: Heard) -> None:
    message, plan = heard.autoware["output/trajectory"], trajectory_values(heard.ours)
    assert message["header"]["frame_id"] == "map"
    assert stamp_of(message) == stamp_ns(heard.ours.header.stamp) == heard.vehicle.t0_ns
    times = [p["time_from_start"]["sec"] * 1_000_000_000 + p["time_from_start"]["nanosec"] for p in message["points"]]
    assert times == [100 * MS * i for i in range(65)]

    def anchored_at(stamp: int) -> np.ndarray:
        pose = heard.vehicle.pose(stamp)
        return apply(transform(pose.odom_from_ego, pose.position), np.vstack([np.zeros(3), plan.xyz]))

    t0_ns = heard.vehicle.t0_ns
    np.testing.assert_allclose(positions(message), anchored_at(t0_ns), atol=0.02)  # poses are interpolated over 20 ms
    at_the_newest = anchored_at(t0_ns + CAMERA_LAG_NS)
    assert np.linalg.norm(positions(message) - at_the_newest, axis=1).min() > 1.0, "the newest odometry's pose is another place"
    first, last = message["points"][0], message["points"][-1]
    assert first["longitudinal_velocity_mps"] == pytest.approx(SPEED_MPS, abs=1e-3)
    assert last["longitudinal_velocity_mps"] == pytest.approx(plan.speed_mps[-1], rel=1e-6)
    assert first["front_wheel_angle_rad"] == pytest.approx(np.arctan(WHEELBASE_M * plan.curvature_1pm[0]), rel=1e-5)
    assert first["front_wheel_angle_rad"] == pytest.approx(WHEELBASE_M * YAW_RATE_RPS / SPEED_MPS, rel=0.1), "to the left"
    turned = rotation_from_quaternion(np.array([last["pose"]["orientation"][axis] for axis in "xyzw"]))
    assert yaw_of(turned) == pytest.approx(yaw_of(heard.vehicle.pose(t0_ns).odom_from_ego) + plan.yaw_rad[-1], abs=1e-3)


@pytest.mark.ros
@pytest.mark.patient
def test_the_published_candidates_carry_their_scores_and_who_made_them(heard: Heard) -> None:
    candidates = heard.autoware["output/trajectories"]
    scored = heard.autoware["output/scored_trajectories"]["scored_candidate_trajectories"]
    assert len(scored) == len(candidates["candidate_trajectories"]) == len(heard.candidates.candidates) == 2
    assert [each["score"] for each in scored] == pytest.approx([each.score for each in heard.candidates.candidates])
    assert [each["candidate_trajectory"] for each in scored] == candidates["candidate_trajectories"]
    chosen = candidates["candidate_trajectories"][heard.candidates.chosen_index]
    assert chosen["points"] == heard.autoware["output/trajectory"]["points"]
    (info,) = candidates["generator_info"]
    assert bytes(info["generator_id"]["uuid"]) == autoware.generator_id("/alpamayo_planner", "kinematic").bytes
    assert chosen["generator_id"] == info["generator_id"]
    assert info["generator_name"]["data"] == "/alpamayo_planner kinematic"
