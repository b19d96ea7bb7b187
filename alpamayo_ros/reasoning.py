"""The Chain of Causation: a trace's decision and components, a trajectory's meta-actions, and whether the two agree.

One rule for runtime, reward and metric. Everything is by rule, nothing is learned. Sources: Alpamayo-R1 paper (arXiv
2511.00088), tables 1 (decisions), 2 (components), 5 (meta-actions) and section 5 (consistency reward); thresholds of the
meta-actions from NVIDIA's public Chain-of-Causation autolabeler. Words live in `reasoning_words`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros import reasoning_words as words
from alpamayo_ros.types import (
    F64,
    STEP_S,
    ComponentCategory,
    Consistency,
    CriticalComponent,
    Decision,
    Direction,
    InvalidInput,
    Lateral,
    LateralAction,
    Longitudinal,
    LongitudinalAction,
    MetaAction,
    ReasoningTrace,
    Trajectory,
)

TEXT_LIMIT_BYTES = 2048
"""Longest trace that is kept (the message's bound), bytes of UTF-8."""

COMPONENT_LIMIT = 16
_OTHERS = 16  # trajectories each decision meets in a shuffled score

# ---------------------------------------------------------------------------------------------- meta-actions of a trajectory

_SMOOTHING_TICKS = 5
_UNCUT_TICKS = 3  # no second cut within so many ticks of a cut, none so close to the end
_HYSTERESIS = 0.15  # of an acceleration threshold
_SPEED_CUTS_MPS = (-0.3, 0.3)
_ACCEL_CUTS_MPS2 = (-1.25, -0.1, 0.1, 1.25)
_REVERSE_CUT_MPS = -0.1
_TURN_CUTS_RADPM = (-0.05, -0.001, 0.001, 0.05)
_FAST_MPS = 15.0  # above it the turn rate counts by the lateral acceleration it makes
_LONGITUDINAL_MIN_TICKS = 8
_MAINTAIN_MIN_TICKS = 12
_LATERAL_MIN_TICKS = 10


@dataclass(frozen=True)
class _Segment:
    action: LongitudinalAction | LateralAction
    start: int  # tick
    end: int  # tick, exclusive

    @property
    def is_short(self) -> bool:
        limits = {"longitudinal": _LONGITUDINAL_MIN_TICKS, "lateral": _LATERAL_MIN_TICKS}
        least = _MAINTAIN_MIN_TICKS if self.action == "maintain_speed" else limits[_axis(self.action)]
        return self.end - self.start < least


def meta_actions(trajectory: Trajectory, v0_mps: float) -> tuple[MetaAction, ...]:
    """Kinds of motion along a trajectory that starts at speed v0 m/s: longitudinal first, each axis a gapless cover in time.

    An axis covers [first time - 0.1 s, last time), which is [0, 6.4) for a model's trajectory. It is cut where speed,
    smoothed acceleration or turn rate (rad/m) crosses a threshold, each piece is classified by its means and totals, and
    pieces that are too short give their halves to their neighbours. Where the source leaves room: acceleration and
    curvature are those of the actions, not differences of positions, so nothing is lost to noise or at 2 pi; turn rate is
    smoothed heading change over smoothed distance, so that braking alone never looks like steering; distance is unsigned,
    so reversing left means that the heading turns left; a piece keeps its class when it absorbs a short one.
    Raises InvalidInput for a speed that is not finite.
    """
    if not np.isfinite(v0_mps):
        raise InvalidInput(f"v0: want a finite speed, got {v0_mps} m/s")
    edges_s = np.append(max(0.0, trajectory.t_s[0] - STEP_S), trajectory.t_s)
    speed = np.append(v0_mps, trajectory.speed_mps)
    segments = _longitudinal(speed, trajectory.accel_mps2) + _lateral(speed, trajectory)
    return tuple(MetaAction(_axis(s.action), s.action, float(edges_s[s.start]), float(edges_s[s.end])) for s in segments)


def _axis(action: LongitudinalAction | LateralAction) -> Literal["longitudinal", "lateral"]:
    return "longitudinal" if action in get_args(LongitudinalAction) else "lateral"


def _longitudinal(speed: F64, accel: F64) -> list[_Segment]:
    states = [speed[:-1] >= cut for cut in _SPEED_CUTS_MPS]
    states += [_above(_smooth(accel), cut) for cut in _ACCEL_CUTS_MPS2]
    pieces = _pieces(np.array(states))
    return _absorb_short([_Segment(_longitudinal_action(speed[a : b + 1]), a, b) for a, b in pieces])


def _lateral(speed: F64, trajectory: Trajectory) -> list[_Segment]:
    travelled = STEP_S * (speed[:-1] + 0.5 * STEP_S * trajectory.accel_mps2)
    turned, distance = _smooth(trajectory.curvature_1pm * travelled), _smooth(np.abs(travelled))
    rate = np.divide(turned, distance, out=np.zeros_like(turned), where=distance > 1e-6) * _weight(speed[:-1])
    pieces = _pieces(np.array([speed[:-1] >= _REVERSE_CUT_MPS] + [rate >= cut for cut in _TURN_CUTS_RADPM]))
    actions = [_lateral_action(speed[a:b], float(turned[a:b].sum()), float(distance[a:b].sum())) for a, b in pieces]
    return _absorb_short([_Segment(action, a, b) for action, (a, b) in zip(actions, pieces, strict=True)])


def _weight(speed: F64 | float) -> F64:
    return np.maximum(1.0, np.square(np.divide(speed, _FAST_MPS)))


def _smooth(series: F64) -> F64:
    """Centred mean over 5 ticks, over fewer at the ends."""
    kernel = np.ones(min(_SMOOTHING_TICKS, 2 * len(series) - 1))
    total = np.convolve(series, kernel, mode="full")[len(kernel) // 2 :][: len(series)]
    count = np.convolve(np.ones_like(series), kernel, mode="full")[len(kernel) // 2 :][: len(series)]
    return np.asarray(total / count)


def _above(series: F64, threshold: float) -> NDArray[np.bool_]:
    """Whether each tick is above the threshold, changing only once the series left a band of ± 15 % around it."""
    band = abs(threshold) * _HYSTERESIS
    state, states = bool(series[0] >= threshold), []
    for value in series:
        state = bool(value >= (threshold - band if state else threshold + band))
        states.append(state)
    return np.array(states)


def _pieces(states: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Cut ticks (thresholds, n) where any state changes: [start, end) pairs that cover [0, n)."""
    n = states.shape[1]
    cuts = [0]
    for tick in range(1, n - _UNCUT_TICKS):
        if (cuts[-1] == 0 or tick >= cuts[-1] + _UNCUT_TICKS) and (states[:, tick] != states[:, cuts[-1]]).any():
            cuts.append(tick)
    return list(zip(cuts, [*cuts[1:], n], strict=True))


def _longitudinal_action(speed: F64) -> LongitudinalAction:
    """Class of a piece from the speeds at its n + 1 edges."""
    mean_speed, change = float(speed[:-1].mean()), float(speed[-1] - speed[0])
    accel = change / (STEP_S * (len(speed) - 1))
    if mean_speed <= -0.12:
        return "reverse"
    if abs(mean_speed) <= 0.12:
        return "stop"
    if abs(change) < 0.8 or abs(accel) < 0.15:
        return "maintain_speed"
    if change > 0:
        return "strong_accelerate" if accel >= 1.4 else "gentle_accelerate"
    return "strong_decelerate" if accel <= -1.4 else "gentle_decelerate"


def _lateral_action(speed: F64, turned: float, distance: float) -> LateralAction:
    """Class of a piece from its speeds m/s, heading change rad and distance m."""
    mean_speed = float(speed.mean())
    rate = abs(turned) / distance * float(_weight(mean_speed)) if distance > 1e-6 else 0.0
    left = turned > 0
    if mean_speed <= -0.1 and rate >= 0.002 and abs(turned) >= 0.2:
        return "reverse_left" if left else "reverse_right"
    if rate >= 0.05 and abs(turned) >= 0.2:
        return "sharp_steer_left" if left else "sharp_steer_right"
    if rate >= 0.0015 and abs(turned) >= 0.015:
        return "steer_left" if left else "steer_right"
    return "go_straight"


def _absorb_short(segments: list[_Segment]) -> list[_Segment]:
    """Merge equal neighbours, then let the first short segment give its halves to its neighbours, until none is left."""
    segments = _merge(segments)
    short = next((i for i, s in enumerate(segments) if s.is_short), None)
    if short is None or len(segments) == 1:
        return segments
    start, end = segments[short].start, segments[short].end
    before, after = segments[:short], segments[short + 1 :]
    middle = start if not before else end if not after else (start + end) // 2
    if before:
        before[-1] = _Segment(before[-1].action, before[-1].start, middle)
    if after:
        after[0] = _Segment(after[0].action, middle, after[0].end)
    return _absorb_short(before + after)


def _merge(segments: list[_Segment]) -> list[_Segment]:
    merged = segments[:1]
    for segment in segments[1:]:
        if segment.action == merged[-1].action:
            merged[-1] = _Segment(segment.action, merged[-1].start, segment.end)
        else:
            merged.append(segment)
    return merged


# --------------------------------------------------------------------------------------------------------- parsing a trace


def parse_trace(text: str, tokens: int, complete: bool) -> ReasoningTrace:
    """Decision and critical components of a model's text, which is cleaned: see `clean`.

    The first sentence that names a decision decides, on both axes; its effect ("stop", "nudge left") comes before its
    cause ("because ..."). A text that names none has an empty decision and no components. Never raises for any text.
    """
    text = clean(text)
    for sentence in _sentences(text):
        decision = _decision(sentence)
        if decision != Decision():
            return ReasoningTrace(text, decision, _components(sentence), tokens, complete)
    return ReasoningTrace(text, Decision(), (), tokens, complete)


def clean(text: str) -> str:
    """Text without control characters, from a leading special token to the next one (<|...|>), at most 2048 bytes of UTF-8."""
    text = re.sub(r"^\s*<\|cot_start\|>", "", text).split("<|")[0]
    spaced = re.sub(r"\s+", " ", text)
    printable = "".join(c for c in spaced if not unicodedata.category(c).startswith("C"))
    return printable.strip().encode("utf-8")[:TEXT_LIMIT_BYTES].decode("utf-8", errors="ignore")


def _sentences(text: str) -> list[str]:
    """Lower-case sentences; a capital glued to a word ("curveAdjust speed") starts one too, as sampled traces do that."""
    text = re.sub(r"[\u2010-\u2015]", "-", re.sub(r"(?<=[a-z])(?=[A-Z])", ". ", text))
    return [s.strip().lower() for s in re.split(r"[.!?;](?!\d)", text) if s.strip()]


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
        found += [(match.start(), category, match[0]) for match in pattern.finditer(left)]
        left = pattern.sub(lambda m: "#" * len(m[0]), left)
    found.sort()
    ends = [start for start, _, _ in found[1:]] + [len(sentence)] * bool(found)
    components = [
        CriticalComponent(category, description[:128], _attributes(sentence[start:end], words.ATTRIBUTES[category]))
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


# ------------------------------------------------------------------------------------------- consistency of words and motion


@dataclass(frozen=True)
class _Rule:
    """What a decision asks of one axis: actions that may come first, actions that may not follow, and one that fulfils it."""

    first: tuple[str, ...]
    never: tuple[str, ...] = ()
    fulfilled: str = ""  # nothing is asked of what comes after this action


_FASTER = ("gentle_accelerate", "strong_accelerate")
_SLOWER = ("gentle_decelerate", "strong_decelerate")
_HALTS = ("strong_decelerate", "stop", "reverse")

_LONGITUDINAL_RULES: dict[Longitudinal, _Rule] = {
    "set_speed_tracking": _Rule(("maintain_speed", *_FASTER, "gentle_decelerate"), _HALTS),
    "lead_obstacle_following": _Rule(
        ("maintain_speed", "gentle_accelerate", *_SLOWER, "stop"), ("strong_accelerate", "reverse")
    ),
    "speed_adaptation": _Rule(("maintain_speed", *_SLOWER), ("stop", "reverse")),
    "gap_searching": _Rule(("maintain_speed", "gentle_accelerate", "gentle_decelerate"), _HALTS),
    "acceleration_for_passing": _Rule(_FASTER, _HALTS),
    "yield": _Rule((*_SLOWER, "stop"), ("reverse",)),
    "stop_for_static_constraints": _Rule((*_SLOWER, "stop"), (*_FASTER, "reverse"), fulfilled="stop"),
}

_TOWARD = ("toward", "sharp_toward")
_SHARP = ("sharp_toward", "sharp_away")
_REVERSE = ("reverse_left", "reverse_right")

# "toward" is the side the decision names; where it names none, the side of the first steering.
_LATERAL_RULES: dict[Lateral, _Rule] = {
    "lane_keeping": _Rule(("go_straight", "toward", "away"), (*_SHARP, *_REVERSE)),
    "merge_split": _Rule(_TOWARD, ("sharp_away", *_REVERSE)),
    "out_of_lane_nudge": _Rule(_TOWARD, _REVERSE),
    "in_lane_nudge": _Rule(("toward",), (*_SHARP, *_REVERSE)),
    "lane_change": _Rule(("toward",), (*_SHARP, *_REVERSE)),
    "pull_over": _Rule(_TOWARD, _REVERSE),
    "turn": _Rule(_TOWARD, ("away", "sharp_away", *_REVERSE), fulfilled="sharp_toward"),
    "maneuver_abort": _Rule(("go_straight", "away"), (*_SHARP, *_REVERSE)),
}


# An axis the decision leaves unnamed goes on as before, unless the other axis' decision brings motion with it: roads and
# control points bring turns, turning, pulling over and aborting bring slowing.
_UNNAMED_LATERAL = _LATERAL_RULES["lane_keeping"]
_UNNAMED_LONGITUDINAL = _LONGITUDINAL_RULES["set_speed_tracking"]
_BRINGS_STEERING = ("speed_adaptation", "yield", "stop_for_static_constraints")
_BRINGS_SLOWING = ("turn", "pull_over", "maneuver_abort")


def consistent(decision: Decision, meta_actions: Sequence[MetaAction]) -> Consistency:
    """Whether a trajectory's meta-actions do what a decision says, on both axes (paper, consistency reward).

    On an axis the first meta-action other than maintain_speed or go_straight decides, for a decision is the first action
    after the critical moment; standing at the start is not an action where the decision does not ask for a stop. It must be
    one the decision allows, and none that the decision excludes may follow until the decision is fulfilled. An axis without
    a decision must go on uneventfully: no halt, no sharp steering.
    A decision that names nothing gives agrees = None. Raises InvalidInput when an axis has no meta-actions.
    """
    if decision == Decision():
        return Consistency(None)
    problems = [_longitudinal_problem(decision, [m for m in meta_actions if m.axis == "longitudinal"])]
    problems.append(_lateral_problem(decision, [m for m in meta_actions if m.axis == "lateral"]))
    why_not = "; ".join(p for p in problems if p)
    return Consistency(not why_not, why_not)


def _longitudinal_problem(decision: Decision, actions: Sequence[MetaAction]) -> str:
    if decision.longitudinal is not None:
        return _problem(decision.longitudinal, _LONGITUDINAL_RULES[decision.longitudinal], actions)
    return "" if decision.lateral in _BRINGS_SLOWING else _problem(f"{decision.lateral}", _UNNAMED_LONGITUDINAL, actions)


def _lateral_problem(decision: Decision, actions: Sequence[MetaAction]) -> str:
    if decision.lateral is not None:
        name = f"{decision.lateral} {decision.direction}" if decision.direction else decision.lateral
        return _problem(name, _sided(_LATERAL_RULES[decision.lateral], decision.direction, actions), actions)
    if decision.longitudinal in _BRINGS_STEERING:
        return ""
    return _problem(f"{decision.longitudinal}", _sided(_UNNAMED_LATERAL, None, actions), actions)


def _problem(name: str, rule: _Rule, actions: Sequence[MetaAction]) -> str:
    """Why the actions of one axis do not do what the rule asks; empty when they do."""
    if not actions:
        raise InvalidInput(f"decision {name}: the trajectory has no meta-actions on its axis")
    standing = len(actions) > 1 and actions[0].action == "stop" and "stop" not in rule.first
    rest = actions[1:] if standing else actions
    moves = [m for m in rest if m.action not in ("maintain_speed", "go_straight")] or rest[:1]
    if moves[0].action not in rule.first:
        return f"{name} allows {', '.join(rule.first)}; trajectory {_when(moves[0])}"
    for move in moves:
        if move.action in rule.never:
            return f"{name} excludes {move.action}; trajectory {_when(move)}"
        if move.action == rule.fulfilled:
            break
    return ""


def _when(action: MetaAction) -> str:
    return f"{action.action} {action.start_s:.1f}-{action.end_s:.1f} s"


def _sided(rule: _Rule, direction: Direction | None, actions: Sequence[MetaAction]) -> _Rule:
    """A lateral rule with its sides filled in: "toward" becomes steer_left for a decision to the left."""
    steering = next((m.action for m in actions if m.action != "go_straight"), "steer_left")
    side = direction or ("left" if steering.endswith("left") else "right")
    names = {"left": ("left", "right"), "right": ("right", "left")}
    named = [names[side]] if direction else [names["left"], names["right"]]
    first = tuple(dict.fromkeys(_steer(kind, toward, away) for toward, away in named for kind in rule.first))
    return _Rule(first, tuple(_steer(kind, *names[side]) for kind in rule.never), _steer(rule.fulfilled, *names[side]))


def _steer(kind: str, toward: str, away: str) -> str:
    steers = {"toward": f"steer_{toward}", "away": f"steer_{away}"}
    sharps = {"sharp_toward": f"sharp_steer_{toward}", "sharp_away": f"sharp_steer_{away}"}
    return {**steers, **sharps}.get(kind, kind)


def shuffled_consistency(decisions: Sequence[Decision], meta_actions: Sequence[Sequence[MetaAction]], seed: int) -> float:
    """Share of decisions that agree with trajectories they do not belong to: what a score of consistency is worth.

    Every decision meets up to 16 other trajectories, drawn by a seeded shuffle; decisions that name nothing are left out.
    A table that says yes to everything scores 1 here. Raises InvalidInput for fewer than 2 pairs or no decision at all.
    """
    n = len(decisions)
    if n != len(meta_actions) or n < 2 or all(d == Decision() for d in decisions):
        raise InvalidInput(f"shuffled consistency: want >= 2 pairs with a decision, got {n} and {len(meta_actions)}")
    order = np.random.default_rng(seed).permutation(n)
    verdicts = [
        consistent(decisions[a], meta_actions[b]).agrees
        for shift in range(1, min(n, _OTHERS + 1))
        for a, b in zip(order, np.roll(order, shift), strict=True)
    ]
    known = [v for v in verdicts if v is not None]
    return sum(known) / len(known)
