"""Markers: where the vehicle was at t0, in colours that tell what drives, with every word of the trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from alpamayo_ros.msg import CheckResult
from nodes.made_plans import T0, ego, plan, plan_message, trace_message
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

from alpamayo_ros import msg
from alpamayo_ros.drawing import VEHICLE_CORNERS, VEHICLE_WIDTH_M, speed_colour
from alpamayo_ros.geometry import odom_from_ego
from alpamayo_ros.nodes import markers
from alpamayo_ros.nodes.messages import CycleStatus, candidates_message, status_message, time_message
from alpamayo_ros.profile import read_rig
from alpamayo_ros.safety.contract import Finding

RIG = read_rig("seven_camera")


def xyz(points: list[Any]) -> np.ndarray:
    return np.array([[p.x, p.y, p.z] for p in points])


def rgb(colour: ColorRGBA) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in (colour.r, colour.g, colour.b))


def test_the_ribbon_lies_in_the_odometry_frame_through_the_pose_of_the_message() -> None:
    ribbon, line = markers.trajectory_markers(plan_message())
    assert (ribbon.header.frame_id, ribbon.header.stamp) == ("odom", time_message(T0))
    # The vehicle faces +y of odom: its left is -x.
    expected = np.stack([np.full(65, 100.0), -50 + np.arange(65), np.full(65, 3.0)], axis=1)
    np.testing.assert_allclose(xyz(line.points), expected, rtol=0, atol=1e-12)
    corners = xyz(ribbon.points).reshape(64, 6, 3)
    half = VEHICLE_WIDTH_M / 2
    np.testing.assert_allclose(
        corners[0, :3], [[100 - half, -50, 3], [100 + half, -50, 3], [100 - half, -49, 3]], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        corners[-1, 3:], [[100 - half, 14, 3], [100 + half, 13, 3], [100 + half, 14, 3]], rtol=0, atol=1e-12
    )


def test_the_ribbon_has_one_colour_of_its_speed_per_corner() -> None:
    ribbon, _ = markers.trajectory_markers(plan_message())
    assert len(ribbon.colors) == len(ribbon.points) == 64 * 6
    assert {rgb(c) for c in ribbon.colors} == {speed_colour(10.0)}


@pytest.mark.parametrize("source", ["hold", "stop"])
def test_a_hold_and_a_stop_have_colours_that_no_speed_has_and_say_their_name(source: str) -> None:
    message = plan_message(source=source)
    ribbon, _ = markers.trajectory_markers(message)
    [colour] = {rgb(c) for c in ribbon.colors}
    speeds = np.array([speed_colour(v) for v in np.linspace(0, 25, 200)])
    assert np.abs(speeds - colour).sum(axis=1).min() > 100
    assert markers.source_lines(message) == [source.upper()]
    assert markers.source_lines(plan_message()) == []
    assert len(set(markers.SOURCE_COLOURS.values())) == 2


def test_a_shadow_plan_says_so_and_is_paler_in_the_same_colours() -> None:
    message = plan_message(source="hold")
    for driven, shadow in zip(markers.trajectory_markers(message), markers.trajectory_markers(message, 0.35), strict=True):
        colours = [(c.r, c.g, c.b) for c in (*driven.colors, driven.color)]
        assert colours == [(c.r, c.g, c.b) for c in (*shadow.colors, shadow.color)]
        alphas = np.array([c.a for c in (*driven.colors, driven.color)])
        np.testing.assert_allclose([c.a for c in (*shadow.colors, shadow.color)], 0.35 * alphas, atol=1e-6)
    assert markers.SHADOW_STRENGTH < 0.5
    assert markers.source_lines(message, is_shadow=True) == ["SHADOW", "HOLD"]
    assert markers.source_lines(plan_message(), is_shadow=True) == ["SHADOW"]


def test_a_hold_begins_at_the_first_point_that_is_still_ahead() -> None:
    message = plan_message(source="hold")
    message.points = message.points[10:]
    ribbon, line = markers.trajectory_markers(message)
    assert xyz(line.points)[0].tolist() == pytest.approx([100.0, -39.0, 3.0]), "1.1 s at 10 m/s, not where it was at t0"
    assert len(ribbon.points) == 6 * 53


def test_every_candidate_but_the_chosen_one_is_a_line_the_fainter_the_lower_its_score() -> None:
    message = candidates_message(plan(candidates=4), 1, ego(), RIG)
    lines = markers.candidate_markers(message)
    assert [(line.ns, line.id) for line in lines] == [("candidates", 1), ("candidates", 2), ("candidates", 3)]
    # To the left of a vehicle that faces +y is -x.
    ends = [xyz(line.points)[-1] for line in lines]
    np.testing.assert_allclose(ends, [[100 - i, 14, 3] for i in (1, 2, 3)], rtol=0, atol=1e-12)
    alphas = [line.color.a for line in lines]
    assert alphas == sorted(alphas, reverse=True)
    assert alphas[0] == pytest.approx(markers.BOLDEST)
    assert alphas[-1] == pytest.approx(markers.FAINTEST)
    assert markers.candidate_markers(candidates_message(plan(), 1, ego(), RIG)) == [], "the chosen one is the ribbon"


def test_the_outline_of_the_vehicle_stands_on_the_ground_at_t0() -> None:
    outline = markers.ego_marker(plan_message())
    corners = xyz(outline.points)
    assert (outline.type, len(corners)) == (Marker.LINE_LIST, 24)
    expected = {(round(100 - left, 6), round(-50 + ahead, 6)) for ahead, left in VEHICLE_CORNERS.tolist()}
    assert {(round(x, 6), round(y, 6)) for x, y, _ in corners.tolist()} == expected
    assert set(corners[:, 2].round(6)) == {3.0, 3.0 + markers.VEHICLE_HEIGHT_M}


def test_the_text_stands_above_the_ego_of_t0_and_the_components_beside_it() -> None:
    marker = markers.plan_text_marker(plan_message(), "words")
    assert (marker.text, marker.header.frame_id) == ("words", "odom")
    np.testing.assert_allclose(xyz([marker.pose.position]), [[100, -50, 3 + markers.TEXT_ABOVE_EGO_M]], rtol=0, atol=1e-12)
    beside = markers.components_marker(plan_message(), trace_message())
    assert xyz([beside.pose.position])[0].tolist() == pytest.approx([100 - markers.COMPONENTS_LEFT_M, -50, 6])
    assert (beside.ns, marker.ns) == ("components", "text"), "one does not replace the other"


def test_the_ego_of_t0_is_a_frame() -> None:
    transform = markers.ego_t0_transform(plan_message())
    assert (transform.header.frame_id, transform.child_frame_id) == ("odom", "alpamayo_ego_t0")
    np.testing.assert_array_equal(xyz([transform.transform.translation]), odom_from_ego(ego())[None, :3, 3])


def test_a_status_says_its_state_its_weights_and_every_reason() -> None:
    status = CycleStatus(
        T0, 0, "silent", "/srv/bundles/kinematic", "none", reasons=("front_tele: newest frame 180 ms before t0", "second")
    )
    lines = markers.status_lines(status_message(status, RIG))
    assert lines == ["SILENT (kinematic, weights: none)", "front_tele: newest frame 180 ms before t0", "second"]


def test_a_status_says_every_finding_with_value_and_limit_what_rejects_first_and_nothing_twice() -> None:
    reject, warn, shadow = (
        CheckResult(check="V7", name="lateral acceleration", level=1, value=5.25, limit=4.9, unit="m/s^2", at_s=3.1),
        CheckResult(check="V3", name="first point", level=0, value=0.7, limit=0.5, unit="m", at_s=float("nan")),
        CheckResult(check="V15", name="length", level=1, shadow=True, value=9.0, limit=20.0, unit="m", at_s=float("nan")),
    )
    said = "V7 lateral acceleration: 5.25 m/s^2 at 3.1 s, reject limit 4.9"
    status = msg.PlanStatus(findings=[warn, shadow, reject], reasons=["no odometry"])
    others = ["V3 first point: 0.7 m, warn limit 0.5", "V15 length: 9 m, reject limit 20 (shadow)"]
    assert markers.problem_lines(status) == ["no odometry", said, *others]
    status.reasons = [said]
    assert markers.problem_lines(status) == [said, *others]


def test_a_finding_reads_as_the_safety_core_writes_it() -> None:
    found = Finding("V7", "lateral acceleration", "warn", 3.4, 3.0, "m/s^2", "ISO 11270", at_s=2.0)
    result = CheckResult(check="V7", name=found.name, level=0, value=3.4, limit=3.0, unit="m/s^2", at_s=2.0)
    assert markers.problem_lines(msg.PlanStatus(findings=[result])) == [str(found)]


def test_a_trace_says_its_decision_its_words_and_whether_it_fits() -> None:
    message = trace_message()
    assert markers.trace_lines(message) == [
        "decision: set_speed_tracking / lane_keeping",
        "consistent with the trajectory: yes",
        "Keep the lane: nothing is in the way.",
    ]
    message.consistent, message.why_not = msg.ReasoningTrace.CONSISTENT_NO, "it turns right"
    assert markers.trace_lines(message)[1] == "consistent with the trajectory: NO: it turns right"


def test_words_from_a_model_are_shown_without_escapes_and_to_a_limit() -> None:
    hostile = trace_message()
    hostile.text = "\x1b[2J\x1b]0;title\x07Stop\x00 here" + " and there" * 200
    hostile.components = [
        msg.CriticalComponent(category=1, description="a \x1b[31mred\x1b[0m light", attributes=["a\x9b1mb=c"])
    ]
    [*_, text] = markers.trace_lines(hostile)
    assert text.startswith("Stop here and there")
    assert len(text) == 512
    assert markers.component_lines(hostile) == ["traffic light: a red light (a b=c)"]
    status = msg.PlanStatus(reasons=["no\x1b[2J odometry"])
    assert markers.status_lines(status)[1:] == ["no odometry"]


def test_every_critical_component_is_listed_with_its_category_and_attributes() -> None:
    assert markers.component_lines(trace_message()) == [
        "critical object: a pedestrian at the crossing (moving=yes, side=left)",
        "traffic light: a red light",
    ]


def test_the_motion_of_the_trajectory_is_told_by_axis_and_by_speed() -> None:
    assert markers.action_lines(trace_message()) == ["longitudinal: maintain speed 0.0-6.4 s"]
    trajectory = replace(plan().trajectory, speed_mps=np.linspace(10.0, -0.02, 64))
    assert markers.motion(trajectory) == "10.0 m/s, 0.0 m/s after 6.4 s"


def test_a_long_trace_is_wrapped() -> None:
    lines = markers.wrapped(markers.trace_lines(msg.ReasoningTrace(text="word " * 100)))
    assert len(lines) > 8
    assert max(len(line) for line in lines) <= markers.TEXT_COLUMNS
