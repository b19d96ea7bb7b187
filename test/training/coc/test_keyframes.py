"""Keyframes: half a second before the ego acts, by the rules of table 3, with room for a history and a future."""

from collections import Counter
from itertools import permutations

import pytest

from alpamayo_ros.training.coc.keyframes import (
    BEFORE_S,
    FUTURE_S,
    HISTORY_S,
    Event,
    EventKind,
    Keyframe,
    balanced,
    keyframes,
    moments_s,
    transitions,
)
from alpamayo_ros.training.coc.schema import Scenario
from alpamayo_ros.types import LateralAction, LongitudinalAction, MetaAction

DURATION_S = 40.0


def along(*pieces: tuple[LongitudinalAction, float]) -> list[MetaAction]:
    """Longitudinal meta-actions that follow each other, by their ends."""
    ends = [end for _, end in pieces]
    return [
        MetaAction("longitudinal", action, start, end) for (action, end), start in zip(pieces, [0.0, *ends[:-1]], strict=True)
    ]


def across(*pieces: tuple[LateralAction, float]) -> list[MetaAction]:
    ends = [end for _, end in pieces]
    return [MetaAction("lateral", action, start, end) for (action, end), start in zip(pieces, [0.0, *ends[:-1]], strict=True)]


BRAKES_AT_12 = along(("maintain_speed", 12.0), ("gentle_decelerate", 16.0), ("stop", 20.0), ("gentle_accelerate", 40.0))
STEERS_AT_15 = across(("go_straight", 15.0), ("steer_left", 17.0), ("go_straight", 40.0))
DRIVE = [*BRAKES_AT_12, *STEERS_AT_15]


def found(*events: tuple[EventKind, float], actions: list[MetaAction] = DRIVE) -> list[tuple[Scenario | None, float, float]]:
    made = keyframes(actions, [Event(kind, t_s) for kind, t_s in events], DURATION_S)
    return [(k.scenario, round(k.t_s, 6), round(k.until_s, 6)) for k in made]


def at(scenario: Scenario, t_s: float) -> list[tuple[Scenario, float, float]]:
    return [(scenario, t_s, t_s)]


@pytest.mark.parametrize(
    ("cause", "scenario"),
    [
        ("slower_lead_seen", "slow_for_lead"),
        ("stopping_lead_seen", "stop_for_lead"),
        ("vru_seen", "yield_to_vru"),
        ("bump_seen", "speed_bump"),
        ("construction_seen", "bypass_construction"),
        ("risk_seen", "risky_driving"),
    ],
)
def test_the_ego_is_about_to_slow_down(cause: EventKind, scenario: Scenario) -> None:
    assert found((cause, 8.0)) == at(scenario, 12.0 - BEFORE_S)


@pytest.mark.parametrize(
    ("cause", "scenario"),
    [
        ("obstacle_seen", "nudge"),
        ("vru_seen", "yield_to_vru"),
        ("construction_seen", "bypass_construction"),
        ("risk_seen", "risky_driving"),
    ],
)
def test_the_ego_is_about_to_steer(cause: EventKind, scenario: Scenario) -> None:
    assert found((cause, 13.0)) == at(scenario, 15.0 - BEFORE_S)


def test_a_light_that_is_red_already_counts_before_the_braking() -> None:
    assert found(("light_stops", 9.0)) == at("stop_at_control", 11.5)
    assert found(("stop_sign_seen", 9.0)) == at("stop_at_control", 11.5)


def test_a_light_that_turns_while_the_ego_brakes_counts_when_it_turns() -> None:
    assert found(("light_stops", 13.0)) == at("stop_at_control", 13.0)
    assert found(("light_stops", 11.8)) == at("stop_at_control", 11.8)


def test_a_light_that_turns_green_is_followed_by_driving_off() -> None:
    """The later of half a second before the ego accelerates from standstill and of the light's turning."""
    assert found(("light_green", 18.0)) == at("resume_at_control", 19.5)
    assert found(("light_green", 19.8)) == at("resume_at_control", 19.8)
    assert found(("stop_sign_obeyed", 18.0)) == at("resume_at_control", 19.5)


def test_accelerating_on_the_way_is_not_driving_off() -> None:
    rolling = along(("gentle_decelerate", 20.0), ("gentle_accelerate", 40.0))
    assert found(("light_green", 18.0), actions=rolling) == []


def test_a_lane_change_is_told_before_the_ego_moves_off_centre() -> None:
    assert found(("changes_lane", 15.0)) == at("lane_change", 14.5)


@pytest.mark.parametrize("order", list(permutations([("contender_signals", 10.0), ("contender_moves", 11.0)])))
def test_a_cut_in_counts_from_its_first_sign(order: tuple[tuple[EventKind, float], ...]) -> None:
    assert found(*order) == at("cut_in", 10.0)


def test_a_cut_in_without_a_signal_counts_from_the_move() -> None:
    assert found(("contender_moves", 11.0)) == at("cut_in", 11.0)


def test_two_cut_ins_are_two() -> None:
    assert len(found(("contender_signals", 5.0), ("contender_moves", 6.0), ("contender_moves", 25.0))) == 2


