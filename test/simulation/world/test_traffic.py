from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from highway_env.road.lane import StraightLane
from simulation.driven import EgoAt, along_m, away, coasting, driven, left_m, overlaps, placed, seen
from simulation.made import LIMIT_MPS, scenario, street

from alpamayo_ros.simulation.road import Lane, Paint, Piece, Road
from alpamayo_ros.simulation.scenario import (
    Crosswalk,
    LaneChange,
    LightColour,
    Scenario,
    Sign,
    Standing,
    Start,
    TrafficLight,
    Trigger,
    Vehicle,
    Walker,
)
from alpamayo_ros.simulation.state import FRONT_M, REAR_M, SIZES, Ego
from alpamayo_ros.simulation.world.motion import JERK_MPS3, SIGNAL_S
from alpamayo_ros.simulation.world.traffic import Traffic

CAR_M = SIZES["car"].length_m
PARKED_EGO = Start(5.0, 0.0)


def light(*phases: tuple[LightColour, float], line_m: float = 120.0, lanes: tuple[str, ...] = ("ego",)) -> TrafficLight:
    return TrafficLight(0, line_m, lanes, phases, 0.0, (line_m + 12.0, -4.5))


def one_car(speed_mps: float = 10.0, along: float = 60.0, **more: Any) -> Vehicle:
    return replace(Vehicle("car", "car", 0, "ego", along, speed_mps), **more)


def test_a_straight_track_is_highway_envs_straight_lane_at_the_border() -> None:
    """Its y points down, its headings are clockwise, its lateral is to the right."""
    made = scenario(vehicles=(one_car(), Vehicle("back", "car", 0, "oncoming", 150.0, 9.0)))
    traffic = Traffic(replace(made, roads=(replace(street(), start_xy_m=(3.0, 4.0), start_yaw_rad=0.5),)), ())
    for driver, lane_left, yaw in zip(traffic.drivers, (0.0, 7.0), (0.5, 0.5 + np.pi), strict=True):
        ends = [traffic.scenario.route.place(along, lane_left)[0] * (1.0, -1.0) for along in (0.0, 300.0)]
        theirs = StraightLane(*(ends if lane_left == 0.0 else ends[::-1]))
        np.testing.assert_allclose(driver.lane.position(20.0, 1.0), theirs.position(20.0, 1.0), atol=1e-9)
        np.testing.assert_allclose(
            driver.lane.local_coordinates(driver.position), theirs.local_coordinates(driver.position), atol=1e-6
        )
        assert np.cos(driver.heading - theirs.heading_at(0.0)) == pytest.approx(1.0)
        assert driver.heading == pytest.approx(-yaw)


def test_a_car_stops_behind_one_that_stands_and_keeps_a_gap() -> None:
    made = scenario(vehicles=(one_car(),), standing=(Standing("wreck", "broken_down_car", 0, 130.0, 0.0),), start=PARKED_EGO)
    car = seen(driven(made, 20.0), "car")
    assert car[-1].speed_mps == 0.0
    assert 1.5 < 130.0 - along_m(made, car[-1]) - CAR_M < 4.0
    assert min(body.accel_mps2 for body in car) > -3.5


def test_a_car_stops_behind_the_ego_and_follows_it() -> None:
    def stop_and_go(made: Scenario, t_s: float) -> Ego:
        return placed(made, 120.0 + max(0.0, 4.0 * (t_s - 12.0)), 0.0, 0.0 if t_s < 12.0 else 4.0)

    made = scenario(vehicles=(one_car(),), start=Start(120.0, 0.0))
    snapshots = driven(made, 18.0, stop_and_go)
    stopped = next(body for body in snapshots[120].bodies)
    assert stopped.speed_mps == 0.0
    assert 1.5 < 120.0 - REAR_M - along_m(made, stopped) - CAR_M / 2 < 4.0
    assert snapshots[-1].bodies[0].speed_mps > 2.5


