"""Metrics of plans: hand-computed cases, identities, and numbers that NVIDIA's public code gives for the same formulas."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from alpamayo_ros.dynamics import RELEASED, trajectory
from alpamayo_ros.evaluation.metrics import (
    COMFORT_BOUNDS,
    FEASIBLE_BOUNDS,
    HORIZONS_S,
    Driven,
    ade_m,
    consistency_share,
    corner_distance_m,
    deviation_m,
    difference,
    displacement_m,
    fde_m,
    heading_error_rad,
    kept,
    longitudinal_lateral_m,
    min_ade_m,
    plan_deviation_m,
    points_to,
    pointwise_corner_distance_m,
    quantities_by_actions,
    quantities_by_positions,
    window_metrics,
)
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.reasoning import consistent, meta_actions, parse_trace
from alpamayo_ros.types import HORIZON, EgoPose, InvalidInput, Plan, Trajectory

TIMES_S = np.arange(1, HORIZON + 1) * 0.1


def drive(speed: float = 10.0, accel: float = 0.0, curvature: float = 0.0) -> Trajectory:
    return trajectory(np.full(HORIZON, accel), np.full(HORIZON, curvature), speed)


def moved(path: Trajectory, left: float) -> Trajectory:
    return replace(path, xyz=path.xyz + np.array([0.0, left, 0.0]))


def plan(path: Trajectory, *others: Trajectory, t0_ns: int = 10**18, text: str = "Keep lane: the road is clear.") -> Plan:
    """A plan of candidates of which the first is chosen."""
    trace, actions = parse_trace(text, tokens=9, complete=True), meta_actions(path, float(path.speed_mps[0]))
    agreement = consistent(trace.decision, actions)
    return Plan(
        t0_ns=t0_ns,
        epoch=0,
        source="model",
        provisional=False,
        trajectory=path,
        candidates=(path, *others),
        chosen=0,
        scores=(1.0,) * (1 + len(others)),
        reasoning=trace,
        meta_actions=actions,
        consistent=agreement,
    )


def driven(path: Trajectory, points: int = HORIZON) -> Driven:
    return Driven(path.xyz[:points], path.yaw_rad[:points], path.speed_mps[:points])


def formula(k: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (64, 3) and wrapped headings (64,) of a path that the public code was given as well."""
    x = 8 * TIMES_S + 0.3 * np.sin(1.1 * TIMES_S) + 0.2 * k * TIMES_S
    y = 0.5 * np.sin(0.7 * TIMES_S) + 0.05 * k * TIMES_S**2 * np.cos(k)
    yaw = 3.1 + 0.1 * np.sin(0.9 * TIMES_S) + 0.05 * k * TIMES_S
    return np.stack([x, y, 0 * TIMES_S + 0.1 * k], axis=-1), np.arctan2(np.sin(yaw), np.cos(yaw))


# --------------------------------------------------------------------------------------------------------------- distances


def test_the_error_of_a_shift_is_the_shift() -> None:
    path = drive(curvature=0.02).xyz
    shifted = path + np.array([3.0, -4.0, 7.0])  # height is no error
    np.testing.assert_allclose(displacement_m(shifted, path), 5.0)
    assert ade_m(shifted, path) == pytest.approx(5.0)
    assert fde_m(shifted, path) == pytest.approx(5.0)


def test_ade_is_the_mean_and_fde_the_last_of_a_growing_error() -> None:
    slow, fast = drive(10.0).xyz, drive(11.0).xyz
    assert ade_m(slow, fast) == pytest.approx(0.1 * (HORIZON + 1) / 2)  # 0.1, 0.2 ... 6.4 m
    assert fde_m(slow, fast) == pytest.approx(6.4)


def test_errors_are_those_of_the_driven_poses_frames() -> None:
    north = np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]])
    ahead_left = longitudinal_lateral_m(north + np.array([-1.0, 2.0, 0.0]), north, np.full(2, np.pi / 2))
    np.testing.assert_allclose(ahead_left, [[2.0, 2.0], [1.0, 1.0]])  # west is left of north


def test_heading_errors_take_the_short_way_and_have_a_side() -> None:
    np.testing.assert_allclose(np.degrees(heading_error_rad(np.radians([350.0, 10.0]), np.radians([10.0, 350.0]))), [-20, 20])


