"""The baseline without a network: keep accelerating and turning as the ego history does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alpamayo_ros.dynamics import RELEASED, ActionSpace, estimate_v0, unwrapped_yaw
from alpamayo_ros.engine.contract import Weights
from alpamayo_ros.types import F64, HORIZON, STEP_S, CameraFrame, EgoHistory, ModelOutput, Observation, Request

MOVING_MPS = 0.5
"""Below this speed a turn per metre is mostly noise of the odometry: such steps say nothing about curvature."""

STRAIGHT_1PM = 1.0 / 2000.0
"""Curvatures below this are called straight in words."""


class Motion(NamedTuple):
    """How the vehicle moves at t0."""

    v0_mps: float
    accel_mps2: float
    curvature_1pm: float


class KinematicEngine:
    """Constant acceleration and curvature from the ego history; uses no camera, needs no device."""

    weights: Weights = "none"

    def __init__(self, space: ActionSpace = RELEASED) -> None:
        self._space = space

    def add_frame(self, frame: CameraFrame) -> None:
        """Ignored: no camera is used."""

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        """Actions that keep the measured motion until the vehicle stands. Every sample is the same."""
        motion = measured_motion(observation.history, self._space)
        accel = stopping_acceleration(motion.v0_mps, motion.accel_mps2, self._space.dt_s)
        actions = self._space.normalised(accel, np.full(HORIZON, motion.curvature_1pm)).astype(np.float32)
        text = describe(motion) if request.reasoning == "full" else ""
        return ModelOutput(np.repeat(actions[None], request.samples, axis=0), (text,), (0,), (True,))

    def reset(self, epoch: int) -> None:
        """Nothing is kept between observations."""

    def close(self) -> None:
        """There is no device to give back."""


def measured_motion(history: EgoHistory, space: ActionSpace) -> Motion:
    """Speed at t0, and the acceleration and curvature that fit the history best, within the bounds of the action space.

    Acceleration: slope of a least-squares line through the speeds. Curvature: least squares of turn = curvature * distance
    over the steps faster than MOVING_MPS; 0 when there are none.
    """
    yaw = unwrapped_yaw(history.rot.astype(np.float64))
    middle_yaw = (yaw[:-1] + yaw[1:]) / 2.0
    moved = np.diff(history.xyz.astype(np.float64), axis=0)
    distance = moved[:, 0] * np.cos(middle_yaw) + moved[:, 1] * np.sin(middle_yaw)
    return Motion(
        v0_mps=estimate_v0(history.xyz, history.rot, space),
        accel_mps2=float(np.clip(_slope(distance / STEP_S), *space.accel_bounds_mps2)),
        curvature_1pm=float(np.clip(_turn_per_metre(np.diff(yaw), distance), *space.curvature_bounds_1pm)),
    )


def _slope(speed_mps: F64) -> float:
    """Slope, m/s^2, of the least-squares line through speeds STEP_S apart; 0 for a single one."""
    t_s = (np.arange(len(speed_mps)) - (len(speed_mps) - 1) / 2.0) * STEP_S
    return float(t_s @ speed_mps / (t_s @ t_s)) if len(speed_mps) > 1 else 0.0


def _turn_per_metre(turn_rad: F64, distance_m: F64) -> float:
    moving = np.abs(distance_m) > MOVING_MPS * STEP_S
    turn, distance = turn_rad[moving], distance_m[moving]
    return float(turn @ distance / (distance @ distance)) if moving.any() else 0.0


def stopping_acceleration(v0_mps: float, accel_mps2: float, dt_s: float) -> F64:
    """Accelerations (64,) m/s^2 that keep `accel` until the speed is 0, and then stay there: nothing rolls back.

    A vehicle that reverses keeps reversing, or stops likewise.
    """
    direction = -1.0 if v0_mps < -MOVING_MPS else 1.0
    steady = v0_mps + accel_mps2 * dt_s * np.arange(1, HORIZON + 1)
    speed: F64 = direction * np.maximum(direction * steady, 0.0)
    return np.diff(speed, prepend=v0_mps) / dt_s


def describe(motion: Motion) -> str:
    """One sentence in the place of a reasoning trace."""
    side = "left" if motion.curvature_1pm > 0 else "right"
    curved = abs(motion.curvature_1pm) > STRAIGHT_1PM
    path = f"a {1.0 / abs(motion.curvature_1pm):.0f} m {side} curve" if curved else "a straight path"
    accel = round(motion.accel_mps2, 1) + 0.0  # never "-0.0"
    return f"Kinematic baseline: keeps {accel:.1f} m/s2 and {path} from {motion.v0_mps:.1f} m/s; cameras are not used."
