"""Every family makes scenarios that can be driven, all different, the same for the same seed."""

import zlib
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from alpamayo_ros.simulation.families import FAMILIES, make_scenario
from alpamayo_ros.simulation.families.dice import Dice
from alpamayo_ros.simulation.families.streets import START_M
from alpamayo_ros.simulation.road import Lane, Road
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import SIZES, BodyKind
from alpamayo_ros.types import InvalidInput

SEEDS = range(20)


@cache
def bare(family: str, seed: int, duration_s: float = 20.0) -> Scenario:
    """Without its scenery, which takes most of the time."""
    rng = np.random.default_rng([zlib.crc32(family.encode()), seed, 0])
    return FAMILIES[family](Dice(family, seed, duration_s, rng))


@cache
def made(family: str, seed: int) -> Scenario:
    return make_scenario(family, seed)


@pytest.mark.parametrize("family", FAMILIES)
class TestEveryFamily:
    def test_has_the_name_and_the_seed_that_it_was_asked_for(self, family: str) -> None:
        assert (made(family, 3).family, made(family, 3).seed, made(family, 3).duration_s) == (family, 3, 20.0)

    def test_same_seed_same_scenario_another_seed_another(self, family: str) -> None:
        assert make_scenario(family, 3) == made(family, 3)
        varied = [bare(family, seed) for seed in SEEDS]
        assert len({scenario.start.speed_mps for scenario in varied}) > 1 or family == "town"
        assert len({(scenario.goal_m, scenario.route.length_m) for scenario in varied}) == len(SEEDS)

    def test_routes_bend_without_jumps_and_never_too_tightly(self, family: str) -> None:
        for seed in SEEDS:
            for road in bare(family, seed).roads:
                assert all(piece.length_m > 0 for piece in road.pieces)
                steps = np.abs(np.diff(road.curvature_1pm(np.arange(0.0, road.length_m, 0.1))))
                assert steps.max() < 0.1 * 0.03, "curvature changes by more than 0.03 1/m per metre"
                assert np.abs(road.curvature_1pm(np.arange(0.0, road.length_m, 0.5))).max() <= 1 / 8.0 + 1e-9

    def test_lanes_follow_each_other_without_gap_or_overlap(self, family: str) -> None:
        for seed in SEEDS:
            for road in bare(family, seed).roads:
                assert len({lane.name for lane in road.lanes}) == len(road.lanes)
                for left in {lane.left_m for lane in road.lanes}:
                    lanes = sorted((lane for lane in road.lanes if lane.left_m == left), key=lambda lane: lane.from_m)
                    assert all(lane.to_m == following.from_m for lane, following in pairwise(lanes)), (family, seed, left)
                    assert all(lane.from_m < lane.to_m for lane in lanes)

    def test_road_behind_and_before_the_ego(self, family: str) -> None:
        for seed in SEEDS:
            scenario = bare(family, seed)
            lane = lane_of_ego(scenario)
            assert scenario.start.along_m == START_M >= 80.0
            assert 0.4 * lane.limit_mps < scenario.start.speed_mps <= 1.0001 * lane.limit_mps
            assert scenario.route.length_m >= START_M + lane.limit_mps * scenario.duration_s + 100.0

    def test_goal_is_out_of_reach_of_who_only_brakes_and_within_reach_of_who_drives(self, family: str) -> None:
        for seed in SEEDS:
            scenario = bare(family, seed)
            way, limit = scenario.goal_m - scenario.start.along_m, lane_of_ego(scenario).limit_mps
            assert scenario.start.speed_mps**2 / (2 * 1.5) < way < 0.9 * limit * scenario.duration_s

    def test_vehicles_start_in_their_lanes_clear_of_each_other_and_of_what_stands(self, family: str) -> None:
        for seed in SEEDS:
            scenario = bare(family, seed)
            spots: list[tuple[int, float, float, BodyKind]] = [
                (v.road, v.along_m, lane_of(scenario, v.road, v.lane).left_m, v.kind) for v in scenario.vehicles
            ]
            for vehicle in scenario.vehicles:
                lane = lane_of(scenario, vehicle.road, vehicle.lane)
                assert lane.from_m <= vehicle.along_m < lane.to_m, (family, seed, vehicle)
            spots.append((0, START_M + 1.4, scenario.start.left_m, "car"))
            spots += [(s.road, s.along_m, s.left_m, s.kind) for s in scenario.standing if s.kind != "cone"]
            for k, (road, along, left, kind) in enumerate(spots):
                for other_road, other_along, other_left, other_kind in spots[k + 1 :]:
                    ahead = abs(along - other_along) - (SIZES[kind].length_m + SIZES[other_kind].length_m) / 2
                    beside = abs(left - other_left) - (SIZES[kind].width_m + SIZES[other_kind].width_m) / 2
                    assert road != other_road or max(ahead, beside) > 0.2, (family, seed, kind, along, other_kind, other_along)

    def test_what_is_named_exists(self, family: str) -> None:
        for seed in SEEDS:
            scenario = bare(family, seed)
            for light in scenario.lights:
                lanes = [lane_of(scenario, light.road, name) for name in light.lanes]
                assert lanes
                assert any(lane.left_m == 0.0 and lane.from_m < light.stop_line_m < lane.to_m for lane in lanes)
            for vehicle in scenario.vehicles:
                assert all(lane_of(scenario, vehicle.road, change.lane) for change in vehicle.changes)
            for command in scenario.commands:
                assert command.given_from_m < command.at_m < scenario.route.length_m