def test_a_car_brakes_for_an_ego_that_stands_across_its_lane_coming_from_another_road() -> None:
    made = crossing_roads((Vehicle("car", "car", 1, "west", 40.0, 10.0),))

    def stands(made: Scenario, t_s: float) -> Ego:
        return placed(made, 99.0, 0.0, 0.0)

    snapshots = driven(replace(made, start=Start(99.0, 0.0)), 15.0, stands)
    assert snapshots[-1].bodies[0].speed_mps == 0.0
    assert not any(list(overlaps(snapshot)) for snapshot in snapshots)


def crossing_roads(vehicles: tuple[Vehicle, ...], signs: tuple[Sign, ...] = ()) -> Scenario:
    """The route goes along x, road 1 crosses it at 100 m of both, from left to right."""
    lanes = (Lane("west", 0.0, 0.0, 200.0, 10.0),)
    route = Road("route", (Piece(200.0, 0.0),), (Lane("ego", 0.0, 0.0, 200.0, 10.0),))
    side = Road("side", (Piece(200.0, 0.0),), lanes, (), (100.0, 100.0), -np.pi / 2)
    return scenario(roads=(route, side), vehicles=vehicles, signs=signs, start=PARKED_EGO)


def test_a_car_stops_at_red_short_of_the_line_and_goes_at_green() -> None:
    made = scenario(vehicles=(one_car(),), lights=(light(("red", 12.0), ("green", 30.0)),), start=PARKED_EGO)
    snapshots = driven(made, 20.0)
    waiting = snapshots[119].bodies[0]
    assert waiting.speed_mps == 0.0
    assert 0.3 < 120.0 - along_m(made, waiting) - CAR_M / 2 < 2.0
    assert along_m(made, snapshots[-1].bodies[0]) > 125.0
    crossed = [s.lights[0] for s in snapshots if along_m(made, s.bodies[0]) + CAR_M / 2 > 120.0]
    assert set(crossed) == {"green"}


def test_a_light_is_for_its_lanes_only() -> None:
    made = scenario(
        vehicles=(
            one_car(),
            Vehicle("other", "car", 0, "left", 60.0, 10.0),
            Vehicle("back", "car", 0, "oncoming", 150.0, 10.0),
        ),
        lights=(light(("red", 60.0)),),
        start=PARKED_EGO,
    )
    stopped = {body.name: body.speed_mps == 0.0 for body in driven(made, 12.0)[-1].bodies}
    assert stopped == {"car": True, "other": False, "back": False}


@pytest.mark.parametrize(("ahead_m", "passes"), [(14.0, True), (35.0, False)])
def test_at_yellow_a_car_stops_if_it_can_without_braking_hard(ahead_m: float, passes: bool) -> None:
    made = scenario(
        vehicles=(one_car(11.0, 120.0 - ahead_m - CAR_M / 2),),
        lights=(light(("yellow", 3.0), ("red", 60.0)),),
        start=PARKED_EGO,
    )
    car = seen(driven(made, 10.0), "car")
    assert (along_m(made, car[-1]) > 120.0) == passes
    assert min(body.accel_mps2 for body in car) > -4.0


def test_at_a_stop_sign_a_car_stands_for_a_second_and_goes_on() -> None:
    sign = Sign("stop", 0, 120.0, -3.0, stop_line_m=121.0)
    made = scenario(vehicles=(one_car(), Vehicle("back", "car", 0, "oncoming", 180.0, 10.0)), signs=(sign,), start=PARKED_EGO)
    snapshots = driven(made, 18.0)
    car = seen(snapshots, "car")
    standing = [along_m(made, body) + CAR_M / 2 for body in car if body.speed_mps == 0.0]
    assert 10 <= len(standing) <= 16
    assert all(119.0 < front < 121.0 for front in standing)
    assert along_m(made, car[-1]) > 125.0
    assert all(body.speed_mps > 5.0 for body in seen(snapshots, "back")), "the sign is on its left"


