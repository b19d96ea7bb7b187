"""A hold is what is left of a plan."""

import numpy as np
import pytest

from alpamayo_ros import dynamics
from alpamayo_ros.safety.hold import LEAST_POINTS, hold

PLAN = dynamics.trajectory(np.linspace(-1.0, 1.0, 64), np.linspace(0.1, -0.05, 64), 7.3, z_m=0.2)


def test_a_hold_of_age_zero_is_the_plan() -> None:
    held = hold(PLAN, 0.0)
    assert held is not None
    for name, value in vars(PLAN).items():
        assert np.array_equal(getattr(held, name), value), name


@pytest.mark.parametrize(("age_s", "gone"), [(0.05, 0), (0.1, 1), (0.15, 1), (1.0, 10), (3.14159, 31), (5.4, 54)])
def test_a_hold_is_the_tail_to_the_bit_with_the_times_of_the_plan(age_s: float, gone: int) -> None:
    held = hold(PLAN, age_s)
    assert held is not None
    assert held.t_s[0] > age_s
    for name, value in vars(PLAN).items():
        assert np.array_equal(getattr(held, name), value[gone:]), name


def test_what_is_held_twice_is_held_once() -> None:
    held = hold(PLAN, 0.7)
    assert held is not None
    again = hold(held, 1.3)
    at_once = hold(PLAN, 1.3)
    assert again is not None
    assert at_once is not None
    assert again.xyz.tobytes() == at_once.xyz.tobytes()


def test_with_fewer_than_ten_points_there_is_nothing_to_hold() -> None:
    last = hold(PLAN, 5.4)
    assert last is not None
    assert len(last.t_s) == LEAST_POINTS == 10
    assert hold(PLAN, 5.5) is None
    assert hold(PLAN, 100.0) is None


def test_an_age_that_is_no_number_holds_nothing() -> None:
    assert hold(PLAN, float("nan")) is None
