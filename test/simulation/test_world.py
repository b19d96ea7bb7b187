from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.simulation.driver import FRONT_M, MAX_BRAKING_MPS2, MAX_JERK_MPS3, MOTION_HZ, REAR_M, Motion
from alpamayo_ros.simulation.road import Piece, Road, TrafficLight
from alpamayo_ros.simulation.world import (
    EGO_LANE_LEFT_M,
    PARKING_WIDTH_M,
    ROAD_LEFT_M,
    ROAD_RIGHT_M,
    START_M,
    World,
    ego_at,
    ego_states,
    make_world,
)
from alpamayo_ros.types import InvalidInput

DURATION_S = 20.0
SEEDS = range(4)


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [make_world(seed, DURATION_S) for seed in SEEDS]


def test_a_straight_road_runs_along_x() -> None:
    xy, yaw = Road((Piece(50.0, 0.0),)).place(np.array([0.0, 12.34, 50.0]), 2.0)
    np.testing.assert_allclose(xy, [[0, 2], [12.34, 2], [50, 2]], atol=1e-9)
    np.testing.assert_allclose(yaw, 0.0, atol=1e-12)


def test_an_arc_of_constant_curvature_is_a_circle() -> None:
    radius = 40.0
    road = Road((Piece(20.0, 1 / radius), Piece(60.0, 1 / radius)))
    xy, yaw = road.place(np.linspace(20.0, 80.0, 501), 0.0)
    centres = xy + radius * np.column_stack([-np.sin(yaw), np.cos(yaw)])
    # Per 0.1 m the chord's direction is exact to third order: 1e-7 m, 600 times.
    np.testing.assert_allclose(centres, centres[:1].repeat(501, axis=0), atol=1e-4)
    np.testing.assert_allclose(yaw - yaw[0], np.linspace(0.0, 60.0, 501) / radius, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(5, 60), st.floats(-0.03, 0.03)), min_size=1, max_size=6), st.floats(-9, 9))
def test_a_lane_is_everywhere_square_to_the_centre_line(pieces: list[tuple[float, float]], left_m: float) -> None:
    road = Road(tuple(Piece(*piece) for piece in pieces))
    along = np.linspace(0.0, road.length_m, 20)
    (centre, yaw), (lane, _) = road.place(along, 0.0), road.place(along, left_m)
    across = lane - centre
    np.testing.assert_allclose(np.cos(yaw) * across[:, 0] + np.sin(yaw) * across[:, 1], 0.0, atol=1e-9)
    np.testing.assert_allclose(-np.sin(yaw) * across[:, 0] + np.cos(yaw) * across[:, 1], left_m, atol=1e-9)


def test_heading_is_the_integral_of_curvature() -> None:
    road = Road((Piece(20.0, 0.0), Piece(16.0, 0.02), Piece(10.0, 0.02), Piece(16.0, 0.0)))
    _, yaw = road.place(np.array([road.length_m]), 0.0)
    assert yaw[0] == pytest.approx(0.02 * (8 + 10 + 8), abs=1e-6)  # two clothoids turn half as much as arcs