def test_who_has_the_sign_gives_way_to_who_has_not_also_to_the_ego() -> None:
    sign = Sign("stop", 1, 93.0, -3.0, stop_line_m=94.0)
    side, main = Vehicle("side", "car", 1, "west", 70.0, 8.0), Vehicle("main", "car", 0, "ego", 14.0, 10.0)

    def crosses_s(made: Scenario, ego: EgoAt = away) -> float:
        snapshots = driven(made, 25.0, ego)
        assert not any(list(overlaps(snapshot)) for snapshot in snapshots)
        return next(s.t_s for s in snapshots for b in s.bodies if b.name == "side" and along_m(made, b, 1) > 100.0)

    alone = crosses_s(crossing_roads((side,), (sign,)))
    for_car = crosses_s(crossing_roads((side, main), (sign,)))
    for_ego = crosses_s(replace(crossing_roads((side,), (sign,)), start=Start(14.0, 10.0)), coasting)
    assert for_car > alone + 1.0
    assert for_ego > alone + 1.0


def test_who_has_the_sign_does_not_even_start_when_the_ego_comes() -> None:
    sign = Sign("stop", 1, 93.0, -3.0, stop_line_m=94.0)
    side = Vehicle("side", "car", 1, "west", 89.0, 0.0)
    made = replace(crossing_roads((side,), (sign,)), start=Start(24.0, 10.0))
    fronts = [along_m(made, s.bodies[0], 1) + CAR_M / 2 for s in driven(made, 7.5)]
    assert max(fronts) < 97.0  # it creeps up to the crossing; the ego has just passed


@pytest.mark.parametrize("lead_m", [0.0, 3.0, 10.0])
def test_without_signs_whoever_comes_first_goes_first_and_nobody_stays(lead_m: float) -> None:
    made = crossing_roads((Vehicle("one", "car", 0, "ego", 50.0 + lead_m, 9.0), Vehicle("two", "car", 1, "west", 50.0, 9.0)))
    snapshots = driven(made, 16.0, away)
    assert not any(list(overlaps(snapshot)) for snapshot in snapshots)
    past = [
        next(s.t_s for s in snapshots for b in s.bodies if b.name == n and along_m(made, b, r) > 103.0)
        for n, r in (("one", 0), ("two", 1))
    ]
    assert past[0] < past[1]


def test_where_roads_join_the_second_follows_the_first() -> None:
    """Road 1 bends into the route's lane at 100 m."""
    radius = 60.0
    bend = (Piece(40.0, 0.0), Piece(10.0, -1 / radius), Piece(20.0, -1 / radius), Piece(10.0, 0.0), Piece(120.0, 0.0))
    route = Road("route", (Piece(220.0, 0.0),), (Lane("ego", 0.0, 0.0, 220.0, 12.0),))
    bare = Road("ramp", bend, (Lane("ramp", 0.0, 0.0, 200.0, 12.0),))
    xy, yaw = bare.place(80.0, 0.0)
    cos, sin = np.cos(-yaw), np.sin(-yaw)
    start = np.array([100.0, 0.0]) - np.array([cos * xy[0] - sin * xy[1], sin * xy[0] + cos * xy[1]])
    ramp = replace(bare, start_xy_m=(float(start[0]), float(start[1])), start_yaw_rad=float(-yaw))
    np.testing.assert_allclose(ramp.place(120.0, 0.0)[0], [140.0, 0.0], atol=1e-6)
    cars = (Vehicle("main", "car", 0, "ego", 40.0, 11.0), Vehicle("ramp", "car", 1, "ramp", 22.0, 11.0))
    snapshots = driven(scenario(roads=(route, ramp), vehicles=cars, start=PARKED_EGO), 14.0, away)
    assert not any(list(overlaps(snapshot)) for snapshot in snapshots)
    assert all(body.speed_mps > 3.0 and body.accel_mps2 > -3.5 for snapshot in snapshots for body in snapshot.bodies)


def test_a_car_brakes_for_an_ego_that_is_about_to_cross_its_lane() -> None:
    made = replace(crossing_roads((Vehicle("car", "car", 1, "west", 60.0, 8.0),)), start=Start(60.0, 8.0))
    snapshots = driven(made, 8.0)
    front = [float(made.route.locate(s.ego.xy_m)[0]) + FRONT_M for s in snapshots]
    before = [s.bodies[0].accel_mps2 for s, at in zip(snapshots, front, strict=True) if at < 100.0 - SIZES["car"].width_m]
    assert min(before) < -1.0
    assert not any(list(overlaps(snapshot)) for snapshot in snapshots)


