"""What was driven is what odometry says at exactly t0 + t, and nothing where odometry does not say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation.openloop.made import made_bag

from alpamayo_ros.evaluation.openloop.results import Window
from alpamayo_ros.evaluation.openloop.truth import NOTHING, TIMES_S, Waiting, driven
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.pipeline.poses import pose_at
from alpamayo_ros.types import EgoPose

SECOND = 1_000_000_000
T = 1_700_000_000 * SECOND
SPEED, YAW_RATE = 9.0, 1.0  # 64 points of it are one turn


def on_circle(t_s: float) -> EgoPose:
    """Left around a circle, not from the origin and not along x."""
    yaw, radius = 0.7 + YAW_RATE * t_s, SPEED / YAW_RATE
    position = np.array([40 + radius * np.sin(yaw), -7 - radius * np.cos(yaw), 2.0])
    return EgoPose(T + round(t_s * 1e9), position, rotation_z(yaw), np.array([SPEED, 0.0, 0.0]), np.array([0.0, 0.0, YAW_RATE]))


def drive(first_s: float = -1.0, last_s: float = 8.0, rate_hz: int = 20) -> list[EgoPose]:
    return [on_circle(k / rate_hz) for k in range(round(first_s * rate_hz), round(last_s * rate_hz) + 1)]


def test_a_circle_is_driven_as_it_is_computed() -> None:
    """Between poses 50 ms apart, from a t0 between two of them, once around and on."""
    t0_s = 0.0234
    ego_t0, _ = pose_at(drive(), T + round(t0_s * 1e9))
    truth = driven(drive(), ego_t0)
    radius = SPEED / YAW_RATE
    expected = np.stack([radius * np.sin(TIMES_S * YAW_RATE), radius * (1 - np.cos(TIMES_S * YAW_RATE))], axis=-1)
    np.testing.assert_allclose(truth.xyz[:, :2], expected, atol=1e-4)  # cubic between the poses: 2e-6 m off the circle
    np.testing.assert_allclose(truth.xyz[:, 2], 0.0, atol=1e-9)
    np.testing.assert_allclose(truth.yaw_rad, TIMES_S * YAW_RATE, atol=1e-6)
    assert truth.yaw_rad[-1] > np.pi, "it does not wrap"
    np.testing.assert_allclose(truth.speed_mps, SPEED)


def test_at_a_recorded_instant_it_is_the_recorded_pose() -> None:
    poses = drive(rate_hz=10)
    truth = driven(poses, on_circle(0.0))
    there = [pose for pose in poses if pose.stamp_ns > T][: len(TIMES_S)]
    in_odom = truth.xyz @ on_circle(0.0).odom_from_ego.T + on_circle(0.0).position
    np.testing.assert_allclose(in_odom, [pose.position for pose in there], atol=1e-9)


@pytest.mark.parametrize(("last_s", "points"), [(6.4, 64), (6.39, 63), (0.5, 5), (0.09, 0), (0.0, 0)])
def test_nothing_is_extrapolated(last_s: float, points: int) -> None:
    poses = [pose for pose in drive(rate_hz=100) if pose.stamp_ns <= T + round(last_s * 1e9)]
    assert len(driven(poses, on_circle(0.0)).xyz) == points


@pytest.mark.parametrize(("gap_s", "points"), [(0.2, 64), (0.25, 20)])
def test_a_gap_in_odometry_ends_it(gap_s: float, points: int) -> None:
    """The pose buffer's own limit is 0.2 s: up to it the way between is known, after it nothing is."""
    poses = [pose for pose in drive() if not T + 2.0 * SECOND < pose.stamp_ns < T + (2.0 + gap_s) * SECOND]
    truth = driven(poses, on_circle(0.0))
    assert len(truth.xyz) == points
    np.testing.assert_allclose(truth.xyz, driven(drive(), on_circle(0.0)).xyz[:points], atol=1e-3)  # a bridge of 0.2 s


def test_odometry_of_before_says_nothing_of_after() -> None:
    assert len(driven([], on_circle(0.0)).xyz) == 0
    assert len(driven(drive(last_s=-0.5), on_circle(0.0)).xyz) == 0


# ------------------------------------------------------------------------------------------------------------------ windows


def window(t0_s: float) -> Window:
    ego_t0 = on_circle(t0_s)
    return replace(made_bag("bag", 1, 0).windows[0], t0_ns=ego_t0.stamp_ns, ego_t0=ego_t0, driven=NOTHING)


def test_a_window_waits_until_its_future_is_known_and_comes_back_with_it() -> None:
    waiting, known = Waiting(), []
    for pose in drive(last_s=20.0, rate_hz=100):
        for done in waiting.take(pose, 0):
            assert pose.stamp_ns - done.t0_ns == 6.5 * SECOND, "a late pose may come for 0.1 s"
            known.append(done)
        if pose.stamp_ns % (SECOND // 2) == 0 and pose.stamp_ns >= T:
            waiting.add(window((pose.stamp_ns - T) / 1e9))
    assert len(known) == 28
    rest = waiting.end()
    assert [len(w.driven.xyz) for w in rest] == [*range(60, -1, -5)]
    for done in known:
        np.testing.assert_allclose(done.driven.yaw_rad, TIMES_S * YAW_RATE, atol=1e-6)


def test_a_jump_ends_what_is_known() -> None:
    waiting = Waiting()
    for pose in drive(last_s=1.0):
        assert waiting.take(pose, 0) == []
    waiting.add(window(0.5))
    (done,) = waiting.take(on_circle(1.05), 1)
    assert len(done.driven.xyz) == 5, "up to the last pose of its epoch, and not to the one after the jump"
    assert waiting.end() == []


def test_poses_that_come_late_take_their_place() -> None:
    in_order, swapped = Waiting(), Waiting()
    poses = drive()
    late = poses.copy()
    late[40], late[41] = late[41], late[40]
    for waiting, order in ((in_order, poses), (swapped, late)):
        for pose in order[:30]:
            waiting.take(pose, 0)
        waiting.add(window(0.0))
    (one,) = [done for pose in poses[30:] for done in in_order.take(pose, 0)]
    (other,) = [done for pose in late[30:] for done in swapped.take(pose, 0)]
    np.testing.assert_array_equal(one.driven.xyz, other.driven.xyz)
    assert len(one.driven.xyz) == 64


def test_memory_does_not_grow_with_the_drive() -> None:
    waiting = Waiting()
    for pose in drive(last_s=60.0):
        waiting.take(pose, 0)
        kept = waiting._poses.poses()
        assert kept[-1].stamp_ns - kept[0].stamp_ns <= 10 * SECOND
