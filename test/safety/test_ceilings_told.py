"""What the monitor says of a publication beside what odometry measured: quantity, value, unit, point and limit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safety.test_monitor_rules import CEILINGS, measured, starting
from safety.watched_drive import START_NS, odometer, published

from alpamayo_ros.geometry import quaternion_from_rotation, rotation_z
from alpamayo_ros.safety.invariants import Breach
from alpamayo_ros.safety.monitor_rules import beyond_ceilings, wrong_place


@pytest.mark.parametrize(
    ("accel", "curvature", "speed", "n", "text"),
    [
        (0.0, 0.0, 36.5, 64, "speed 36.5 m/s at point 0, limit 36.5"),
        (5.1, 0.0, 5.0, 4, "acceleration 5.1 m/s^2 at point 0, limit 5.05"),
        (-6.1, 0.0, 5.0, 4, "deceleration 6.1 m/s^2 at point 0, limit 6.06"),
        (0.0, -0.243, 3.0, 4, "curvature 0.243 1/m at point 0, limit 0.242"),
        (0.0, 0.0, -0.32, 64, "way in reverse 2.05 m at point 63, limit 2.02"),
        (4.0, 0.19, 5.0, 1, "lateral acceleration 5.14 m/s^2 at point 0, limit 4.95"),  # 0.19 / m at 5.2 m/s
        (-4.0, 0.19, 5.4, 1, "lateral acceleration 5.14 m/s^2 at point 0, limit 4.95"),
    ],
)
def test_a_ceiling_is_told_with_its_unit(accel: float, curvature: float, speed: float, n: int, text: str) -> None:
    assert list(beyond_ceilings(starting(accel, curvature, speed, n), measured(speed), CEILINGS)) == [Breach("I6", text)]


def test_the_speed_before_the_first_action_is_that_of_the_first_point_less_the_first_action() -> None:
    plan = published("model", measured(5.0), np.r_[4.0, -4.0, np.zeros(62)])
    loose = replace(CEILINGS, first_point_m=9.0)
    assert list(beyond_ceilings(plan, measured(5.0), replace(loose, speed_step_mps=0.001, speed_step_share=0.0))) == []
    (breach,) = beyond_ceilings(plan, measured(10.1), loose)
    assert breach == Breach("I6", "first speed off the measured by 5.1 m/s at point 0, limit 5.07")


def test_the_first_point_is_told_too() -> None:
    plan = starting(n=4)
    moved = replace(plan, xyz=plan.xyz + np.array([0.0, 2.5, 0.0]))
    assert list(beyond_ceilings(moved, measured(), CEILINGS)) == [
        Breach("I6", "first point off by 2.5 m at point 0, limit 2.02")
    ]


def test_the_pose_is_told_by_place_and_by_turn() -> None:
    pose = odometer(START_NS, 0.0)  # 8 m/s
    plan = published("model", pose, np.zeros(64))
    aside = replace(plan, position=pose.position + np.array([0.0, 0.3, 0.4]))
    assert list(wrong_place(aside, pose)) == [Breach("I10", "pose off by 0.5 m at point 0, limit 0.09")]
    turned = replace(plan, orientation=quaternion_from_rotation(rotation_z(pose.yaw_rad - 0.25)))
    assert list(wrong_place(turned, pose)) == [Breach("I10", "pose turned by 0.25 rad at point 0, limit 0.03")]
