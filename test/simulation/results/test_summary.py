"""Rows of a table are means of their scenes, with intervals that say what few scenes are worth."""

from dataclasses import replace
from itertools import product

import pytest

from alpamayo_ros.evaluation.metrics import COMFORT_BOUNDS
from alpamayo_ros.simulation.judging.outcomes import Outcome
from alpamayo_ros.simulation.results.summary import MEASURES, by_family, stand
from alpamayo_ros.simulation.results.tables import distance, markdown, said
from alpamayo_ros.types import InvalidInput

GOOD = Outcome(
    family="curve", seed=0, policy="expert", driven_s=20.0, driven_km=0.2, collision_front=False, collision_lateral=False,
    collision_rear=False, collision_any=False, collision_at_fault=False, offroad=False, incident_s=None, incident_with="",
    failure="", close_encounter=False, min_distance_to_obstacle_m=3.0, progress=1.0, goal_share=1.0, scene_score=1.0,
    red_lights_run=0, stop_signs_run=0, wrong_lane_s=0.0, comfort=dict.fromkeys(COMFORT_BOUNDS, True), plans=36,
    refused=0, plan_deviation_m=0.1,
    consistent=None, consistent_by_chance=None,
)  # fmt: skip
CRASH = replace(
    GOOD, collision_front=True, collision_any=True, collision_at_fault=True, driven_km=0.1, progress=0.5, scene_score=0.0
)
HIT_FROM_BEHIND = replace(GOOD, collision_rear=True, collision_any=True, driven_km=0.1)


def scenes(*kinds: Outcome, each: int = 10) -> list[Outcome]:
    return [replace(kind, seed=10 * place + seed) for (place, kind), seed in product(enumerate(kinds), range(each))]


def test_a_row_is_the_mean_of_its_scenes() -> None:
    row = stand("somebody", scenes(GOOD, CRASH))
    assert row.means["scene_score"].mean == 0.5
    assert row.means["progress"].mean == pytest.approx(0.75)
    assert row.means["at_fault"].mean == row.means["collision_front"].mean == 0.5
    assert row.means["offroad"].mean == 0.0
    low, high = row.means["at_fault"].low, row.means["at_fault"].high
    assert low is not None
    assert high is not None
    assert low < 0.5 < high


def test_kilometres_between_incidents_are_those_of_all_scenes_together() -> None:
    row = stand("somebody", scenes(GOOD, CRASH, HIT_FROM_BEHIND))
    driven = 10 * (0.2 + 0.1 + 0.1)
    assert row.between_at_fault.km == pytest.approx(driven / 10)
    assert row.between_incidents.km == pytest.approx(driven / 20)
    assert row.between_at_fault.incidents == 10
    assert row.at_fault_per_km == pytest.approx(10 / driven)


def test_no_incident_is_no_infinite_distance() -> None:
    row = stand("somebody", scenes(GOOD))
    assert row.between_incidents.km is None
    assert row.between_incidents.low_km == pytest.approx(2.0 / 2.996, rel=1e-3)  # "rule of three"
    assert distance(row.between_incidents) == "none in 2.0 km"


def test_a_share_of_none_is_not_known_to_be_none() -> None:
    """Wilson's interval: 0 of 10 may be up to 28 %."""
    none = stand("somebody", scenes(GOOD)).means["at_fault"]
    assert (none.mean, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.2775, abs=1e-3)


def test_who_falls_silent_has_not_driven_safely() -> None:
    row = stand("somebody", scenes(replace(GOOD, failure="no plan for 2.5 s")))
    assert row.between_at_fault.km == pytest.approx(0.2)


def test_families_are_rows_of_their_own() -> None:
    rows = by_family(stand("somebody", [*scenes(GOOD), *(replace(crash, family="cut_in") for crash in scenes(CRASH))]))
    assert {name: row.means["at_fault"].mean for name, row in rows.items()} == {"curve": 0.0, "cut_in": 1.0}


def test_what_no_scene_has_is_left_out() -> None:
    row = stand("somebody", scenes(GOOD))
    assert "consistent" not in row.means
    assert said("consistent", row.means.get("consistent")) == "–"


def test_nothing_driven_is_nothing_to_sum_up() -> None:
    with pytest.raises(InvalidInput, match="no episode"):
        stand("somebody", [])


def test_markdown_has_every_measure_every_driver_and_every_family() -> None:
    text = markdown("A suite", ["about"], [stand("one", scenes(GOOD, CRASH)), stand("two|b", scenes(GOOD))])
    for measure in MEASURES.values():
        assert f"| {measure.title} |" in text
        assert f"**{measure.title}**: {measure.means}" in text
    assert "two\\|b (10 scenes)" in text  # a name is no Markdown
    assert "| curve | 20 | 0.50" in text
