"""How well the vehicle drives what was planned."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import shapely

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.simulation.state import WHEELBASE_M, Ego
from alpamayo_ros.simulation.vehicle.bicycle import DRIVE_STEP_S
from alpamayo_ros.simulation.vehicle.tracking import DRIVES, Course, course_of, follow
from alpamayo_ros.types import F64, HORIZON, STEP_S

T_S = (np.arange(HORIZON) + 0.5) * STEP_S  # middles of a plan's steps
NONE = np.zeros(HORIZON)
T0_S = 3.0
YAW = 0.7


def ego_at(
    speed_mps: float, left_m: float = 0.0, turned_rad: float = 0.0, ahead_m: float = 0.0, steering_rad: float = 0.0
) -> Ego:
    forward, left = np.array([math.cos(YAW), math.sin(YAW)]), np.array([-math.sin(YAW), math.cos(YAW)])
    return Ego(np.array([100.0, -50.0]) + ahead_m * forward + left_m * left, YAW + turned_rad, speed_mps, 0.0, steering_rad)


def course(accel: F64, curvature: F64, speed_mps: float) -> Course:
    return course_of(trajectory(accel, curvature, speed_mps), ego_at(speed_mps), T0_S)


def followed(ego: Ego, line: Course, seconds: float = 6.4, t_s: float = T0_S) -> list[Ego]:
    """The ego every 0.1 s, from `t_s` on."""
    egos = [ego]
    for step in range(round(seconds / STEP_S)):
        egos.append(follow(egos[-1], line, t_s + step * STEP_S)[-1])
    return egos


def errors(egos: list[Ego], line: Course, t_s: float = T0_S) -> tuple[F64, F64]:
    """Ahead of and left of where the course is at the same time, m, and the rest."""
    along = np.interp(t_s + STEP_S * np.arange(len(egos)), line.t_s, line.along_m)
    x, y, yaw = (np.interp(along, line.path_along_m, line.path[:, axis]) for axis in range(3))
    off = np.array([ego.xy_m for ego in egos]) - np.column_stack([x, y])
    return off[:, 0] * np.cos(yaw) + off[:, 1] * np.sin(yaw), off[:, 1] * np.cos(yaw) - off[:, 0] * np.sin(yaw)


def lane_change(speed_mps: float) -> F64:
    """3.5 m to the left within 4 s."""
    return np.where((T_S > 1) & (T_S < 5), 2 * np.pi * 3.5 / (4.0 * speed_mps) ** 2 * np.sin(np.pi * (T_S - 1) / 2), 0.0)


MANOEUVRES = {
    "straight": (NONE, NONE, 12.0),
    "curve": (NONE, np.clip(0.03 * (T_S - 1), 0, 0.03), 12.0),
    "lane change": (NONE, lane_change(12.0), 12.0),
    "lane change on a motorway": (NONE, lane_change(30.0), 30.0),
    "turn": (NONE, np.clip(0.12 * (T_S - 1), 0, 0.16), 5.0),
    "accelerating": (np.where(T_S > 1, 1.5, 0.0), NONE, 8.0),
    "start": (np.clip(T_S - 2, 0, 1.5), np.full(HORIZON, 0.05), 0.0),
    "stop": (np.where((T_S > 1) & (T_S < 5), -2.0, 0.0), NONE, 8.0),
    "stop in a curve": (np.where((T_S > 1) & (T_S < 5), -2.0, 0.0), np.clip(0.1 * (T_S - 1), 0, 0.08), 8.0),
}


@pytest.mark.parametrize("name", MANOEUVRES)
def test_what_is_feasible_is_tracked(name: str) -> None:
    """Measured: 2 cm across and 3 cm along at worst."""
    line = course(*MANOEUVRES[name])
    ahead, left = errors(followed(ego_at(MANOEUVRES[name][2]), line), line)
    assert np.percentile(np.abs(left), 99) < 0.05
    assert np.percentile(np.abs(ahead), 99) < 0.10


def test_without_feedforward_the_same_would_not_be_tracked() -> None:
    """The bounds above can fail: a course whose curvature is another than its points show."""
    accel, curvature, speed = MANOEUVRES["curve"]
    line = course(accel, curvature, speed)
    object.__setattr__(line, "curvature_1pm", np.zeros_like(line.curvature_1pm))
    _, left = errors(followed(ego_at(speed), line), line)
    assert np.percentile(np.abs(left), 99) > 0.5


@pytest.mark.parametrize("speed_mps", [4.0, 12.0, 30.0])
@pytest.mark.parametrize(("left_m", "turned_rad"), [(0.5, 0.0), (0.0, math.radians(5)), (-0.5, math.radians(-5))])
def test_it_recovers_from_a_wrong_place_and_heading_without_much_overshoot(
    speed_mps: float, left_m: float, turned_rad: float
) -> None:
    line = course(NONE, NONE, speed_mps)
    _, left = errors(followed(ego_at(speed_mps, left_m, turned_rad), line), line)
    side = math.copysign(1.0, left_m or turned_rad)
    assert abs(left[-1]) < 0.02
    assert (-side * left).max() < 0.3 * (side * left).max()


def test_it_recovers_along_the_course_without_overshoot() -> None:
    line = course(NONE, NONE, 12.0)
    ahead, _ = errors(followed(ego_at(12.0, ahead_m=-1.0), line), line)
    assert ahead[0] == pytest.approx(-1.0)
    assert abs(ahead[-1]) < 0.05
    assert ahead.max() < 0.05


def test_who_is_late_does_not_cut_the_corner() -> None:
    line = course(NONE, np.clip(0.06 * (T_S - 1), 0, 0.1), 8.0)
    egos = followed(ego_at(8.0, ahead_m=-8.0), line)
    late = [math.dist(ego.xy_m, place[:2]) for ego, place in zip(egos, line.path, strict=False)]
    path = shapely.LineString([egos[0].xy_m, *line.path[:, :2]])
    assert late[20] > 1.0  # well within the bend
    assert max(path.distance(shapely.Point(ego.xy_m)) for ego in egos) < 0.1


def test_a_course_that_comes_late_is_joined_where_it_is_by_then() -> None:
    """The vehicle has gone on at 12 m/s, and the plan of 0.4 s ago brakes: it does not start braking from its first point."""
    line = course(np.full(HORIZON, -1.0), NONE, 12.0)
    late = 0.4
    egos = followed(ego_at(12.0, ahead_m=12.0 * late), line, 5.0, T0_S + late)
    ahead, _ = errors(egos, line, T0_S + late)
    assert ahead[0] == pytest.approx(0.08)  # the 0.4 s of braking it missed
    assert np.abs(ahead).max() < 0.4
    assert abs(ahead[-1]) < 0.05


def test_a_standing_course_leaves_vehicle_and_wheels_as_they_are() -> None:
    for curvature in (NONE, 0.2 * np.sin(np.arange(HORIZON) * 1.7)):
        ego = ego_at(0.0, left_m=0.4, turned_rad=0.1, steering_rad=0.2)
        now = followed(ego, course(NONE, curvature, 0.0))[-1]
        assert np.array_equal(now.xy_m, ego.xy_m)
        assert (now.yaw_rad, now.speed_mps, now.steering_rad) == (ego.yaw_rad, 0.0, ego.steering_rad)


def test_a_vehicle_that_has_stopped_does_not_creep() -> None:
    line = course(*MANOEUVRES["stop in a curve"])
    egos = followed(ego_at(8.0), line, 20.0)
    stood = next(index for index, ego in enumerate(egos) if ego.speed_mps == 0.0)
    assert stood * STEP_S < 5.6
    assert all(np.array_equal(ego.xy_m, egos[-1].xy_m) for ego in egos[stood:])
    assert all(ego.steering_rad == egos[stood + 1].steering_rad for ego in egos[stood + 1 :])


def test_it_starts_when_its_course_does() -> None:
    line = course(np.where(T_S > 2, 2.0, 0.0), NONE, 0.0)
    egos = followed(ego_at(0.0), line)
    assert all(ego.speed_mps == 0.0 for ego in egos[:18])
    assert egos[25].speed_mps == pytest.approx(1.0, abs=0.15)  # after half a second at 2 m/s^2


def test_headings_may_be_wrapped() -> None:
    """A plan's may be; the course's are unwrapped, whatever the vehicle's."""
    path = trajectory(NONE, np.full(HORIZON, 0.1), 6.0)
    wrapped = replace(path, yaw_rad=np.arctan2(np.sin(path.yaw_rad), np.cos(path.yaw_rad)))
    line = course_of(wrapped, ego_at(6.0), T0_S)
    assert path.yaw_rad[-1] > math.pi
    assert np.abs(np.diff(line.path[:, 2])).max() < 0.1
    turned = replace(ego_at(6.0, steering_rad=math.atan(WHEELBASE_M * 0.1)), yaw_rad=YAW - 2 * math.pi)
    _, left = errors(followed(turned, line), line)
    assert np.abs(left).max() < 0.05


