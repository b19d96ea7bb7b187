"""Limits are numbers that make sense, each with a unit and a source."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from safety.plans import with_changes

from alpamayo_ros.safety.limits import LIMITS, Limit, Limits
from alpamayo_ros.types import InvalidInput

NAN, INFINITE = float("nan"), float("inf")
QUANTITIES = [field.name for field in fields(Limits) if isinstance(getattr(LIMITS, field.name), Limit)]
SHADOW = {"too_short_m", "spread_m", "contradiction"}  # V15, V17's spread, V18


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_default_says_where_it_comes_from_and_does_something(name: str) -> None:
    limit = getattr(LIMITS, name)
    assert limit.source
    assert limit.unit or name == "rotation"
    assert limit.warn is not None or limit.reject is not None
    assert limit.shadow == (name in SHADOW)


def test_what_a_road_vehicle_cannot_do_is_rejected() -> None:
    assert LIMITS.speed_mps.reject == pytest.approx(130 / 3.6)
    assert (LIMITS.accel_mps2.reject, LIMITS.decel_mps2.reject, LIMITS.lat_accel_mps2.reject) == (5.0, 6.0, 4.9)
    assert LIMITS.wheelbase_m == 2.85


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (Limit(-1.0, 2.0, "m", "me"), "warn -1 m: want a finite number >= 0"),
        (Limit(1.0, NAN, "m", "me"), "reject nan m"),
        (Limit(INFINITE, None, "m", "me"), "warn inf m"),
        (Limit(None, -0.1, "m", "me"), "reject -0.1 m"),
        (Limit(2.1, 2.0, "m", "me"), "warn 2.1 is beyond reject 2 m"),
        (Limit(1.0, 9.9, "m", "me", ceiling=9.8), "reject 9.9 m: want at most 9.8"),
        (Limit(1.0, None, "m", "me", ceiling=9.8), "reject None m: want at most 9.8"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_by_name(limit: Limit, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"^lon_jerk_mps3: {said}"):
        replace(LIMITS, lon_jerk_mps3=limit)


@pytest.mark.parametrize(
    "limit",
    [
        Limit(0.0, 0.0, "m", "me"),
        Limit(2.0, 2.0, "m", "me"),
        Limit(None, None, "m", "me"),
        Limit(0.0, 9.8, "m", "me", ceiling=9.8),
    ],
)
def test_a_limit_on_the_edge_of_sense_is_allowed(limit: Limit) -> None:
    assert replace(LIMITS, lat_accel_mps2=limit).lat_accel_mps2 is limit


@pytest.mark.parametrize("name", ["wheelbase_m", "stop_decel_mps2", "stop_margin_m"])
@pytest.mark.parametrize("value", [0.0, -1.0, NAN, INFINITE])
def test_a_vehicle_that_cannot_be_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=f"^{name}: .*want a finite number > 0"):
        with_changes({name: value})


@pytest.mark.parametrize("name", ["wheelbase_m", "stop_decel_mps2", "stop_margin_m"])
def test_a_vehicle_may_be_as_small_as_it_likes(name: str) -> None:
    assert getattr(with_changes({name: 1e-9}), name) == 1e-9
