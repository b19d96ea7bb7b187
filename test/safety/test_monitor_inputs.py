"""What the monitor makes of inputs: where the vehicle was, when the clock or the pose jumped, and whether everything comes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safety.watched_drive import (
    CAMERA_NS,
    MS,
    ROLES,
    START_NS,
    TIMING,
    S,
    odometer,
)

from alpamayo_ros.geometry import quaternion_from_rotation, rotation_from_quaternion, rotation_from_rpy, rotation_z
from alpamayo_ros.safety.monitor_inputs import KEPT, At, Inputs, Memory, Odometer


def memory_of(*poses: Odometer) -> Memory:
    memory = Memory()
    memory.poses.extend(poses)
    return memory


def test_a_pose_is_known_between_two_and_a_little_past_the_newest() -> None:
    memory = memory_of(*(odometer(START_NS + i * 100 * MS, 0.1 * i) for i in range(3)))
    for after_ms in (0, 40, 100, 160, 200):
        pose, real = memory.pose_at(START_NS + after_ms * MS), odometer(START_NS, after_ms / 1e3)
        assert pose is not None
        np.testing.assert_allclose(pose.position, real.position, atol=3e-3)
        np.testing.assert_allclose(pose.velocity_mps, real.velocity_mps, atol=3e-3)
        assert pose.yaw_rad == pytest.approx(real.yaw_rad, abs=1e-4)
        assert pose.yaw_rate_rps == pytest.approx(real.yaw_rate_rps, abs=1e-3)
        assert pose.stamp_ns == START_NS + after_ms * MS
    pose, real = memory.pose_at(START_NS + 250 * MS), odometer(START_NS, 0.25)
    assert pose is not None
    np.testing.assert_allclose(pose.position, real.position, atol=5e-3)
    assert pose.yaw_rad == pytest.approx(real.yaw_rad, abs=1e-3)
    assert memory.pose_at(START_NS + 250 * MS + 1) is None
    assert memory.pose_at(START_NS - 1) is None
    assert memory_of().pose_at(START_NS) is None


def test_a_pose_is_not_known_across_a_gap() -> None:
    for gap_ms, known in ((200, True), (201, False)):
        memory = memory_of(odometer(START_NS, 0.0), odometer(START_NS + gap_ms * MS, gap_ms / 1e3))
        assert (memory.pose_at(START_NS + 100 * MS) is not None) == known


def test_a_quaternion_of_the_other_sign_is_the_same_turn() -> None:
    after = odometer(START_NS + 100 * MS, 0.1)
    flipped = replace(after, orientation=-after.orientation)
    one, other = (memory_of(odometer(START_NS, 0.0), each).pose_at(START_NS + 50 * MS) for each in (after, flipped))
    assert one is not None
    assert other is not None
    assert one.yaw_rad == pytest.approx(other.yaw_rad, abs=1e-12)


def inputs() -> Inputs:
    return Inputs(ROLES[0], dict.fromkeys(ROLES, CAMERA_NS), TIMING.odometry_silence_ns, simulated=False)


def told(seen: Inputs, pose: Odometer, late_ns: int = 0) -> bool:
    """Whether a pose is a jump."""
    return seen.odometry(pose, At(pose.stamp_ns + late_ns, pose.stamp_ns + late_ns))


@pytest.mark.parametrize(
    "bad",
    [
        {"position": np.array([np.nan, 0.0, 0.0])},
        {"velocity_mps": np.array([np.inf, 0.0, 0.0])},
        {"orientation": np.array([0.0, 0.0, 0.0, 1.011])},
        {"orientation": np.zeros(4)},
        {"yaw_rate_rps": float("nan")},
    ],
)
def test_a_pose_that_can_be_none_is_passed_over(bad: dict[str, Any]) -> None:
    seen = inputs()
    assert not told(seen, replace(odometer(START_NS, 0.0), **bad))
    assert not seen.now.poses
    assert not seen.odometry_healthy(At(START_NS, START_NS))


def test_a_pose_of_the_future_is_passed_over_and_one_that_came_before_too() -> None:
    seen = inputs()
    assert not told(seen, odometer(START_NS, 0.0), -100 * MS - 1)
    assert not seen.now.poses
    assert not told(seen, odometer(START_NS, 0.0), -100 * MS)
    assert not told(seen, replace(odometer(START_NS, 0.0), position=np.ones(3)))
    assert [float(pose.position[0]) for pose in seen.now.poses] == [0.0]


@pytest.mark.parametrize(("ahead_ms", "jumps"), [(1000, False), (1001, True), (-100, False), (-101, True)])
def test_odometrys_stamp_jumps_beyond_the_limits(ahead_ms: int, jumps: bool) -> None:
    seen = inputs()
    for i in range(-20, 1):
        assert not told(seen, odometer(START_NS + i * 10 * MS, 5 + i * 0.01))
    assert told(seen, odometer(START_NS + ahead_ms * MS, 5 + ahead_ms / 1e3), 2 * S) == jumps
    assert (seen.jumps == 1) == jumps
    assert (len(seen.now.poses) == 1) == jumps


@pytest.mark.parametrize(
    ("moved_m", "turned_rad", "jumps"), [(0.57, 0.0, False), (0.59, 0.0, True), (0.0, 0.299, False), (0.0, 0.305, True)]
)
def test_a_pose_jumps_beyond_what_speed_and_yaw_rate_explain(moved_m: float, turned_rad: float, jumps: bool) -> None:
    still = Odometer(START_NS, np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.array([8.0, 0.0, 0.0]), -0.1)
    half = turned_rad / 2
    then = replace(still, stamp_ns=START_NS + 10 * MS, position=np.array([0.0, moved_m, 0.0]))
    then = replace(then, orientation=np.array([0.0, 0.0, -np.sin(half), np.cos(half)]), yaw_rate_rps=0.0)
    seen = inputs()
    assert not told(seen, still)
    assert told(seen, then) == jumps
    if jumps:
        assert seen.now.why.startswith("odometry moved")
        assert len(seen.past) == 1


def test_a_pose_between_the_others_is_put_in_its_place() -> None:
    seen = inputs()
    for i in (0, 2, 1, -1):
        assert not told(seen, odometer(START_NS + i * 10 * MS, 5 + i * 0.01), 30 * MS)
    assert [(pose.stamp_ns - START_NS) // (10 * MS) for pose in seen.now.poses] == [-1, 0, 1, 2]


def test_inputs_are_healthy_from_when_all_of_them_come_until_one_is_missing() -> None:
    seen = inputs()

    def after(ms: int, *roles: str, pose: bool = True, late_ns: int = 0) -> int:
        now = At(START_NS + ms * MS, ms * MS)
        assert not seen.clock(now)
        for role in roles:
            seen.frame(role, now.ros_ns, now)
        if pose:
            seen.odometry(odometer(now.ros_ns - late_ns, (ms - late_ns / MS) / 1e3), now)
        return seen.healthy_ns(now)

    assert after(0) == 0
    assert after(100, ROLES[0]) == 0
    assert after(200, *ROLES) == 100 * MS  # since it was last not so
    assert after(400, *ROLES) == 300 * MS
    assert after(600, ROLES[0], pose=False) == 500 * MS
    assert after(601, ROLES[0], pose=False) == 0
    assert after(900, ROLES[0]) == 299 * MS
    assert after(901, ROLES[0]) == 0
    assert seen.frames_come(At(START_NS + 1401 * MS, 1401 * MS))
    assert not seen.frames_come(At(START_NS + 1402 * MS, 1402 * MS))
    assert after(1100, *ROLES, late_ns=201 * MS) > 0
    assert after(1102, *ROLES, late_ns=201 * MS) == 0


def test_without_odometry_no_speed_is_known() -> None:
    seen = inputs()
    assert seen.speed_mps() == float("inf")
    told(seen, odometer(START_NS, 0.0))
    assert seen.speed_mps() == pytest.approx(8.0)


@pytest.mark.parametrize(("stepped_ms", "jumps"), [(1000, False), (1001, True), (-100, False), (-101, True)])
@pytest.mark.parametrize("simulated", [False, True])
def test_a_clock_jumps_against_the_steady_clock_and_simulated_time_by_itself(
    stepped_ms: int, jumps: bool, simulated: bool
) -> None:
    seen = Inputs(ROLES[0], {}, TIMING.odometry_silence_ns, simulated)
    steady_ns = 0 if simulated else 300 * S
    assert not seen.clock(At(START_NS, 0))
    assert seen.clock(At(START_NS + steady_ns + stepped_ms * MS, steady_ns)) == jumps
    assert (seen.now.why == f"the clock jumped by {stepped_ms / 1e3:+.3f} s") == jumps


def test_past_the_newest_pose_a_tilted_vehicle_turns_about_its_own_upright() -> None:
    tilted, rate = rotation_from_rpy(0.1, -0.2, 0.7), 0.8
    newest = replace(odometer(START_NS, 0.5), orientation=quaternion_from_rotation(tilted), yaw_rate_rps=rate)
    pose = memory_of(newest).pose_at(START_NS + 50 * MS)
    assert pose is not None
    np.testing.assert_allclose(rotation_from_quaternion(pose.orientation), tilted @ rotation_z(rate * 0.05), atol=1e-12)


def test_poses_may_come_for_ever_and_the_newest_are_kept() -> None:
    inputs = Inputs("front_wide", dict.fromkeys(ROLES, CAMERA_NS), TIMING.odometry_silence_ns, simulated=False)
    for i in range(KEPT + 3):
        stamp_ns = START_NS + i * 10 * MS
        assert not inputs.odometry(odometer(stamp_ns, i / 100), At(stamp_ns, stamp_ns))
    assert len(inputs.now.poses) == KEPT
    assert inputs.now.poses[0].stamp_ns == START_NS + 3 * 10 * MS
    assert inputs.now.poses[-1].stamp_ns == START_NS + (KEPT + 2) * 10 * MS
