"""What a shadow is for: plans against what was then driven."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pipeline.vehicle import MS, SECOND, T
from safety.plans import plan as plan_of

from alpamayo_ros import dynamics, geometry
from alpamayo_ros.pipeline.shadow import AFTER_S, Difference, ShadowComparison, planned_minus_driven
from alpamayo_ros.types import EgoPose, Plan, StaleInput, Trajectory

HORIZON_NS = 6_400 * MS
TURN = dynamics.trajectory(np.linspace(0.5, -1.0, 64), np.linspace(0.0, 0.05, 64), 8.0)


def plan(trajectory: Trajectory = TURN, t0_ns: int = T, epoch: int = 0) -> Plan:
    return plan_of(trajectory, t0_ns, epoch=epoch)


def pose(ns: int, xy: tuple[float, float] = (0.0, 0.0), yaw_rad: float = 0.0, speed_mps: float = 0.0) -> EgoPose:
    return EgoPose(ns, np.array([*xy, 1.0]), geometry.rotation_z(yaw_rad), np.array([speed_mps, 0.0, 0.0]), np.zeros(3))


def driven(trajectory: Trajectory, start: EgoPose) -> list[EgoPose]:
    """Odometry of a vehicle that drives a trajectory to the point, at its instants."""
    poses = [start]
    for t_s, xyz, yaw, speed in zip(trajectory.t_s, trajectory.xyz, trajectory.yaw_rad, trajectory.speed_mps, strict=True):
        x, y, _ = start.position + start.odom_from_ego @ xyz
        poses.append(pose(start.stamp_ns + round(t_s * 1e9), (x, y), geometry.yaw_of(start.odom_from_ego) + yaw, speed))
    return poses


START = pose(T, (100.0, -20.0), 2.5, 8.0)


def compared(plans: list[Plan], poses: list[EgoPose], epoch: int = 0) -> tuple[Difference, ...]:
    comparison = ShadowComparison()
    for plan_id, each in enumerate(plans):
        comparison.take_plan(plan_id, each, replace(START, stamp_ns=each.t0_ns))
    for each_pose in poses:
        comparison.take_pose(each_pose, epoch)
    return comparison.due()


def test_a_plan_that_was_driven_exactly_differs_by_nothing() -> None:
    (difference,) = compared([plan()], driven(TURN, START))
    assert (difference.t0_ns, difference.epoch, difference.plan_id) == (T, 0, 0)
    assert difference.after_s == AFTER_S == (0.5, 1.0, 2.5, 5.0, 6.4)
    for values in (difference.along_m, difference.across_m, difference.speed_mps):
        assert values == pytest.approx([0.0] * 5, abs=1e-9)
    assert difference.ade_m == pytest.approx(0.0, abs=1e-9)


def test_between_poses_the_driven_one_is_interpolated() -> None:
    steady = dynamics.trajectory(np.zeros(640), np.full(640, 0.02), 8.0, dt_s=0.01)
    poses = driven(steady, START)[::7]
    turning = [replace(each, angular_rps=np.array([0.0, 0.0, 0.16])) for each in poses]
    (difference,) = compared(
        [plan(dynamics.trajectory(np.zeros(64), np.full(64, 0.02), 8.0))], [*turning, *driven(steady, START)[-1:]]
    )
    assert difference.ade_m < 0.01
    assert difference.speed_mps == pytest.approx([0.0] * 5, abs=1e-9)


def test_a_difference_is_the_plan_minus_the_driven_along_and_left_of_the_driven_heading() -> None:
    # Planned straight on at 8 m/s; driven at 6 m/s, and after the start on a road to the right, heading -15 degrees.
    ahead = dynamics.trajectory(np.zeros(64), np.zeros(64), 8.0)
    right = geometry.rotation_z(-np.pi / 12)
    poses = [START]
    for t_s in ahead.t_s:
        x, y, _ = START.position + START.odom_from_ego @ right @ [6.0 * t_s, 0.0, 0.0]
        poses.append(pose(T + round(t_s * 1e9), (x, y), 2.5 - np.pi / 12, 6.0))
    (difference,) = compared([plan(ahead)], poses)
    t_s = np.array(AFTER_S)
    assert difference.along_m == pytest.approx((8.0 * np.cos(np.pi / 12) - 6.0) * t_s)
    assert difference.across_m == pytest.approx(8.0 * np.sin(np.pi / 12) * t_s)
    assert difference.speed_mps == pytest.approx([2.0] * 5)
    apart_mps = np.hypot(8.0 * np.cos(np.pi / 12) - 6.0, 8.0 * np.sin(np.pi / 12))
    assert difference.ade_m == pytest.approx(apart_mps * ahead.t_s.mean())


def test_a_difference_comes_once_and_not_before_its_horizon_has_passed() -> None:
    comparison = ShadowComparison()
    assert comparison.due() == ()
    comparison.take_plan(7, plan(), START)
    *early, last = driven(TURN, START)
    for each in early:
        comparison.take_pose(each, 0)
        assert comparison.due() == ()
    comparison.take_pose(last, 0)
    assert [each.plan_id for each in comparison.due()] == [7]
    assert comparison.due() == ()


def test_plans_closer_than_a_second_are_not_all_compared() -> None:
    standing = dynamics.trajectory(np.zeros(64), np.zeros(64), 0.0)
    still = [pose(T + n * 100 * MS) for n in range(65 + 10)]
    plans = [plan(standing, T + n * 250 * MS) for n in range(5)]
    assert [each.t0_ns - T for each in compared(plans, still)] == [0, SECOND]


def test_what_refines_a_provisional_plan_is_compared_in_its_place() -> None:
    slower = dynamics.trajectory(np.full(64, -0.5), np.zeros(64), 8.0)
    (difference,) = compared([replace(plan(slower), provisional=True), plan()], driven(TURN, START))
    assert difference.plan_id == 1
    assert difference.ade_m == pytest.approx(0.0, abs=1e-9)


def test_of_plans_that_wait_for_odometry_only_the_newest_are_kept() -> None:
    standing = dynamics.trajectory(np.zeros(64), np.zeros(64), 0.0)
    plans = [plan(standing, T + n * SECOND) for n in range(14)]
    found = compared(plans, [pose(T + n * 100 * MS) for n in range(200)])
    # Ten wait; odometry of the last 8.4 s is kept, of which a horizon fits from 11.5 s on.
    assert [each.plan_id for each in found] == [12, 13]


@pytest.mark.parametrize("missing", [slice(0, 2), slice(10, 14), slice(62, 64)])
def test_where_odometry_has_a_gap_there_is_no_difference(missing: slice) -> None:
    poses = driven(TURN, START)
    del poses[missing]
    assert compared([plan()], [*poses, replace(poses[-1], stamp_ns=poses[-1].stamp_ns + 10 * MS)]) == ()
    with pytest.raises(StaleInput):
        planned_minus_driven(TURN, START, poses[3:])


def test_a_new_epoch_forgets_plans_and_poses() -> None:
    comparison = ShadowComparison()
    comparison.take_plan(0, plan(), START)
    poses = driven(TURN, START)
    for each in poses[:30]:
        comparison.take_pose(each, 0)
    comparison.take_pose(poses[30], 1)
    for each in poses[31:]:
        comparison.take_pose(each, 1)
    assert comparison.due() == ()
    # The same times come again in the new epoch, from a plan that is judged although none of its second passed.
    comparison.take_plan(1, plan(epoch=2), START)
    for each in poses:
        comparison.take_pose(each, 2)
    assert [(each.plan_id, each.epoch) for each in comparison.due()] == [(1, 2)]


def test_what_is_left_of_an_earlier_epoch_is_not_taken() -> None:
    comparison = ShadowComparison()
    comparison.take_plan(0, plan(epoch=1), START)
    comparison.take_plan(1, plan(epoch=0), START)
    for each in driven(TURN, START):
        comparison.take_pose(each, 1)
        comparison.take_pose(replace(each, position=np.zeros(3)), 0)
    (difference,) = comparison.due()
    assert difference.plan_id == 0
    assert difference.ade_m == pytest.approx(0.0, abs=1e-9)
