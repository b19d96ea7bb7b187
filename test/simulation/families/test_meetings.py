"""What a family is about happens when the ego comes there: shown with an ego on rails, in the real world."""

from collections.abc import Iterator

import numpy as np
import pytest

from alpamayo_ros.simulation.families import FAMILIES, make_scenario
from alpamayo_ros.simulation.families.dice import stopping_m
from alpamayo_ros.simulation.judging.incidents import Grounds, incident_of
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import FRONT_M, Ego, Snapshot
from alpamayo_ros.simulation.world.world import World
from alpamayo_ros.types import STEP_S


def on_rails(scenario: Scenario, speed_mps: float, stops_at_m: float = np.inf) -> Iterator[tuple[Snapshot, Snapshot]]:
    """Steps of an ego that keeps its speed along the route, and stands at once where it is told to."""
    world = World(scenario)
    for tick in range(1, round(scenario.duration_s / STEP_S) + 1):
        along = min(scenario.start.along_m + speed_mps * tick * STEP_S, stops_at_m)
        xy, yaw = scenario.route.place(along, 0.0)
        before = world.now
        yield before, world.step(Ego(xy, float(yaw), speed_mps if along < stops_at_m else 0.0))


def incident_with(scenario: Scenario, speed_mps: float) -> str:
    """What an ego that keeps its speed meets: the name of a body, "ground", or nothing."""
    grounds = Grounds(scenario)
    for before, now in on_rails(scenario, speed_mps):
        if (incident := incident_of(grounds, before, now)) is not None:
            return incident.thing or "ground"
    return ""


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_overlaps_at_the_start(family: str) -> None:
    for seed in range(2):
        assert World(make_scenario(family, seed)).now.t_s == 0.0  # raises otherwise


@pytest.mark.parametrize(
    ("family", "thing"),
    [
        ("crosswalk", "walker"),
        ("broken_down_car", "breakdown"),
        ("lane_ends", "barrier"),
        ("stop_sign", "crossing"),
        ("red_light", "crossing"),
        ("overtake", "truck"),
    ],
)
def test_who_just_drives_on_hits_something(family: str, thing: str) -> None:
    hits = [
        incident_with(scenario, scenario.start.speed_mps) for scenario in (make_scenario(family, seed) for seed in range(2))
    ]
    assert any(hit.startswith(thing) for hit in hits), hits


@pytest.mark.parametrize("seed", range(2))
def test_the_light_is_red_for_who_comes_and_turns_green_for_who_waits(seed: int) -> None:
    scenario = make_scenario("red_light", seed)
    [light], speed = scenario.lights, scenario.start.speed_mps
    waits_m = light.stop_line_m - FRONT_M - 1.0
    colours = [
        (now.t_s, float(scenario.route.locate(now.ego.xy_m)[0]), now.lights[0]) for _, now in on_rails(scenario, speed, waits_m)
    ]
    assert {colour for _, along, colour in colours if along < waits_m - 0.01} == {"red"}
    green_s = next(t_s for t_s, _, colour in colours if colour == "green")
    assert green_s < scenario.duration_s - 6.0, "time to drive off"


@pytest.mark.parametrize("family", ["crosswalk", "stepping_out", "crossing_cyclist"])
def test_people_set_out_when_the_ego_can_still_stop_gently(family: str) -> None:
    for seed in range(10):
        scenario = make_scenario(family, seed)
        limit = scenario.route.lanes[0].limit_mps
        for walker in scenario.walkers:
            away_m = walker.along_m - FRONT_M - walker.trigger.ego_past_m
            assert away_m >= stopping_m(limit) + 1.9, (family, seed)
            assert walker.trigger.ego_past_m > scenario.start.along_m, "after the start"