def test_who_does_not_yield_drives_through_whoever_stands() -> None:
    made = scenario(vehicles=(one_car(yields=False),), start=Start(90.0, 0.0))
    assert any(list(overlaps(snapshot)) for snapshot in driven(made, 6.0))
    assert not any(list(overlaps(snapshot)) for snapshot in driven(replace(made, vehicles=(one_car(),)), 6.0))


def test_who_does_not_yield_drives_through_red() -> None:
    made = scenario(vehicles=(one_car(yields=False),), lights=(light(("red", 60.0)),), start=PARKED_EGO)
    car = seen(driven(made, 10.0), "car")
    assert along_m(made, car[-1]) > 140.0
    assert min(body.accel_mps2 for body in car) > -0.5


def test_a_wish_changes_the_speed_and_the_last_one_counts() -> None:
    wishes = ((Trigger(at_s=0.0), 10.0), (Trigger(at_s=4.0), 5.0), (Trigger(at_s=9.0), LIMIT_MPS + 2.0))
    car = seen(driven(scenario(vehicles=(one_car(wishes=wishes),), start=PARKED_EGO), 19.0), "car")
    assert car[39].speed_mps == pytest.approx(10.0, abs=0.1)
    assert car[89].speed_mps == pytest.approx(5.0, abs=0.3)
    assert LIMIT_MPS < car[-1].speed_mps < LIMIT_MPS + 2.0
    accel = np.array([body.accel_mps2 for body in car])
    assert accel.min() > -4.2
    assert np.abs(np.diff(accel)).max() <= 0.1 * JERK_MPS3 + 2.0  # at most: braking hard, for one reason


def test_a_car_that_wishes_to_stop_stands_still_and_starts_again() -> None:
    wishes = ((Trigger(at_s=1.0), 0.0), (Trigger(at_s=8.0), 8.0))
    car = seen(driven(scenario(vehicles=(one_car(wishes=wishes),), start=PARKED_EGO), 12.0), "car")
    assert [body.speed_mps for body in car[60:80]] == [0.0] * 20
    assert car[79].brakes
    assert car[-1].speed_mps > 3.0


def test_a_cut_in_signals_then_ends_in_the_middle_of_the_lane() -> None:
    cutter = Vehicle("cutter", "car", 0, "left", 60.0, 9.0, changes=(LaneChange("ego", Trigger(at_s=2.0), 3.0),))
    made = scenario(vehicles=(cutter,))
    snapshots = driven(made, 9.0)
    cut = seen(snapshots, "cutter")
    left = np.array([left_m(made, body) for body in cut])
    signal = [k for k, body in enumerate(cut) if body.indicator == "right"]
    moving = np.flatnonzero((left < 3.499) & (left > 0.001))
    assert moving[0] - signal[0] >= 10 * SIGNAL_S - 1
    assert signal[0] == 21, "the first tenth of a second after the trigger"
    assert signal[-1] >= moving[-1]
    assert 2.4 < 0.1 * len(moving) < 3.2
    assert left[-1] == pytest.approx(0.0, abs=1e-6)
    assert cut[-1].indicator == "off"
    assert np.diff(left).max() < 1e-9, "it never swings back"
    assert max(abs(body.yaw_rate_rps) for body in cut) < 0.25


def test_a_lane_change_with_a_return_comes_back() -> None:
    there = LaneChange("left", Trigger(at_s=0.5), 2.5, returns_after_s=2.0)
    made = scenario(vehicles=(one_car(9.0, changes=(there,)),))
    car = seen(driven(made, 14.0), "car")
    left = [left_m(made, body) for body in car]
    assert max(left) == pytest.approx(3.5, abs=1e-6)
    assert 15 < sum(abs(place - 3.5) < 0.02 for place in left) < 40
    assert left[-1] == pytest.approx(0.0, abs=1e-6)
    assert [body.indicator for body in car].count("right") > 30


