"""Questions with answers about what is seen, made of an example's own reasoning."""

from __future__ import annotations

from dataclasses import replace

from alpamayo_ros.training.dataset.sequences import meta_action_words
from alpamayo_ros.training.example import Example, Reasoning
from alpamayo_ros.types import ComponentCategory

LIGHT = "What does the traffic light show?"
AHEAD = "What ahead matters to the vehicle?"
WHAT_AND_WHY = "What should the vehicle do, and why?"
NEXT = "What follows?"

_AHEAD: tuple[ComponentCategory, ...] = (
    "critical_object", "traffic_light", "yield_stop_control", "road_event", "odd_constraint",
)  # fmt: skip


def with_questions(example: Example) -> Example:
    """The example with what can be asked of it: of its reasoning, where it has some, and of its meta-actions."""
    asked = _of_reasoning(example.reasoning) if example.reasoning else ()
    follows = (NEXT, f"{meta_action_words(example.meta_actions).capitalize()}.")
    return replace(example, questions=(*example.questions, *asked, follows))


def _of_reasoning(reasoning: Reasoning) -> tuple[tuple[str, str], ...]:
    """A light without a colour is not asked for: that it matters is known, what it shows is not."""
    lights = [dict(c.attributes).get("colour", "") for c in reasoning.components if c.category == "traffic_light"]
    light = f"It is {lights[0]}." if lights else "No traffic light matters here."
    ahead = "; ".join(c.description for c in reasoning.components if c.category in _AHEAD)
    asked = ((LIGHT, light),) if not lights or lights[0] else ()
    return (*asked, (AHEAD, f"{ahead.capitalize()}." if ahead else "Nothing."), (WHAT_AND_WHY, reasoning.text))
