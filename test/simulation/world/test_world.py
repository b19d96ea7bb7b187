from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from simulation.driven import along_m, away, driven, left_m, overlaps, seen
from simulation.made import busy, scenario, street

from alpamayo_ros.simulation.families import FAMILIES, make_scenario
from alpamayo_ros.simulation.road import Piece
from alpamayo_ros.simulation.scenario import LaneChange, LightColour, Standing, Start, TrafficLight, Trigger, Vehicle, Walker
from alpamayo_ros.simulation.state import Ego, Snapshot
from alpamayo_ros.simulation.world.world import World
from alpamayo_ros.types import InvalidInput


def bytes_of(snapshots: list[Snapshot]) -> list[object]:
    return [
        (s.t_s, s.lights, [(b.name, b.xy_m.tobytes(), b.yaw_rad, b.speed_mps, b.accel_mps2, b.indicator) for b in s.bodies])
        for s in snapshots
    ]


def test_at_first_everything_is_where_the_scenario_puts_it() -> None:
    made = busy()
    now = World(made).now
    assert now.t_s == 0.0
    np.testing.assert_allclose(now.ego.xy_m, [40.0, 0.0], atol=1e-9)
    assert now.ego.speed_mps == made.start.speed_mps
    assert [body.name for body in now.bodies] == ["lead", "oncoming", "parked", "cone 0", "cone 1", "cone 2", "walker"]
    lead, oncoming, *_, walker = now.bodies
    np.testing.assert_allclose(lead.xy_m, [70.0, 0.0], atol=1e-9)
    assert (lead.speed_mps, lead.accel_mps2, lead.indicator) == (8.0, 0.0, "off")
    assert np.cos(oncoming.yaw_rad) == pytest.approx(-1.0)
    assert walker.yaw_rad == pytest.approx(np.pi / 2)  # looks where it is going to walk
    assert walker.speed_mps == 0.0
    assert now.lights == ("red",)


def test_a_step_takes_a_tenth_of_a_second_and_holds_the_ego_that_is_given() -> None:
    world = World(busy())
    ego = Ego(np.array([40.8, 0.1]), 0.01, 8.1)
    snapshot = world.step(ego)
    assert snapshot is world.now
    assert snapshot.t_s == 0.1
    assert snapshot.ego is ego


def test_nobody_reacts_to_an_ego_before_it_is_seen() -> None:
    """The state that is given to a step is the future: the others move on the one before."""
    crossing = Ego(np.array([62.0, 0.0]), 0.0, 0.0)
    made = scenario(vehicles=(Vehicle("follower", "car", 0, "ego", 50.0, 10.0),), start=Start(100.0, 0.0))
    one, two = World(made), World(made)
    first, other = one.step(one.now.ego), two.step(crossing)
    assert bytes_of([first]) == bytes_of([other])
    assert bytes_of([one.step(one.now.ego)]) != bytes_of([two.step(crossing)])


def test_the_same_egos_make_the_same_snapshots_and_others_others() -> None:
    made = busy()
    first = bytes_of(driven(made, 12.0))
    assert first == bytes_of(driven(made, 12.0))
    assert first != bytes_of(driven(made, 12.0, away))


def test_a_trigger_fires_at_its_time_or_when_the_ego_has_passed_its_place() -> None:
    def starts_s(trigger: Trigger) -> float:
        made = scenario(vehicles=(Vehicle("waiting", "car", 0, "left", 80.0, 5.0, waits=trigger),))
        return next(s.t_s for s in driven(made, 6.0) for b in s.bodies if b.speed_mps > 0)

    assert starts_s(Trigger(at_s=2.0)) == pytest.approx(2.1)
    assert starts_s(Trigger(ego_past_m=60.0)) == pytest.approx(2.6)  # 20 m at 8 m/s, then one step
    assert starts_s(Trigger(at_s=1.0, ego_past_m=60.0)) == pytest.approx(1.1)


def test_a_light_with_a_trigger_shows_its_last_phase_until_it_fires_then_all_of_them() -> None:
    phases: tuple[tuple[LightColour, float], ...] = (("yellow", 1.0), ("red", 2.0), ("green", 50.0))
    light = TrafficLight(0, 150.0, ("ego",), phases, 0.0, (160.0, -4.0), Trigger(ego_past_m=56.0))
    shown = [snapshot.lights[0] for snapshot in driven(scenario(lights=(light,)), 6.0)]
    assert shown == ["green"] * 20 + ["yellow"] * 10 + ["red"] * 20 + ["green"] * 11


def test_a_light_without_one_keeps_the_time_of_the_world() -> None:
    light = TrafficLight(0, 150.0, ("ego",), (("yellow", 2.0), ("red", 5.0), ("green", 3.0)), 4.0, (160.0, -4.0))
    shown = {s.t_s: s.lights[0] for s in driven(scenario(lights=(light,)), 14.0)}
    assert [shown[t] for t in (0.5, 4.0, 5.9, 6.0, 10.9, 11.0, 13.9, 14.0)] == [
        "red", "yellow", "yellow", "red", "red", "green", "green", "yellow",
    ]  # fmt: skip


