"""The bicycle against closed forms and against CommonRoad's vehicle models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from vehiclemodels.parameters_vehicle2 import parameters_vehicle2
from vehiclemodels.vehicle_dynamics_ks import vehicle_dynamics_ks
from vehiclemodels.vehicle_dynamics_st import vehicle_dynamics_st

from alpamayo_ros.simulation.state import WHEELBASE_M, Ego
from alpamayo_ros.simulation.vehicle.bicycle import (
    ACCEL_LAG_S,
    DRIVE_STEP_S,
    MAX_ACCEL_MPS2,
    MAX_STEERING_RAD,
    MAX_STEERING_RATE_RPS,
    MIN_ACCEL_MPS2,
    STEERING_LAG_S,
    drive,
)

DT_S = DRIVE_STEP_S


Command = tuple[float, float]  # acceleration, m/s^2, and steering, rad, asked for during a step


def at_origin(speed_mps: float = 10.0, accel_mps2: float = 0.0, steering_rad: float = 0.0) -> Ego:
    return Ego(np.zeros(2), 0.0, speed_mps, accel_mps2, steering_rad)


def driven(ego: Ego, commands: list[Command]) -> list[Ego]:
    """The start and the state after every command."""
    egos = [ego]
    for accel, steering in commands:
        egos.append(drive(egos[-1], accel, steering, DT_S))
    return egos


def constant(accel: float, steering: float, seconds: float) -> list[Command]:
    return [(accel, steering)] * round(seconds / DT_S)


def weaving(seconds: float, steering_rad: float, accel_mps2: float = 1.5) -> list[Command]:
    """Commands that excite both actuators."""
    times = np.arange(round(seconds / DT_S)) * DT_S
    return list(zip(accel_mps2 * np.sin(1.3 * times), steering_rad * np.sin(1.7 * times + 0.4), strict=True))


def integrated(dynamics: Callable[..., list[float]], state: list[float], egos: list[Ego], parameters: Any) -> np.ndarray:
    """A CommonRoad model (n + 1 states), its inputs the steering rate and acceleration that the egos really had; RK4."""
    states = [np.array(state)]
    for before, now in pairwise(egos):
        inputs = [(now.steering_rad - before.steering_rad) / DT_S, (now.speed_mps - before.speed_mps) / DT_S]
        x, slopes = states[-1], [np.zeros(len(state))]
        for share in (0.0, 0.5, 0.5, 1.0):
            slopes.append(np.array(dynamics(list(x + share * DT_S * slopes[-1]), inputs, parameters)))
        states.append(x + DT_S / 6 * (slopes[1] + 2 * slopes[2] + 2 * slopes[3] + slopes[4]))
    return np.array(states)


def apart_m(states: np.ndarray, egos: list[Ego]) -> np.ndarray:
    return np.asarray(np.linalg.norm(states[:, :2] - np.array([ego.xy_m for ego in egos]), axis=1))


@pytest.fixture(scope="module")
def car() -> Any:
    """CommonRoad's BMW 320i, its axles moved apart to have our wheelbase, its wheels as quick as ours."""
    parameters = parameters_vehicle2()
    scale = WHEELBASE_M / (parameters.a + parameters.b)
    parameters.a, parameters.b = parameters.a * scale, parameters.b * scale
    parameters.steering.v_min, parameters.steering.v_max = -MAX_STEERING_RATE_RPS, MAX_STEERING_RATE_RPS
    return parameters


def test_a_steady_turn_is_a_circle() -> None:
    steering, speed = 0.2, 6.0
    radius = WHEELBASE_M / math.tan(steering)
    egos = driven(at_origin(speed, steering_rad=steering), constant(0.0, steering, 2 * math.pi * radius / speed))
    reached = np.array([ego.xy_m for ego in egos])
    np.testing.assert_allclose(np.hypot(reached[:, 0], reached[:, 1] - radius), radius, rtol=1e-9)
    assert abs(egos[-1].yaw_rad - 2 * math.pi) < 1e-2  # within half a step of the whole circle


def test_actuators_lag_with_their_time_constants() -> None:
    for seconds in (ACCEL_LAG_S, STEERING_LAG_S):
        ego = driven(at_origin(), constant(1.0, 0.01, seconds))[-1]
        assert abs(ego.accel_mps2 - (1 - math.exp(-seconds / ACCEL_LAG_S))) < 1e-9
        assert abs(ego.steering_rad - 0.01 * (1 - math.exp(-seconds / STEERING_LAG_S))) < 1e-9


