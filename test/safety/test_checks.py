"""A plan that breaks one limit is found by that check alone; one that keeps it just so is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safety.plans import OFF, ego, moved, only, plan, way, with_changes

from alpamayo_ros.dynamics import RELEASED, estimate_v0, rollout
from alpamayo_ros.safety.checks import findings
from alpamayo_ros.safety.contract import Finding
from alpamayo_ros.safety.limits import LIMITS, Limit
from alpamayo_ros.types import HORIZON, STEP_S, Consistency, EgoPose, Plan, Trajectory

MANY = settings(deadline=None)  # examples: by the Hypothesis profile
RAMP = np.clip(np.arange(HORIZON) - 32, -5, 5) * STEP_S  # s; rises by 1 per second in the middle
L = LIMITS.wheelbase_m

Case = tuple[Plan, EgoPose]


def stretched(error: float) -> EgoPose:
    """R R^T is off by `error` in one place."""
    return replace(ego(), odom_from_ego=np.diag([np.sqrt(1.0 + error), 1.0, 1.0]))


def turned(yaw_rad: float) -> Trajectory:
    of = way()
    yaw = of.yaw_rad.copy()
    yaw[20] += yaw_rad
    return replace(of, yaw_rad=yaw)


# Per quantity: check, plan and pose in which it has this value, and the time of its worst point where that is one.
CASES: dict[str, tuple[str, Callable[[float], Case], float | None]] = {
    "rotation": ("V1", lambda x: (plan(way()), stretched(x)), None),
    "first_point_m": ("V3", lambda x: (plan(moved(way(), 0, 1, x)), ego()), 0.1),
    "reverse_m": ("V4", lambda x: (plan(way(v0_mps=-x / 6.4)), ego()), 6.4),
    "speed_mps": ("V5", lambda x: (plan(way(np.r_[np.full(32, 0.1), np.full(32, -0.1)], 0.0, x - 0.32)), ego()), 3.2),
    "accel_mps2": ("V6", lambda x: (plan(way(np.r_[0.0, x, np.zeros(62)])), ego()), 0.2),
    "decel_mps2": ("V6", lambda x: (plan(way(np.r_[0.0, -x, np.zeros(62)])), ego()), 0.2),
    "lat_accel_mps2": ("V7", lambda x: (plan(way(0.0, np.r_[0.0, 0.0, x / 100.0, np.zeros(61)])), ego()), 0.3),
    "lat_jerk_mps3": ("V8", lambda x: (plan(way(0.0, RAMP * x / 100.0)), ego()), None),
    "lon_jerk_mps3": ("V9", lambda x: (plan(way(RAMP * x)), ego()), None),
    "curvature_1pm": ("V10", lambda x: (plan(way(0.0, np.r_[0.0, x, np.zeros(62)])), ego()), 0.2),
    "steering_rad": ("V10", lambda x: (plan(way(0.0, np.r_[0.0, np.tan(x) / L, np.zeros(62)])), ego()), 0.2),
    "steering_rate_rps": ("V10", lambda x: (plan(way(0.0, np.tan(RAMP * x) / L)), ego()), None),
    "yaw_rate_rps": ("V11", lambda x: (plan(way(0.0, np.r_[0.0, x / 10.0, np.zeros(62)])), ego()), 0.2),
    "yaw_accel_rps2": ("V11", lambda x: (plan(way(0.0, RAMP * x / 10.0)), ego()), None),
    "heading_rad": ("V12", lambda x: (plan(turned(x)), ego()), 2.1),
    "position_m": ("V13", lambda x: (plan(moved(way(), 20, 1, x)), ego()), 2.1),
    "slope": ("V16", lambda x: (plan(moved(way(), 20, 2, 21.0 * x)), ego()), 2.1),
    "spread_m": ("V17", lambda x: (plan(way(), candidates=(way(), moved(way(), 63, 0, 2.0 * x))), ego()), None),
}  # fmt: skip
LEVELS = [(name, level) for name in CASES for level in ("warn", "reject") if getattr(getattr(LIMITS, name), level) is not None]
MIRRORED = ("lat_accel_mps2", "lat_jerk_mps3", "curvature_1pm", "steering_rad", "yaw_rate_rps", "heading_rad", "slope")


@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_beyond_a_limit_by_a_little_is_found_and_within_it_is_not(name: str, level: str) -> None:
    check, made, at_s = CASES[name]
    limit, limits = getattr(LIMITS, name), only(name)
    edge = getattr(limit, level)
    assert [found.level for found in findings(*made(edge * (1 - 1e-4)), limits)] == (
        ["warn"] if level == "reject" and limit.warn is not None else []
    )
    (found,) = findings(*made(edge * (1 + 1e-4)), limits)
    assert (found.check, found.level, found.limit, found.unit, found.source) == (check, level, edge, limit.unit, limit.source)
    assert found.shadow == limit.shadow
    assert found.value == pytest.approx(edge * (1 + 1e-4), rel=3e-5)
    assert found.at_s == (pytest.approx(at_s) if at_s else found.at_s)
    assert str(found).startswith(f"{check} {found.name}: ")


@pytest.mark.parametrize("name", MIRRORED)
def test_left_and_right_are_alike(name: str) -> None:
    made, limits = CASES[name][1], only(name)
    value = 1.1 * getattr(LIMITS, name).reject
    (left,), (right,) = (findings(*made(sign * value), limits) for sign in (1, -1))
    assert left == right


@pytest.mark.parametrize(
    ("name", "accel", "curvature"),
    [
        ("lon_jerk_mps3", 4.0, 0.0),
        ("lat_jerk_mps3", 0.0, 0.05),
        ("steering_rate_rps", 0.0, 0.09),
        ("yaw_accel_rps2", 0.0, 0.08),
    ],
)
def test_a_rate_is_found_in_the_middle_of_its_rise(name: str, accel: float, curvature: float) -> None:
    rise = np.r_[np.zeros(31), 1.0, np.full(32, 2.0)]
    (found,) = findings(plan(way(accel * rise, curvature * rise)), ego(), only(name))
    assert found.at_s == pytest.approx(3.2)


@pytest.mark.parametrize("name", [*CASES, "too_short_m", "unfinished", "contradiction"])
def test_a_limit_that_is_off_finds_nothing(name: str) -> None:
    made = CASES[name][1](1e3) if name in CASES else (plan(way(v0_mps=1.0)), ego(30.0))
    assert findings(*made, with_changes({name: OFF}, only(name))) == ()


@pytest.mark.parametrize("v0_mps", [0.0, 0.05, 5.0, 14.0, 30.0])
def test_driving_on_is_nothing_to_say(v0_mps: float) -> None:
    assert findings(plan(way(v0_mps=v0_mps)), ego(v0_mps), LIMITS) == () or v0_mps == 0.05  # too slow to go 2 m: V15
    if v0_mps >= 5.0:
        assert findings(plan(way(0.3, 2.0 / v0_mps**2 * RAMP, v0_mps=v0_mps)), ego(v0_mps), LIMITS) == ()


def test_everything_that_is_wrong_is_reported_in_the_order_of_the_checks() -> None:
    broken = moved(moved(way(np.full(64, 7.0), 0.3, 25.0), 5, 1, 3.0), 6, 2, 9.0)
    found = findings(plan(broken, consistent=Consistency(agrees=False)), ego(10.0), LIMITS)
    names = [each.check for each in found if each.check != "V3"]
    assert {"V5", "V6", "V7", "V8", "V10", "V11", "V13", "V16", "V18"} <= set(names)
    assert any(each.rejects for each in found)


# --- V1 ----------------------------------------------------------------------------------------------------------------------


def the_only(found: tuple[Finding, ...]) -> Finding:
    (one,) = found
    return one


@pytest.mark.parametrize("steps", [1, 63, 65])
def test_a_model_has_64_points(steps: int) -> None:
    found = the_only(findings(plan(way(steps=steps)), ego(), LIMITS))
    assert (found.check, found.name, found.value, found.limit, found.rejects) == ("V1", "points", steps, 64.0, True)


@pytest.mark.parametrize("steps", [5, 20, 128])
def test_a_stop_may_have_another_number_of_points(steps: int) -> None:
    assert [found for found in findings(plan(way(steps=steps), source="stop"), ego(), LIMITS) if not found.shadow] == []


def test_of_fewer_than_five_points_nothing_can_be_said() -> None:
    found = the_only(findings(plan(way(steps=4), source="stop"), ego(), LIMITS))
    assert (found.check, found.value, found.limit, found.rejects) == ("V1", 4.0, 5.0, True)


@pytest.mark.parametrize(("late_s", "is_found"), [(2e-6, True), (5e-7, False), (-2e-6, True)])
def test_points_are_a_tenth_of_a_second_apart(late_s: float, is_found: bool) -> None:
    of = way()
    t_s = of.t_s.copy()
    t_s[40] += late_s
    found = findings(plan(replace(of, t_s=t_s)), ego(), LIMITS)
    assert [each.name for each in found] == (["time off the grid"] if is_found else [])
    assert all(each.rejects and each.at_s == pytest.approx(4.1) for each in found)


def test_times_that_begin_at_another_step_are_found() -> None:
    assert the_only(findings(plan(replace(way(), t_s=way().t_s + 0.1)), ego(), LIMITS)).name == "time off the grid"


def test_a_mirrored_pose_is_no_rotation() -> None:
    found = the_only(findings(plan(way()), replace(ego(), odom_from_ego=np.diag([1.0, 1.0, -1.0])), LIMITS))
    assert (found.check, found.rejects) == ("V1", True)
    assert found.value == pytest.approx(2.0)


def test_zeros_of_a_dead_network_are_found_and_one_living_number_is_enough() -> None:
    actions = np.zeros((HORIZON, 2), np.float32)
    found = findings(plan(rollout(actions, 10.0, 0.0)), ego(), LIMITS)
    assert [(each.check, each.name, each.rejects) for each in found] == [("V1", "actions all zero", True)]
    for column in (0, 1):
        alive = actions.copy()
        alive[63, column] = 1e-3
        assert findings(plan(rollout(alive, 10.0, 0.0)), ego(), LIMITS) == ()


def test_zeros_are_those_of_the_engines_own_action_space() -> None:
    own = replace(RELEASED, accel_mean_mps2=0.25)
    zeros = plan(rollout(np.zeros((HORIZON, 2), np.float32), 10.0, 0.0, own))
    assert findings(zeros, ego(), LIMITS) == ()
    assert the_only(findings(zeros, ego(), LIMITS, own)).name == "actions all zero"


@pytest.mark.parametrize(("accel", "curvature"), [(1e39, 0.0), (1e38, 0.0), (0.0, 1e39)])
def test_actions_that_no_float32_holds_are_judged_no_further(accel: float, curvature: float) -> None:
    of = replace(way(), accel_mps2=np.r_[np.zeros(9), np.full(55, accel)], curvature_1pm=np.full(64, curvature))
    found = the_only(findings(plan(of), ego(), LIMITS))
    assert (found.check, found.rejects, found.value > 0) == ("V1", True, True)
    assert "not finite" in found.name


@MANY
@given(hnp.arrays(np.float64, (5, HORIZON), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_no_numbers_break_the_checks_and_no_huge_ones_pass(numbers: Any) -> None:
    xyz = np.column_stack([numbers[0], numbers[1], numbers[2]])
    of = Trajectory(way().t_s, xyz, numbers[0], numbers[1], numbers[3], numbers[4])
    found = findings(plan(of), ego(), LIMITS)
    assert not any(np.isnan(each.value) for each in found)
    if np.abs(numbers[3]).max() > 6.1:
        assert any(each.rejects for each in found)


def test_what_overflows_on_the_way_is_beyond_any_limit() -> None:
    """The rollout is finite, its lateral acceleration is not: NaN and infinity must not pass as no number."""
    of = way(0.0, np.tile([1e29, -1e29], 32), 1e10)
    found = {each.name: each for each in findings(plan(of), ego(1e10), LIMITS)}
    assert found["lateral acceleration"].value == np.inf
    assert found["yaw acceleration"].value == np.inf  # of infinity minus infinity
    assert found["yaw acceleration"].rejects


# --- Where it begins ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("speed_mps", "level"), [(14.99, []), (15.01, ["warn"]), (29.9, ["warn"]), (30.1, ["reject"]), (4.99, ["warn"])]
)
def test_the_first_point_is_where_the_measured_speed_leads(speed_mps: float, level: list[str]) -> None:
    assert [found.level for found in findings(plan(way()), ego(speed_mps), only("first_point_m"))] == level


@pytest.mark.parametrize(
    ("v0_mps", "measured_mps", "level"),
    [
        (2.0, 1.0, []), (2.2, 1.0, ["warn"]), (12.1, 10.0, ["warn"]), (11.9, 10.0, []), (15.1, 10.0, ["reject"]),
        (14.9, 10.0, ["warn"]), (4.9, 10.0, ["reject"]), (-12.1, -10.0, ["warn"]), (-11.9, -10.0, []),
    ],
)  # fmt: skip
def test_the_step_from_the_measured_speed_may_grow_with_it(v0_mps: float, measured_mps: float, level: list[str]) -> None:
    limits = replace(only("speed_step_mps"), speed_step_share=LIMITS.speed_step_share)
    found = findings(plan(way(v0_mps=v0_mps)), ego(measured_mps), limits)
    assert [each.level for each in found] == level
    assert all(each.value == pytest.approx(abs(v0_mps - measured_mps), rel=1e-6) and each.check == "V5" for each in found)


def test_the_rollout_starts_with_the_speed_before_the_first_action() -> None:
    tiny = Limit(1e-4, None, "", "me")
    limits = with_changes({"speed_step_mps": tiny, "position_m": tiny}, only("speed_step_share"))
    assert findings(plan(way(np.r_[-3.0, 2.0, np.zeros(62)])), ego(), limits) == ()


@pytest.mark.parametrize("off", ["speed_step_mps", "speed_step_share"])
def test_without_one_of_its_two_numbers_the_speed_step_has_no_limit(off: str) -> None:
    assert (
        findings(plan(way(v0_mps=35.0)), ego(10.0), replace(only("speed_step_mps"), speed_step_share=LIMITS.speed_step_share))
        != ()
    )
    limits = with_changes({"speed_step_share": LIMITS.speed_step_share, off: OFF}, only("speed_step_mps"))
    assert findings(plan(way(v0_mps=35.0)), ego(10.0), limits) == ()


def test_the_incumbents_bad_history_near_standstill_is_rejected() -> None:
    """F29: the public node once published a plan that began 10.6 m behind the axle and swept 27 m backwards."""
    history = np.zeros((16, 3))
    history[:-1, 0] = np.linspace(150.0, 10.6, 15)  # poses of another time, ahead of where the vehicle stands now
    v0_mps = estimate_v0(history, np.tile(np.eye(3), (16, 1, 1)))
    assert v0_mps < -50.0
    swept = plan(way(np.r_[np.full(5, -v0_mps / 0.5), np.zeros(59)], 0.0, v0_mps))
    assert {"V3", "V4", "V5"} <= {found.check for found in findings(swept, ego(0.0), LIMITS) if found.rejects}
    jumped = way(np.r_[np.full(5, 212.0), np.zeros(59)], 0.0, -106.0)
    assert jumped.xyz[0, 0] == pytest.approx(-9.5, abs=0.1)
    assert jumped.xyz[-1, 0] == pytest.approx(-26.5, abs=0.1)
    assert {"V3", "V4"} <= {found.check for found in findings(plan(jumped), ego(0.0), LIMITS) if found.rejects}


def test_a_turn_back_is_not_reverse() -> None:
    """A U-turn of 5 m radius ends behind where it began, and never rolls backwards."""
    back = plan(way(0.0, np.r_[np.full(40, 0.2), np.zeros(24)], 4.0))
    assert back.trajectory.xyz[-1, 0] < -6.0
    assert [found.check for found in findings(back, ego(4.0), LIMITS) if found.check == "V4"] == []


def test_rolling_back_counts_though_the_plan_ends_ahead() -> None:
    rocking = plan(way(np.r_[np.full(20, 1.0), np.full(44, -1.0)], 0.0, 0.0))
    rolled_m = 2.4**2 / 2
    found = the_only(findings(rocking, ego(0.0), only("reverse_m")))
    assert found.value == pytest.approx(rolled_m, abs=0.03)
    assert found.at_s == pytest.approx(6.4)


# --- What it does ------------------------------------------------------------------------------------------------------------


@MANY
@given(st.floats(-2, 2), st.floats(-0.1, 0.1), st.floats(15, 30))
def test_lateral_jerk_of_a_steady_turn_is_that_of_the_motion(accel: float, curvature: float, v0_mps: float) -> None:
    """3 v a κ: the lateral part of the third derivative of the place, by calculus instead of by its formula."""
    limits = replace(only("lat_jerk_mps3"), lat_jerk_mps3=replace(LIMITS.lat_jerk_mps3, warn=0.0))
    found = findings(plan(way(accel, curvature, v0_mps)), ego(v0_mps), limits)
    speed = v0_mps + accel * STEP_S * (np.arange(HORIZON) + 0.5)
    expected = np.abs(3.0 * speed * accel * curvature)[2:-2].max()
    assert (found[0].value if found else 0.0) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("accel", [1.5, -1.5])
def test_lateral_jerk_is_of_curvature_that_changes_and_of_speed_that_does(accel: float) -> None:
    """v^2 dκ/dt + 3 v a κ while κ rises by 0.01 1/m/s: in braking the two lessen each other."""
    limits = with_changes({"lat_jerk_mps3": replace(LIMITS.lat_jerk_mps3, warn=0.0)}, only("lat_jerk_mps3"))
    v0_mps, t_s = 12.0, (np.arange(HORIZON) + 0.5) * STEP_S
    speed, curvature = v0_mps + accel * t_s, 0.02 + 0.01 * t_s
    jerk = np.abs(speed**2 * 0.01 + 3.0 * speed * accel * curvature)[2:-2]
    found = the_only(findings(plan(way(accel, curvature, v0_mps)), ego(v0_mps), limits))
    assert found.value == pytest.approx(jerk.max(), rel=1e-4)


def test_a_jump_of_one_action_counts_three_tenths_of_its_difference_quotient() -> None:
    jump = plan(way(np.r_[np.zeros(32), np.full(32, -2.0)], 0.0, 20.0))
    assert the_only(findings(jump, ego(20.0), only("lon_jerk_mps3"))).value == pytest.approx(0.3 * 2.0 / STEP_S, rel=1e-5)


@pytest.mark.parametrize(("accel", "name"), [(0.5, "acceleration"), (-0.5, "deceleration")])
def test_speeding_up_is_no_braking_nor_the_other_way_round(accel: float, name: str) -> None:
    tiny = Limit(0.1, None, "m/s^2", "me")
    limits = with_changes({"accel_mps2": tiny, "decel_mps2": tiny})
    assert [found.name for found in findings(plan(way(accel)), ego(), limits)] == [name]


def test_a_vehicle_at_rest_may_have_its_wheels_anywhere() -> None:
    standing = plan(way(0.0, np.tile([0.33, -0.33], 32), 0.0))
    assert findings(standing, ego(0.0), LIMITS) == ()
    assert {"V10"} == {found.check for found in findings(plan(way(0.0, 0.33, 0.11)), ego(0.11), LIMITS) if found.rejects}
    assert findings(plan(way(0.0, 0.33, 0.09)), ego(0.09), only("curvature_1pm")) == ()


def test_curvature_counts_in_reverse_too() -> None:
    assert the_only(findings(plan(way(0.0, 0.33, -0.2)), ego(-0.2), only("curvature_1pm"))).rejects


def test_wheels_turned_at_rest_are_no_steering_rate_on_moving_off() -> None:
    off = plan(way(np.r_[np.zeros(32), np.ones(32)], np.r_[np.full(32, -0.19), np.full(32, 0.19)], 0.0))
    assert findings(off, ego(0.0), only("steering_rate_rps")) == ()
    rolling = plan(way(np.r_[np.zeros(32), np.ones(32)], np.r_[np.full(32, -0.19), np.full(32, 0.19)], 0.2))
    assert the_only(findings(rolling, ego(0.2), only("steering_rate_rps"))).rejects


def test_the_wheelbase_decides_how_far_wheels_turn() -> None:
    bend = plan(way(0.0, 0.19, 3.0))
    assert findings(bend, ego(3.0), only("steering_rad")) == ()
    assert the_only(findings(bend, ego(3.0), replace(only("steering_rad"), wheelbase_m=4.0))).rejects


def test_a_heading_is_an_angle() -> None:
    of = way()
    assert findings(plan(replace(of, yaw_rad=of.yaw_rad + 2 * np.pi)), ego(), LIMITS) == ()


# --- How far it goes, and what it says ---------------------------------------------------------------------------------------


def test_a_plan_that_does_not_end_standing_is_long_enough_to_stop_in() -> None:
    needed_m = 15.0**2 / 6.0 + 2.0
    for length_m, expected in ((needed_m - 0.1, ["warn"]), (needed_m + 0.1, [])):
        found = findings(plan(way(v0_mps=length_m / 6.4)), ego(15.0), only("too_short_m"))
        assert [(each.check, each.level, each.shadow) for each in found] == [("V15", level, True) for level in expected]
        assert all(each.value == pytest.approx(0.1, abs=1e-4) for each in found)
    assert findings(plan(way(v0_mps=-10.0)), ego(-10.0), only("too_short_m")) == ()


def test_a_plan_that_ends_standing_is_never_too_short() -> None:
    assert findings(plan(way(np.r_[np.full(60, -1.0), np.zeros(4)], 0.0, 6.0)), ego(30.0), only("too_short_m")) == ()
    assert findings(plan(way(np.r_[np.full(60, -1.0), np.zeros(4)], 0.0, 6.2)), ego(30.0), only("too_short_m")) != ()


def test_a_height_at_rest_is_judged_over_one_metre() -> None:
    lifted = moved(way(v0_mps=0.0), 30, 2, 0.31)
    assert the_only(findings(plan(lifted), ego(0.0), only("slope"))).value == pytest.approx(0.31)


def test_a_way_in_reverse_is_a_way_too() -> None:
    assert findings(plan(moved(way(v0_mps=-1.0), 63, 2, 0.35)), ego(-1.0), only("slope")) == ()


def test_a_text_without_an_end_is_no_plan() -> None:
    made = plan(way())
    unfinished = replace(made, reasoning=replace(made.reasoning, complete=False))
    found = the_only(findings(unfinished, ego(), LIMITS))
    assert (found.check, found.rejects) == ("V17", True)


@pytest.mark.parametrize(("agrees", "expected"), [(True, []), (None, []), (False, ["V18"])])
def test_a_text_that_says_another_thing_is_noted_and_decides_nothing(agrees: bool | None, expected: list[str]) -> None:
    found = findings(plan(way(), consistent=Consistency(agrees)), ego(), LIMITS)
    assert [each.check for each in found] == expected
    assert not any(each.rejects or not each.shadow for each in found)


@MANY
@given(
    hnp.arrays(np.float64, (HORIZON, 2), elements=st.floats(-0.03, 0.03)),
    st.floats(-3, 2), st.floats(-0.02, 0.02), st.floats(2, 25),
)  # fmt: skip
def test_noise_of_positions_changes_nothing(noise_m: Any, accel: float, curvature: float, v0_mps: float) -> None:
    """3 cm would be 12 m/s^2 by differences of positions; no check looks at them but those of places, and these allow 5 cm."""
    of = way(accel, curvature, v0_mps)
    noisy = replace(of, xyz=of.xyz + np.column_stack([noise_m, np.zeros(HORIZON)]))
    assert findings(plan(noisy), ego(v0_mps), LIMITS) == findings(plan(of), ego(v0_mps), LIMITS)