def test_a_plan_that_would_reverse_stands() -> None:
    """Models' speeds waver about zero; nothing clamps them."""
    accel = np.where(T_S < 1, -1.0, -0.2)
    line = course(accel, NONE, 1.0)
    egos = followed(ego_at(1.0), line, 8.0)
    assert line.speed_mps.min() == 0.0
    assert line.along_m[-1] == pytest.approx(0.5)
    assert egos[-1].speed_mps == 0.0
    assert np.linalg.norm(egos[-1].xy_m - ego_at(1.0).xy_m) < 0.6  # 0.5 m of braking
    assert (np.diff([np.linalg.norm(ego.xy_m - ego_at(1.0).xy_m) for ego in egos]) >= 0).all()


def test_beyond_its_end_a_course_brakes_to_a_stand_on_its_last_curvature() -> None:
    radius = 50.0
    line = course(NONE, np.full(HORIZON, 1 / radius), 9.0)
    ego = ego_at(9.0, steering_rad=math.atan(WHEELBASE_M / radius))
    egos = followed(ego, line, 14.0)
    centre = ego.xy_m + radius * np.array([-math.sin(YAW), math.cos(YAW)])
    np.testing.assert_allclose([np.linalg.norm(now.xy_m - centre) for now in egos], radius, atol=0.05)
    decelerations = -np.diff([now.speed_mps for now in egos]) / STEP_S
    assert egos[63].speed_mps > 8.7
    assert egos[-1].speed_mps == 0.0
    assert decelerations.max() < 1.7


