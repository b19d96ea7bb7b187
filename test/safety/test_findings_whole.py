"""A finding says everything about what it found: its check, what was measured, the limit and where that comes from."""

from dataclasses import replace

import numpy as np
import pytest
from safety.plans import ego, moved, only, plan, way, with_changes
from safety.test_checks import CASES

from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.safety.checks import age_findings, findings, shift_findings
from alpamayo_ros.safety.contract import Finding, Now, timing
from alpamayo_ros.safety.limits import LIMITS, Limit
from alpamayo_ros.types import Consistency

TIMING = timing(100_000_000, 10_000_000, 10.0)
NOW = Now(ros_ns=10_000_000_000, steady_ns=0, epoch=3, epoch_cause="start", pose=ego())
SOURCE = "ours, in periods of the rig"


def test_a_plan_of_another_epoch_says_how_many_are_between() -> None:
    of_another = plan(way(), NOW.ros_ns, epoch=1)
    assert age_findings(of_another, NOW, TIMING) == (Finding("V2", "epochs apart", "reject", 2.0, 0.0, "epochs", SOURCE),)
    assert age_findings(of_another, replace(NOW, epoch=0), TIMING)[0].value == 1.0


def test_a_plan_of_the_future_says_how_far_it_is_ahead() -> None:
    ahead = plan(way(), NOW.ros_ns + 150_000_000, epoch=3)
    assert age_findings(ahead, NOW, TIMING) == (Finding("V2", "t0 in the future", "reject", 0.15, 0.1, "s", SOURCE),)


def test_an_old_plan_says_its_age() -> None:
    old = plan(way(), NOW.ros_ns - 600_000_000, epoch=3)
    assert age_findings(old, NOW, TIMING) == (Finding("V2", "age", "warn", 0.6, 0.5, "s", SOURCE),)


NAMES = {
    "rotation": "rotation of the ego pose",
    "first_point_m": "first point away from where it must be",
    "reverse_m": "way in reverse",
    "speed_mps": "speed",
    "accel_mps2": "acceleration",
    "decel_mps2": "deceleration",
    "lat_accel_mps2": "lateral acceleration",
    "lat_jerk_mps3": "lateral jerk",
    "lon_jerk_mps3": "longitudinal jerk",
    "curvature_1pm": "curvature",
    "steering_rad": "steering",
    "steering_rate_rps": "steering rate",
    "yaw_rate_rps": "yaw rate",
    "yaw_accel_rps2": "yaw acceleration",
    "heading_rad": "heading away from the motion",
    "position_m": "points away from the actions",
    "slope": "slope",
    "spread_m": "spread of the samples' ends",
}


@pytest.mark.parametrize(("name", "words"), NAMES.items())
def test_a_check_is_called_what_it_measures(name: str, words: str) -> None:
    limit = getattr(LIMITS, name)
    beyond = 1.1 * (limit.warn if limit.reject is None else limit.reject)
    assert [found.name for found in findings(*CASES[name][1](beyond), only(name))] == [words]


def test_every_case_is_named() -> None:
    assert NAMES.keys() == CASES.keys()


def test_words_are_judged_under_their_names() -> None:
    unfinished = replace(plan(way()).reasoning, complete=False)
    said = findings(plan(way(), reasoning=unfinished, consistent=Consistency(agrees=False)), ego(), LIMITS)
    assert said == (
        Finding("V17", "text without an end", "reject", 1.0, 0.0, "texts", "R1: no trajectory follows"),
        Finding(
            "V18", "text contradicts the trajectory", "warn", 1.0, 0.0, "traces", "Alpamayo-R1 paper, section 5", shadow=True
        ),
    )


def test_a_plan_of_other_points_says_how_many_and_one_off_the_grid_says_where() -> None:
    assert findings(plan(way(steps=63)), ego(), LIMITS) == (Finding("V1", "points", "reject", 63.0, 64.0, "points", "ours"),)
    late = replace(way(), t_s=way().t_s + 0.01 * (np.arange(64) == 7))
    (found,) = findings(plan(late), ego(), LIMITS)
    assert found == Finding("V1", "time off the grid", "reject", pytest.approx(0.01), 1e-6, "s", "ours", pytest.approx(0.81))  # type: ignore[arg-type]


def test_zeros_of_a_dead_network_are_told_by_their_points() -> None:
    dead = way(RELEASED.accel_mean_mps2, RELEASED.curvature_mean_1pm)
    assert findings(plan(dead), ego(), LIMITS)[0] == Finding("V1", "actions all zero", "reject", 64.0, 0.0, "points", "ours")