@pytest.mark.parametrize("degrees", [30.0, 180.0, -100.0])
def test_nothing_depends_on_where_the_world_is_looked_at_from(degrees: float) -> None:
    def measured(samples: np.ndarray, yaws: np.ndarray, truth: np.ndarray, true_yaw: np.ndarray) -> list[float]:
        wholes = [min_ade_m(samples, truth), fde_m(samples, truth)]
        corners = [distance(samples, yaws, truth, true_yaw) for distance in (corner_distance_m, pointwise_corner_distance_m)]
        parts = longitudinal_lateral_m(samples[0], truth, true_yaw), heading_error_rad(yaws[0], true_yaw)
        return [*wholes, *corners, *np.vstack([*parts, *quantities_by_positions(samples[0], yaws[0], 0.1).values()]).ravel()]

    samples, yaws = (np.stack(parts) for parts in zip(formula(1), formula(2), strict=True))
    truth, true_yaw = formula(0)
    angle, away = np.radians(degrees), [100.0, -50.0, 3.0]
    turn = rotation_z(angle).T
    elsewhere = measured(samples @ turn + away, yaws + angle, truth @ turn + away, true_yaw + angle)
    np.testing.assert_allclose(elsewhere, measured(samples, yaws, truth, true_yaw), atol=1e-9)


def test_by_time_the_sample_is_chosen_by_the_full_horizon() -> None:
    truth = np.zeros((10, 3))
    early, late = truth.copy(), truth.copy()
    early[:5, 1], early[5:, 1] = 0.1, 4.0
    late[:5, 1], late[-1, 1] = 1.0, 5.0
    samples = np.stack([early, late])
    assert min_ade_m(samples, truth) == pytest.approx(1.0), "not the one whose last point is nearer"
    assert min_ade_m(samples, truth, points=5) == pytest.approx(1.0), "not the one that is nearer up to there"
    assert min_ade_m(samples, truth) <= min(ade_m(early, truth), ade_m(late, truth))
    assert min_ade_m(samples[:1], truth, points=5) == pytest.approx(ade_m(early[:5], truth[:5]))
    assert fde_m(samples, truth) == pytest.approx(4.0)


def test_min_ade_and_corner_distance_are_the_released_codes() -> None:
    samples, yaws = (np.stack(parts) for parts in zip(*(formula(k) for k in (-2, 1, 2)), strict=True))
    truth, true_yaw = formula(0)
    released = {5: 0.060082030844722065, 10: 0.11055009949730177, 30: 0.3228004888650575, 50: 0.5653761275483923}
    for points, value in (released | {64: 0.7609984855090431}).items():
        assert min_ade_m(samples, truth, points) == pytest.approx(value)
    assert pointwise_corner_distance_m(samples, yaws, truth, true_yaw) == pytest.approx(0.8179972001714653)


def test_corners_of_a_turned_box_are_chords_of_its_half_diagonal() -> None:
    here, yaw = np.zeros((3, 3)), np.zeros(3)
    assert corner_distance_m(here, yaw + np.pi, here, yaw) == pytest.approx(2 * 2.5)  # 2.5 m: half of 4 x 3 m
    assert corner_distance_m(here, yaw + np.pi / 3, here, yaw) == pytest.approx(2.5)
    off = here + np.array([1.0, 2.0, 2.0])  # height counts here
    assert corner_distance_m(off, yaw + 0.7, here, yaw + 0.7) == pytest.approx(3.0)
    # Turned by 90° and moved by (1, 0): corners (1 ∓ 1.5, ± 2) from (2, ± 1.5), and so on, by hand.
    by_hand = [np.hypot(2.5, 0.5), np.hypot(0.5, 3.5), np.hypot(4.5, 0.5), np.hypot(1.5, 3.5)]
    assert corner_distance_m(here + np.array([1.0, 0.0, 0.0]), yaw + np.pi / 2, here, yaw) == pytest.approx(np.mean(by_hand))


