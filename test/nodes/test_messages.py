"""Values to generated messages: nothing is lost, nothing is invented, nothing is too long."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any, get_args

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from nodes import ros_harness  # noqa: F401 - first: it imports what the generated messages need, without the warnings
from rclpy.serialization import deserialize_message, serialize_message

from alpamayo_ros import msg, types
from alpamayo_ros.geometry import (
    apply,
    odom_from_ego,
    quaternion_from_rotation,
    rotation_from_quaternion,
    rotation_from_rpy,
    rotation_z,
)
from alpamayo_ros.nodes import messages
from alpamayo_ros.nodes.messages import CameraStatus, CycleStatus, Diagnostic
from alpamayo_ros.pipeline.decode import trajectory_values
from alpamayo_ros.pipeline.shadow import Difference
from alpamayo_ros.profile import read_rig
from alpamayo_ros.safety.contract import Finding, Output
from alpamayo_ros.types import Consistency, CriticalComponent, Decision, EgoPose, InvalidInput, MetaAction, Plan, Trajectory

T0 = 1_700_000_000_123_456_789
RIG = read_rig("seven_camera")


def trajectory(n: int = 64) -> Trajectory:
    t = np.arange(1, n + 1) * 0.1
    return Trajectory(t, np.stack([10 * t, 0.2 * t**2, 0.01 * t], axis=1), 0.03 * t, 10 + t, np.ones(n), 0.01 * t)


def ego() -> EgoPose:
    turned = rotation_from_rpy(0.02, -0.05, 2.5)
    return EgoPose(T0, np.array([100.0, -50.0, 3.0]), turned, np.array([10.0, 0, 0]), np.zeros(3))


def plan(**changes: Any) -> Plan:
    trace = types.ReasoningTrace(
        "Slow down for the pedestrian.",
        Decision("yield", "in_lane_nudge", "left"),
        (CriticalComponent("critical_object", "pedestrian", (("side", "right"),)),),
        7,
        complete=True,
    )
    basis = Plan(
        t0_ns=T0,
        epoch=3,
        source="model",
        provisional=False,
        trajectory=trajectory(),
        candidates=(trajectory(), trajectory()),
        chosen=1,
        scores=(0.25, 0.75),
        reasoning=trace,
        meta_actions=(MetaAction("longitudinal", "gentle_decelerate", 0.0, 6.4), MetaAction("lateral", "steer_left", 0.1, 0.3)),
        consistent=Consistency(agrees=True),
    )
    return replace(basis, **changes)


def sent(message: Any) -> Any:
    """The message as a subscriber gets it, after every field was held against its definition: type, range and size."""
    checked(message)
    return deserialize_message(serialize_message(message), type(message))


def checked(message: Any) -> None:
    values = {name: getattr(message, name) for name in message.get_fields_and_field_types()}
    type(message)(**values, check_fields=True)
    for value in values.values():
        for part in value if isinstance(value, list) else [value]:
            if hasattr(part, "get_fields_and_field_types"):
                checked(part)


def constants(message: type, prefix: str) -> dict[str, int]:
    """`prefix_NAME=value` of a .msg by name, from the generated class."""
    names = [name for name in dir(message) if name.startswith(prefix + "_")]
    return {name.removeprefix(prefix + "_").lower(): getattr(message, name) for name in names}


@pytest.mark.parametrize(
    ("table", "literal", "message", "prefix", "extra"),
    [
        (messages.STATE, messages.State, msg.PlanStatus, "STATE", set()),
        (messages.MODE, messages.Mode, msg.PlanStatus, "MODE", set()),
        (messages.LEVEL, messages.Level, msg.CheckResult, "LEVEL", set()),
        (messages.SOURCE, messages.Source, msg.UnicycleTrajectory, "SOURCE", set()),
        (messages.LONGITUDINAL, types.Longitudinal, msg.ReasoningTrace, "LONGITUDINAL", {"none"}),
        (messages.LATERAL, types.Lateral, msg.ReasoningTrace, "LATERAL", {"none"}),
        (messages.DIRECTION, types.Direction, msg.ReasoningTrace, "DIRECTION", {"none"}),
        (messages.CATEGORY, types.ComponentCategory, msg.CriticalComponent, "CATEGORY", set()),
        (messages.ACTION["longitudinal"], types.LongitudinalAction, msg.MetaAction, "LONGITUDINAL", set()),
        (messages.ACTION["lateral"], types.LateralAction, msg.MetaAction, "LATERAL", set()),
    ],
)
def test_every_word_of_a_closed_set_has_exactly_one_number(
    table: dict[str, int], literal: Any, message: type, prefix: str, extra: set[str]
) -> None:
    numbers = constants(message, prefix)
    assert set(table) == set(get_args(literal)) == set(numbers) - extra
    assert len(set(numbers.values())) == len(numbers), "two words share a number"
    assert all(table[word] == numbers[word] for word in table)


def test_the_tables_that_are_read_back_by_position_count_from_zero() -> None:
    assert [constants(msg.NavigationCommand, "MANEUVER")[word] for word in get_args(types.Maneuver)] == list(range(7))
    assert constants(msg.EgoSignals, "INDICATOR") == {"off": 0, "left": 1, "right": 2, "hazard": 3}


def test_the_weights_of_the_contract_are_those_of_the_message() -> None:
    assert sorted(constants(msg.PlanStatus, "WEIGHTS").values()) == sorted(get_args(messages.Weights))


@pytest.mark.parametrize("stamp", [0, 1, 999_999_999, 1_000_000_000, T0, 2**31 * 1_000_000_000 - 1])
def test_a_time_survives_to_the_nanosecond(stamp: int) -> None:
    time = sent(messages.time_message(stamp))
    assert time.sec * 1_000_000_000 + time.nanosec == stamp


@pytest.mark.parametrize("stamp", [-1, 2**31 * 1_000_000_000])
def test_a_time_that_does_not_fit_is_refused(stamp: int) -> None:
    with pytest.raises(InvalidInput, match=str(stamp)):
        messages.time_message(stamp)


def test_times_from_start_are_exact_multiples_of_100_ms() -> None:
    message = sent(messages.trajectory_message(plan(trajectory=trajectory(512)), 1, ego(), RIG))
    assert [p.time_from_start_ns for p in message.points] == [(i + 1) * 100_000_000 for i in range(512)]


def test_a_trajectory_survives_the_message() -> None:
    message = sent(messages.trajectory_message(plan(), 9, ego(), RIG))
    assert (message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, message.header.frame_id) == (T0, "base_link")
    assert (message.epoch, message.plan_id, message.sample_index, message.score) == (3, 9, 1, 0.75)
    assert (message.source, message.provisional) == (msg.UnicycleTrajectory.SOURCE_MODEL, False)
    back = trajectory_values(message)
    for name in ("xyz", "speed_mps", "accel_mps2", "curvature_1pm"):
        np.testing.assert_array_equal(getattr(back, name), getattr(trajectory(), name))
    np.testing.assert_allclose(back.t_s, trajectory().t_s, rtol=0, atol=1e-12)  # ns are integers
    np.testing.assert_allclose(back.yaw_rad, trajectory().yaw_rad, rtol=0, atol=1e-12)  # through a quaternion
    rates = [p.heading_rate_rps for p in message.points]
    np.testing.assert_array_equal(rates, trajectory().speed_mps * trajectory().curvature_1pm)


def test_a_trajectory_carries_the_ego_pose_of_its_own_stamp() -> None:
    message = sent(messages.trajectory_message(plan(), 9, ego(), RIG))
    pose = message.odom_from_ego_t0
    assert (pose.header.stamp, pose.header.frame_id) == (message.header.stamp, "odom")
    np.testing.assert_allclose(messages.pose_matrix(pose.pose), odom_from_ego(ego()), rtol=0, atol=1e-12)


def test_an_ego_pose_of_another_time_is_refused() -> None:
    later = replace(ego(), stamp_ns=T0 + 1)
    for convert in (messages.trajectory_message, messages.candidates_message):
        with pytest.raises(InvalidInput, match="want the ego pose at t0"):
            convert(plan(), 1, later, RIG)
    with pytest.raises(InvalidInput, match="want the ego pose at t0"):
        messages.path_message(plan(), later, RIG)


def test_more_points_than_the_message_holds_are_refused_not_cut() -> None:
    with pytest.raises(InvalidInput, match="at most 512 points, got 513"):
        messages.trajectory_message(plan(trajectory=trajectory(513)), 1, ego(), RIG)


def test_candidates_keep_their_places_and_scores() -> None:
    message = sent(messages.candidates_message(plan(), 9, ego(), RIG))
    assert [(c.sample_index, c.score) for c in message.candidates] == [(0, 0.25), (1, 0.75)]
    assert message.candidates[message.chosen_index] == sent(messages.trajectory_message(plan(), 9, ego(), RIG))


def test_a_path_is_the_trajectory_seen_from_the_odometry_frame() -> None:
    path = sent(messages.path_message(plan(), ego(), RIG))
    assert (path.header.stamp, path.header.frame_id) == (messages.time_message(T0), "odom")
    positions = np.array([[p.pose.position.x, p.pose.position.y, p.pose.position.z] for p in path.poses])
    np.testing.assert_allclose(positions, apply(odom_from_ego(ego()), trajectory().xyz), rtol=0, atol=1e-12)
    for pose, yaw in zip(path.poses, trajectory().yaw_rad, strict=True):
        q = pose.pose.orientation
        turn = rotation_from_quaternion(np.array([q.x, q.y, q.z, q.w]))
        np.testing.assert_allclose(turn, ego().odom_from_ego @ rotation_z(yaw), rtol=0, atol=1e-12)
    assert path.poses[0].header.stamp == messages.time_message(T0 + 100_000_000)


def test_a_trace_survives_the_message() -> None:
    message = sent(messages.reasoning_message(plan(), 9, RIG, 120.5))
    assert (message.text, message.tokens, message.complete) == ("Slow down for the pedestrian.", 7, True)
    assert message.longitudinal == msg.ReasoningTrace.LONGITUDINAL_YIELD
    assert message.lateral == msg.ReasoningTrace.LATERAL_IN_LANE_NUDGE
    assert message.lateral_direction == msg.ReasoningTrace.DIRECTION_LEFT
    assert message.latency_ms == 120.5
    [component] = message.components
    assert (component.category, component.description) == (msg.CriticalComponent.CATEGORY_CRITICAL_OBJECT, "pedestrian")
    assert component.attributes == ["side=right"]
    first, second = message.meta_actions
    assert (first.axis, first.action) == (msg.MetaAction.AXIS_LONGITUDINAL, msg.MetaAction.LONGITUDINAL_GENTLE_DECELERATE)
    assert (second.axis, second.action) == (msg.MetaAction.AXIS_LATERAL, msg.MetaAction.LATERAL_STEER_LEFT)
    assert (second.start_ns, second.end_ns) == (100_000_000, 300_000_000)


def test_no_decision_is_none_on_every_axis() -> None:
    trace = replace(plan().reasoning, decision=Decision())
    message = sent(messages.reasoning_message(plan(reasoning=trace), 9, RIG, 0))
    assert (message.longitudinal, message.lateral, message.lateral_direction) == (0, 0, 0)


@pytest.mark.parametrize(
    ("consistency", "code", "why_not"),
    [
        (Consistency(agrees=None), msg.ReasoningTrace.CONSISTENT_UNKNOWN, ""),
        (Consistency(agrees=True), msg.ReasoningTrace.CONSISTENT_YES, ""),
        (Consistency(agrees=False, why_not="it turns right"), msg.ReasoningTrace.CONSISTENT_NO, "it turns right"),
    ],
)
def test_consistency_is_told_with_its_reason(consistency: Consistency, code: int, why_not: str) -> None:
    message = sent(messages.reasoning_message(plan(consistent=consistency), 9, RIG, 0))
    assert (message.consistent, message.why_not) == (code, why_not)


def test_long_texts_and_lists_are_cut_and_say_so() -> None:
    components = tuple(CriticalComponent("lane", "x" * 200, tuple((str(i), "y" * 80) for i in range(20))) for _ in range(20))
    trace = replace(plan().reasoning, text="a" * 3000, components=components)
    actions = tuple(MetaAction("lateral", "go_straight", i * 0.1, i * 0.1 + 0.1) for i in range(64))
    message = sent(messages.reasoning_message(plan(reasoning=trace, meta_actions=actions), 9, RIG, 0))
    assert message.text == "a" * 2045 + "..."
    assert len(message.components) == 16
    assert message.components[0].description == "x" * 125 + "..."
    assert message.components[0].attributes[-1] == "... and 5 more"
    assert message.components[-1].description == "... and 5 more"
    assert len(message.meta_actions) == 64


@pytest.mark.parametrize("text", ["é" * 40, "a" + "é" * 40, "日本語" * 20, "🚗" * 20])
def test_a_cut_never_splits_a_letter(text: str) -> None:
    cut = messages.bounded(text, 64)
    assert len(cut.encode()) <= 64
    assert cut.endswith("...")
    assert text.startswith(cut.removesuffix("..."))


def test_control_characters_never_reach_a_terminal() -> None:
    assert messages.bounded("stop\x1b[31m\n\x00now\u202e\ud800", 64) == "stop [31m  now  "


def status(**changes: Any) -> CycleStatus:
    cameras = {"front_wide": CameraStatus(0.0, 1.5, 2), "rear_tele": CameraStatus(float("nan"), float("nan"), 40)}
    basis = CycleStatus(
        T0,
        epoch=3,
        state="nominal",
        bundle="kinematic",
        weights="none",
        plan_id=9,
        source="model",
        valid=True,
        age_ms=80.5,
        odometry_extrapolated_ms=4.5,
        cameras=cameras,
        stage_ms={"observe": 1.0, "infer": 30.0},
        pixels_crc32=2**32 - 1,
    )
    return replace(basis, **changes)


def test_a_status_survives_the_message() -> None:
    message = sent(messages.status_message(status(), RIG))
    assert (message.header.stamp, message.header.frame_id) == (messages.time_message(T0), "base_link")
    assert (message.epoch, message.plan_id, message.valid) == (3, 9, True)
    assert (message.state, message.source) == (msg.PlanStatus.STATE_NOMINAL, msg.UnicycleTrajectory.SOURCE_MODEL)
    assert (message.bundle, message.weights) == ("kinematic", msg.PlanStatus.WEIGHTS_NONE)
    assert (message.age_ms, message.odometry_extrapolated_ms) == (80.5, 4.5)
    assert message.camera_roles == ["front_wide", "rear_tele"]
    assert list(message.camera_dropped) == [2, 40]
    assert (message.camera_age_ms[0], message.sync_error_ms[0]) == (0.0, 1.5)
    assert np.isnan([message.camera_age_ms[1], message.sync_error_ms[1]]).all()
    assert (message.stages, list(message.stage_ms)) == (["observe", "infer"], [1.0, 30.0])
    assert message.pixels_crc32 == 2**32 - 1


def test_a_cycle_without_a_plan_has_no_source_and_its_reasons() -> None:
    refused = status(plan_id=0, source=None, valid=False, reasons=("front_tele: 180 ms late", *["again"] * 40))
    message = sent(messages.status_message(refused, RIG))
    assert (message.source, message.plan_id, message.valid) == (msg.PlanStatus.SOURCE_NONE, 0, False)
    assert message.reasons[0] == "front_tele: 180 ms late"
    assert (len(message.reasons), message.reasons[-1]) == (32, "... and 10 more")


def finding(**changes: Any) -> Finding:
    return replace(Finding("V7", "lateral acceleration", "reject", 5.5, 4.9, "m/s^2", "ISO 11270", at_s=1.2), **changes)


def test_a_finding_survives_the_message() -> None:
    found = (finding(), finding(check="V17", level="warn", at_s=None, shadow=True))
    message = sent(messages.status_message(status(mode="active", engaged=True, findings=found), RIG))
    assert (message.mode, message.engaged) == (msg.PlanStatus.MODE_ACTIVE, True)
    first, second = message.findings
    assert (first.check, first.name, first.level, first.shadow) == ("V7", "lateral acceleration", first.LEVEL_REJECT, False)
    assert (first.value, first.limit, first.unit, first.source, first.at_s) == (5.5, 4.9, "m/s^2", "ISO 11270", 1.2)
    assert (second.check, second.level, second.shadow) == ("V17", second.LEVEL_WARN, True)
    assert np.isnan(second.at_s)


def test_of_too_many_findings_those_that_decide_are_told() -> None:
    found = (*[finding(level="warn")] * 40, finding(check="V9"))
    message = sent(messages.status_message(status(findings=found), RIG))
    assert len(message.findings) == messages.MAX_FINDINGS
    assert message.findings[0].check == "V9"


def output(**changes: Any) -> Output:
    basis = Output("nominal", engaged=True, stamp_ns=T0, epoch=3, source="model", trajectory=trajectory(), ego=ego())
    basis = replace(basis, plan=plan())
    return replace(basis, **changes)


def test_a_hold_is_its_plan_with_the_points_ahead() -> None:
    ahead = Trajectory(*(getattr(trajectory(), field.name)[20:] for field in fields(Trajectory)))
    held = messages.published_plan(output(source="hold", trajectory=ahead))
    message = sent(messages.trajectory_message(held, 9, ego(), RIG))
    whole = sent(messages.trajectory_message(plan(), 9, ego(), RIG))
    assert (message.source, message.header, message.score) == (message.SOURCE_HOLD, whole.header, whole.score)
    assert message.points == whole.points[20:]


def test_a_stop_needs_no_plan_and_has_the_stamp_of_its_pose() -> None:
    stopped = messages.published_plan(output(source="stop", trajectory=trajectory(200), plan=None))
    message = sent(messages.trajectory_message(stopped, 0, ego(), RIG))
    assert (message.source, message.plan_id, message.epoch, len(message.points)) == (message.SOURCE_STOP, 0, 3, 200)
    assert message.header.stamp == message.odom_from_ego_t0.header.stamp == messages.time_message(T0)
    assert len(sent(messages.path_message(stopped, ego(), RIG)).poses) == 200


@pytest.mark.parametrize("lacking", [{"trajectory": None}, {"source": None}, {"plan": None}])
def test_an_output_that_lacks_what_it_publishes_is_refused(lacking: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="want"):
        messages.published_plan(output(**lacking))


def test_a_difference_survives_the_message() -> None:
    difference = Difference(T0, 3, 9, (0.5, 6.4), (0.1, 2.0), (-0.2, 1.0), (0.3, -1.0), 0.75)
    message = sent(messages.difference_message(difference, RIG))
    assert (message.header.stamp, message.epoch, message.plan_id, message.ade_m) == (messages.time_message(T0), 3, 9, 0.75)
    told = [list(values) for values in (message.after_s, message.along_m, message.across_m, message.speed_mps)]
    assert told == [[0.5, 6.4], [0.1, 2.0], [-0.2, 1.0], [0.3, -1.0]]


def test_diagnostics_carry_their_level_and_values() -> None:
    diagnostics = [Diagnostic("odometry", messages.WARN, "slow", {"rate_hz": "42.0"}), Diagnostic("cpu", messages.OK, "", {})]
    message = sent(messages.diagnostics_message(T0, diagnostics, "planner", RIG.name))
    first, second = message.status
    assert message.header.stamp == messages.time_message(T0)
    assert (first.level, first.name, first.message, first.hardware_id) == (
        DiagnosticStatus.WARN,
        "planner: odometry",
        "slow",
        RIG.name,
    )
    assert [(pair.key, pair.value) for pair in first.values] == [("rate_hz", "42.0")]
    assert second.level == DiagnosticStatus.OK


def test_what_an_engine_says_cannot_break_a_diagnostic() -> None:
    said = "\ud800\x1b[2J" + "x" * 5000
    (status,) = sent(messages.diagnostics_message(T0, [Diagnostic("engine", messages.ERROR, said, {"last": said})])).status
    assert status.message == status.values[0].value
    assert status.message.startswith("  [2Jxxx")
    assert len(status.message.encode()) == messages.MAX_DIAGNOSTIC


def test_sizes_of_lists_are_those_of_the_message_files() -> None:
    sizes = {}
    for kind in (msg.UnicycleTrajectory, msg.ReasoningTrace, msg.CriticalComponent, msg.PlanStatus):
        for name, described in kind.get_fields_and_field_types().items():
            if match := re.search(r"sequence<.*, (\d+)>$", described):
                sizes[name] = int(match[1])
    assert sizes["points"] == messages.MAX_POINTS
    assert sizes["components"] == messages.MAX_COMPONENTS
    assert sizes["meta_actions"] == messages.MAX_META_ACTIONS
    assert sizes["attributes"] == messages.MAX_ATTRIBUTES
    assert sizes["reasons"] == messages.MAX_REASONS
    assert sizes["findings"] == messages.MAX_FINDINGS


def test_a_pose_without_a_rotation_is_refused() -> None:
    pose = messages.trajectory_message(plan(), 1, ego(), RIG).odom_from_ego_t0.pose
    pose.orientation.w = pose.orientation.x = pose.orientation.y = pose.orientation.z = 0.0
    with pytest.raises(InvalidInput, match="quaternion"):
        messages.pose_matrix(pose)


def test_quaternions_are_those_of_the_one_definition() -> None:
    orientation = messages.trajectory_message(plan(), 1, ego(), RIG).odom_from_ego_t0.pose.orientation
    xyzw = [orientation.x, orientation.y, orientation.z, orientation.w]
    np.testing.assert_array_equal(xyzw, quaternion_from_rotation(ego().odom_from_ego))
