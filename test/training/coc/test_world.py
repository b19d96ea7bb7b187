"""Labels from the world's ground truth: they say what the expert's do, and pass the checks that they are made for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import get_args

import pytest
from evaluation.small_vehicle import small_rig_of

from alpamayo_ros.profile import read_profile
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.data.samples import samples_of
from alpamayo_ros.simulation.episode import Episode, Incident
from alpamayo_ros.simulation.expert.intention import Cause, CauseKind
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.coc import world
from alpamayo_ros.training.coc.evidence import violations
from alpamayo_ros.training.coc.keyframes import Event, Keyframe
from alpamayo_ros.training.coc.quality import assessed
from alpamayo_ros.training.coc.schema import CriticalObject, Record, TrafficLight, Unlabelled
from alpamayo_ros.training.coc.world import (
    WorldMoment,
    moments_of,
    scenario_at,
    world_keyframes,
    world_moments,
    world_record,
)
from alpamayo_ros.training.coc.world_events import OFF_CENTRE_M, events
from alpamayo_ros.types import InvalidInput

pytestmark = pytest.mark.thorough

SCENES = [
    SceneId(family, 1)
    for family in (
        "light_turns",
        "cut_in",
        "overtake",
        "crosswalk",
        "curve",
        "roadworks",
        "on_ramp",
        "aborted_change",
        "pull_over",
    )
]


@cache
def drive(family: str, seed: int = 1) -> Episode:
    return run_episode(make_scenario(family, seed), ExpertPolicy())


@cache
def whole(scene: SceneId) -> tuple[WorldMoment, ...]:
    return tuple(moment for moment in world_moments(scene) if not isinstance(moment, Unlabelled))


@pytest.fixture(scope="module")
def moments() -> list[WorldMoment]:
    return [moment for scene in SCENES for moment in whole(scene)]


@pytest.fixture(scope="module")
def records(moments: list[WorldMoment]) -> list[Record]:
    return [world_record(moment) for moment in moments]


def test_a_record_says_what_the_expert_said(moments: list[WorldMoment], records: list[Record]) -> None:
    assert len(records) > 100
    for moment, record in zip(moments, records, strict=True):
        assert record.chain.trace == moment.label.text
        assert record.chain.choice.decision == moment.label.decision
        assert (record.clip, record.t0_ns) == (moment.clip, moment.t0_ns)


def test_every_record_passes_every_check_but_what_the_world_did_unforeseen(
    moments: list[WorldMoment], records: list[Record]
) -> None:
    for moment, record in zip(moments, records, strict=True):
        wrong = [] if moment.label.consistent.agrees else ["correctness"]
        assert list(assessed(record, moment.meta_actions).failed) == wrong


def test_evidence_refuses_the_words_of_other_moments(records: list[Record]) -> None:
    """Components are not made to fit any words: what is decided for elsewhere is not in sight here."""
    must_be_seen = ("critical_object", "traffic_light", "road_event", "odd_constraint")
    swapped = []
    for one, other in zip(records, records[len(records) // 2 :] + records[: len(records) // 2], strict=True):
        deciding = other.chain.components[0].category
        if deciding in must_be_seen and deciding not in [component.category for component in one.chain.components]:
            swapped.append(one.chain.model_copy(update={"trace": other.chain.trace}))
    assert len(swapped) > 30
    assert all(violations(chain) for chain in swapped)


def test_every_cause_of_the_expert_has_a_component() -> None:
    assert set(world.COMPONENTS) == set(get_args(CauseKind))


def test_evidence_is_dated_by_what_was_in_sight() -> None:
    moment = next(m for m in whole(SceneId("light_turns", 1)) if m.label.causes[0].kind in ("red_light", "yellow_light"))
    thing = moment.label.causes[0].things[0]
    light = world_record(moment).chain.components[0]
    assert isinstance(light, TrafficLight)
    assert light.seen_s == 0.0
    hidden = tuple(names - {thing} if k > 15 else names for k, names in enumerate(moment.in_sight))
    assert len(hidden) == 21
    assert world_record(replace(moment, in_sight=hidden)).chain.components[0].seen_s == pytest.approx(-0.5)


def test_what_went_out_of_sight_is_uncertain() -> None:
    moment = next(m for m in whole(SceneId("cut_in", 1)) if m.label.causes[0].kind.endswith("lead"))
    thing = moment.label.causes[0].things[0]
    seen = world_record(moment).chain.components[0]
    hidden = world_record(replace(moment, in_sight=(*moment.in_sight[:-1], moment.in_sight[-1] - {thing}))).chain.components[0]
    assert isinstance(seen, CriticalObject)
    assert isinstance(hidden, CriticalObject)
    assert (seen.uncertainty, hidden.uncertainty) == ("low", "high")
    assert hidden.seen_s == pytest.approx(-0.1)


def test_labels_are_those_of_the_shards() -> None:
    """The same t0s and the same words for the same scene, so that a label file fits a data set of the same seeds."""
    episode, profile = drive("turn_left", 3), read_profile("ar1_nano")
    small = profile.model_copy(update={"image_height": 32, "image_width": 48})
    taken = samples_of(episode, small_rig_of(160, 96), small)
    records = [world_record(moment) for moment in whole(SceneId("turn_left", 3))]
    assert [record.chain.trace for record in records] == [sample.label.text for sample in taken.samples]
    assert [record.t0_ns for record in records] == [sample.history.t0_ns for sample in taken.samples]


def test_what_gets_no_label_says_why() -> None:
    items = list(world_moments(SceneId("braking_lead", 0)))
    reasons = {item.reason for item in items if isinstance(item, Unlabelled)}
    assert reasons == {"no_history_or_future", "surprise"}
    assert len(items) == len(drive("braking_lead", 0).planned)


def test_an_unknown_scene_is_refused() -> None:
    with pytest.raises(InvalidInput):
        list(world_moments(SceneId("moon", 1)))


def test_a_drive_that_ended_badly_has_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = replace(drive("curve"), incident=Incident("collision_front", 5.0, "car"))
    monkeypatch.setattr(world, "run_episode", lambda *_: crashed)
    (why,) = world_moments(SceneId("curve", 1))
    assert isinstance(why, Unlabelled)
    assert why.reason == "incident"
    assert "collision_front" in str(why)


def times(found: tuple[Event, ...], kind: str) -> list[float]:
    return [event.t_s for event in found if event.kind == kind]


def test_lights_turn_when_their_colour_changes() -> None:
    episode = drive("light_turns")
    found = events(episode)
    goes = [snapshot.lights[0] == "green" for snapshot in episode.snapshots]
    changes = {k / 10: now for k, (before, now) in enumerate(pairwise(goes), start=1) if before != now}
    assert times(found, "light_stops")
    assert times(found, "light_green")
    assert all(changes[round(t_s, 1)] is False for t_s in times(found, "light_stops"))
    assert all(changes[round(t_s, 1)] is True for t_s in times(found, "light_green"))


def test_a_contender_signals_before_the_expert_reacts() -> None:
    episode = drive("cut_in")
    (t_s,) = times(events(episode), "contender_signals")
    causes = [(p.t0_s, cause) for p in episode.planned if p.intention for cause in p.intention.causes if cause.kind == "cut_in"]
    first_s, cause = causes[0]
    bodies = [body for body in episode.snapshots[round(t_s * 10)].bodies if body.name == cause.things[0]]
    before = [body for body in episode.snapshots[round(t_s * 10) - 1].bodies if body.name == cause.things[0]]
    assert t_s <= first_s
    assert [body.indicator != "off" for body in bodies] == [True]
    assert [body.indicator for body in before] == ["off"]
    assert Keyframe("cut_in", t_s, t_s) in world_keyframes(episode)


def test_a_lane_change_begins_off_centre() -> None:
    episode = drive("overtake")
    first_s = times(events(episode), "changes_lane")[0]
    left_m = [float(episode.scenario.route.locate(snapshot.ego.xy_m)[1]) for snapshot in episode.snapshots]
    tick = round(first_s * 10)
    assert abs(left_m[tick] - left_m[tick - 20]) == pytest.approx(OFF_CENTRE_M, abs=0.15)
    assert abs(left_m[tick + 30] - left_m[tick - 20]) > 1.5


def test_curves_and_searches_are_ranges() -> None:
    assert [frame.scenario for frame in world_keyframes(drive("curve"))] == ["curvy_road"]
    assert [frame.scenario for frame in world_keyframes(drive("on_ramp"))] == ["lane_change_preparation"]


def test_a_moment_is_of_the_nearest_keyframe_else_of_its_range() -> None:
    frames = [Keyframe("curvy_road", 2.0, 6.0), Keyframe("nudge", 4.2, 4.2), Keyframe("cut_in", 4.1, 4.1)]
    assert scenario_at(frames, 4.0) == "cut_in"
    assert scenario_at(frames, 4.3) == "nudge"
    assert scenario_at(frames, 5.0) == "curvy_road"
    assert scenario_at(frames, 6.1) is None


def test_most_scenarios_come_up(records: list[Record]) -> None:
    found = {record.scenario for record in records}
    assert found >= {"stop_at_control", "resume_at_control", "cut_in", "lane_change", "curvy_road"}
    assert None in found


def test_the_same_scene_gives_the_same_records() -> None:
    labels = [moment.label for moment in whole(SceneId("curve", 1))]
    again = [world_record(moment) for moment in moments_of(drive("curve"), labels)]
    assert again == [world_record(moment) for moment in whole(SceneId("curve", 1))]


def test_a_cause_that_was_never_in_sight_is_an_error() -> None:
    """The expert decides for nothing that it has not seen: evidence without a date would be an error of the world."""
    moment = whole(SceneId("curve", 1))[0]
    odd = replace(moment.label, causes=(Cause("lead", ("nobody",), 10.0),))
    with pytest.raises(KeyError):
        world_record(replace(moment, label=odd))