def test_the_pointwise_corner_distance_is_of_no_trajectory() -> None:
    truth, yaw = np.zeros((4, 3)), np.zeros(4)
    odd = truth + [[1.0, 0, 0], [0, 0, 0]] * 2
    even = truth + [[0, 0, 0], [1.0, 0, 0]] * 2
    samples, yaws = np.stack([odd, even]), np.stack([yaw, yaw])
    assert pointwise_corner_distance_m(samples, yaws, truth, yaw) == 0.0
    assert corner_distance_m(samples, yaws, truth, yaw) == pytest.approx(0.5)
    assert pointwise_corner_distance_m(samples[:1], yaws[:1], truth, yaw) == pytest.approx(
        corner_distance_m(odd, yaw, truth, yaw)
    )


def test_a_horizon_holds_the_points_up_to_it() -> None:
    assert [points_to(TIMES_S, horizon_s) for horizon_s in HORIZONS_S] == [5, 10, 25, 30, 50, 64]
    assert points_to(TIMES_S[:30], 3.0) == 30
    assert points_to(TIMES_S[:29], 3.0) is None
    assert points_to(TIMES_S[:0], 0.5) is None
    assert points_to(TIMES_S[:10] + 0.05, 0.5) == 4  # 0.15 ... 0.45 s


@pytest.mark.parametrize(
    ("points", "truth", "said"),
    [
        (np.zeros((2, 4, 3)), np.zeros((5, 3)), r"\(2, 4, 3\) and \(5, 3\)"),
        (np.zeros((0, 3)), np.zeros((0, 3)), r"got \(0, 3\)"),
        (np.full((2, 3), np.nan), np.zeros((2, 3)), "2 of 2 distances are not finite"),
    ],
)
def test_points_that_cannot_be_compared_are_refused(points: np.ndarray, truth: np.ndarray, said: str) -> None:
    for measure in (displacement_m, ade_m, fde_m):
        with pytest.raises(InvalidInput, match=said):
            measure(points, truth)


# ----------------------------------------------------------------------------------------------------------------- comfort


def test_a_straight_line_at_constant_speed_is_comfortable_and_feasible() -> None:
    window = window_metrics(plan(drive(30.0)), driven(drive(30.0)))
    for bounds in (window.comfort, window.comfort_by_positions, window.feasible):
        assert set(bounds.values()) == {True}


def test_the_bounds_are_the_published_ones() -> None:
    limits = {name: (bound.low, bound.high) for name, bound in COMFORT_BOUNDS.items()}
    assert limits.pop("lon_accel") == (-4.05, 2.40)
    published = {"lat_accel": 4.89, "jerk": 8.37, "lon_jerk": 4.13, "yaw_accel": 1.93, "yaw_rate": 0.95}
    assert limits == {name: (-limit, limit) for name, limit in published.items()}
    action_bounds = FEASIBLE_BOUNDS["accel"][1:], FEASIBLE_BOUNDS["curvature"][1:]
    assert action_bounds == (RELEASED.accel_bounds_mps2, RELEASED.curvature_bounds_1pm)


@pytest.mark.parametrize("bounds", [COMFORT_BOUNDS, FEASIBLE_BOUNDS])
def test_one_point_on_a_bound_breaks_that_bound_alone(bounds: dict) -> None:
    still = dict.fromkeys((bound.quantity for bound in bounds.values()), np.zeros(5))
    for name, (quantity, low, high) in bounds.items():
        for value, inside in ((low, False), (high, False), (low + 1e-6, True), (high - 1e-6, True)):
            broken = still | {quantity: np.array([0.0, 0.0, value, 0.0, 0.0])}
            assert kept(broken, bounds) == {other: other != name or inside for other in bounds}