def test_a_curve_counts_from_entering_or_from_slowing_down_for_it() -> None:
    assert found(("enters_curve", 10.0), ("exits_curve", 18.0)) == [("curvy_road", 10.0, 18.0)]
    assert found(("enters_curve", 14.0), ("exits_curve", 18.0)) == [("curvy_road", 11.5, 18.0)]


@pytest.mark.parametrize(
    ("begins", "ends", "scenario"),
    [
        ("change_blocked", "change_ready", "lane_change_preparation"),
        ("nudge_blocked", "nudge_ready", "nudge_preparation"),
        ("enters_intersection", "exits_intersection", "passing_intersection"),
        ("vru_waits", "vru_gone", "no_yield_to_vru"),
    ],
)
def test_proactive_ranges_last_from_event_to_event(begins: EventKind, ends: EventKind, scenario: Scenario) -> None:
    assert found((begins, 5.0), (ends, 9.0), (begins, 20.0), (ends, 22.0)) == [(scenario, 5.0, 9.0), (scenario, 20.0, 22.0)]
    assert found((ends, 5.0), (begins, 20.0)) == []


def test_a_cause_that_nobody_answers_is_no_keyframe() -> None:
    assert found(("slower_lead_seen", 3.0)) == []  # the ego brakes 9 s later, for something else
    assert found(("slower_lead_seen", 13.0)) == []  # it brakes already
    assert found(("obstacle_seen", 18.0)) == []


def test_an_event_of_one_kind_is_no_keyframe_of_another() -> None:
    assert found(("slower_lead_seen", 9.0), ("light_stops", 9.0)) == [
        ("slow_for_lead", 11.5, 11.5),
        ("stop_at_control", 11.5, 11.5),
    ]


@pytest.mark.parametrize("t_s", [HISTORY_S, DURATION_S - FUTURE_S])
def test_a_keyframe_needs_a_history_and_a_future(t_s: float) -> None:
    assert found(("contender_moves", t_s)) == at("cut_in", t_s)
    outside = t_s - 0.1 if t_s == HISTORY_S else t_s + 0.1
    assert found(("contender_moves", outside)) == []


def test_a_range_is_cut_to_where_there_is_a_history_and_a_future() -> None:
    whole = found(("change_blocked", 0.0), ("change_ready", DURATION_S))
    assert whole == [("lane_change_preparation", HISTORY_S, DURATION_S - FUTURE_S)]
    assert found(("change_blocked", 0.0), ("change_ready", 1.0)) == []


def test_without_events_every_change_of_motion_counts() -> None:
    made = transitions(DRIVE, DURATION_S)
    begun = ["gentle_decelerate", "steer_left", "stop", "go_straight", "gentle_accelerate"]
    assert [(k.t_s, k.kind) for k in made] == list(zip([11.5, 14.5, 15.5, 16.5, 19.5], begun, strict=True))
    assert all(k.scenario is None and k.t_s == k.until_s for k in made)


def test_a_change_from_or_to_something_short_does_not_count() -> None:
    short = along(("maintain_speed", 12.0), ("gentle_decelerate", 12.9), ("maintain_speed", 30.0))
    long = along(("maintain_speed", 12.0), ("gentle_decelerate", 13.0), ("maintain_speed", 30.0))
    assert transitions(short, DURATION_S) == ()
    assert [k.t_s for k in transitions(long, DURATION_S)] == [11.5, 12.5]


def test_changes_at_the_ends_of_a_drive_have_no_history_or_no_future() -> None:
    ends = along(("maintain_speed", 2.4), ("gentle_decelerate", 35.0), ("stop", 40.0))
    assert transitions(ends, DURATION_S) == ()


def test_moments_fill_a_range() -> None:
    assert moments_s(Keyframe("curvy_road", 3.0, 4.0), 0.5) == (3.0, 3.5, 4.0)
    assert moments_s(Keyframe("curvy_road", 3.0, 3.9), 0.5) == (3.0, 3.5)
    assert moments_s(Keyframe("cut_in", 3.0, 3.0), 0.5) == (3.0,)


def test_scenarios_are_balanced_the_same_way_for_any_order() -> None:
    many = [(f"clip {n}", Keyframe("nudge", 3.0 + n, 3.0 + n)) for n in range(20)]
    few = [(f"clip {n}", Keyframe("cut_in", 3.0, 3.0)) for n in range(2)]
    kept = balanced(many + few, most_each=5)
    assert [k.scenario for _, k in kept].count("nudge") == 5
    assert [k.scenario for _, k in kept].count("cut_in") == 2
    assert kept == balanced([*reversed(few), *reversed(many)], most_each=5)
    alone = [(clip, Keyframe(None, k.t_s, k.t_s, action)) for clip, k in many for action in ("stop", "go_straight")]
    assert Counter(k.kind for _, k in balanced(alone, most_each=5)) == {"stop": 5, "go_straight": 5}
    assert balanced(many, most_each=20) == tuple(sorted(many, key=lambda pair: pair[0]))


def test_more_clips_displace_few_of_a_balanced_selection() -> None:
    many = [(f"clip {n}", Keyframe("nudge", 3.0, 3.0)) for n in range(40)]
    before, after = balanced(many[:39], most_each=10), balanced(many, most_each=10)
    assert len(set(before) - set(after)) <= 1
