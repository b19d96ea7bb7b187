"""Two plans in a row are compared at the same instants in the odometry frame, whatever that frame is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safety.plans import OFF, ego, only, plan, way, with_changes

from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.safety.checks import shift_findings
from alpamayo_ros.safety.contract import Finding
from alpamayo_ros.safety.limits import LIMITS, Limit, Limits
from alpamayo_ros.types import EgoPose, Plan

STEP_NS = 100_000_000
ANY_SHIFT = with_changes(
    dict.fromkeys(
        ("side_shift_near_m", "side_shift_far_m", "ahead_shift_near_m", "ahead_shift_far_m"), Limit(1e-6, None, "m", "me")
    )
)
BEFORE = plan(way(), 0), ego()
SIDE = {"side_shift_near_m": 1, "side_shift_far_m": 1}
AHEAD = {"ahead_shift_near_m": 0, "ahead_shift_far_m": 0}


def after(steps: int = 1, x_m: float = 0.0, y_m: float = 0.0) -> tuple[Plan, EgoPose]:
    """The same straight course at 10 m/s some steps later, away from it by x and y."""
    stamp_ns = steps * STEP_NS
    return plan(way(), stamp_ns), ego(x_m=steps + x_m, y_m=y_m, stamp_ns=stamp_ns)


def shift(x_m: float, y_m: float, limits: Limits = LIMITS, steps: int = 1) -> tuple[Finding, ...]:
    return shift_findings(*after(steps, x_m, y_m), *BEFORE, limits)


@pytest.mark.parametrize("steps", [0, 1, 5, 30, 63])
def test_the_same_course_later_is_no_shift(steps: int) -> None:
    assert shift(0.0, 0.0, ANY_SHIFT, steps) == ()


@pytest.mark.parametrize(
    ("name", "level"),
    [(n, level) for n in (SIDE | AHEAD) for level in ("warn", "reject") if getattr(getattr(LIMITS, n), level) is not None],
)
def test_a_shift_beyond_its_limit_by_a_little_is_found(name: str, level: str) -> None:
    edge = getattr(getattr(LIMITS, name), level)
    within, beyond = ((edge * f, 0.0) if name in AHEAD else (0.0, edge * f) for f in (1 - 1e-6, 1 + 1e-6))
    assert [found.level for found in shift(within[0], within[1], only(name))] == (
        ["warn"] if level == "reject" and getattr(LIMITS, name).warn is not None else []
    )
    (found,) = shift(beyond[0], beyond[1], only(name))
    assert (found.check, found.level, found.limit) == ("V14", level, edge)
    assert found.value == pytest.approx(edge, rel=1e-5)
    assert found.at_s == (pytest.approx(3.0) if "far" in name else pytest.approx(0.0, abs=0.91))


def test_left_is_as_far_as_right() -> None:
    assert shift(0.0, 0.6) == shift(0.0, -0.6)
    assert [found.rejects for found in shift(0.0, 0.6)] == [True]


def test_falling_behind_is_never_a_shift() -> None:
    assert shift(-3.0, 0.0) == ()
    stops = plan(way(np.r_[np.full(16, -6.0), np.full(4, -0.1), np.zeros(44)]), STEP_NS)
    assert shift_findings(stops, ego(x_m=1.0), *BEFORE, LIMITS) == ()


def test_a_swerve_that_begins_later_is_a_shift_at_3_seconds_only() -> None:
    bend = plan(way(0.0, np.r_[np.zeros(9), np.full(55, 0.02)]), STEP_NS)
    found = shift_findings(bend, ego(x_m=1.0), *BEFORE, LIMITS)
    assert [(each.name, each.level) for each in found] == [("shift to the side at 3 s", "reject")]
    assert found[0].value == pytest.approx(0.02 * 100 * 2.1**2 / 2, rel=0.02)


def test_only_instants_that_both_plans_know_are_compared() -> None:
    aside = 9.0
    assert {found.name for found in shift(0.0, aside, steps=34)} == {"shift to the side within 1 s", "shift to the side at 3 s"}
    assert {found.name for found in shift(0.0, aside, steps=35)} == {"shift to the side within 1 s"}
    assert {found.at_s for found in shift(0.0, aside, steps=64)} == {0.0}
    assert shift(0.0, aside, steps=65) == ()
    short = plan(way(steps=20), 0, source="hold"), ego()
    assert {found.name for found in shift_findings(*after(1, 0.0, aside), *short, LIMITS)} == {"shift to the side within 1 s"}
    assert {found.name for found in shift_findings(*short, *after(0, 0.0, aside), LIMITS)} == {"shift to the side within 1 s"}


def test_of_a_plan_before_the_other_only_the_common_time_is_compared() -> None:
    found = shift_findings(*BEFORE, *after(5, 0.0, 9.0), LIMITS)
    assert {each.name for each in found} == {"shift to the side within 1 s", "shift to the side at 3 s"}
    assert min(each.at_s or 0.0 for each in found) == pytest.approx(0.5)


def test_across_epochs_nothing_is_common() -> None:
    newer, pose = after(1, 0.0, 9.0)
    assert shift_findings(replace(newer, epoch=1), pose, *BEFORE, LIMITS) == ()


@pytest.mark.parametrize("yaw_rad", [0.7, -2.0])
def test_side_and_ahead_are_the_same_in_a_turned_frame(yaw_rad: float) -> None:
    turn = rotation_z(yaw_rad)
    place = turn @ np.array([1.0 + 1.2, 0.45, 0.0])
    newer = plan(way(), STEP_NS), ego(x_m=place[0], y_m=place[1], yaw_rad=yaw_rad)
    found = shift_findings(*newer, plan(way(), 0), ego(yaw_rad=yaw_rad), LIMITS)
    assert {each.name: each.value for each in found} == {
        "shift to the side within 1 s": pytest.approx(0.45),
        "shift ahead within 1 s": pytest.approx(1.2),
    }


@settings(deadline=None)
@given(st.floats(-3.2, 3.2), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(-0.08, 0.08), st.floats(-2, 6))
def test_the_odometry_frame_does_not_matter(yaw_rad: float, x_m: float, y_m: float, curvature: float, aside_m: float) -> None:
    """The whole scene turned and moved gives the same numbers."""

    def elsewhere(pose: EgoPose) -> EgoPose:
        turn = rotation_z(yaw_rad)
        position = turn @ pose.position + np.array([x_m, y_m, 3.0])
        return replace(pose, position=position, odom_from_ego=turn @ pose.odom_from_ego)

    before = plan(way(0.0, curvature), 0), ego()
    newer, pose = after(1, 0.4, aside_m)
    here = shift_findings(newer, pose, *before, ANY_SHIFT)
    there = shift_findings(newer, elsewhere(pose), before[0], elsewhere(before[1]), ANY_SHIFT)
    assert shifts(here) == pytest.approx(shifts(there), abs=3e-6)


def shifts(found: tuple[Finding, ...]) -> list[float]:
    """The four of V14, 0 where nothing was found."""
    values = {each.name: each.value for each in found}
    sides = ("to the side", "ahead")
    return [values.get(f"shift {side} {where}", 0.0) for side in sides for where in ("within 1 s", "at 3 s")]


def test_side_and_ahead_are_as_the_earlier_plan_is_heading() -> None:
    """Along a quarter circle the vehicle is later shifted along the tangent: ahead, not to the side."""
    bend = plan(way(0.0, 0.1), 0), ego()
    yaw = bend[0].trajectory.yaw_rad[4]
    place = bend[0].trajectory.xyz[4] + 0.8 * np.array([np.cos(yaw), np.sin(yaw), 0.0])
    later = plan(way(0.0, 0.1), 5 * STEP_NS), ego(x_m=place[0], y_m=place[1], yaw_rad=float(yaw))
    limits = replace(only("ahead_shift_near_m"), ahead_shift_near_m=replace(LIMITS.ahead_shift_near_m, warn=0.7))
    (found,) = shift_findings(*later, *bend, limits)
    assert found.value == pytest.approx(0.8, rel=0.01)


def test_a_plan_that_ends_at_3_seconds_is_compared_there() -> None:
    short = plan(way(steps=30), STEP_NS, source="hold"), ego(x_m=1.0, y_m=9.0)
    assert {found.name for found in shift_findings(*short, *BEFORE, LIMITS)} == {
        "shift to the side within 1 s",
        "shift to the side at 3 s",
    }


def test_instants_are_counted_in_seconds_to_the_last_digit() -> None:
    late = plan(way(v0_mps=100.0), 50 * STEP_NS), ego(100.0, x_m=500.0 + 1e-4)
    (found,) = shift_findings(*late, plan(way(v0_mps=100.0), 0), ego(100.0), replace(ANY_SHIFT, ahead_shift_far_m=OFF))
    assert found.name == "shift ahead within 1 s"
    assert found.value == pytest.approx(1e-4, abs=1e-9)