def test_a_cut_in_waits_while_the_ego_is_beside_it() -> None:
    cutter = Vehicle("cutter", "car", 0, "left", 42.0, 8.0, changes=(LaneChange("ego", Trigger(at_s=0.0), 3.0),))
    wishes = ((Trigger(at_s=0.0), 8.0),)
    made = scenario(vehicles=(replace(cutter, wishes=wishes),))
    beside = driven(made, 8.0)
    assert left_m(made, beside[-1].bodies[0]) == pytest.approx(3.5)
    assert beside[-1].bodies[0].indicator == "right"
    insists = replace(made, vehicles=(replace(cutter, wishes=wishes, yields=False),))
    assert any(list(overlaps(snapshot)) for snapshot in driven(insists, 8.0))


def test_who_is_cut_in_on_reacts_as_soon_as_it_sees_it() -> None:
    cutter = Vehicle("cutter", "car", 0, "left", 75.0, 6.0, wishes=((Trigger(at_s=0.0), 6.0),))
    cuts = replace(cutter, changes=(LaneChange("ego", Trigger(at_s=0.0), 4.0),))
    made = scenario(vehicles=(cuts, one_car(10.0, 52.0)), start=PARKED_EGO)
    snapshots = driven(made, 4.0)
    beside = [s for s in snapshots if 2.5 < left_m(made, s.bodies[0]) < 3.49]
    assert min(s.bodies[1].accel_mps2 for s in beside) < -0.5


def test_a_slow_change_does_not_move_sideways() -> None:
    slow = Vehicle("slow", "car", 0, "left", 80.0, 0.8, wishes=((Trigger(at_s=0.0), 0.8),))
    made = scenario(vehicles=(replace(slow, changes=(LaneChange("ego", Trigger(at_s=0.0), 2.0),)),))
    yaws = [abs(body.yaw_rad) for body in seen(driven(made, 20.0, away), "slow")]
    assert 0.2 < max(yaws) < 0.4


def overtaking(*, overtakes: bool, paint: Paint = "dashed") -> tuple[Scenario, list[float]]:
    road = street(Piece(600.0, 0.0))
    lanes = (replace(road.lane("ego"), left_paint=paint), replace(road.lane("left"), right_paint=paint), road.lane("oncoming"))
    truck = Vehicle("truck", "truck", 0, "ego", 90.0, 6.0, wishes=((Trigger(at_s=0.0), 6.0),))
    car = Vehicle("car", "car", 0, "ego", 60.0, 10.0, overtakes=overtakes)
    made = scenario(roads=(replace(road, lanes=lanes),), vehicles=(truck, car), start=PARKED_EGO)
    snapshots = driven(made, 25.0)
    assert not any(list(overlaps(snapshot)) for snapshot in snapshots)
    passed = [along_m(made, s.bodies[1]) - along_m(made, s.bodies[0]) for s in snapshots]
    return made, passed


def test_a_car_passes_a_slow_truck_only_when_it_overtakes_and_only_over_a_dashed_line() -> None:
    made, with_mobil = overtaking(overtakes=True)
    assert max(with_mobil) > 10.0
    assert max(overtaking(overtakes=False)[1]) < -8.0
    assert max(overtaking(overtakes=True, paint="solid")[1]) < -8.0
    assert made.vehicles[1].overtakes


def test_who_drives_in_a_lane_that_ends_merges_before_its_end() -> None:
    road = street(Piece(400.0, 0.0))
    lanes = (replace(road.lane("ego"), to_m=220.0), road.lane("left"), road.lane("oncoming"))
    cars = (one_car(10.0, 60.0), *(Vehicle(f"left {k}", "car", 0, "left", 30.0 + 30.0 * k, 10.0) for k in range(3)))
    made = scenario(roads=(replace(road, lanes=lanes),), vehicles=cars, start=PARKED_EGO)
    snapshots = driven(made, 25.0, away)
    car = seen(snapshots, "car")
    assert left_m(made, car[-1]) == pytest.approx(3.5, abs=1e-6)
    assert along_m(made, car[-1]) > 220.0
    assert not any(list(overlaps(snapshot)) for snapshot in snapshots)


