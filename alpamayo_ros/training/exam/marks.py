"""What answers are worth: means and ratios over windows with intervals over scenes, and shuffled consistency.

Windows of one scene are alike, so scenes are drawn anew, never windows (`evaluation.statistics`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from alpamayo_ros.evaluation.statistics import Estimate, Places, estimate, estimate_of
from alpamayo_ros.reasoning import consistent
from alpamayo_ros.training.exam.answered import Answer
from alpamayo_ros.training.exam.asked import MIRRORED, TURNED_RAD
from alpamayo_ros.types import F64

Values = Sequence[float | None]
"""One per window; None where it has none."""


def ade_1_m(given: Sequence[Answer]) -> Values:
    """Of the first trajectory, over all 6.4 s."""
    return [_at_horizon(answer, "min_ade_1") for answer in given]


def min_ade_6_m(given: Sequence[Answer]) -> Values:
    """Of the nearest of six."""
    return [_at_horizon(answer, "min_ade_6") for answer in given]


def expert_ade_m(given: Sequence[Answer]) -> Values:
    """Of what the expert intended at t0 and could not know better: what can be reached."""
    return [answer.sitting.label.surprise_m for answer in given]


def decides_right(given: Sequence[Answer]) -> Values:
    """Whether the words decide as the expert did, on both axes and to the same side. No plan is wrong."""
    return [
        float(answer.plan is not None and answer.plan.reasoning.decision == answer.sitting.label.decision) for answer in given
    ]


def says_the_usual(given: Sequence[Answer]) -> Values:
    """What `decides_right` would be of somebody who always says the most frequent decision."""
    decisions = [answer.sitting.label.decision for answer in given]
    [(usual, _)] = Counter(decisions).most_common(1)
    return [float(decision == usual) for decision in decisions]


def is_consistent(given: Sequence[Answer]) -> Values:
    """Whether words and trajectory agree. No plan, and words that decide nothing, do not."""
    return [float(answer.plan is not None and answer.plan.consistent.agrees is True) for answer in given]


def obeys(given: Sequence[Answer]) -> Values:
    """Whether a plan ends more than TURNED_RAD to the side that a junction command says; None where none was carried out."""
    return [_obeys(answer) for answer in given]


def _obeys(answer: Answer) -> float | None:
    sitting = answer.sitting
    said = sitting.example.observation.navigation
    if said is None or said.maneuver not in MIRRORED or sitting.turns is None:
        return None
    if answer.plan is None:
        return 0.0
    ended_rad = float(answer.plan.trajectory.yaw_rad[-1])
    return float(ended_rad > TURNED_RAD if said.maneuver == "turn_left" else ended_rad < -TURNED_RAD)


def _at_horizon(answer: Answer, stem: str) -> float | None:
    return None if answer.metrics is None else answer.metrics.values().get(f"{stem}_6_4s")


def clips_of(given: Sequence[Answer]) -> list[str]:
    """The scene of each window."""
    return [answer.sitting.example.clip for answer in given]


def mean(of: Callable[[Sequence[Answer]], Values], given: Sequence[Answer]) -> Estimate | None:
    """Over all windows that have a value; None where none has."""
    values = of(given)
    return estimate(values, clips_of(given)) if any(value is not None for value in values) else None


def less_by(values: Values, than: Values, clips: Sequence[Hashable]) -> Estimate | None:
    """By which part the mean of values is below another mean, over the windows that have both; None without any."""
    every = zip(values, than, clips, strict=True)
    return _ratio([(b - a, b, clip) for a, b, clip in every if a is not None and b is not None])


def gap_closed(values: Values, far: Values, near: Values, clips: Sequence[Hashable]) -> Estimate | None:
    """Of the way from one mean to another, the part that the mean of values has gone; 1 is there. None without any window."""
    every = zip(values, far, near, clips, strict=True)
    return _ratio([(f - a, f - n, clip) for a, f, n, clip in every if a is not None and f is not None and n is not None])


def _ratio(parts: Sequence[tuple[float, float, Hashable]]) -> Estimate | None:
    """Of the sums of tops and bottoms of windows, each with its scene."""
    if not parts:
        return None
    tops, bottoms, clips = zip(*parts, strict=True)
    top, bottom = np.array(tops, np.float64), np.array(bottoms, np.float64)
    return estimate_of(lambda places: float(top[places].sum() / bottom[places].sum()), clips)


def shuffled_consistency(given: Sequence[Answer]) -> Estimate | None:
    """`reasoning.shuffled_consistency` with the motions of all other windows instead of some; None below two windows."""
    named = [answer for answer in given if answer.plan is not None and answer.plan.consistent.agrees is not None]
    if len(named) < 2:
        return None
    agree = _agreement(named)

    def worth(places: Places) -> float:
        times = np.bincount(places, minlength=len(named)).astype(np.float64)
        pairs = times.sum() ** 2 - (times**2).sum()
        return float(times @ agree @ times / pairs) if pairs else float("nan")

    return estimate_of(worth, clips_of(named))


def _agreement(named: Sequence[Answer]) -> F64:
    """(n, n): 1 where the decision of a row's window agrees with the motion of a column's; 0 on the diagonal."""
    plans = [answer.plan for answer in named if answer.plan is not None]
    decisions = [made.reasoning.decision for made in plans]
    rows = {
        decision: [consistent(decision, made.meta_actions).agrees is True for made in plans]
        for decision in dict.fromkeys(decisions)
    }
    agree = np.array([rows[decision] for decision in decisions], np.float64)
    np.fill_diagonal(agree, 0.0)
    return agree
