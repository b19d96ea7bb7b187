"""Trajectory tracking: a plan placed in the world, and the hundredths of a second in which the vehicle drives it.

Along the course it is a matter of time, across it one of place: whoever is late does not cut the corner. Feed-forward is the
course's own acceleration and curvature, read as far ahead as the actuator lags behind. The feedback across is pure pursuit,
linearised (Coulter, CMU-RI-TR-92-01): with the look-ahead d, an offset e to the left and a heading error h it adds a curvature
of -2 e / d^2 - 2 sin(h) / d, a damping of 0.7; along, it is a critically damped spring. Nothing integrates or winds up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.dynamics import Motion, integrate
from alpamayo_ros.simulation.state import WHEELBASE_M, Ego
from alpamayo_ros.simulation.vehicle.bicycle import ACCEL_LAG_S, DRIVE_STEP_S, STEERING_LAG_S, drive
from alpamayo_ros.types import F64, STEP_S, Trajectory

DRIVES = round(STEP_S / DRIVE_STEP_S)  # steps of the vehicle in one of the world
AFTERWARDS_MPS2 = 1.5  # how a course brakes beyond its end
LOOK_AHEAD_S, LEAST_LOOK_AHEAD_M = 0.8, 4.0
SPRING_1PS = 1.0  # natural frequency of the feedback along the course
STANDS_MPS, STANDS_M = 0.05, 1e-4  # slower than this a course stands; steps shorter than this are none
HOLDING_MPS, HOLDING_MPS2 = 0.1, -0.5  # below that speed the brake holds a vehicle whose course stands


@dataclass(frozen=True)
class Course:
    """A trajectory in the world, from t0 to the stand after its end: a motion over time along a path over distance.

    Times at which it stands or goes backwards give no point of the path; a course that never moves has a path of one point.
    """

    t_s: F64  # (n,) of the world; the first is t0
    along_m: F64  # (n,) distance on the path, never less than before
    speed_mps: F64  # (n,) never negative
    action_t_s: F64  # (n - 1,) middles of the steps
    accel_mps2: F64  # (n - 1,) in the steps
    path_along_m: F64  # (m,) increasing
    path: F64  # (m, 3) x, y m and yaw rad, unwrapped
    bend_along_m: F64  # (k,) middles of the path's pieces
    curvature_1pm: F64  # (k,) there


def course_of(trajectory: Trajectory, ego_t0: Ego, t0_s: float) -> Course:
    """A trajectory, ego at t0, as a course of the vehicle that is `ego_t0` at `t0_s` of the world.

    After its end it brakes gently, by 1.5 m/s^2, to a stand, with the last curvature.
    """
    first_mps = float(trajectory.speed_mps[0] - trajectory.accel_mps2[0] * trajectory.t_s[0])
    planned = np.column_stack([trajectory.xyz[:, :2], np.unwrap(trajectory.yaw_rad)])
    rest = _braked(float(trajectory.speed_mps[-1]), float(trajectory.curvature_1pm[-1]))
    later = _placed(np.column_stack([rest.xy, rest.yaw_rad])[1:], planned[-1])
    poses = _placed(np.concatenate([np.zeros((1, 3)), planned, later]), np.append(ego_t0.xy_m, ego_t0.yaw_rad))
    t_s = t0_s + np.concatenate([[0.0], trajectory.t_s, trajectory.t_s[-1] + STEP_S * np.arange(1, len(later) + 1)])

    forward = np.maximum(_forward_m(poses), 0.0)
    moves = np.append(True, forward > STANDS_M)
    along = np.append(0.0, np.cumsum(np.where(moves[1:], forward, 0.0)))
    curvature = np.concatenate([trajectory.curvature_1pm, rest.curvature_1pm])[moves[1:]]
    path_along = along[moves]
    return Course(
        t_s=t_s,
        along_m=along,
        speed_mps=np.maximum(np.concatenate([[first_mps], trajectory.speed_mps, rest.speed_mps[1:]]), 0.0),
        action_t_s=_middles(t_s),
        accel_mps2=np.concatenate([trajectory.accel_mps2, rest.accel_mps2]),
        path_along_m=path_along,
        path=poses[moves],
        bend_along_m=_middles(path_along) if len(curvature) else path_along,
        curvature_1pm=curvature if len(curvature) else np.array([ego_t0.curvature_1pm]),
    )


def follow(ego: Ego, course: Course, t_s: float) -> tuple[Ego, ...]:
    """The vehicle (10 egos) every 0.01 s of the 0.1 s after `t_s` of the world, driven along a course from wherever it is.

    A course whose t0 has passed is joined where it is now. Where it stands, so does a vehicle that is nearly still, its wheels
    as they are, no matter where.
    """
    now_s = t_s + DRIVE_STEP_S * np.arange(DRIVES)
    wanted_m = np.interp(now_s, course.t_s, course.along_m).tolist()
    wanted_mps = np.interp(now_s, course.t_s, course.speed_mps).tolist()
    soon_mps = np.interp(now_s + ACCEL_LAG_S, course.t_s, course.speed_mps).tolist()
    soon_mps2 = np.interp(now_s + ACCEL_LAG_S, course.action_t_s, course.accel_mps2, right=0.0).tolist()
    egos = [ego]
    along, _, _ = _located(ego, course, _nearest_m(ego, course))
    for place_m, speed_mps, then_mps, accel_mps2 in zip(wanted_m, wanted_mps, soon_mps, soon_mps2, strict=True):
        ego = egos[-1]
        along, left_m, heading_rad = _located(ego, course, along)
        if max(speed_mps, then_mps) < STANDS_MPS and ego.speed_mps < HOLDING_MPS:
            asked = HOLDING_MPS2, ego.steering_rad
        else:
            spring = SPRING_1PS**2 * (place_m - along) + 2 * SPRING_1PS * (speed_mps - ego.speed_mps)
            asked = accel_mps2 + spring, _steering_rad(ego.speed_mps, course, along, left_m, heading_rad)
        egos.append(drive(ego, *asked, DRIVE_STEP_S))
        along += egos[-1].speed_mps * DRIVE_STEP_S
    return tuple(egos[1:])


def _steering_rad(speed_mps: float, course: Course, along_m: float, left_m: float, heading_rad: float) -> float:
    ahead_m = max(LOOK_AHEAD_S * speed_mps, LEAST_LOOK_AHEAD_M)
    bend = float(np.interp(along_m + STEERING_LAG_S * speed_mps, course.bend_along_m, course.curvature_1pm))
    back = -2 * left_m / ahead_m**2 - 2 * math.sin(heading_rad) / ahead_m
    return math.atan(WHEELBASE_M * (bend + back))


def _nearest_m(ego: Ego, course: Course) -> float:
    """Distance along the path of its point that is nearest to the vehicle."""
    return float(course.path_along_m[np.argmin(((course.path[:, :2] - ego.xy_m) ** 2).sum(axis=1))])


def _located(ego: Ego, course: Course, near_m: float) -> tuple[float, float, float]:
    """The vehicle's place along the path, near a guess, its offset to the left, m, and its heading error, rad."""
    x, y, yaw = (float(np.interp(near_m, course.path_along_m, course.path[:, axis])) for axis in range(3))
    off_x, off_y = float(ego.xy_m[0]) - x, float(ego.xy_m[1]) - y
    cos, sin = math.cos(yaw), math.sin(yaw)
    return near_m + off_x * cos + off_y * sin, off_y * cos - off_x * sin, ego.yaw_rad - yaw


def _braked(speed_mps: float, curvature_1pm: float) -> Motion:
    """To a stand, from the origin."""
    moving_mps = max(speed_mps, 0.0)
    steps = max(math.ceil(moving_mps / (AFTERWARDS_MPS2 * STEP_S)), 1)
    return integrate(np.full(steps, -moving_mps / (steps * STEP_S)), np.full(steps, curvature_1pm), moving_mps)


def _placed(poses: F64, at: F64) -> F64:
    """Poses (n, 3) in the frame of the pose `at` (3,) -> in the frame that `at` is in."""
    cos, sin = math.cos(at[2]), math.sin(at[2])
    return np.column_stack([poses[:, :2] @ np.array([[cos, sin], [-sin, cos]]) + at[:2], poses[:, 2] + at[2]])


def _forward_m(poses: F64) -> F64:
    """Distances (n - 1,) from pose to pose, ahead in the mean of their headings."""
    yaw = _middles(poses[:, 2])
    return np.diff(poses[:, 0]) * np.cos(yaw) + np.diff(poses[:, 1]) * np.sin(yaw)


def _middles(values: F64) -> F64:
    return (values[1:] + values[:-1]) / 2
