"""Jumps of the inputs, told whole, and the limits of what a monitor takes for odometry and a healthy rig."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safety.test_monitor_inputs import inputs, memory_of, told
from safety.watched_drive import CAMERA_NS, MS, ROLES, START_NS, TIMING, S, odometer

from alpamayo_ros.geometry import quaternion_from_rotation, rotation_z
from alpamayo_ros.safety.invariants import wrapped
from alpamayo_ros.safety.monitor_inputs import At, Inputs, Odometer

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])
STILL = Odometer(START_NS, np.zeros(3), UPRIGHT, np.array([8.0, 0.0, 0.0]), 0.0)


def after(ns: int, x_m: float = 0.0, yaw_rad: float = 0.0, yaw_rate_rps: float = 0.0) -> Odometer:
    """`STILL` later, elsewhere."""
    turn = quaternion_from_rotation(rotation_z(yaw_rad))
    return Odometer(START_NS + ns, np.array([x_m, 0.0, 0.0]), turn, STILL.velocity_mps, yaw_rate_rps)


def all_of(seen: Inputs, after_ns: int) -> At:
    """Everything comes now."""
    now = At(START_NS + after_ns, after_ns)
    for role in ROLES:
        seen.frame(role, now.ros_ns, now)
    seen.odometry(odometer(now.ros_ns, after_ns / 1e9), now)
    return now


# Where the vehicle was


def test_a_pose_that_came_is_the_pose_of_its_stamp_whatever_came_later() -> None:
    first = odometer(START_NS, 0.0)
    memory = memory_of(first, odometer(START_NS + 300 * MS, 0.3))
    assert memory.pose_at(START_NS) is first
    assert memory.pose_at(START_NS + 1) is None


def test_between_two_poses_a_turn_is_a_turn() -> None:
    pose = memory_of(STILL, after(100 * MS, yaw_rad=2.0)).pose_at(START_NS + 30 * MS)
    assert pose is not None
    assert np.linalg.norm(pose.orientation) == pytest.approx(1.0, abs=1e-12)


def test_past_the_newest_pose_the_vehicle_goes_on_as_it_did() -> None:
    rate, dt_s, yaw = 4.0, 0.05, 0.7
    newest = Odometer(START_NS, np.array([1.0, 2.0, 3.0]), quaternion_from_rotation(rotation_z(yaw)), STILL.velocity_mps, rate)
    pose = memory_of(newest).pose_at(START_NS + 50 * MS)
    assert pose is not None
    way_m, half = 8.0 * dt_s, yaw + rate * dt_s / 2
    np.testing.assert_allclose(pose.position, [1 + way_m * np.cos(half), 2 + way_m * np.sin(half), 3], rtol=0, atol=1e-12)
    assert pose.yaw_rad == pytest.approx(yaw + rate * dt_s, abs=1e-12)
    assert (pose.stamp_ns, pose.yaw_rate_rps) == (START_NS + 50 * MS, rate)
    assert pose.velocity_mps is newest.velocity_mps


# Jumps


def test_jumps_are_told_whole_and_counted_and_four_times_before_them_are_kept() -> None:
    seen = inputs()
    assert not told(seen, STILL)
    assert told(seen, after(1_500_500_001))
    assert seen.now.why == "odometry's stamp jumped by +1.501 s"
    assert told(seen, after(2_500_500_001, 100.0, 0.5))
    assert seen.now.why == "odometry moved 100 m and turned 0.50 rad in 1000 ms"
    newest = seen.now
    seen.clock(At(START_NS, 0))
    for i in range(1, 5):
        assert seen.clock(At(START_NS + i * 1_900_500_001, 0))
    assert seen.now.why == "the clock jumped by +1.901 s"
    assert seen.jumps == 6
    assert len(seen.past) == 4
    assert seen.past[-1] is newest


def test_odometry_may_move_by_what_speed_and_limit_explain_to_the_last_bit() -> None:
    edge = 8.0 * 0.01 + 0.5
    for moved_m, jumps in ((edge, False), (np.nextafter(edge, 1.0), True)):
        seen = inputs()
        told(seen, STILL)
        assert told(seen, after(10 * MS, float(moved_m))) == jumps


def test_odometry_may_turn_by_what_yaw_rate_and_limit_explain_to_the_last_bit() -> None:
    turned_rad = float(wrapped(np.array([after(0, yaw_rad=0.4).yaw_rad]))[0])
    rate = turned_rad - 0.3  # exact, and so is their sum
    for yaw_rate, jumps in ((rate, False), (rate - 1e-15, True)):
        seen = inputs()
        told(seen, STILL)
        assert told(seen, after(S, 8.0, 0.4, yaw_rate)) == jumps


def test_odometry_is_compared_with_the_pose_just_before_it() -> None:
    seen = inputs()
    for i in range(3):
        assert not told(seen, after(i * 10 * MS))
    assert told(seen, after(30 * MS, 0.59))  # 0.08 m are explained, 0.16 m would be of two steps


def test_a_pose_between_others_may_be_a_jump_too() -> None:
    seen = inputs()
    told(seen, STILL)
    told(seen, after(20 * MS))
    assert told(seen, after(10 * MS, 5.0), 10 * MS)


def test_a_pose_before_all_others_or_of_a_stamp_that_came_is_none() -> None:
    seen = inputs()
    for i in range(10):
        assert not told(seen, odometer(START_NS + i * 10 * MS, 5 + i / 100))
    assert not told(seen, odometer(START_NS - 10 * MS, 4.99), 100 * MS)
    again = odometer(START_NS + 50 * MS, 5.05)
    assert not told(seen, replace(again, position=again.position + 9.0), 40 * MS)
    assert len(seen.now.poses) == 11


# Health


def test_odometry_is_healthy_once_it_came_and_not_before() -> None:
    for steady_ns in (0, 1):
        assert not inputs().odometry_healthy(At(START_NS, steady_ns))
    for age_ns, healthy in ((200 * MS, True), (200 * MS + 1, False)):
        seen, now = inputs(), At(START_NS + age_ns, S)
        seen.odometry(STILL, now)
        assert seen.odometry_healthy(now) == healthy


def test_a_clock_that_jumped_takes_its_odometry_along() -> None:
    seen = inputs()
    seen.clock(At(START_NS, 0))
    seen.odometry(STILL, At(START_NS, 0))
    jumped = At(START_NS + 5 * S, 10 * MS)
    assert seen.odometry_healthy(At(START_NS + 10 * MS, 10 * MS))
    assert seen.clock(jumped)
    assert not seen.odometry_healthy(jumped)


def test_inputs_that_all_come_are_healthy_from_the_first_look() -> None:
    seen = inputs()
    assert seen.healthy_ns(all_of(seen, 0)) == 0
    assert seen.healthy_ns(all_of(seen, 100 * MS)) == 100 * MS


def test_and_from_the_last_jump_of_the_pose() -> None:
    seen = inputs()
    seen.healthy_ns(all_of(seen, 0))
    now = At(START_NS + 50 * MS, 50 * MS)
    assert seen.odometry(replace(odometer(now.ros_ns, 0.05), position=np.full(3, 9.0)), now)
    assert seen.healthy_ns(At(START_NS + 150 * MS, 150 * MS)) == 100 * MS


@pytest.mark.parametrize(("period_ns", "silence_ns"), [(CAMERA_NS, 500 * MS), (2 * CAMERA_NS, 1000 * MS)])
def test_a_camera_is_silent_after_five_of_its_periods(period_ns: int, silence_ns: int) -> None:
    seen = Inputs(ROLES[0], dict.fromkeys(ROLES, period_ns), TIMING.odometry_silence_ns, simulated=False)
    all_of(seen, 0)
    assert seen.frames_come(At(START_NS + silence_ns, silence_ns))
    assert not seen.frames_come(At(START_NS + silence_ns + 1, silence_ns + 1))
