"""A decision and a trajectory's meta-actions -> whether the vehicle does what it says (Alpamayo-R1 paper, section 5).

The paper's consistency reward is a rule match on both axes; its rules are not published, the tables here are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.types import Consistency, Decision, Direction, InvalidInput, Lateral, Longitudinal, MetaAction

_OTHERS = 32  # trajectories each decision meets in a shuffled score


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
    if decision.longitudinal is None and decision.lateral is None:
        return Consistency(None)
    problems = [_longitudinal_problem(decision, [m for m in meta_actions if m.axis == "longitudinal"])]
    problems.append(_lateral_problem(decision, [m for m in meta_actions if m.axis == "lateral"]))
    why_not = "; ".join(p for p in problems if p)
    return Consistency(not why_not, why_not)


def _longitudinal_problem(decision: Decision, actions: Sequence[MetaAction]) -> str:
    if decision.longitudinal is not None:
        return _problem(decision.longitudinal, _LONGITUDINAL_RULES[decision.longitudinal], actions)
    return "" if decision.lateral in _BRINGS_SLOWING else _problem(f"{decision.lateral} alone", _UNNAMED_LONGITUDINAL, actions)


def _lateral_problem(decision: Decision, actions: Sequence[MetaAction]) -> str:
    if decision.lateral is not None:
        name = f"{decision.lateral} {decision.direction}" if decision.direction else decision.lateral
        return _problem(name, _sided(_LATERAL_RULES[decision.lateral], decision.direction, actions), actions)
    if decision.longitudinal in _BRINGS_STEERING:
        return ""
    return _problem(f"{decision.longitudinal} alone", _sided(_UNNAMED_LATERAL, None, actions), actions)


def _problem(name: str, rule: _Rule, actions: Sequence[MetaAction]) -> str:
    """Why the actions of one axis do not do what the rule asks; empty when they do."""
    if not actions:
        raise InvalidInput(f"decision {name}: the trajectory has no meta-actions on its axis")
    standing = len(actions) > 1 and actions[0].action == "stop" and "stop" not in rule.first
    rest = actions[1:] if standing else actions
    moves = [m for m in rest if m.action not in ("maintain_speed", "go_straight")] or rest[:1]
    if moves[0].action not in rule.first:
        return f"{name} allows {_listed(rule.first)}; trajectory {_when(moves[0])}"
    for move in moves:
        if move.action in rule.never:
            return f"{name} excludes {move.action}; trajectory {_when(move)}"
        if move.action == rule.fulfilled:
            break
    return ""


def _listed(actions: Sequence[str]) -> str:
    """Names, without the side where both sides are meant."""
    other = {"left": "right", "right": "left"}
    stems = {a: a.rpartition("_") for a in actions}
    both = {a for a, (stem, _, side) in stems.items() if f"{stem}_{other.get(side)}" in actions}
    return ", ".join(dict.fromkeys(stems[a][0] if a in both else a for a in actions))


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

    Every decision meets up to 32 other trajectories, drawn by a seeded shuffle; decisions that name nothing are left out.
    A table that says yes to everything scores 1 here. Raises InvalidInput for fewer than 2 pairs or no decision at all.
    """
    n = len(decisions)
    if n != len(meta_actions) or n < 2:
        raise InvalidInput(f"shuffled consistency: want >= 2 pairs, got {n} decisions and {len(meta_actions)} trajectories")
    order = np.random.default_rng(seed).permutation(n)
    verdicts = [
        consistent(decisions[a], meta_actions[b]).agrees
        for shift in range(1, min(n, _OTHERS + 1))
        for a, b in zip(order, np.roll(order, shift), strict=True)
    ]
    known = [agrees for agrees in verdicts if agrees is not None]
    if not known:
        raise InvalidInput(f"shuffled consistency: none of {n} traces names a decision")
    return sum(known) / len(known)