def lane_of(scenario: Scenario, road: int, name: str) -> Lane:
    return scenario.roads[road].lane(name)


def lane_of_ego(scenario: Scenario) -> Lane:
    return next(lane for lane in scenario.route.lanes if lane.left_m == 0.0 and lane.from_m <= START_M < lane.to_m)


def edge_m(road: Road, side: float) -> float:
    return max(side * lane.left_m + lane.width_m / 2 for lane in road.lanes)


@pytest.mark.parametrize("family", ["turn_left", "red_light", "free_road", "leave_by_exit"])
def test_scenery_stands_on_no_road(family: str) -> None:
    scenario = made(family, 3)
    assert len(scenario.scenery) > 15
    for thing in scenario.scenery:
        xy, _ = scenario.roads[thing.road].place(thing.along_m, thing.left_m)
        for road in scenario.roads:
            along, left = (float(value) for value in road.locate(xy))
            inside = 0.0 < along < road.length_m
            half = min(thing.length_m, thing.width_m) / 2
            assert not inside or not -edge_m(road, -1.0) - half < left < edge_m(road, 1.0) + half, (family, thing, road.name)


def test_light_and_weather_vary() -> None:
    looks = [made("follow_lead", seed).look for seed in range(40)]
    assert {look.daylight for look in looks} == {"day", "dusk", "night"}
    assert {look.weather for look in looks} == {"clear", "overcast", "rain", "fog"}


@pytest.mark.parametrize("family", ["cut_in", "parked_cars", "roadworks", "curve", "route_changes_lane", "pull_over"])
def test_what_happens_on_one_side_happens_on_the_other_too(family: str) -> None:
    sides = set()
    for seed in SEEDS:
        scenario = bare(family, seed)
        if family == "cut_in":
            sides.add(np.sign(lane_of(scenario, 0, scenario.vehicles[0].lane).left_m))
        elif family == "parked_cars":
            sides.add(np.sign(scenario.standing[0].left_m))
        elif family in ("roadworks", "curve"):
            sides.add(scenario.signs[0].side)
        else:
            sides.add(np.sign(scenario.commands[0].to_left_m or 0.0))
    assert len(sides) == 2


def test_a_turn_is_a_quarter_turn_into_the_other_street() -> None:
    for family, turn in (("turn_left", np.pi / 2), ("turn_right", -np.pi / 2)):
        scenario = bare(family, 5)
        route, side = scenario.route, scenario.roads[2]
        end = scenario.goal_m + 20.0
        there, heading = route.place(end, 0.0)
        _, before = route.place(START_M, 0.0)
        assert float(heading - before) == pytest.approx(turn, abs=1e-4)  # of samples 0.1 m apart
        assert float(side.locate(there)[1]) == pytest.approx(0.0, abs=5e-3)
        assert float(side.place(200.0, 0.0)[1]) == pytest.approx(float(heading), abs=1e-4)


def test_an_exit_leaves_the_motorway() -> None:
    for family, sign in (("leave_by_exit", -1.0), ("fork", 1.0)):
        scenario = bare(family, 5)
        apart = [float(scenario.roads[1].locate(scenario.route.place(at, 0.0)[0])[1]) for at in (START_M, scenario.goal_m)]
        assert apart[0] == pytest.approx(0.0, abs=1e-6)
        assert sign * apart[1] > 4.0


@pytest.mark.parametrize("duration_s", [4.0, 120.0])
def test_town_is_as_long_as_wanted(duration_s: float) -> None:
    scenario = bare("town", 1, duration_s)
    assert scenario.route.length_m > START_M + 11.0 * duration_s
    assert scenario.lights
    assert scenario.lights[0].stop_line_m < START_M + 100.0, "met within the first twelve seconds or so"


def test_a_shorter_drive_has_a_nearer_goal() -> None:
    whole, half = made("free_road", 3), make_scenario("free_road", 3, 10.0)
    assert START_M < half.goal_m < whole.goal_m


def test_bad_requests_are_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown family 'moon', want one of free_road, follow_lead"):
        make_scenario("moon", 0)
    with pytest.raises(InvalidInput, match="seed >= 0, got -1"):
        make_scenario("town", -1)
    with pytest.raises(InvalidInput, match=r"duration 0\.0 s"):
        make_scenario("town", 0, 0.0)
