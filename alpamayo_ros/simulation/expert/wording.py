"""What the expert intends and why, as one sentence of the Chain of Causation: an effect in the imperative, then its cause.

Style: the released Alpamayo-R1 traces. The tables of `phrases` hold the words; here they are put together such that
`reasoning.parse_trace` reads the decision back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from alpamayo_ros.simulation.expert.intention import Cause, CauseKind, Intention
from alpamayo_ros.simulation.expert.phrases import AS_LEAD, SAID, Said
from alpamayo_ros.simulation.expert.phrases_effects import (
    AGENTS,
    CONTROLS,
    LATERAL_BARE,
    LATERAL_CAUSES,
    LATERAL_WITH,
    LONGITUDINAL_BARE,
    LONGITUDINAL_CAUSES,
    LONGITUDINAL_WITH,
    Effect,
    Motion,
)
from alpamayo_ros.types import STEP_S, Decision, InvalidInput, Trajectory

T = TypeVar("T")

_STANDING_MPS = 0.3
_CHANGE_MPS = 1.0  # of speed over a trajectory: less is keeping it
_SMALL_WORDS = frozenset(
    ("it", "is", "the", "in", "our", "a", "to", "on", "from", "lane", "road", "vehicle", "pedestrian", "child", "cyclist")
)
_SINCE = ("since", "since", "because")


@dataclass(frozen=True)
class _Part:
    """The decision on one axis, how it can be said and the cause it is made for."""

    bare: tuple[Effect, ...]
    with_noun: tuple[Effect, ...]
    cause: Cause | None  # its own
    kind: CauseKind  # of that, or of the other axis'


def words(intention: Intention, rng: np.random.Generator) -> str:
    """One sentence that names the decision and at most two causes; another one for every state of `rng`.

    Raises InvalidInput for a decision that names nothing, a lateral one without a direction (lane keeping has none), a first
    cause that no axis' decision can be made for, and a motion that it cannot mean: see `phrases_effects`.
    """
    decision, motion = _checked(intention), motion_of(intention.trajectory)
    causes = _sayable(intention)
    longitudinal, lateral = _parts(decision, causes)
    first, then = _in_order(decision, longitudinal, lateral, rng)
    told, objects = [], []
    for part in (first, then):
        if part is not None:
            text, named = _effect(part, decision, motion, rng)
            told.append(text)
            objects.append(named)
    untold = [cause for cause in causes if cause not in objects]
    sentence = " and ".join(told) + (_reason(decision, untold, rng) if untold else _more(decision, objects[-1], told[-1], rng))
    return sentence[0].upper() + sentence[1:] + "."


def motion_of(trajectory: Trajectory) -> Motion:
    """The motion that a trajectory is in words: standing, halting, slowing down, keeping its speed, getting faster."""
    speed = trajectory.speed_mps
    v0 = float(speed[0] - trajectory.accel_mps2[0] * STEP_S)
    if v0 < _STANDING_MPS:
        return "f" if speed[-1] > v0 + _CHANGE_MPS else "s"
    if speed.min() < _STANDING_MPS:
        return "h"
    if speed.min() < v0 - _CHANGE_MPS:
        return "d"
    return "f" if speed[-1] > v0 + _CHANGE_MPS else "k"


def _checked(intention: Intention) -> Decision:
    decision = intention.decision
    if decision.longitudinal is None and decision.lateral is None:
        raise InvalidInput("no words for a decision that names nothing")
    if (decision.direction is None) != (decision.lateral in (None, "lane_keeping")):
        raise InvalidInput(f"no words for {decision}: every lateral decision but lane keeping has a direction")
    if not intention.causes:
        raise InvalidInput(f"no words for {decision} without a cause")
    return decision


def _sayable(intention: Intention) -> list[Cause]:
    """At most two causes: the first, and another kind, for the other axis' decision where there is one.

    What neither decision can be made for is left out, and what would change the decision that is read.
    """
    decision, causes = intention.decision, intention.causes
    spoils = _spoils(decision, causes)
    sayable = [c for c in causes if _axes(decision, c) and c.kind not in spoils]
    if not sayable or sayable[0] != causes[0]:
        raise InvalidInput(f"no words for {decision} because of {causes[0].kind}")
    if any(c.kind == "advisory_sign" for c in sayable):
        sayable = [c for c in sayable if c.kind != "curve"]  # which the sign announces
    first, *others = sayable
    others = [c for c in others if c.kind != first.kind]
    return [first, *sorted(others, key=lambda c: _axes(decision, c) <= _axes(decision, first))[:1]]


def _spoils(decision: Decision, causes: Sequence[Cause]) -> tuple[CauseKind, ...]:
    """Causes that would be read as what "slow down" or "stop" is for, were they named in the same sentence."""
    if decision.longitudinal == "speed_adaptation":
        return (*AGENTS, *CONTROLS)
    kinds = [cause.kind for cause in causes]
    control = kinds[0] in CONTROLS or (kinds[0] in AGENTS and set(kinds[1:2]) <= set(CONTROLS) and len(kinds) > 1)
    return AGENTS if decision.longitudinal == "stop_for_static_constraints" and not control else ()


def _axes(decision: Decision, cause: Cause) -> set[str]:
    """Those whose decision can be made for a cause."""
    along = LONGITUDINAL_CAUSES[decision.longitudinal] if decision.longitudinal else ()
    across = LATERAL_CAUSES[decision.lateral] if decision.lateral else ()
    return {axis for axis, kinds in (("longitudinal", along), ("lateral", across)) if cause.kind in kinds}


def _parts(decision: Decision, causes: Sequence[Cause]) -> tuple[_Part | None, _Part | None]:
    """The longitudinal and the lateral one."""
    along, across = _own(decision, causes)
    longitudinal, lateral = None, None
    if decision.longitudinal:
        tables = LONGITUDINAL_BARE[decision.longitudinal], LONGITUDINAL_WITH[decision.longitudinal]
        longitudinal = _Part(*tables, along, (along or causes[0]).kind)
    if decision.lateral:
        lateral = _Part(LATERAL_BARE[decision.lateral], LATERAL_WITH[decision.lateral], across, (across or causes[0]).kind)
    return longitudinal, lateral


def _own(decision: Decision, causes: Sequence[Cause]) -> list[Cause | None]:
    """The longitudinal decision's own cause and the lateral one's; a cause of both belongs to the one that has no other.

    That is the lateral one, unless it keeps the lane or the other is passing: "change lanes and accelerate to pass the truck".
    """
    along = LONGITUDINAL_CAUSES[decision.longitudinal] if decision.longitudinal else ()
    across = LATERAL_CAUSES[decision.lateral] if decision.lateral else ()
    along_first = decision.lateral == "lane_keeping" or decision.longitudinal == "acceleration_for_passing"
    if decision.lateral == "lane_keeping":
        across = tuple(kind for kind in across if kind not in along)
    own: list[Cause | None] = [None, None]
    for cause in sorted(causes, key=lambda c: (c.kind in along) + (c.kind in across)):
        free = [axis for axis, kinds in enumerate((along, across)) if cause.kind in kinds and own[axis] is None]
        if free:
            own[free[0] if along_first else free[-1]] = cause
    return own


def _in_order(
    decision: Decision, longitudinal: _Part | None, lateral: _Part | None, rng: np.random.Generator
) -> tuple[_Part | None, _Part | None]:
    """Which axis is said first: a change or a merge that is only looked for must not be, one beside following must."""
    if decision.longitudinal == "gap_searching" and decision.lateral != "lane_keeping":
        return longitudinal, lateral
    free = decision.lateral in ("in_lane_nudge", "out_of_lane_nudge", "turn", "pull_over")
    if free and decision.longitudinal not in ("lead_obstacle_following", "gap_searching") and rng.random() < 0.5:
        return longitudinal, lateral
    return lateral, longitudinal


def _effect(part: _Part, decision: Decision, motion: Motion, rng: np.random.Generator) -> tuple[str, Cause | None]:
    """What is done, in words, and the cause that they name."""
    alone = decision.lateral in (None, "lane_keeping", "turn")
    bare, objects = (_possible(effects, part.kind, motion, alone) for effects in (part.bare, part.with_noun))
    if not bare:
        raise InvalidInput(f"no words for {decision} because of {part.kind} in the motion {motion!r}")
    said = _said(part.cause, decision) if part.cause else None
    side = {"dir": decision.direction or "", "side": _side(part.cause, decision)}
    if said and said.nouns and objects and rng.random() < 0.65:
        noun = _filled(_pick(said.nouns, rng), part.cause, decision)
        return _pick(objects, rng).words.format_map(side | {"noun": noun}), part.cause
    return _pick(bare, rng).words.format_map(side), None


def _possible(effects: Sequence[Effect], kind: CauseKind, motion: Motion, alone: bool) -> list[Effect]:
    return [e for e in effects if motion in e.motions and (not e.kinds or kind in e.kinds) and (alone or not e.alone)]


def _reason(decision: Decision, untold: Sequence[Cause], rng: np.random.Generator) -> str:
    """The causes that the effect does not name."""
    nouns = [_said(cause, decision).nouns for cause in untold]
    if all(nouns) and rng.random() < 0.2:
        return " due to " + " and ".join(_filled(_pick(n, rng), c, decision) for n, c in zip(nouns, untold, strict=True))
    clauses = [_filled(_pick(_said(cause, decision).clauses, rng), cause, decision) for cause in untold]
    return f" {_pick(_SINCE, rng)} " + " and ".join(clauses)


def _more(decision: Decision, cause: Cause | None, effect: str, rng: np.random.Generator) -> str:
    """More of the cause that the effect ends with, sometimes."""
    its = [_filled(text, cause, decision) for text in _said(cause, decision).its] if cause else []
    its = [text for text in its if not set(text.split()) & set(effect.split()) - _SMALL_WORDS]
    return f" {_pick(_SINCE, rng)} {_pick(its, rng)}" if its and rng.random() < 0.6 else ""


def _said(cause: Cause, decision: Decision) -> Said:
    follows = decision.longitudinal == "lead_obstacle_following"
    return AS_LEAD[cause.kind] if follows and cause.kind in AS_LEAD else SAID[cause.kind]


def _filled(text: str, cause: Cause | None, decision: Decision) -> str:
    side = cause.side if cause else None
    at_crosswalk = cause is not None and any(thing.startswith("crosswalk") for thing in cause.things)
    places: Mapping[str, str] = {
        "on": f" on the {side}" if side else "",
        "from_": f" from the {side}" if side else "",
        "to": f" to the {side}" if side else "",
        "side": _side(cause, decision),
        "at": " at the crosswalk" if at_crosswalk else "",
        "where": f" on the {side}" if side else " in our lane",
    }
    return text.format_map(places)


def _side(cause: Cause | None, decision: Decision) -> str:
    """Of a cause as an adjective; where it has none, a lane or turn lies where the move goes, and a bend anywhere."""
    side = cause.side if cause else None
    if cause is None or cause.kind not in ("curve", "advisory_sign"):
        side = side or decision.direction
    return f"{side} " if side else ""


def _pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]
