"""The two-stage rule of evidence (paper, section 4): a trace cites only what the history showed.

Stage I are the 2 s of history, stage II is what came after. Route and signs may be cited whenever they were seen, for the
map knows them; a traffic light must be seen, for its colour is an observation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alpamayo_ros.reasoning import parse_trace
from alpamayo_ros.training.coc.schema import Chain, Component
from alpamayo_ros.types import ComponentCategory, CriticalComponent

HISTORY_S = 2.0
_KNOWN_FROM_MAP: tuple[ComponentCategory, ...] = ("routing_intent", "yield_stop_control")

_FUTURE = re.compile(
    r"\b(?:will|won't|shall|going to(?! the\b| a\b)|about to|soon|shortly|later|eventually|afterwards"
    r"|in the future|(?:expected|predicted|bound) to"
    r"|(?:after|in) (?:\d+(?:\.\d+)?|a few|a couple of|two|three) (?:s|sec|seconds?)"
    r"|(?:moments?|seconds?) (?:later|from now))\b|'ll\b",
    re.IGNORECASE,
)

_SENTENCE_END = re.compile(r"[.!?;]+(?!\d)|(?<=[a-z])(?=[A-Z])")  # as parse_trace has it
_EGO = re.compile(r"\bego[ -](?:vehicle|car)", re.IGNORECASE)  # not one of the vehicles around it
_POSITIONS = {"ahead": "in_path"}  # of the words -> of a label
_ALIKE = ({"slow", "slowing"}, {"slow", "steady"}, {"in_path", "crosswalk"}, {"in_path", "oncoming"})
"""Values of one attribute that may both be said of the same thing."""


@dataclass(frozen=True)
class Violation:
    """What of a trace breaks the rule, and why."""

    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


def violations(chain: Chain) -> tuple[Violation, ...]:
    """Everything in a trace that stage I did not show, and components seen before the history began."""
    return (*_cited(chain), *_too_early(chain.components), *future_words(chain.trace))


def citations(trace: str) -> tuple[CriticalComponent, ...]:
    """What a trace cites, in all its sentences.

    A lane is cited where the words say how it is (clear, closed, occupied); else it is the place of something, or the
    decision's own.
    """
    sentence = _SENTENCE_END.sub(", ", _EGO.sub("ego", trace))
    found = parse_trace(sentence, 0, complete=True).components
    return tuple(cited for cited in found if cited.category != "lane" or "state" in dict(cited.attributes))


def future_words(text: str) -> tuple[Violation, ...]:
    """Words that tell of a time after t0."""
    return tuple(Violation(f"{match[0]!r}", "tells of what comes after t0") for match in _FUTURE.finditer(text))


def fits(cited: CriticalComponent, component: Component) -> bool:
    """Whether words of a trace may mean a component: the same category, and no attribute that says otherwise."""
    return cited.category == component.category and not _conflicts(cited, component)


def _cited(chain: Chain) -> Iterator[Violation]:
    for cited in citations(chain.trace):
        if cited.category in _KNOWN_FROM_MAP:
            continue
        meant = [component for component in chain.components if component.category == cited.category]
        fitting = [component for component in meant if not _conflicts(cited, component)]
        if not fitting:
            conflicts = [conflict for component in meant for conflict in _conflicts(cited, component)]
            why = f"stage I has it otherwise, {'; '.join(conflicts)}" if conflicts else "not among the components"
            yield Violation(_named(cited), why)
        elif not any(component.is_stage_one for component in fitting):
            seen = [f"{c.seen_s:+.1f} s" if c.seen_s is not None else "UNOBSERVED" for c in fitting]
            yield Violation(_named(cited), f"not seen by t0, only {', '.join(seen)}")


def _too_early(components: Sequence[Component]) -> Iterator[Violation]:
    for component in components:
        if component.seen_s is not None and component.seen_s < -HISTORY_S:
            why = f"seen {-component.seen_s:.1f} s before t0, the history has {HISTORY_S} s"
            yield Violation(f"{component.category} {component.description!r}", why)


def _named(cited: CriticalComponent) -> str:
    return f"{cited.category} {cited.description!r}"


def _conflicts(cited: CriticalComponent, component: Component) -> list[str]:
    """Attributes that words and component both have and that cannot both be true."""
    has = dict(component.component.attributes)
    return [
        f"{name} {value}, not {has[name]}"
        for name, value in _attributes(cited).items()
        if name in has and value != has[name] and {value, has[name]} not in _ALIKE
    ]


def _attributes(cited: CriticalComponent) -> dict[str, str]:
    """Attributes of words under the names that a label has for them."""
    said = dict(cited.attributes)
    if cited.category == "critical_object":
        place = said.get("position") or said.get("side")
        said = {name: said[name] for name in ("type", "motion") if name in said}
        return said | ({"position": _POSITIONS.get(place, place)} if place else {})
    if said.get("kind") == "all_way":
        return {"ways": "all_way"}
    return said
