"""The simulated vehicle: a kinematic bicycle whose actuators lag behind what they are asked for.

The reference is the middle of the rear axle, which does not slip sideways, so its path has the curvature tan(steering) /
wheelbase. Good for what tyres do without thinking, up to some 4 m/s^2 of lateral acceleration (Polack et al., *The kinematic
bicycle model: a consistent model for planning feasible trajectories for autonomous vehicles?*, IV 2017); friction, load and
slopes do not exist here.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from alpamayo_ros.simulation.state import WHEELBASE_M, Ego

DRIVE_STEP_S = 0.01
"""Time of one step of the vehicle in a closed loop; odometry has its rate."""

ACCEL_LAG_S = 0.2  # time constant, nuPlan devkit KinematicBicycleModel; AlpaSim has 0.1
STEERING_LAG_S = 0.1  # AlpaSim vehicle_model; between nuPlan's 0.05 and the 0.27 of Autoware's sample vehicle
MIN_ACCEL_MPS2, MAX_ACCEL_MPS2 = -8.0, 4.0  # a full brake on dry road; a brisk passenger car
MAX_STEERING_RAD = 0.6  # a turning circle of 11.5 m, kerb to kerb
MAX_STEERING_RATE_RPS = 0.7  # NHTSA's fishhook, 720 deg/s of the steering wheel, at a ratio of 18; CommonRoad has 0.4


def drive(ego: Ego, accel_mps2: float, steering_rad: float, dt_s: float) -> Ego:
    """The vehicle `dt_s` later, asked for an acceleration and a front wheel angle all the while; it never reverses.

    What is asked for is limited, then followed with a first-order lag (exact for a constant command), the wheels no faster
    than their rate. It moves on the arc of the step's mean curvature: exact where actions are constant, else second order.
    One that comes to a stand has no acceleration, whatever its brakes do.
    """
    asked = min(max(accel_mps2, MIN_ACCEL_MPS2), MAX_ACCEL_MPS2)
    accel = asked + (ego.accel_mps2 - asked) * math.exp(-dt_s / ACCEL_LAG_S)
    steering = _steered(ego.steering_rad, steering_rad, dt_s)
    speed, distance = _rolled(ego.speed_mps, (ego.accel_mps2 + accel) / 2, dt_s)
    turn = distance * math.tan((ego.steering_rad + steering) / 2) / WHEELBASE_M
    chord = distance * (math.sin(turn / 2) / (turn / 2) if turn else 1.0)
    halfway = ego.yaw_rad + turn / 2
    xy = ego.xy_m + np.array([chord * math.cos(halfway), chord * math.sin(halfway)])
    stands = speed == 0.0 and accel <= 0.0
    return replace(
        ego,
        xy_m=xy,
        yaw_rad=ego.yaw_rad + turn,
        speed_mps=speed,
        accel_mps2=0.0 if stands else accel,
        steering_rad=steering,
    )


def _steered(now_rad: float, asked_rad: float, dt_s: float) -> float:
    asked = min(max(asked_rad, -MAX_STEERING_RAD), MAX_STEERING_RAD)
    most = MAX_STEERING_RATE_RPS * dt_s
    return now_rad + min(max((asked - now_rad) * -math.expm1(-dt_s / STEERING_LAG_S), -most), most)


def _rolled(speed_mps: float, accel_mps2: float, dt_s: float) -> tuple[float, float]:
    """Speed after a step of constant acceleration, and the distance covered; a vehicle that stops within it stands."""
    speed = speed_mps + accel_mps2 * dt_s
    if speed < 0.0:
        return 0.0, speed_mps**2 / (-2 * accel_mps2)
    return speed, (speed_mps + speed) / 2 * dt_s
