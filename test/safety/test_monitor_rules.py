"""What the monitor demands of a publication beside what odometry measured, to the last digit of its limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safety.watched_drive import (
    MS,
    START_NS,
    odometer,
    published,
    rest_of,
)

from alpamayo_ros.safety.invariants import Published
from alpamayo_ros.safety.limits import LIMITS
from alpamayo_ros.safety.monitor_inputs import Odometer
from alpamayo_ros.safety.monitor_rules import Ceilings, beyond_ceilings, is_rest_of, wrong_place


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("plan_id", 7),
        ("epoch", 1),
        ("stamp_ns", START_NS + 1),
        ("position", np.ones(3)),
        ("orientation", np.array([0.0, 0, 0.6, 0.8])),
    ],
)
def test_a_hold_is_the_rest_of_a_plan_in_everything(name: str, changed: Any) -> None:
    plan = published("model", odometer(START_NS, 0.5), np.full(64, 0.3))
    rest = rest_of(plan, 250 * MS)
    assert is_rest_of(rest, (replace(plan, plan_id=9), plan))
    assert not is_rest_of(replace(rest, **{name: changed}), (plan,))
    assert not is_rest_of(rest, ())


@pytest.mark.parametrize("name", ["t_ns", "xyz", "quaternion", "speed_mps", "accel_mps2", "curvature_1pm", "heading_rate_rps"])
def test_a_hold_is_the_rest_of_a_plan_to_the_last_bit(name: str) -> None:
    plan = published("model", odometer(START_NS, 0.5), np.full(64, 0.3))
    rest = rest_of(plan, 250 * MS)
    values = getattr(rest, name).copy()
    values[3] += values.dtype.type(1e-9 if values.dtype.kind == "f" else 1)
    assert not is_rest_of(replace(rest, **{name: values}), (plan,))


def test_the_pose_is_where_odometry_was_within_what_a_straight_line_between_poses_is_off() -> None:
    pose = odometer(START_NS, 0.5)
    plan = published("model", pose, np.zeros(64))
    tolerance = 0.05 + 0.005 * float(pose.velocity_mps[0])
    assert list(wrong_place(plan, pose)) == []
    assert list(wrong_place(replace(plan, position=pose.position + np.array([0.0, tolerance - 0.001, 0.0])), pose)) == []
    (breach,) = wrong_place(replace(plan, position=pose.position + np.array([0.0, 0.0, tolerance + 0.001])), pose)
    assert breach.invariant == "I10"
    for turned_rad, breaches in ((0.029, 0), (-0.031, 1)):
        half = (pose.yaw_rad + turned_rad) / 2
        turned = replace(plan, orientation=np.array([0.0, 0.0, np.sin(half), np.cos(half)]))
        assert [breach.invariant for breach in wrong_place(turned, pose)] == ["I10"] * breaches


CEILINGS = Ceilings()


def starting(accel: float = 0.0, curvature: float = 0.0, speed: float = 5.0, n: int = 64, source: Any = "model") -> Published:
    pose = replace(odometer(START_NS, 0.0), velocity_mps=np.array([speed, 0.0, 0.0]))
    plan = published(source, pose, np.full(n, accel))
    zeros = np.zeros(n)
    return replace(plan, curvature_1pm=np.full(n, curvature), xyz=plan.xyz * [1.0, 0.0, 0.0], heading_rate_rps=zeros)


def measured(speed: float = 5.0) -> Odometer:
    return replace(odometer(START_NS, 0.0), velocity_mps=np.array([speed, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("below", "beyond", "word"),
    [
        ((5.04, 0.0), (5.06, 0.0), "acceleration"),
        ((-6.05, 0.0), (-6.07, 0.0), "deceleration"),
        ((0.0, 0.1979), (0.0, 0.1981), "lateral acceleration"),
    ],
)
def test_a_plan_stays_below_the_ceilings(below: tuple[float, float], beyond: tuple[float, float], word: str) -> None:
    assert list(beyond_ceilings(starting(*below, n=4), measured(), CEILINGS)) == []
    (breach,) = beyond_ceilings(starting(*beyond, n=4), measured(), CEILINGS)
    assert breach.invariant == "I6"
    assert breach.text.startswith(word)


@pytest.mark.parametrize(
    ("speed", "curvature", "word"),
    [(36.5, 0.0, "speed"), (-0.32, 0.0, "way in reverse"), (1.0, 0.243, "curvature"), (3.0, -0.243, "curvature")],
)
def test_speed_reverse_and_curvature_have_ceilings(speed: float, curvature: float, word: str) -> None:
    below = 0.98 * speed, 0.98 * curvature
    assert list(beyond_ceilings(starting(0.0, below[1], below[0]), measured(speed), CEILINGS)) == []
    (breach,) = beyond_ceilings(starting(0.0, curvature, speed), measured(speed), CEILINGS)
    assert breach.text.startswith(word)


def test_a_yaw_rate_has_a_ceiling_of_its_own() -> None:
    loose = replace(CEILINGS, curvature_1pm=1.0, lateral_mps2=100.0)
    (breach,) = beyond_ceilings(starting(0.0, 0.29, n=4), measured(), loose)
    assert breach.text == "yaw rate 1.45 rad/s at point 0, limit 1.41"
    assert list(beyond_ceilings(starting(0.0, 0.28, n=4), measured(), loose)) == []


def test_standing_wheels_may_be_turned_as_they_like() -> None:
    assert list(beyond_ceilings(starting(0.0, 0.5, speed=0.1), measured(0.1), CEILINGS)) == []
    assert len(list(beyond_ceilings(starting(0.0, 0.5, speed=0.11), measured(0.11), CEILINGS))) == 1


@pytest.mark.parametrize(("real", "breaches"), [(1.65, 0), (10.05, 0), (1.62, 1), (10.08, 1)])
def test_a_plan_begins_at_about_the_measured_speed(real: float, breaches: int) -> None:
    found = [breach.text for breach in beyond_ceilings(starting(n=4), measured(real), replace(CEILINGS, first_point_m=9.0))]
    assert len([text for text in found if text.startswith("first speed off the measured")]) == breaches
    hold = replace(starting(n=4), source="hold")
    assert list(beyond_ceilings(hold, measured(real), CEILINGS)) == []


def test_a_plan_begins_at_the_ego() -> None:
    plan = starting(n=4)
    for off_m, breaches in ((2.01, 0), (2.03, 1)):
        moved = replace(plan, xyz=plan.xyz + np.array([0.0, off_m, 0.0]))
        found = [breach.text for breach in beyond_ceilings(moved, measured(), CEILINGS)]
        assert [text.startswith("first point off by") for text in found] == [True] * breaches


def test_a_stop_ends_standing_and_may_brake_and_turn_as_it_must() -> None:
    stop = starting(-8.0, 0.0, 5.0, 6, "stop")
    assert float(stop.speed_mps[-1]) == pytest.approx(0.2)
    (breach,) = beyond_ceilings(stop, measured(), CEILINGS)
    assert breach.text == "last speed of a stop 0.2 m/s at point 0, limit 0.1"
    assert list(beyond_ceilings(replace(stop, speed_mps=stop.speed_mps - 0.11), measured(), CEILINGS)) == []


def test_no_plan_that_the_planner_s_limits_let_pass_is_above_a_ceiling() -> None:
    limits = {
        "lateral_mps2": LIMITS.lat_accel_mps2,
        **{name: getattr(LIMITS, name) for name in vars(CEILINGS) if name != "lateral_mps2"},
    }
    assert vars(CEILINGS) == {name: limit.reject for name, limit in limits.items()}