def test_who_cannot_leave_a_lane_that_ends_stops_before_its_end() -> None:
    road = street(Piece(400.0, 0.0))
    lanes = (replace(road.lane("ego"), to_m=160.0, left_paint="solid"), road.lane("left"), road.lane("oncoming"))
    made = scenario(roads=(replace(road, lanes=lanes),), vehicles=(one_car(),), start=PARKED_EGO)
    car = seen(driven(made, 20.0), "car")[-1]
    assert car.speed_mps == 0.0
    assert 0.0 < 160.0 - along_m(made, car) - CAR_M / 2 < 2.0


def walk_across(speed_mps: float = 1.4, at_s: float = 0.0) -> Walker:
    return Walker("walker", "pedestrian", 0, 124.0, -5.0, 9.5, speed_mps, Trigger(at_s=at_s))


def test_a_walker_waits_walks_and_stands() -> None:
    made = scenario(walkers=(walk_across(at_s=2.0),), start=PARKED_EGO)
    walker = seen(driven(made, 15.0), "walker")
    left = np.array([left_m(made, body) for body in walker])
    assert left[20] == pytest.approx(-5.0)
    assert np.diff(left).min() >= -1e-9
    assert left[-1] == pytest.approx(9.5, abs=0.02)
    assert max(body.speed_mps for body in walker) == pytest.approx(1.4)
    assert walker[-1].speed_mps == 0.0


def test_cars_stop_for_a_walker_on_a_crosswalk_and_go_on_after() -> None:
    made = scenario(
        vehicles=(one_car(10.0, 85.0), Vehicle("back", "car", 0, "oncoming", 190.0, 9.0)),
        walkers=(walk_across(at_s=0.0),),
        crosswalks=(Crosswalk(0, 122.0, 126.0),),
        start=PARKED_EGO,
    )
    snapshots = driven(made, 25.0)
    assert not any(list(overlaps(snapshot)) for snapshot in snapshots)
    assert min(body.speed_mps for body in seen(snapshots, "car")) < 3.0
    assert min(body.accel_mps2 for body in seen(snapshots, "car")) > -5.0
    assert along_m(made, seen(snapshots, "car")[-1]) > 140.0


def test_a_car_waits_short_of_a_crosswalk_for_somebody_who_comes_from_the_far_side() -> None:
    far = Walker("walker", "pedestrian", 0, 124.0, 7.0, -5.0, 1.2, Trigger(at_s=0.0))
    made = scenario(vehicles=(one_car(9.0, 85.0),), walkers=(far,), crosswalks=(Crosswalk(0, 122.0, 126.0),), start=PARKED_EGO)
    for snapshot in driven(made, 20.0):
        car, walker = snapshot.bodies
        if left_m(made, walker) > 0.0:
            assert along_m(made, car) + CAR_M / 2 < 122.0, snapshot.t_s
    assert along_m(made, car) > 126.0


def test_a_walker_does_not_walk_into_a_vehicle_that_stands_in_its_path() -> None:
    stands = Vehicle("stands", "car", 0, "ego", 124.0, 0.0, waits=Trigger(at_s=10.0))
    made = scenario(vehicles=(stands,), walkers=(walk_across(),), crosswalks=(Crosswalk(0, 122.0, 126.0),), start=PARKED_EGO)
    snapshots = driven(made, 25.0)
    assert not any(list(overlaps(snapshot)) for snapshot in snapshots)
    at_car = left_m(made, next(body for body in snapshots[90].bodies if body.name == "walker"))
    assert -2.2 < at_car < -1.2
    assert left_m(made, seen(snapshots, "walker")[-1]) == pytest.approx(9.5, abs=0.02)


def test_a_walker_does_not_step_in_front_of_a_car_that_cannot_stop_but_does_in_front_of_the_ego() -> None:
    made = scenario(vehicles=(one_car(12.0, 108.0),), walkers=(replace(walk_across(1.6), from_left_m=-1.9),), start=PARKED_EGO)
    snapshots = driven(made, 6.0)
    assert not any(list(overlaps(snapshot)) for snapshot in snapshots)
    ego = scenario(walkers=made.walkers, start=Start(110.0 - FRONT_M, 12.0))
    assert any(list(overlaps(snapshot)) for snapshot in driven(ego, 4.0))
