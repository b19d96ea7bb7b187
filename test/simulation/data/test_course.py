"""Where the road goes, seen from the vehicle."""

from dataclasses import replace

import numpy as np
import pytest

from alpamayo_ros.simulation.data.course import COURSE_M, course
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.state import Ego


def ego_at(family: str, along_m: float, off_m: float = 0.0, yaw_off_rad: float = 0.0) -> tuple[np.ndarray, Ego]:
    """The course of a vehicle that is so far off the middle of its lane, and turned so far from it."""
    scenario = make_scenario(family, 1)
    lane = next(lane for lane in scenario.route.lanes if lane.from_m <= along_m < lane.to_m and not lane.oncoming)
    xy, yaw = scenario.route.place(along_m, lane.left_m + off_m)
    ego = Ego(xy, float(yaw) + yaw_off_rad, 5.0, 0.0, 0.0, "off")
    return course(scenario, ego), ego


def test_straight_on_in_the_middle_of_a_straight_lane_everything_is_ahead() -> None:
    bearings, _ = ego_at("red_light", 10.0)
    np.testing.assert_allclose(bearings, 0.0, atol=1e-5)


def test_who_is_left_of_the_middle_has_the_lane_to_the_right_and_less_so_further_on() -> None:
    bearings, _ = ego_at("red_light", 10.0, off_m=0.5)
    np.testing.assert_allclose(bearings, -np.arctan2(0.5, COURSE_M), atol=1e-4)


def test_who_is_turned_sees_everything_turned_the_other_way() -> None:
    straight, _ = ego_at("curve", 130.0)
    turned, ego = ego_at("curve", 130.0, yaw_off_rad=0.2)
    np.testing.assert_allclose(turned, straight - 0.2, atol=1e-5)
    again = course(make_scenario("curve", 1), replace(ego, yaw_rad=ego.yaw_rad + 2 * np.pi))
    np.testing.assert_allclose(again, turned, atol=1e-5)


@pytest.mark.parametrize("along_m", [110.0, 150.0])
def test_in_a_curve_the_road_leads_to_where_it_is(along_m: float) -> None:
    bearings, ego = ego_at("curve", along_m)
    scenario = make_scenario("curve", 1)
    for bearing, away_m in zip(bearings, COURSE_M, strict=True):
        xy, _ = scenario.route.place(along_m + away_m, scenario.route.locate(ego.xy_m)[1])
        seen = np.arctan2(xy[1] - ego.xy_m[1], xy[0] - ego.xy_m[0]) - ego.yaw_rad
        assert np.cos(seen - bearing) == pytest.approx(1.0, abs=1e-6)
    assert np.abs(bearings).max() > 0.02