def test_quantities_by_actions_are_those_of_the_unicycle() -> None:
    """Yaw rate is exactly the heading's change per step; on a steady arc lateral acceleration is v^2 κ."""
    rng = np.random.default_rng(0)
    path = trajectory(rng.normal(0, 1, HORIZON), rng.normal(0, 0.05, HORIZON), 9.0)
    own = quantities_by_actions(path.speed_mps, path.accel_mps2, path.curvature_1pm, 0.1)
    np.testing.assert_allclose(own["yaw_rate_rps"], np.diff(path.yaw_rad, prepend=0.0) / 0.1, atol=1e-9)
    np.testing.assert_allclose(own["yaw_accel_rps2"][:-1], np.diff(path.yaw_rad, n=2, prepend=0.0) / 0.01, atol=1e-9)
    np.testing.assert_allclose(own["lon_accel_mps2"], np.diff(path.speed_mps, prepend=9.0) / 0.1, atol=1e-9)
    steady = quantities_by_actions(np.full(9, 10.0), np.zeros(9), np.full(9, -0.04), 0.1)
    np.testing.assert_allclose(steady["lat_accel_mps2"], -4.0)
    np.testing.assert_allclose(steady["jerk_mps3"], 0.0, atol=1e-9)


def test_jerk_is_that_of_the_accelerations_magnitude() -> None:
    accel = np.array([0.0, 3.0])
    speed = 10.0 + 0.1 * np.cumsum(accel)
    curvature = 4.0 / (speed - 0.05 * accel) ** 2  # 4 m/s^2 to the side throughout: |acceleration| goes from 4 to 5
    own = quantities_by_actions(speed, accel, curvature, 0.1)
    np.testing.assert_allclose(own["jerk_mps3"], 10.0)
    np.testing.assert_allclose(own["lon_jerk_mps3"], 30.0)


def test_quantities_by_positions_are_the_released_rewards() -> None:
    released = {
        "lon_accel_mps2": (-0.33173855997469914, 0.37951601237360855),
        "lat_accel_mps2": (-0.5976479174250249, 0.7815326446109072),
        "jerk_mps3": (-0.3971745372700397, 2.2146946088248853),
        "lon_jerk_mps3": (-2.410331403999244, 0.4603342529577503),
        "yaw_accel_rps2": (-0.08087798880742625, 0.08090288577715654),
        "yaw_rate_rps": (-0.08990939912741691, 0.08915102422781374),
    }
    quantities = quantities_by_positions(*formula(0), 0.1)
    assert {name: (series.min(), series.max()) for name, series in quantities.items()} == {
        name: pytest.approx(ends, abs=1e-9) for name, ends in released.items()
    }


def test_the_released_definition_hardly_sees_a_curve() -> None:
    """10 m/s^2 to the side: out of bounds by actions at every point, by positions in the last steps only."""
    path = drive(10.0, curvature=0.1)
    by_positions = quantities_by_positions(path.xyz, path.yaw_rad, 0.1)["lat_accel_mps2"]
    np.testing.assert_allclose(by_positions[:-2], 0.0, atol=1e-9)
    np.testing.assert_allclose(np.abs(by_positions[-2:]), 10.0, rtol=0.01)
    own = quantities_by_actions(path.speed_mps, path.accel_mps2, path.curvature_1pm, 0.1)
    np.testing.assert_allclose(own["lat_accel_mps2"], 10.0)
    assert kept(own, FEASIBLE_BOUNDS) == {"accel": True, "curvature": True, "lat_accel": False}


def test_a_derivative_wants_two_points() -> None:
    np.testing.assert_allclose(difference(np.array([1.0, 3.0, 4.0]), 0.5), [4.0, 2.0, 2.0])
    with pytest.raises(InvalidInput, match=r"n >= 2, got \(1,\)"):
        difference(np.zeros(1), 0.1)


# ------------------------------------------------------------------------------------------------------------ plan to plan


def test_deviation_weighs_what_comes_first_the_most() -> None:
    times = np.array([1.0, 2.0])
    later = np.array([[1.0, 0.0, 9.0], [0.0, 3.0, 9.0]])
    weight = np.exp(-0.1)
    assert deviation_m(times, np.zeros((2, 3)), times, later) == pytest.approx((1.0 + 3.0 * weight) / (1.0 + weight))


def test_deviation_compares_the_common_times_only() -> None:
    earlier_t, earlier = np.array([1.0, 2.0]), np.array([[10.0, 0.0, 0.0], [20.0, 0.0, 0.0]])
    later_t, later = np.array([0.5, 1.5, 2.5]), np.array([[99.0, 0.0, 0.0], [15.0, 2.0, 0.0], [99.0, 0.0, 0.0]])
    assert deviation_m(earlier_t, earlier, later_t, later) == pytest.approx(2.0)
    assert deviation_m(earlier_t, earlier, later_t + 5.0, later) is None


