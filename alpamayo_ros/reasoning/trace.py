"""A model's text -> its decision and critical components (Alpamayo-R1 paper, tables 1 and 2), by the tables of `words`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from alpamayo_ros.reasoning import words
from alpamayo_ros.types import ComponentCategory, CriticalComponent, Decision, Direction, Lateral, ReasoningTrace

TEXT_LIMIT_BYTES = 2048
"""Longest trace that is kept, bytes of UTF-8: the message's bound, as are the next two."""

COMPONENT_LIMIT = 16
DESCRIPTION_LIMIT = 128
SENTENCE_LIMIT = 400
"""Characters of a sentence that are read: real ones have up to 300, and matching is quadratic in the worst case."""


def parse_trace(text: str, tokens: int, complete: bool, meta_actions: str = "") -> ReasoningTrace:
    """Decision and critical components of a model's text, which is cleaned: see `clean`.

    The first sentence that names a decision decides, on both axes; its effect ("stop", "nudge left") comes before its
    cause ("because ..."). A text that names none has an empty decision and no components. Never raises for any text.
    """
    text, meta_actions = clean(text), clean(meta_actions)
    for sentence in _sentences(text):
        decision = _decision(sentence)
        if decision != Decision():
            return ReasoningTrace(text, decision, _components(sentence), tokens, complete, meta_actions)
    return ReasoningTrace(text, Decision(), (), tokens, complete, meta_actions)


def clean(text: str) -> str:
    """A model's text up to its first special token (<|...|>), without control characters, at most 2048 bytes of UTF-8."""
    printable = "".join(" " if c.isspace() else c for c in text if c.isspace() or not unicodedata.category(c).startswith("C"))
    opened = printable.strip().removeprefix("<|cot_start|>").split("<|")[0]
    return " ".join(opened.split()).encode("utf-8")[:TEXT_LIMIT_BYTES].decode("utf-8", errors="ignore").rstrip()


def _sentences(text: str) -> list[str]:
    """Lower-case sentences; a capital glued to a word ("curveAdjust speed") starts one too, as sampled traces do that."""
    text = re.sub(r"[\u2010-\u2015]", "-", re.sub(r"(?<=[a-z])(?=[A-Z])", ". ", text))
    return [s.strip().lower()[:SENTENCE_LIMIT] for s in re.split(r"[.!?;](?!\d)", text) if s.strip()]


def _decision(sentence: str) -> Decision:
    effect = words.CAUSE.split(sentence)[0]
    lateral, direction = _lateral_decision(effect, sentence)
    longitudinal = next((d for d, e, s in words.LONGITUDINAL if re.search(e, effect) and re.search(s, sentence)), None)
    return Decision(longitudinal, lateral, direction)


def _lateral_decision(effect: str, sentence: str) -> tuple[Lateral | None, Direction | None]:
    for decision, effect_words, sentence_words in words.LATERAL:
        verb = re.search(effect_words, effect)
        if verb and re.search(sentence_words, sentence):
            side = words.SIDE.search(effect, verb.start()) if decision != "lane_keeping" else None
            return decision, ("left" if side[1] == "left" else "right") if side else None
    return None, None


def _components(sentence: str) -> tuple[CriticalComponent, ...]:
    found: list[tuple[int, ComponentCategory, str]] = []
    left = sentence
    for category, pattern in words.COMPONENTS.items():
        found += [(match.start(), category, match[0]) for match in pattern.finditer(left) if not match["absent"]]
        left = pattern.sub(lambda m: "#" * len(m[0]), left)
    found.sort()
    ends = [start for start, _, _ in found[1:]] + [len(sentence)] * bool(found)
    components = [
        CriticalComponent(
            category, description[:DESCRIPTION_LIMIT], _attributes(sentence[start:end], words.ATTRIBUTES[category])
        )
        for (start, category, description), end in zip(found, ends, strict=True)
    ]
    # "Keep lane" names no cause: a lane is one where the words say something of it.
    causes = dict.fromkeys(c for c in components if c.category != "lane" or c.attributes)
    return tuple(causes)[:COMPONENT_LIMIT]


def _attributes(text: str, table: Sequence[tuple[str, str, str]]) -> tuple[tuple[str, str], ...]:
    attributes: dict[str, str] = {}
    for key, value, pattern in table:
        if key not in attributes and re.search(pattern, text):
            attributes[key] = value
    return tuple(attributes.items())
