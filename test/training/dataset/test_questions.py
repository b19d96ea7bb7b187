"""Questions ask for nothing that an example does not know, and their answers are its own words."""

from __future__ import annotations

from dataclasses import replace

from training.dataset.made import STOP, example

from alpamayo_ros.profile import InputProfile
from alpamayo_ros.training.dataset.questions import AHEAD, LIGHT, NEXT, WHAT_AND_WHY, with_questions
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import CriticalComponent


def answers(one: Example) -> dict[str, str]:
    return dict(with_questions(replace(one, questions=())).questions)


def with_components(one: Example, *components: CriticalComponent) -> Example:
    return replace(one, reasoning=replace(STOP, components=components))


LEAD = CriticalComponent("critical_object", "the lead vehicle", (("role", "lead"),))
ROUTE = CriticalComponent("routing_intent", "the route", ())
DARK = CriticalComponent("traffic_light", "traffic light", ())


def test_what_is_asked_is_answered_by_the_reasoning(profile: InputProfile) -> None:
    said = answers(example(profile))
    assert said[LIGHT] == "It is red."
    assert said[AHEAD] == "Red traffic light."
    assert said[WHAT_AND_WHY] == STOP.text
    assert said[NEXT].startswith("Gentle accelerate; ")


def test_what_is_not_there_is_said_and_what_is_not_known_is_not_asked(profile: InputProfile) -> None:
    one = example(profile)
    assert answers(with_components(one, LEAD, ROUTE))[LIGHT] == "No traffic light matters here."
    assert answers(with_components(one, LEAD, ROUTE))[AHEAD] == "The lead vehicle."
    assert answers(with_components(one, ROUTE))[AHEAD] == "Nothing."
    assert answers(with_components(one, DARK, LEAD))[AHEAD] == "Traffic light; the lead vehicle."
    assert LIGHT not in answers(with_components(one, DARK))
    assert [*answers(replace(one, reasoning=None))] == [NEXT]


def test_questions_that_are_there_stay(profile: InputProfile) -> None:
    assert with_questions(example(profile)).questions[0] == ("What?", "That.")