def ego_on(path: Trajectory, point: int, t0_ns: int, odom_from_start: np.ndarray) -> EgoPose:
    """The vehicle at a point of a path that it follows, in an odom frame turned against the path's start."""
    rotation = odom_from_start @ rotation_z(float(path.yaw_rad[point]))
    position = odom_from_start @ path.xyz[point] + [5.0, -3.0, 0.0]
    return EgoPose(t0_ns, position, rotation, np.array([path.speed_mps[point], 0.0, 0.0]), np.zeros(3))


def test_who_follows_his_plan_and_keeps_it_does_not_deviate() -> None:
    arc, turned = drive(10.0, curvature=0.05), rotation_z(2.0)
    t0_ns, step_ns = 1_700_000_000_000_000_000, 100_000_000
    first, last = (ego_on(arc, point, t0_ns + point * step_ns, turned) for point in (0, 5))
    before, after = (plan(arc, t0_ns=ego.stamp_ns) for ego in (first, last))
    assert plan_deviation_m(before, first, after, last) == pytest.approx(0.0, abs=1e-6)
    swerving = replace(after, trajectory=moved(arc, left=1.5))
    assert plan_deviation_m(before, first, swerving, last) == pytest.approx(1.5)
    assert plan_deviation_m(before, first, replace(after, epoch=1), last) is None
    with pytest.raises(InvalidInput, match=f"plans at {t0_ns + 5 * step_ns}, {t0_ns} ns"):
        plan_deviation_m(after, last, before, first)


# -------------------------------------------------------------------------------------------------------------- one window


def test_consistency_stands_beside_its_shuffled_share() -> None:
    stopping = plan(drive(5.0, accel=-0.8), text="Stop for the red light because it is red.")
    running = plan(drive(10.0), text="Stop for the red light because it is red.")
    keeping = plan(drive(10.0))
    silent = plan(drive(10.0), text="")
    assert [p.consistent.agrees for p in (stopping, running, keeping, silent)] == [True, False, True, None]
    assert consistency_share([stopping, running, silent]) == (0.5, 0.5)
    assert consistency_share([stopping, keeping, silent]) == (1.0, 0.5), "slowing down keeps the lane, going on is no stop"
    assert consistency_share([keeping, keeping]) == (1.0, 1.0), "what says yes to every trajectory is worth nothing"
    assert consistency_share([keeping, silent]) == (1.0, None)
    assert consistency_share([silent]) == (None, None)


def test_a_window_says_how_far_the_chosen_plan_was_from_what_was_driven() -> None:
    true = drive(11.0)
    window = window_metrics(plan(moved(drive(10.0), left=-0.5)), driven(true), deviation_from_last_m=0.25)
    last_m = 0.1 * np.array([5, 10, 25, 30, 50, 64])  # 0.1 m more at each point
    assert window.longitudinal_m == pytest.approx((last_m + 0.1) / 2)
    assert window.lateral_m == pytest.approx([0.5] * 6)
    assert window.fde_m == pytest.approx(np.hypot(last_m, 0.5))
    assert window.speed_mps == pytest.approx([1.0] * 6)
    right = window_metrics(plan(drive(curvature=-0.01)), driven(drive()))
    assert right.heading_rad == pytest.approx(0.005 * (10 * last_m + 1))  # 0.01 rad more at each point
    assert window.ade_m == window.min_ade_1_m
    assert window.missed is True
    assert window.corner_distance_m == pytest.approx(window.ade_m[-1])  # as both head straight on
    assert (window.plan_deviation_m, window.consistent, window.trace_tokens, window.trace_complete) == (0.25, True, 9, True)


def test_a_miss_is_more_than_two_metres_at_the_end() -> None:
    true = drive(10.0)
    near, far = (replace(true, xyz=true.xyz * [scale, 1.0, 1.0]) for scale in (66.0 / 64.0, 66.01 / 64.0))
    assert window_metrics(plan(near), driven(true)).missed is False
    window = window_metrics(plan(far, *[far] * 4, near), driven(true))
    assert (window.missed, window.missed_6) == (True, False)