def test_what_is_asked_for_is_limited() -> None:
    for accel, steering, reached in ((99.0, 9.0, MAX_ACCEL_MPS2), (-99.0, -9.0, MIN_ACCEL_MPS2)):
        egos = driven(at_origin(40.0), constant(accel, steering, 3.0))
        rates = np.abs(np.diff([ego.steering_rad for ego in egos])) / DT_S
        assert abs(egos[-1].accel_mps2 - reached) < 1e-4
        assert abs(abs(egos[-1].steering_rad) - MAX_STEERING_RAD) < 1e-4
        assert rates.max() <= MAX_STEERING_RATE_RPS + 1e-9
        assert rates.max() > 0.99 * MAX_STEERING_RATE_RPS


def test_it_stops_where_it_must_and_stands_for_ever() -> None:
    speed, accel = 5.0, -2.0
    egos = driven(at_origin(speed, accel_mps2=accel), constant(accel, 0.1, 10.0))
    assert egos[-1].speed_mps == egos[-1].accel_mps2 == 0.0
    assert min(ego.speed_mps for ego in egos) == 0.0
    distance = sum(math.dist(a.xy_m, b.xy_m) for a, b in pairwise(egos))
    assert abs(distance - speed**2 / -accel / 2) < 1e-3  # less the chords' shortness
    stood = next(index for index, ego in enumerate(egos) if ego.speed_mps == 0.0)
    assert all(np.array_equal(ego.xy_m, egos[-1].xy_m) and ego.yaw_rad == egos[-1].yaw_rad for ego in egos[stood:])


def test_one_that_stops_within_a_step_stops_where_it_would() -> None:
    now = drive(at_origin(0.5, accel_mps2=-5.0), -5.0, 0.0, 0.2)
    assert now.speed_mps == 0.0
    assert now.xy_m[0] == pytest.approx(0.5**2 / 5.0 / 2)


def test_it_starts_from_a_stand() -> None:
    ego = driven(at_origin(0.0), constant(1.0, 0.0, 3.0))[-1]
    assert abs(ego.speed_mps - (3.0 - ACCEL_LAG_S)) < 1e-3  # a first-order lag costs its time constant


def test_ten_steps_of_a_hundredth_are_one_of_a_tenth() -> None:
    """Second order: ten times as many steps, a hundredth of the error."""
    start = at_origin(12.0, steering_rad=0.05)
    fine = start
    for _ in range(1000):
        fine = drive(fine, 2.0, 0.1, 0.0001)
    errors = []
    for steps in (1, 10):
        ego = start
        for _ in range(steps):
            ego = drive(ego, 2.0, 0.1, 0.1 / steps)
        errors.append(math.dist(ego.xy_m, fine.xy_m))
    assert errors[0] < 0.02
    assert errors[1] < errors[0] / 50


def test_indicators_stay_as_they_are() -> None:
    assert drive(replace(at_origin(), indicator="left"), 0.0, 0.0, DT_S).indicator == "left"


def test_it_is_commonroads_kinematic_single_track_model(car: Any) -> None:
    """Same inputs, same place within a millimetre after 8 s: integration error only."""
    egos = driven(at_origin(8.0), weaving(8.0, 0.25))
    states = integrated(vehicle_dynamics_ks, [0.0, 0.0, 0.0, 8.0, 0.0], egos, car)
    assert apart_m(states, egos).max() < 1e-3
    np.testing.assert_allclose(states[:, 4], [ego.yaw_rad for ego in egos], atol=1e-4)


def test_the_comparison_with_commonroad_can_fail() -> None:
    egos = driven(at_origin(8.0), weaving(8.0, 0.25))
    states = integrated(vehicle_dynamics_ks, [0.0, 0.0, 0.0, 8.0, 0.0], egos, parameters_vehicle2())
    assert apart_m(states, egos).max() > 1.0  # with its own wheelbase, 27 cm shorter


@pytest.mark.parametrize(("speed_mps", "steering_rad", "allowed_m"), [(4.0, 0.10, 0.03), (10.0, 0.02, 0.08), (10.0, 0.08, 0.3)])
def test_tyres_change_little_at_low_lateral_acceleration(
    car: Any, speed_mps: float, steering_rad: float, allowed_m: float
) -> None:
    """Against the single-track model with tyre slip, whose place is its centre of mass, a distance b before the rear axle.

    After 4 s they are 2.5, 7 and 29 cm apart at lateral accelerations up to 0.8, 0.8 and 3.2 m/s^2.
    """
    egos = driven(at_origin(speed_mps), weaving(4.0, steering_rad, 0.5))
    states = integrated(vehicle_dynamics_st, [car.b, 0.0, 0.0, speed_mps, 0.0, 0.0, 0.0], egos, car)
    rear = states[:, :2] - car.b * np.column_stack([np.cos(states[:, 4]), np.sin(states[:, 4])])
    assert apart_m(rear, egos).max() < allowed_m