def test_who_drives_off_the_end_of_its_road_is_gone_and_nobody_stands_there() -> None:
    lanes = [("ego", 270.0), ("oncoming", 30.0)]
    made = scenario(vehicles=tuple(Vehicle(lane, "car", 0, lane, at, 10.0) for lane, at in lanes), start=Start(100.0, 0.0))
    snapshots = driven(made, 6.0)
    assert snapshots[-1].bodies == ()
    assert all(body.speed_mps > 9.0 for snapshot in snapshots for body in snapshot.bodies)
    assert all(2.0 < along_m(made, body) < 298.0 for snapshot in snapshots for body in snapshot.bodies)


def test_a_left_bend_leads_everybody_to_the_left() -> None:
    """highway-env's y points down: a slip at that border turns traffic to the right."""
    bend = street(Piece(40.0, 0.0), Piece(20.0, 0.02), Piece(60.0, 0.02), Piece(60.0, 0.02))
    made = scenario(roads=(bend,), vehicles=(Vehicle("lead", "car", 0, "ego", 30.0, 10.0),), start=Start(5.0, 8.0))
    lead = seen(driven(made, 9.0), "lead")
    assert lead[-1].yaw_rad > 1.0
    assert lead[-1].xy_m[1] > 20.0
    assert max(abs(left_m(made, body)) for body in lead) < 1e-6
    assert lead[-1].yaw_rate_rps == pytest.approx(0.02 * lead[-1].speed_mps, rel=1e-3)


def test_bodies_move_along_their_heading_as_fast_as_they_say() -> None:
    made = make_scenario("town", 0)
    snapshots = driven(made, 15.0)
    for before, now in pairwise(snapshots):
        was = {body.name: body for body in before.bodies}
        for body in now.bodies:
            step, mean = body.xy_m - was[body.name].xy_m, (body.speed_mps + was[body.name].speed_mps) / 2
            yaw = (body.yaw_rad + was[body.name].yaw_rad) / 2
            np.testing.assert_allclose(step, 0.1 * mean * np.array([np.cos(yaw), np.sin(yaw)]), atol=0.006)
            assert body.speed_mps - was[body.name].speed_mps == pytest.approx(0.1 * body.accel_mps2, abs=1e-9)
            assert body.yaw_rad - was[body.name].yaw_rad == pytest.approx(0.1 * body.yaw_rate_rps, abs=1e-9)


@pytest.mark.parametrize("family", ["cut_in", "red_light", "yield_sign", "turn_left", "on_ramp", "route_changes_lane", "town"])
def test_traffic_keeps_apart_and_never_drives_backwards(family: str) -> None:
    """The ego keeps out of it: what it does to others by driving through them is not theirs."""
    assert family in FAMILIES
    snapshots = driven(make_scenario(family, 3), 14.0, away)
    assert [pair for snapshot in snapshots[::3] for pair in overlaps(snapshot, with_ego=False)] == []
    assert all(body.speed_mps >= 0 for snapshot in snapshots for body in snapshot.bodies)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vehicles": (Vehicle("v", "car", 0, "tram", 70.0, 8.0),)}, "vehicle v: road street has no lane tram, only ego, left"),
        (
            {"vehicles": (Vehicle("v", "car", 0, "ego", 70.0, 8.0, changes=(LaneChange("bus", Trigger(at_s=1.0)),)),)},
            "vehicle v: road street has no lane bus",
        ),
        (
            {"vehicles": (Vehicle("v", "car", 0, "ego", 70.0, 8.0, changes=(LaneChange("oncoming", Trigger(at_s=1.0)),)),)},
            "vehicle v: lane oncoming is driven in the other direction",
        ),
        (
            {"vehicles": (Vehicle("v", "car", 0, "ego", 300.5, 8.0),)},
            r"vehicle v: at 300\.5 m, but lane ego is 0\.0 to 300\.0 m",
        ),
        ({"vehicles": (Vehicle("v", "car", 0, "ego", 70.0, -1.0),)}, r"vehicle v: speed -1\.0 m/s"),
        ({"vehicles": (Vehicle("v", "car", 0, "ego", 44.0, 8.0),)}, r"the ego and v overlap by \d\.\d\d m2"),
        (
            {
                "vehicles": (Vehicle("v", "car", 0, "ego", 90.0, 8.0),),
                "standing": (Standing("s", "truck", 0, 95.0, -1.0),),
            },
            r"v and s overlap by \d\.\d\d m2 at \(90\.0, 0\.0\) and \(95\.0, -1\.0\) m",
        ),
        ({"walkers": (Walker("w", "child", 0, 43.0, 0.5, 9.0, 1.0, Trigger(at_s=1.0)),)}, "the ego and w overlap"),
        (
            {"lights": (TrafficLight(0, 90.0, ("tram",), (("red", 5.0),), 0.0, (95.0, 0.0)),)},
            "light 0: road street has no lane",
        ),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=f"made 0: {message}"):
        World(scenario(**changes))


def test_touching_is_not_overlapping() -> None:
    standing = tuple(Standing(f"barrier {k}", "barrier", 0, 90.0 + 2.0 * k, -1.5) for k in range(3))
    World(scenario(standing=standing))