def test_ten_egos_every_hundredth_of_a_second() -> None:
    egos = follow(ego_at(12.0), course(NONE, NONE, 12.0), T0_S)
    assert len(egos) == DRIVES == 10
    steps = np.linalg.norm(np.diff([ego.xy_m for ego in egos], axis=0), axis=1)
    np.testing.assert_allclose(steps, 12.0 * DRIVE_STEP_S, rtol=1e-3)


def test_replanning_every_step_from_where_it_is_drives_the_same() -> None:
    """A closed loop: each plan is the rest of the manoeuvre, put where the vehicle is."""
    accel, curvature, speed = MANOEUVRES["lane change"]
    once = followed(ego_at(speed), course(accel, curvature, speed), 5.5)
    egos = [ego_at(speed)]
    for step in range(55):
        rest = trajectory(np.roll(accel, -step), np.roll(curvature, -step), egos[-1].speed_mps)
        t_s = T0_S + step * STEP_S
        egos.append(follow(egos[-1], course_of(rest, egos[-1], t_s), t_s)[-1])
    assert np.linalg.norm(egos[-1].xy_m - once[-1].xy_m) < 1.0  # errors of heading are forgotten at each plan, so they add up


def test_following_is_fast() -> None:
    line, ego = course(*MANOEUVRES["curve"]), ego_at(12.0)
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        for _ in range(10):
            follow(ego, line, T0_S + 1.0)
        best = min(best, (time.process_time() - start) / 10)
    assert best < 0.6e-3
