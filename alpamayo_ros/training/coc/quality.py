"""Is a label a good one? The checks of the paper's table 4, by rule, each with its reason (paper, section 4)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from alpamayo_ros.reasoning import consistent, parse_trace
from alpamayo_ros.reasoning.words import CAUSE
from alpamayo_ros.training.coc.evidence import citations, fits, future_words, violations
from alpamayo_ros.training.coc.schema import Chain, Check, Choice, Component, Record, Verdict, sentences_of
from alpamayo_ros.types import ComponentCategory, Decision, Lateral, Longitudinal, MetaAction

MOST_COMPONENTS = 4  # that a decision can need: a cause for each axis, and the place of each
_UNEVENTFUL = (None, "set_speed_tracking", "lane_keeping")
_NOTHING_HAPPENS = Decision("set_speed_tracking", "lane_keeping")

_THINGS: tuple[ComponentCategory, ...] = ("critical_object", "odd_constraint")
_WAYS: tuple[ComponentCategory, ...] = ("road_event", "lane", "routing_intent")
_CONTROLS: tuple[ComponentCategory, ...] = ("traffic_light", "yield_stop_control")

MADE_FOR: dict[Longitudinal | Lateral, tuple[ComponentCategory, ...]] = {
    "lead_obstacle_following": ("critical_object",),
    "speed_adaptation": (*_WAYS, *_THINGS),
    "gap_searching": (*_WAYS, *_THINGS),
    "acceleration_for_passing": _THINGS,
    "yield": (*_THINGS, *_CONTROLS, *_WAYS),
    "stop_for_static_constraints": (*_CONTROLS, *_WAYS, *_THINGS),
    "merge_split": _WAYS,
    "out_of_lane_nudge": _THINGS,
    "in_lane_nudge": (*_THINGS, "lane"),
    "lane_change": (*_WAYS, *_THINGS),
    "pull_over": (*_WAYS, "critical_object"),
    "turn": (*_WAYS, "traffic_light"),
    "maneuver_abort": (*_THINGS, "lane"),
}
"""What a decision can be made for (table 1); speed tracking and lane keeping are what is left, for anything or nothing."""

_WHO = r"(?:(?:the|an?) )?ego(?:[ -]vehicle)?"
_OWN = rf"(?:our(?: own)?|my|its own|{_WHO}(?:['’]s)?|(?:the|our|its) current|current)"
_STATE = r"(?:speed(?! (?:limit|sign|bump|hump))|velocity|(?:de|ac)celeration|steering|yaw|heading|momentum|motion|turn rate)"
_BEING = r"(?:['’]re|['’]m)? ?(?:\b(?:is|are|am|was|were|has|have|been|already|now)\b ?)*"
_VERBS = "slow|brak|decelerat|accelerat|turn|steer|driv|mov|travel|stop|stand|speed|go|follow|prepar|chang|merg"
_DOES = rf"(?:{_VERBS})(?:s|ed|ing|ning|ped|ping|e|es)?"
_EGO_CAUSE = re.compile(rf"(?<!than )\b{_OWN} (?:\w+ ){{0,2}}?{_STATE}\b|\b(?:we|i|{_WHO})\b{_BEING}\b{_DOES}\b")


def assessed(record: Record, meta_actions: Sequence[MetaAction]) -> Record:
    """The record with the verdict of every check; `meta_actions` are those driven from t0 on."""
    return record.model_copy(update={"verdicts": verdicts(record.chain, meta_actions)})


def verdicts(chain: Chain, meta_actions: Sequence[MetaAction]) -> tuple[Verdict, ...]:
    """Every check by its name. Raises InvalidInput when an axis has no meta-actions."""
    problems: dict[Check, str] = {
        "evidence": "; ".join(str(violation) for violation in violations(chain)),
        "coverage": coverage_problem(chain),
        "correctness": correctness_problem(chain, meta_actions),
        "proximate_cause": proximate_cause_problem(chain),
        "minimality": minimality_problem(chain),
        "no_ego_cause": ego_cause_problem(chain.trace),
        "no_future": "; ".join(str(violation) for violation in future_words(chain.trace)),
    }
    return tuple(Verdict(check=check, passed=not why, why=why) for check, why in problems.items())


def coverage_problem(chain: Chain) -> str:
    """Whether every decision has a cause that the trace names, or one that is UNOBSERVED, with its justification."""
    decided = [name for name in (chain.choice.longitudinal, chain.choice.lateral) if name not in _UNEVENTFUL]
    if not decided:
        return ""
    if not chain.components:
        return f"{' and '.join(decided)} without a cause"
    deciding = chain.components[0]
    if deciding.seen_s is not None and not _is_cited(deciding, chain.trace):
        return f"the trace does not name the deciding {deciding.category}, {deciding.description!r}"
    return ""


def correctness_problem(chain: Chain, meta_actions: Sequence[MetaAction]) -> str:
    """Whether the decision is what was driven, and what the trace says. Raises InvalidInput without meta-actions."""
    decision = chain.choice.decision
    driven = consistent(_NOTHING_HAPPENS if decision == Decision() else decision, meta_actions)
    said = parse_trace(chain.trace, 0, complete=True).decision
    return "; ".join(problem for problem in (driven.why_not, _told_otherwise(chain.choice, said)) if problem)


def proximate_cause_problem(chain: Chain) -> str:
    """Whether the cause that decides is the nearest one: the lead that stands before the ego, not the light before the lead."""
    if not chain.components:
        return ""
    first, decided = chain.components[0], (chain.choice.longitudinal, chain.choice.lateral)
    possible = [MADE_FOR[name] for name in decided if name in MADE_FOR]
    if possible and not any(first.category in categories for categories in possible):
        return f"a {first.category} decides nothing on {' and '.join(str(name) for name in decided)}"
    leads = [c for c in chain.components if c.is_stage_one and _stands_before(c)]
    if chain.choice.longitudinal == "stop_for_static_constraints" and first.category in _CONTROLS and leads:
        return f"{leads[0].description!r} stands between the ego and the {first.description!r}"
    return ""


def minimality_problem(chain: Chain) -> str:
    """Whether nothing is named that the decision does not need."""
    said = Counter((c.category, c.description) for c in chain.components)
    twice = [description for (_, description), count in said.items() if count > 1]
    idle = [c.description for c in chain.components[1:] if c.seen_s is not None and not _is_cited(c, chain.trace)]
    found = {
        f"{len(chain.components)} components, a decision needs at most {MOST_COMPONENTS}": len(said) > MOST_COMPONENTS,
        f"named twice: {', '.join(twice)}": bool(twice),
        f"not used by the trace: {', '.join(idle)}": bool(idle),
    }
    return "; ".join(problem for problem, there in found.items() if there)


def ego_cause_problem(trace: str) -> str:
    """Whether the ego's own speed, acceleration or steering is given as a cause."""
    causes = [cause for sentence in sentences_of(trace.lower()) for cause in CAUSE.split(sentence)[1:]]
    found = [match[0].strip() for cause in causes for match in _EGO_CAUSE.finditer(cause)]
    return f"the ego causes it: {', '.join(found)}" if found else ""


def _is_cited(component: Component, trace: str) -> bool:
    return any(fits(cited, component) for cited in citations(trace))


def _told_otherwise(choice: Choice, said: Decision) -> str:
    if said == Decision():
        return "" if choice.decision == Decision() else "the trace names no decision"
    pairs = ((choice.longitudinal, said.longitudinal), (choice.lateral, said.lateral), (choice.direction, said.direction))
    other = [f"{told}, not {meant}" for meant, told in pairs if told is not None and told != meant]
    return f"the trace says {'; '.join(other)}" if other else ""


def _stands_before(component: Component) -> bool:
    if component.category != "critical_object":
        return False
    return component.type == "vehicle" and component.position == "in_path" and component.motion == "stopped"
