"""Sentences of the expert: read back, they say what was intended; nothing else is said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.reasoning import parse_trace
from alpamayo_ros.simulation.expert.intention import Cause, CauseKind, Intention
from alpamayo_ros.simulation.expert.phrases import SAID
from alpamayo_ros.simulation.expert.phrases_effects import AGENTS, CONTROLS, LATERAL_CAUSES, LONGITUDINAL_CAUSES
from alpamayo_ros.simulation.expert.wording import motion_of, words
from alpamayo_ros.types import (
    HORIZON,
    ComponentCategory,
    Decision,
    Direction,
    InvalidInput,
    Lateral,
    Longitudinal,
    ReasoningTrace,
    Trajectory,
)

OTHER: dict[Direction | None, Direction | None] = {"left": "right", "right": "left", None: None}
SIDES: tuple[Direction | None, ...] = (None, "left", "right")

# Where a parsed trace shows a cause: any of these; of a clear road there may be nothing.
CATEGORIES: dict[CauseKind, tuple[ComponentCategory, ...]] = {
    **dict.fromkeys(SAID, ("critical_object",)),
    "vehicle_alongside": ("critical_object", "lane"),
    "red_light": ("traffic_light",),
    "yellow_light": ("traffic_light",),
    "green_light": ("traffic_light",),
    "stop_sign": ("yield_stop_control",),
    "yield_sign": ("yield_stop_control",),
    "curve": ("road_event",),
    "advisory_sign": ("road_event",),
    "cones": ("odd_constraint",),
    "barrier": ("odd_constraint",),
    "lane_ends": ("lane",),
    "on_ramp": ("routing_intent",),
    "exit": ("routing_intent",),
    "turn": ("routing_intent", "road_event"),
    "lane_wanted": ("routing_intent", "lane"),
    "free_lane": ("lane",),
    "kerb": ("routing_intent", "lane"),
    "clear_road": ("lane",),
}


def moving(v0_mps: float, accel_mps2: float) -> Trajectory:
    """At a constant acceleration; nobody reverses."""
    accel = np.full(HORIZON, accel_mps2)
    accel[v0_mps + np.cumsum(accel) * 0.1 < 0.0] = 0.0
    return trajectory(accel, np.zeros(HORIZON), v0_mps)


MOTIONS = {
    "s": moving(0.0, 0.0),
    "h": moving(8.0, -2.0),
    "d": moving(14.0, -1.0),
    "k": moving(12.0, 0.05),
    "f": moving(4.0, 1.0),
}


def decisions() -> Iterator[Decision]:
    for longitudinal in (None, *get_args(Longitudinal)):
        yield from (Decision(longitudinal, side) for side in (None, "lane_keeping") if longitudinal or side)
        for lateral in get_args(Lateral)[1:]:
            yield from (Decision(longitudinal, lateral, side) for side in ("left", "right"))


def kinds(decision: Decision) -> tuple[CauseKind, ...]:
    """Causes that it can be made for."""
    by_road = LONGITUDINAL_CAUSES[decision.longitudinal] if decision.longitudinal else ()
    aside = LATERAL_CAUSES[decision.lateral] if decision.lateral else ()
    return tuple(dict.fromkeys((*by_road, *aside)))


def cause(kind: CauseKind, rng: np.random.Generator) -> Cause:
    walks = kind in ("pedestrian", "child", "cyclist")
    things = ("somebody", "crosswalk 0") if walks and rng.random() < 0.5 else ("something",)
    return Cause(kind, things, float(rng.uniform(0, 80)), SIDES[rng.integers(3)])


def intention(decision: Decision, first: CauseKind, rng: np.random.Generator) -> Intention:
    others = (None, *kinds(decision))
    told = (first, *(others[rng.integers(len(others))] for _ in range(2)))
    causes = tuple(cause(kind, rng) for kind in told if kind)
    return Intention(MOTIONS["shdkf"[rng.integers(5)]], decision, causes, "off")


def said(intended: Intention, seed: int) -> str:
    return words(intended, np.random.default_rng(seed))


def all_pairs(times: int) -> Iterator[tuple[Intention, str]]:
    """Every decision with every first cause, and the words for it; what is refused is left out."""
    rng = np.random.default_rng(11)
    seed = 0
    for decision in decisions():
        for first in kinds(decision):
            for _ in range(times):
                intended, seed = intention(decision, first, rng), seed + 1
                if not refused(intended):
                    yield intended, said(intended, seed % 200)


def refused(intended: Intention) -> bool:
    """Slowing down for the road, or stopping before what is no control, is read as yielding beside an agent."""
    decision, causes = intended.decision, [cause.kind for cause in intended.causes]
    if decision.longitudinal == "speed_adaptation":
        return causes[0] in (*AGENTS, *CONTROLS)
    stops = decision.longitudinal == "stop_for_static_constraints"
    return stops and causes[0] in AGENTS and not set(causes[1:2]) & set(CONTROLS)


def mirrored(intended: Intention) -> Intention:
    causes = tuple(replace(cause, side=OTHER[cause.side]) for cause in intended.causes)
    return replace(intended, decision=replace(intended.decision, direction=OTHER[intended.decision.direction]), causes=causes)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Intention, ReasoningTrace]]:
    return [(intended, parse_trace(text, 0, complete=True)) for intended, text in all_pairs(times=1)]


def test_every_sentence_gives_its_decision_back(pairs: list[tuple[Intention, ReasoningTrace]]) -> None:
    assert len(pairs) > 1000
    for intended, trace in pairs:
        assert trace.decision == intended.decision, trace.text


def test_every_sentence_names_its_first_cause(pairs: list[tuple[Intention, ReasoningTrace]]) -> None:
    for intended, trace in pairs:
        kind = intended.causes[0].kind
        found = {component.category for component in trace.components}
        clear = kind == "clear_road" and re.search("clear|no critical agent", trace.text)
        assert clear or found & set(CATEGORIES[kind]), (kind, trace.text)


def test_a_second_cause_is_named_where_it_can_be(pairs: list[tuple[Intention, ReasoningTrace]]) -> None:
    for intended, trace in pairs:
        decision, causes = intended.decision, [cause.kind for cause in intended.causes]
        spoils = decision.longitudinal in ("speed_adaptation", "stop_for_static_constraints")
        if len(causes) == 2 and not (spoils and causes[1] in (*AGENTS, *CONTROLS)) and causes[1] != "clear_road":
            found = {component.category for component in trace.components}
            assert found & set(CATEGORIES[causes[1]]), (causes, trace.text)


def test_nobody_is_told_of_the_ego_the_future_or_numbers(pairs: list[tuple[Intention, ReasoningTrace]]) -> None:
    told = re.compile(
        r"\b(?:ego|i|we|us|me|my|our (?:speed|car|vehicle|brakes?)|will|going to|about to|soon|later|meters?|seconds?)\b"
    )
    assert told.search("since we brake")
    for _, trace in pairs:
        assert not told.search(trace.text.lower()), trace.text


def test_a_sentence_is_one_sentence(pairs: list[tuple[Intention, ReasoningTrace]]) -> None:
    for _, trace in pairs:
        assert re.fullmatch(r"[A-Z][a-z\-]*(?: [a-z\-]+)+\.", trace.text), trace.text  # no digits either
        assert len(trace.text.split()) <= 48


def test_the_mirrored_intention_is_said_in_mirrored_words(pairs: list[tuple[Intention, ReasoningTrace]]) -> None:
    swap = {"left": "right", "right": "left"}
    for seed, (intended, _) in enumerate(pairs[::10]):
        text = said(intended, seed)
        assert said(mirrored(intended), seed) == re.sub("left|right", lambda side: swap[side[0]], text)


def test_the_same_seed_gives_the_same_words() -> None:
    decision = Decision("stop_for_static_constraints", "lane_keeping")
    intended = intention(decision, "red_light", np.random.default_rng(0))
    assert said(intended, 5) == said(intended, 5)
    assert len({said(intended, seed) for seed in range(50)}) >= 20


# What an expert intends often; a few thousand of them must not sound alike.
USUAL: tuple[tuple[Decision, tuple[CauseKind, ...], str], ...] = (
    (Decision("set_speed_tracking", "lane_keeping"), ("clear_road",), "k"),
    (Decision("set_speed_tracking"), ("green_light",), "f"),
    (Decision("lead_obstacle_following", "lane_keeping"), ("lead",), "k"),
    (Decision("lead_obstacle_following", "lane_keeping"), ("braking_lead",), "d"),
    (Decision("lead_obstacle_following"), ("stopped_lead",), "h"),
    (Decision("speed_adaptation", "lane_keeping"), ("curve", "advisory_sign"), "d"),
    (Decision("stop_for_static_constraints", "lane_keeping"), ("red_light",), "h"),
    (Decision("stop_for_static_constraints"), ("stop_sign",), "s"),
    (Decision("yield", "lane_keeping"), ("pedestrian",), "h"),
    (Decision("set_speed_tracking", "in_lane_nudge", "left"), ("parked_car",), "k"),
    (Decision("set_speed_tracking", "out_of_lane_nudge", "left"), ("broken_down_car",), "k"),
    (Decision("acceleration_for_passing", "lane_change", "left"), ("slow_lead",), "f"),
    (Decision("gap_searching", "lane_keeping"), ("lane_wanted", "vehicle_alongside"), "d"),
)


def test_a_few_thousand_intentions_sound_different_and_read_like_the_released_traces() -> None:
    texts = [
        said(Intention(MOTIONS[motion], decision, tuple(Cause(kind, ("it",), 20.0) for kind in causes), "off"), seed)
        for decision, causes, motion in USUAL
        for seed in range(150)
    ]
    assert len(set(texts)) >= 200
    counts = [len(text.split()) for text in texts]
    assert min(counts) >= 4
    assert max(counts) <= 32
    assert 9 <= np.median(counts) <= 20


def test_both_axes_have_their_cause_named_where_there_are_more() -> None:
    """A curve that a sign announces is one thing."""
    causes = tuple(Cause(kind, ("it",), 20.0, "right") for kind in ("curve", "advisory_sign", "parked_car"))
    for seed in range(40):
        text = said(Intention(MOTIONS["d"], Decision("speed_adaptation", "in_lane_nudge", "left"), causes, "off"), seed)
        assert re.search("right (?:curve|bend)", text), text
        assert re.search("parked (?:car|vehicle)|car parked", text), text


def test_a_bend_of_unknown_side_is_not_where_the_nudge_goes() -> None:
    causes = (Cause("curve", ("road",), 20.0), Cause("parked_car", ("it",), 20.0, "right"))
    for seed in range(40):
        text = said(Intention(MOTIONS["d"], Decision("speed_adaptation", "in_lane_nudge", "left"), causes, "off"), seed)
        assert not re.search("left (?:curve|bend)|curves to the", text), text


@pytest.mark.parametrize("motion", MOTIONS)
def test_motions_are_told_apart(motion: str) -> None:
    assert motion_of(MOTIONS[motion]) == motion


def test_who_stands_at_a_light_remains_stopped_and_who_comes_stops() -> None:
    red = (Cause("red_light", ("light 0",), 3.0),)
    for seed in range(30):
        waits = said(Intention(MOTIONS["s"], Decision("stop_for_static_constraints"), red, "off"), seed)
        comes = said(Intention(MOTIONS["h"], Decision("stop_for_static_constraints"), red, "off"), seed)
        assert re.match("Remain|Stay|Hold", waits)
        assert re.match("Stop|Come|Slow", comes)


@pytest.mark.parametrize(
    ("decision", "kind", "message"),
    [
        (Decision(), "clear_road", "names nothing"),
        (Decision("yield", "lane_change"), "pedestrian", "has a direction"),
        (Decision("yield", "lane_keeping", "left"), "pedestrian", "has a direction"),
        (Decision("yield"), "red_light", "because of red_light"),
        (Decision("speed_adaptation", "in_lane_nudge", "left"), "cyclist", "because of cyclist"),
    ],
)
def test_what_cannot_be_said_is_refused(decision: Decision, kind: CauseKind, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        said(Intention(MOTIONS["k"], decision, (Cause(kind, ("it",), 20.0),), "off"), 0)


def test_a_decision_without_a_cause_is_refused() -> None:
    with pytest.raises(InvalidInput, match="without a cause"):
        said(Intention(MOTIONS["k"], Decision("yield"), (), "off"), 0)


def test_every_cause_can_be_said_of_some_decision_and_every_decision_has_causes() -> None:
    told = {kind for kinds in (*LONGITUDINAL_CAUSES.values(), *LATERAL_CAUSES.values()) for kind in kinds}
    assert told == set(get_args(CauseKind)) == set(CATEGORIES) == set(SAID)
    assert set(LONGITUDINAL_CAUSES) == set(get_args(Longitudinal))
    assert set(LATERAL_CAUSES) == set(get_args(Lateral))