def test_a_light_repeats_its_phases_from_its_offset_on() -> None:
    light = TrafficLight(10.0, (("yellow", 2.0), ("red", 5.0), ("green", 3.0)), offset_s=4.0)
    assert [light.colour(t) for t in (4.0, 5.9, 6.0, 10.9, 11.0, 13.9, 14.0)] == [
        "yellow", "yellow", "red", "red", "green", "green", "yellow",
    ]  # fmt: skip
    assert light.colour(0.5) == "red"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_drive_is_a_unicycle(worlds: list[World], seed: int) -> None:
    ego = ego_states(worlds[seed], 100.0, DURATION_S)
    dt = 0.01
    between = (ego.yaw_rad[1:] + ego.yaw_rad[:-1]) / 2
    speed = (ego.speed_mps[1:] + ego.speed_mps[:-1]) / 2
    step = np.diff(ego.xyz[:, :2], axis=0) / dt
    # A kink of the curvature (0.0015 1/m per m) inside 0.1 m of the driver's table: 9 m/s x 5.25 m x 0.1 m x 0.0015 / 8.
    np.testing.assert_allclose(np.cos(between) * step[:, 0] + np.sin(between) * step[:, 1], speed, atol=1e-3)
    np.testing.assert_allclose(-np.sin(between) * step[:, 0] + np.cos(between) * step[:, 1], 0.0, atol=1e-4)
    yaw_rate = (ego.yaw_rate_rps[1:] + ego.yaw_rate_rps[:-1]) / 2
    np.testing.assert_allclose(np.diff(ego.yaw_rad) / dt, yaw_rate, atol=2e-4)  # such a kink between two states
    moving = ego.speed_mps[1:] > 0  # a car that comes to a stand within a step brakes for a part of it only
    np.testing.assert_allclose((np.diff(ego.speed_mps) / dt)[moving], ego.accel_mps2[1:][moving], atol=1e-6)
    assert (ego.xyz[:, 2] == 0).all()
    assert (ego.speed_mps >= 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ego_speeds_up_turns_stops_at_red_waits_and_goes_on(worlds: list[World], seed: int) -> None:
    world = worlds[seed]
    light = world.lights[0]
    ego = ego_states(world, 100.0, DURATION_S)
    waiting = np.flatnonzero(ego.speed_mps == 0)
    assert ego.speed_mps.max() > ego.speed_mps[0] + 0.5
    assert ego.yaw_rad[waiting[0]] - ego.yaw_rad[0] > np.radians(25)
    assert 1.0 < len(waiting) / 100 < 5.0
    assert all(light.colour(t) == "red" for t in ego.t_s[waiting[:-10]])
    gap_m = light.stop_line_m - FRONT_M - world.ego.along_m(float(ego.t_s[waiting[0]]))
    assert 0.5 < gap_m < 2.0
    assert light.colour(float(ego.t_s[-1])) == "green"
    assert ego.speed_mps[-1] > 4.0


def all_drives(world: World) -> dict[str, Motion]:
    return {"ego": world.ego, **{v.name: v.motion for v in world.vehicles if v.name in ("lead", "follower", "passing")}}


@pytest.mark.parametrize("seed", SEEDS)
def test_nobody_runs_a_red_light(seed: int) -> None:
    world = make_world(seed, 60.0)
    for name, motion in all_drives(world).items():
        for light in world.lights:
            crossing = np.flatnonzero(motion.along + FRONT_M > light.stop_line_m)
            if len(crossing):
                assert light.colour(motion.times[crossing[0]]) != "red", (name, light)


@pytest.mark.parametrize("seed", SEEDS)
def test_cars_in_the_same_lane_never_touch(seed: int) -> None:
    drives = all_drives(make_world(seed, 60.0))
    for ahead, behind in (("lead", "ego"), ("ego", "follower")):
        assert (drives[ahead].along - drives[behind].along - FRONT_M - REAR_M).min() > 1.0


@pytest.mark.parametrize("seed", SEEDS)
def test_driving_is_smooth_but_for_the_moment_of_standing_still(worlds: list[World], seed: int) -> None:
    for name, motion in all_drives(worlds[seed]).items():
        assert np.abs(motion.accel).max() <= MAX_BRAKING_MPS2, name
        jerk = np.abs(np.diff(motion.accel)) * MOTION_HZ
        assert jerk[motion.speed[1:] > 0].max() <= MAX_JERK_MPS3 + 1e-6, name


def test_the_lead_brakes_hard_once_while_the_ego_follows(worlds: list[World]) -> None:
    for world in worlds:
        lead = world.vehicles[0]
        assert (lead.name, lead.left_m) == ("lead", EGO_LANE_LEFT_M)
        assert lead.motion.accel[: 5 * MOTION_HZ].min() < -2.0
        assert 5.0 < lead.motion.along[0] - world.ego.along[0] < 30.0


def test_there_is_an_oncoming_car_and_a_parked_one_to_see(worlds: list[World]) -> None:
    for world in worlds:
        oncoming = [v for v in world.vehicles if v.oncoming]
        met = [v for v in oncoming if world.vehicle_along_m(v, 0.0) > START_M > world.vehicle_along_m(v, DURATION_S) - 110]
        assert met
        xy0, yaw = world.vehicle_pose(met[0], 3.0)
        xy1, _ = world.vehicle_pose(met[0], 3.1)
        assert np.dot(xy1 - xy0, [np.cos(yaw), np.sin(yaw)]) > 0.5  # drives forwards
        parked = [v for v in world.vehicles if v.name.startswith("parked")]
        passed = [v for v in parked if START_M < v.motion.along[0] < float(world.ego.along[-1])]
        assert passed
        assert all(ROAD_RIGHT_M - PARKING_WIDTH_M < v.left_m < ROAD_RIGHT_M for v in parked)


def test_nothing_stands_on_the_road(worlds: list[World]) -> None:
    for world in worlds:
        road = world.road
        lanes = np.concatenate([road.place(np.arange(0, road.length_m, 2.0), left)[0] for left in (ROAD_LEFT_M, ROAD_RIGHT_M)])
        for thing in world.scenery:
            xy, _ = road.place(thing.along_m, thing.left_m)
            assert np.hypot(*(lanes - xy).T).min() > thing.width_m / 2


def test_the_road_reaches_farther_than_anyone_drives() -> None:
    world = make_world(1, 120.0)
    assert all(motion.along.max() < world.road.length_m - 100.0 for motion in all_drives(world).values())


def test_the_same_seed_makes_the_same_world_and_another_one_another(worlds: list[World]) -> None:
    again = make_world(0, DURATION_S)
    np.testing.assert_array_equal(ego_states(again, 10, 20).xyz, ego_states(worlds[0], 10, 20).xyz)
    assert again.scenery == worlds[0].scenery
    assert again.lights == worlds[0].lights
    assert again.lights != worlds[1].lights
    assert np.abs(ego_states(worlds[1], 10, 20).xyz - ego_states(worlds[0], 10, 20).xyz).max() > 0.5


def test_states_are_sampled_at_the_rate_and_agree_with_single_times(worlds: list[World]) -> None:
    ego = ego_states(worlds[0], 30.0, 2.0)
    np.testing.assert_allclose(ego.t_s, np.arange(60) / 30.0)
    np.testing.assert_array_equal(ego_at(worlds[0], ego.t_s[7:8]).xyz, ego.xyz[7:8])
    np.testing.assert_allclose(ego.xyz[0, :2], [START_M, EGO_LANE_LEFT_M], atol=1e-9)


@pytest.mark.parametrize(("rate_hz", "duration_s"), [(0.0, 1.0), (10.0, 0.0), (10.0, DURATION_S + 0.1)])
def test_states_outside_the_world_are_refused(worlds: list[World], rate_hz: float, duration_s: float) -> None:
    with pytest.raises(InvalidInput, match=r"0 < duration <= 20\.0 s"):
        ego_states(worlds[0], rate_hz, duration_s)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, 3601.0, float("nan")])
def test_a_world_of_no_or_endless_duration_is_refused(duration_s: float) -> None:
    with pytest.raises(InvalidInput, match="duration"):
        make_world(0, duration_s)
