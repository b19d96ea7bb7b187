"""What every publication must satisfy by its numbers, and how each rule can be broken, to the last digit of its limit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safety.watched_drive import CURVATURE_1PM, MS, POINTS, START_NS, odometer, published, rest_of

from alpamayo_ros.geometry import quaternion_from_rotation, rotation_from_rpy, rotation_z
from alpamayo_ros.safety.invariants import (
    Breach,
    Published,
    above,
    beyond_physics,
    gate_breaches,
    headings,
    not_finite,
    not_unit,
    off_model,
    wrapped,
    wrong_numbers,
    wrong_order,
    wrong_points,
    wrong_pose,
)
from alpamayo_ros.types import HORIZON

POSE = odometer(START_NS, 2.0)
GOOD = published("model", POSE, np.linspace(0.5, -1.0, 64))
STOP = published("stop", POSE, np.full(100, -0.05))
HOLD = rest_of(GOOD, 250 * MS)


def with_number(name: str, value: float, at: Any = 20) -> Published:
    numbers = getattr(GOOD, name).copy()
    numbers[at] = value
    return replace(GOOD, **{name: numbers})


def first(published_: Published, n: int) -> Published:
    return replace(published_, **{name: getattr(published_, name)[:n] for name in POINTS})


@pytest.mark.parametrize("good", [GOOD, STOP, HOLD, replace(GOOD, source="hold")])
def test_what_is_well_made_passes(good: Published) -> None:
    assert wrong_numbers(good) == ()
    assert gate_breaches(good, None) == ()


@pytest.mark.parametrize("name", ["xyz", "quaternion", "speed_mps", "accel_mps2", "curvature_1pm", "heading_rate_rps"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_named_and_nothing_else_is_judged(name: str, value: float) -> None:
    (breach,) = wrong_numbers(with_number(name, value))
    size = getattr(GOOD, name).size
    row = size // 64
    assert breach == Breach("I1", f"not finite: {row} of {size} {name}")
    assert breach.unsafe


@pytest.mark.parametrize("name", ["position", "orientation"])
def test_a_pose_that_is_not_finite_is_named(name: str) -> None:
    spoiled = getattr(GOOD, name).copy()
    spoiled[-1] = np.nan
    (breach,) = not_finite(replace(GOOD, **{name: spoiled}))
    assert breach.text == f"not finite: 1 of {len(spoiled)} {name}"


def test_several_numbers_that_are_not_finite_are_one_breach() -> None:
    bad = replace(with_number("speed_mps", np.nan), position=np.full(3, np.inf))
    (breach,) = not_finite(bad)
    assert "1 of 64 speed_mps, 3 of 3 position" in breach.text


@pytest.mark.parametrize(
    ("source", "n", "want"),
    [
        ("model", 63, "64 to 64"),
        ("model", 0, "64 to 64"),
        ("hold", 0, "1 to 64"),
        ("stop", 0, "1 to 512"),
        ("stop", 513, "1 to 512"),
    ],
)
def test_a_count_of_points_that_the_source_does_not_have_is_refused(source: Any, n: int, want: str) -> None:
    points = first(published(source, POSE, np.zeros(513)), n)
    (breach,) = wrong_points(points)
    assert breach == Breach("I5", f"{source} of {n} points, want {want}")
    assert breach in wrong_numbers(points)


@pytest.mark.parametrize(("source", "n"), [("hold", 1), ("hold", 64), ("stop", 1), ("stop", 512)])
def test_a_count_at_its_limit_passes(source: Any, n: int) -> None:
    whole = published(source, POSE, np.zeros(n))
    points = rest_of(published("model", POSE, np.zeros(64)), (64 - n) * 100 * MS) if source == "hold" else whole
    assert len(points.t_ns) == n
    assert wrong_points(points) == ()


def test_times_are_steps_of_a_tenth_counted_from_the_stamp() -> None:
    (breach,) = wrong_points(with_number("t_ns", 2_100_000_001))
    assert breach == Breach("I5", "point 20 of a model is at 2.100 s, want 2.1 s")
    assert wrong_points(replace(GOOD, t_ns=GOOD.t_ns + 1))[0].text.startswith("point 0 of a model is at 0.100 s")


def test_a_hold_is_the_last_points_of_64() -> None:
    (breach,) = wrong_points(replace(first(GOOD, 30), source="hold"))
    assert breach.text == "point 0 of a hold is at 0.100 s, want 3.5 s"
    assert wrong_points(HOLD) == ()
    assert HOLD.t_ns[0] == 300 * MS


@pytest.mark.parametrize("accel", [9.81, -9.81])
def test_an_acceleration_beyond_9_8_is_refused(accel: float) -> None:
    (breach,) = beyond_physics(with_number("accel_mps2", accel))
    assert breach == Breach("I6", "acceleration 9.81 m/s^2 at point 20, limit 9.8")


def test_an_acceleration_of_9_8_passes() -> None:
    assert beyond_physics(with_number("accel_mps2", -9.8)) == ()


@pytest.mark.parametrize(("lateral", "breaches"), [(9.79, 0), (9.81, 1), (-9.81, 1)])
def test_a_lateral_acceleration_beyond_9_8_is_refused(lateral: float, breaches: int) -> None:
    curvature = lateral / GOOD.speed_mps[20] ** 2
    found = beyond_physics(with_number("curvature_1pm", curvature))
    assert [breach.text for breach in found] == ["lateral acceleration 9.81 m/s^2 at point 20, limit 9.8"] * breaches


def test_above_is_beyond_a_limit_and_never_of_no_numbers() -> None:
    assert above("speed", np.array([1.0, 2.0]), 2.0, "m/s") == ()
    assert above("speed", np.zeros(0), -1.0, "m/s") == ()
    assert above("pose", np.array([1.0, 3.0, 2.0]), 2.0, "m", "I10") == (Breach("I10", "pose 3 m at point 1, limit 2"),)
    assert len(above("speed", np.array([np.nan]), 2.0, "m/s")) == 1


@pytest.mark.parametrize("norm", [1.0011, 0.9989])
def test_a_quaternion_that_is_not_of_norm_1_is_refused(norm: float) -> None:
    spoiled = GOOD.quaternion.copy()
    spoiled[20] *= norm
    (breach,) = not_unit(replace(GOOD, quaternion=spoiled))
    assert breach.text == "quaternion norm off by 0.0011  at point 20, limit 0.001"
    assert not_unit(replace(GOOD, orientation=GOOD.orientation * norm))[0].text.endswith("at point 64, limit 0.001")
    assert not_unit(replace(GOOD, orientation=GOOD.orientation * 1.0009)) == ()


@pytest.mark.parametrize("point", [0, 20, 63])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_point_is_at_most_5_cm_from_where_the_unicycle_model_takes_it(point: int, axis: int) -> None:
    near, far = (with_number("xyz", GOOD.xyz[point, axis] + off, (point, axis)) for off in (0.049, 0.051))
    assert off_model(near) == ()
    assert [breach.text[:28] for breach in off_model(far)] == ["off the unicycle model by 0."]


def test_a_height_is_no_matter_of_the_unicycle_model() -> None:
    assert off_model(with_number("xyz", 3.0, (20, 2))) == ()


@pytest.mark.parametrize("point", [0, 20, 63])
def test_a_speed_is_at_most_5_cm_per_second_from_what_the_acceleration_makes_of_the_one_before(point: int) -> None:
    near, far = (with_number("speed_mps", GOOD.speed_mps[point] + off, point) for off in (0.049, 0.2))
    texts = [breach.text for breach in off_model(far)]
    assert not any(breach.text.startswith("speed") for breach in off_model(near))
    # The first speed says where the trajectory begins: only the one after it contradicts.
    assert any(text.startswith("speed off the acceleration by 0.2 m/s") for text in texts)


def test_a_heading_is_at_most_a_fiftieth_of_a_radian_from_what_the_curvature_makes_of_the_one_before() -> None:
    yaw = headings(GOOD.quaternion)

    def turned(by_rad: float) -> Published:
        spoiled = GOOD.quaternion.copy()
        spoiled[20] = quaternion_from_rotation(rotation_z(yaw[20] + by_rad))
        return replace(GOOD, quaternion=spoiled)

    assert off_model(turned(0.019)) == ()
    assert any(breach.text.startswith("heading off the unicycle model by 0.021 rad") for breach in off_model(turned(-0.021)))


def test_a_heading_rate_is_that_of_speed_and_curvature() -> None:
    rate = GOOD.heading_rate_rps[20]
    assert off_model(with_number("heading_rate_rps", rate + 0.019)) == ()
    (breach,) = off_model(with_number("heading_rate_rps", rate - 0.021))
    assert breach.text == "heading rate off by 0.021 rad/s at point 20, limit 0.02"


def test_a_hold_does_not_begin_at_the_ego_and_goes_on_as_the_model_does() -> None:
    assert off_model(HOLD) == ()
    assert [b.text[:24] for b in off_model(replace(HOLD, source="stop"))] == [
        "off the unicycle model by"[:24],
        "heading off the unicycle",
    ]
    moved = HOLD.xyz.copy()
    moved[1:] += 0.1
    assert len(off_model(replace(HOLD, xyz=moved))) == 1


def test_driving_in_reverse_through_half_a_turn_is_of_the_model_too() -> None:
    backwards = replace(POSE, velocity_mps=np.array([-8.0, 0.0, 0.0]))
    assert wrong_numbers(published("stop", backwards, np.zeros(500))) == ()


def test_numbers_that_overflow_are_breaches_and_no_warnings() -> None:
    found = wrong_numbers(replace(GOOD, speed_mps=np.full(64, 1e300)))
    assert {breach.invariant for breach in found} == {"I6"}
    infinite = np.full((64, 3), 1.7e308) * (-1.0) ** np.arange(64)[:, None]
    found = wrong_numbers(replace(GOOD, xyz=infinite, speed_mps=np.full(64, 1.7e308)))
    assert {breach.text.partition(" nan ")[0] for breach in found} >= {"off the unicycle model by"}


@pytest.mark.parametrize("ahead_ns", [1000, -1000])
def test_the_pose_is_of_the_trajectorys_stamp(ahead_ns: int) -> None:
    (breach,) = wrong_pose(replace(GOOD, pose_stamp_ns=GOOD.stamp_ns + ahead_ns))
    assert breach == Breach("I10", f"the pose's stamp is {ahead_ns / 1e6:+.3f} ms from the trajectory's")
    assert gate_breaches(replace(GOOD, pose_stamp_ns=GOOD.stamp_ns + ahead_ns), None) == (str(breach),)


@pytest.mark.parametrize(
    ("source", "before", "ahead_ns", "is_fine"),
    [
        ("model", "model", 1, True),
        ("model", "model", 0, False),
        ("model", "model", -1, False),
        ("model", "hold", 0, False),
        ("hold", "model", 0, True),
        ("hold", "hold", 0, True),
        ("hold", "model", -1, False),
        ("stop", "stop", 0, False),
        ("stop", "stop", 1, True),
        ("stop", "model", -1, True),
        ("model", "stop", -1, True),
        ("hold", "stop", -1, True),
    ],
)
def test_stamps_rise_inside_an_epoch(source: Any, before: Any, ahead_ns: int, is_fine: bool) -> None:
    last = replace(GOOD, source=before)
    found = wrong_order(replace(GOOD, source=source, stamp_ns=GOOD.stamp_ns + ahead_ns), last)
    assert [breach.invariant for breach in found] == ([] if is_fine else ["I4"])
    if not is_fine:
        assert found[0].text == f"stamp of a {source} {ahead_ns / 1e6:+.3f} ms from the {before} before it"


@pytest.mark.parametrize(
    ("before", "now", "is_fine"), [(True, False, True), (True, True, False), (False, False, False), (False, True, False)]
)
def test_the_stamp_of_a_provisional_plan_comes_once_more_and_refined(before: bool, now: bool, is_fine: bool) -> None:
    for last in (replace(GOOD, provisional=before), replace(GOOD, provisional=before, source="hold")):
        assert (wrong_order(replace(GOOD, provisional=now), last) == ()) is is_fine
    assert wrong_order(replace(GOOD, stamp_ns=GOOD.stamp_ns - 1), replace(GOOD, provisional=True)), "never an older one"


def test_an_epoch_never_falls_and_a_new_one_has_stamps_of_its_own() -> None:
    older = replace(GOOD, stamp_ns=GOOD.stamp_ns - 10**9, epoch=3)
    assert wrong_order(older, replace(GOOD, epoch=2)) == ()
    assert wrong_order(older, replace(GOOD, epoch=4, source="stop")) == (Breach("I9", "epoch 3 after epoch 4"),)
    assert wrong_order(GOOD, None) == ()


def test_the_gate_says_everything_that_is_wrong() -> None:
    bad = replace(with_number("accel_mps2", 12.0), stamp_ns=GOOD.stamp_ns - 1, pose_stamp_ns=GOOD.stamp_ns - 1)
    assert {text.partition(":")[0] for text in gate_breaches(bad, GOOD)} == {"I4", "I6"}
    assert gate_breaches(with_number("xyz", np.nan, (0, 0)), GOOD)[0] == "I1: not finite: 1 of 192 xyz"


def test_what_was_not_published_is_not_unsafe() -> None:
    assert not Breach("L1", "").unsafe


def test_headings_are_those_of_the_rotations() -> None:
    yaws = np.array([-3.0, -0.1, 0.0, 2.0])
    quaternions = np.stack([quaternion_from_rotation(rotation_z(yaw)) for yaw in yaws])
    np.testing.assert_allclose(headings(quaternions), yaws, atol=1e-12)
    np.testing.assert_allclose(wrapped(np.array([3.5, -3.5, 0.5])), [3.5 - 2 * np.pi, 2 * np.pi - 3.5, 0.5])
    assert CURVATURE_1PM > 0


def test_the_heading_of_a_tilted_vehicle_is_where_its_nose_points() -> None:
    tilted = np.stack([rotation_from_rpy(0.3, -0.4, 1.2), rotation_from_rpy(-0.2, 0.5, -2.0)])
    quaternions = np.stack([quaternion_from_rotation(rotation) for rotation in tilted])
    np.testing.assert_allclose(headings(quaternions), np.arctan2(tilted[:, 1, 0], tilted[:, 0, 0]), atol=1e-12)


def test_the_speed_before_the_first_point_is_that_of_the_first_action() -> None:
    assert off_model(published("model", POSE, np.r_[6.0, -6.0, np.zeros(62)])) == ()


@pytest.mark.parametrize("accel", [9.0, -9.0])
def test_a_sharp_turn_is_turned_at_the_mean_speed_of_its_step(accel: float) -> None:
    assert off_model(published("stop", POSE, np.full(5, accel), curvature_1pm=4.0)) == ()


def test_what_is_off_the_model_is_told_with_its_unit() -> None:
    last = HORIZON - 1
    (breach,) = off_model(with_number("xyz", GOOD.xyz[last, 0] + 0.25, (last, 0)))
    assert breach == Breach("I6", "off the unicycle model by 0.25 m at point 63, limit 0.05")


def test_stamps_and_times_are_told_to_the_microsecond() -> None:
    late = replace(GOOD, stamp_ns=GOOD.stamp_ns - 2_000_501)
    assert wrong_order(late, GOOD) == (Breach("I4", "stamp of a model -2.001 ms from the model before it"),)
    assert wrong_pose(late) == (Breach("I10", "the pose's stamp is +2.001 ms from the trajectory's"),)
    assert wrong_points(with_number("t_ns", 2_100_500_001)) == (Breach("I5", "point 20 of a model is at 2.101 s, want 2.1 s"),)