def test_six_samples_are_the_first_six_and_one_is_the_first_unchosen() -> None:
    true = drive(10.0)
    samples = [moved(true, left=left) for left in (6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0)]
    samples[1] = drive(10.5)  # the nearest in the beginning
    chosen = replace(plan(*samples), trajectory=samples[3], chosen=3)
    window = window_metrics(chosen, driven(true))
    ends = (window.ade_m[-1], window.min_ade_1_m[-1], window.min_ade_6_m[-1])
    assert ends == pytest.approx((3.0, 6.0, 1.0))
    assert window.corner_distance_6_m == pytest.approx(1.0)
    nearest = np.minimum(1.0, 0.05 * np.arange(1, HORIZON + 1))
    assert window.pointwise_corner_distance_6_m == pytest.approx(nearest.mean())
    five = window_metrics(plan(*samples[:5]), driven(true))
    assert five.min_ade_6_m == (None,) * 6
    assert (five.missed_6, five.corner_distance_6_m, five.pointwise_corner_distance_6_m) == (None,) * 3


@pytest.mark.parametrize(("points", "known"), [(0, 0), (4, 0), (5, 1), (30, 4), (63, 5)])
def test_what_the_driven_future_does_not_reach_is_none(points: int, known: int) -> None:
    window = window_metrics(plan(*[drive(10.0)] * 6), driven(drive(11.0), points))
    for errors in (window.ade_m, window.fde_m, window.lateral_m, window.heading_rad, window.min_ade_1_m):
        assert [error is not None for error in errors] == [True] * known + [False] * (6 - known)
    assert window.min_ade_6_m == (None,) * 6, "the sample is chosen by the full horizon"
    assert (window.missed, window.missed_6, window.corner_distance_m) == (None, None, None)
    assert all(window.comfort.values()), "comfort wants no future"


def test_values_have_a_name_each_and_travel() -> None:
    braking = trajectory(np.r_[np.zeros(32), np.full(32, -2.0)], np.zeros(HORIZON), 20.0)  # a jerk of 20 m/s^3
    window = window_metrics(plan(*[braking] * 6), driven(moved(braking, left=1.0), points=50))
    assert pickle.loads(pickle.dumps(window)) == window  # noqa: S301
    values = json.loads(json.dumps(window.values(), allow_nan=False))
    assert values["ade_0_5s"] == values["fde_5s"] == values["lateral_2_5s"] == pytest.approx(1.0)
    assert values["ade_6_4s"] is values["min_ade_6_6_4s"] is values["missed"] is None
    comfort = {name: values[name] for name in ("comfort", "comfort_jerk", "comfort_lon_accel", "comfort_accel", "feasible")}
    assert comfort == {"comfort": 0.0, "comfort_jerk": 0.0, "comfort_lon_accel": 1.0, "comfort_accel": 1.0, "feasible": 1.0}
    bend = trajectory(np.zeros(HORIZON), 0.02 * np.sin(np.pi * TIMES_S / 6.4), 20.0)  # 8 m/s^2 to the side at most
    swerving = window_metrics(plan(bend), driven(bend, 0)).values()
    assert (swerving["comfort_accel"], swerving["comfort_lat_accel"], swerving["comfort_jerk"]) == (0.0, 0.0, 1.0)
    assert swerving["comfort_by_positions_lat_accel"] == swerving["feasible"] == 1.0


def test_a_window_that_does_not_fit_its_future_is_refused() -> None:
    path = drive()
    with pytest.raises(InvalidInput, match=r"at most 64 driven points.* got 65 driven"):
        window_metrics(plan(path), Driven(np.zeros((65, 3)), np.zeros(65), np.zeros(65)))
    with pytest.raises(InvalidInput, match="0 candidates"):
        window_metrics(replace(plan(path), candidates=()), driven(path))
    with pytest.raises(InvalidInput, match=r"steps of 0.1 s"):
        window_metrics(replace(plan(path), trajectory=replace(path, t_s=path.t_s * 2)), driven(path))
    with pytest.raises(InvalidInput, match=r"yaw_rad: want float64\(64\), got float64\(63,\)"):
        Driven(path.xyz, path.yaw_rad[1:], path.speed_mps)