def test_lateral_jerk_adds_what_braking_in_a_bend_adds() -> None:
    accel, rise = 1.0, 0.004  # m/s^2, 1/m per second
    curvature = 0.02 + rise * np.arange(64) * 0.1
    (found,) = findings(
        plan(way(accel, curvature)), ego(), with_changes({"lat_jerk_mps3": Limit(0.1, None, "", "")}, only("slope"))
    )
    at = round(found.at_s * 10) - 1 if found.at_s else -1
    speed = 10.0 + accel * 0.1 * (at + 0.5)
    assert found.value == pytest.approx(speed**2 * rise + 3 * speed * accel * curvature[at], rel=1e-3)


@pytest.mark.parametrize(("name", "sign"), [("accel_mps2", 1.0), ("decel_mps2", -1.0)])
def test_a_small_acceleration_is_its_own_size(name: str, sign: float) -> None:
    limits = with_changes({name: Limit(0.3, None, "", "")}, only("slope"))
    (found,) = findings(plan(way(sign * 0.5)), ego(), limits)
    assert found.value == pytest.approx(0.5)


def test_a_plan_is_held_against_the_one_before_within_a_second_and_at_three() -> None:
    before, later = plan(way(), 0), plan(way(), 100_000_000)
    pose = ego(x_m=1.0)
    assert shift_findings(later, pose, before, ego(), LIMITS) == ()
    for point, by_m, name in ((8, 0.6, "within 1 s"), (29, 4.1, "at 3 s")):
        aside = plan(moved(way(), point, 1, by_m), 100_000_000)
        (found,) = shift_findings(aside, pose, before, ego(), LIMITS)
        assert (found.check, found.name, found.level) == ("V14", f"shift to the side {name}", "reject")
        assert found.value == pytest.approx(by_m)
        assert found.at_s == pytest.approx((point + 1) / 10)
        ahead = plan(moved(way(), point, 0, 30.0), 100_000_000)
        assert [f.name for f in shift_findings(ahead, pose, before, ego(), LIMITS)] == [f"shift ahead {name}"]
    for point in (9, 14, 20, 28, 30, 63):
        assert shift_findings(plan(moved(way(), point, 1, 9.0), 100_000_000), pose, before, ego(), LIMITS) == (), point


def test_a_plan_that_starts_with_another_speed_says_by_how_much() -> None:
    limits = with_changes({"speed_step_share": LIMITS.speed_step_share}, only("speed_step_mps"))
    (found,) = findings(plan(way(v0_mps=14.0)), ego(), limits)
    assert found == Finding("V5", "step from the measured speed", "warn", 4.0, 2.0, "m/s", "ours")
    assert findings(plan(way(np.r_[30.0, np.zeros(63)])), ego(), limits) == (), "its first action is no step"


def test_a_plan_that_is_too_short_says_by_how_much() -> None:
    (found,) = findings(plan(way(v0_mps=1.0)), ego(12.0), only("too_short_m"))
    short = pytest.approx(12.0**2 / 6.0 + 2.0 - 6.4, abs=1e-5)
    assert found == Finding("V15", "too short to stop in", "warn", short, 0.0, "m", "planning_validator", shadow=True)  # type: ignore[arg-type]


def test_a_plan_ends_standing_by_its_last_speed() -> None:
    stands_before = way(np.r_[np.full(62, -1.0), 0.0, 2.0], 0.0, 6.2)
    assert stands_before.speed_mps[-2] == pytest.approx(0.0, abs=1e-9)
    assert [found.check for found in findings(plan(stands_before), ego(30.0), only("too_short_m"))] == ["V15"]


def test_actions_that_no_float32_holds_are_told_by_how_many_numbers_are_lost() -> None:
    lost = replace(way(), accel_mps2=np.r_[np.zeros(63), 1e39])
    name = "numbers of the rollout that are not finite"
    assert findings(plan(lost), ego(), LIMITS) == (Finding("V1", name, "reject", 3.0, 0.0, "numbers", "ours"),)  # x, y, yaw


def test_a_rejection_in_shadow_is_told_as_one() -> None:
    shadowed = with_changes({"accel_mps2": replace(LIMITS.accel_mps2, shadow=True)}, only("accel_mps2"))
    (found,) = findings(plan(way(np.r_[6.0, np.zeros(63)])), ego(), shadowed)
    assert (found.level, found.shadow, found.rejects) == ("reject", True, False)


def test_a_spread_is_that_of_all_samples_on_the_ground() -> None:
    ends = (way(), moved(way(), 63, 0, 30.0), moved(moved(way(), 63, 1, 30.0), 63, 2, 500.0))
    (found,) = findings(plan(way(), candidates=ends), ego(), only("spread_m"))
    assert found.value == pytest.approx(np.sqrt(400.0))  # two squares of 20, 10, 10 m each, over three samples


def test_wheels_turn_too_fast_though_the_plan_stands_later() -> None:
    turns = np.r_[np.zeros(10), np.full(54, 0.19)]
    stops_later = way(np.r_[np.zeros(20), np.full(40, -0.5), np.zeros(4)], turns, 2.0)
    (found,) = findings(plan(stops_later), ego(2.0), only("steering_rate_rps"))
    assert found.level == "reject"
