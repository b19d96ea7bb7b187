"""A trace may cite what the history showed, the route and the signs; everything else is a violation that says what and why."""

import pytest
from training.coc.made import RED_LIGHT, chain

from alpamayo_ros.training.coc.evidence import citations, future_words, violations
from alpamayo_ros.training.coc.schema import (
    Component,
    CriticalObject,
    Lane,
    RoadEvent,
    RoutingIntent,
    TrafficLight,
    YieldStopControl,
)

LEAD = CriticalObject(
    description="the lead", seen_s=0.0, type="vehicle", position="in_path", motion="slowing", uncertainty="low"
)


def found(trace: str, *components: Component) -> list[str]:
    return [str(violation) for violation in violations(chain(trace, components))]


@pytest.mark.parametrize("seen_s", [-2.0, -0.1, 0.0])
def test_what_the_history_showed_may_be_cited(seen_s: float) -> None:
    assert found("Stop since the traffic light is red.", RED_LIGHT.model_copy(update={"seen_s": seen_s})) == []


def test_what_is_seen_only_later_may_not_be_cited() -> None:
    late = RED_LIGHT.model_copy(update={"seen_s": 0.5})
    assert found("Stop since the traffic light is red.", late) == ["traffic_light 'traffic light': not seen by t0, only +0.5 s"]


def test_what_is_seen_later_may_be_listed_where_the_trace_does_not_cite_it() -> None:
    late = RoadEvent(description="a bend", seen_s=3.0, kind="curve")
    assert found("Stop since the traffic light is red.", RED_LIGHT, late) == []
    assert found("Stop since the traffic light is red before the curve.", RED_LIGHT, late) != []


def test_the_same_thing_seen_twice_counts_by_its_first_sight() -> None:
    late = RED_LIGHT.model_copy(update={"seen_s": 2.0})
    assert found("Stop since the traffic light is red.", late, RED_LIGHT) == []


def test_what_nobody_listed_may_not_be_cited() -> None:
    trace = "Stop since the traffic light is red and a pedestrian is crossing."
    assert found(trace, RED_LIGHT) == ["critical_object 'pedestrian': not among the components"]


def test_a_second_sentence_is_read_too() -> None:
    trace = "Stop since the traffic light is red. A pedestrian is crossing the road."
    assert [cited.category for cited in citations(trace)] == ["traffic_light", "critical_object"]
    assert found(trace, RED_LIGHT) == ["critical_object 'pedestrian': not among the components"]


@pytest.mark.parametrize(
    ("trace", "component", "conflict"),
    [
        ("Stop since the traffic light is yellow.", RED_LIGHT, "colour yellow, not red"),
        ("Slow down since the vehicle ahead is accelerating.", LEAD, "motion accelerating, not slowing"),
        ("Yield to the oncoming cyclist.", LEAD, "type cyclist, not vehicle"),
        (
            "Slow down for the left curve.",
            RoadEvent(description="a bend", seen_s=0.0, kind="curve", side="right"),
            "side left, not right",
        ),
        (
            "Change lanes to the left since the left lane is clear.",
            Lane(description="the lane", seen_s=0.0, side="left", state="occupied"),
            "state clear, not occupied",
        ),
    ],
)
def test_words_that_contradict_stage_one_are_a_violation(trace: str, component: Component, conflict: str) -> None:
    (one,) = found(trace, component)
    assert "stage I has it otherwise" in one
    assert conflict in one


def test_words_that_agree_with_stage_one_are_none() -> None:
    assert found("Slow down since the vehicle ahead is braking.", LEAD) == []
    assert found("Slow down behind the slow vehicle ahead.", LEAD) == []


def test_route_and_signs_may_be_cited_whenever_they_were_seen() -> None:
    exit_ = RoutingIntent(description="the exit", seen_s=4.0, target="exit")
    sign = YieldStopControl(description="the stop sign", seen_s=None, justification="hidden by a truck", kind="stop")
    assert found("Slow down for the upcoming exit.", exit_) == []
    assert found("Stop since the intersection has a stop sign.", sign, RoadEvent(description="it", seen_s=0.0)) == []


def test_a_light_is_not_known_from_a_map() -> None:
    unseen = TrafficLight(description="the light", seen_s=None, justification="everybody stops", colour="red")
    assert found("Stop since the traffic light is red.", unseen) == [
        "traffic_light 'traffic light': not seen by t0, only UNOBSERVED"
    ]


def test_a_lane_is_cited_only_where_something_is_said_of_it() -> None:
    assert found("Change to the left lane and keep speed since the traffic light is red.", RED_LIGHT) == []
    assert found("Change to the left lane since the left lane is clear.") == ["lane 'left lane': not among the components"]


def test_the_history_has_two_seconds() -> None:
    old = RED_LIGHT.model_copy(update={"seen_s": -2.3})
    assert found("Stop since the traffic light is red.", old) == [
        "traffic_light 'the traffic light': seen 2.3 s before t0, the history has 2.0 s"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Stop since the light will turn red.",
        "Yield to the pedestrian who is about to cross.",
        "Slow down because the lead is going to brake.",
        "Stop as the light turns red soon.",
        "Keep speed, then stop 3 seconds later.",
        "Stop because the lead brakes after 2 s.",
        "Slow down since it'll stop.",
    ],
)
def test_words_of_the_future_are_found(text: str) -> None:
    assert future_words(text)


@pytest.mark.parametrize(
    "text",
    [
        "Slow down for the upcoming exit.",
        "Follow the vehicle going to the left lane.",
        "Willow Street is blocked, keep lane.",
        "Yield to the pedestrian who wants to cross.",
        "Stop and wait for the light.",
    ],
)
def test_words_of_the_present_are_not_taken_for_it(text: str) -> None:
    assert not future_words(text)
