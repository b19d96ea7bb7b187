"""What a window of the expert's drive is labelled with: what it decided at t0 and why, in words, and what was driven then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.evaluation.metrics import ade_m
from alpamayo_ros.reasoning import consistent, meta_actions, parse_trace, shuffled_consistency
from alpamayo_ros.simulation.episode import Episode, Planned
from alpamayo_ros.simulation.expert.intention import Cause, Intention
from alpamayo_ros.simulation.expert.wording import words
from alpamayo_ros.simulation.state import Ego
from alpamayo_ros.types import (
    HORIZON,
    STEP_S,
    Consistency,
    CriticalComponent,
    Decision,
    InvalidInput,
    Lateral,
    Longitudinal,
    MetaAction,
    Trajectory,
)

HISTORY_S = 2.0
SURPRISE_LIMIT_M = 2.0
"""Above it the world did something after t0 that nobody could know, so that the decision is not the cause of the motion.

In each of ten families where nothing unforeseen happens (free_road, follow_lead, curve, turn_right, parked_cars, roadworks
...), 99 % of the windows stay below it; where something does, they reach 10 m. Consistency had no say in it.
"""

KEPT_SHARES: dict[tuple[Longitudinal | None, Lateral | None], float] = {
    ("set_speed_tracking", "lane_keeping"): 0.06,
    ("lead_obstacle_following", "lane_keeping"): 0.12,
    ("gap_searching", "lane_keeping"): 0.25,
    ("set_speed_tracking", "merge_split"): 0.3,
    ("stop_for_static_constraints", "lane_keeping"): 0.3,
    ("yield", "lane_keeping"): 0.4,
    ("speed_adaptation", "lane_keeping"): 0.4,
    ("set_speed_tracking", "out_of_lane_nudge"): 0.6,
    ("set_speed_tracking", "turn"): 0.8,
    ("acceleration_for_passing", "lane_keeping"): 0.8,
}
"""How many windows of the usual decisions a balanced data set keeps; of all others it keeps every one.

More than half of all windows, families alike, keep the lane at the set speed or behind somebody, and words for that agree
with most other motions, too: strangers agree 0.63 in all windows, 0.37 in the 0.29 of them that are kept. The paper balances
its clips by scenario. The measure on which the shares were chosen is `shuffled_consistency`, and that no decision is rare.
"""

_WORDINGS = 24
_EGO_HZ = 100
_STEP_TICKS = round(STEP_S * _EGO_HZ)
_MOVED_M = 1e-3  # in a step; who moves less turns by nothing that could be measured


@dataclass(frozen=True)
class Label:
    """A window of 2 s of history and 6.4 s of future."""

    t0_s: float
    decision: Decision
    causes: tuple[Cause, ...]  # the deciding one first
    text: str  # one sentence of the Chain of Causation
    trajectory: Trajectory  # 64 points, ego_t0: what was driven, or intended where somebody else drove
    meta_actions: tuple[MetaAction, ...]  # of the trajectory
    consistent: Consistency  # of the decision with them
    surprise_m: float  # mean distance between the trajectory and what was intended at t0
    is_balanced: bool  # whether it belongs to the balanced part of a data set

    @property
    def components(self) -> tuple[CriticalComponent, ...]:
        """The causes as a reader of the text finds them."""
        return parse_trace(self.text, 0, complete=True).components


def label(episode: Episode, planned: Planned, rng: np.random.Generator) -> Label | None:
    """The label of a planning cycle's t0; its words are chosen by `rng`.

    None where the expert did not plan, where 2 s of history or 6.4 s of future were not driven, and where the surprise is
    above SURPRISE_LIMIT_M. Where the vehicle was made to go elsewhere at t0, what was intended stands for the future.
    """
    found = any_label(episode, planned, rng)
    return found if found is not None and found.surprise_m <= SURPRISE_LIMIT_M else None


def any_label(episode: Episode, planned: Planned, rng: np.random.Generator) -> Label | None:
    """The same, however large the surprise is."""
    tick = round(planned.t0_s * _EGO_HZ)
    intention = planned.intention
    if intention is None or tick < HISTORY_S * _EGO_HZ:
        return None
    ahead = episode.egos[tick : tick + HORIZON * _STEP_TICKS + 1 : _STEP_TICKS]
    if not planned.has_strayed and len(ahead) <= HORIZON:
        return None
    trajectory = intention.trajectory if planned.has_strayed else driven(ahead)
    made = meta_actions(trajectory, planned.ego.speed_mps)
    return Label(
        t0_s=planned.t0_s,
        decision=intention.decision,
        causes=intention.causes,
        text=words(intention, rng),
        trajectory=trajectory,
        meta_actions=made,
        consistent=consistent(intention.decision, made),
        surprise_m=ade_m(trajectory.xyz, intention.trajectory.xyz),
        is_balanced=is_kept(intention.decision, rng),
    )


def plainly(label: Label) -> str:
    """The shortest of some sentences for a label: the same one for all labels that mean the same.

    Half of what there is to learn in a sentence of the world is which of its wordings chance took. Where what was driven has no
    words for what was decided (the two differ a little) the label's own are the answer.
    """
    intention = Intention(label.trajectory, label.decision, label.causes, "off")
    try:
        said = [words(intention, np.random.default_rng(seed)) for seed in range(_WORDINGS)]
    except InvalidInput:
        return label.text
    return min(said, key=lambda text: (len(text), text))


def is_kept(decision: Decision, rng: np.random.Generator) -> bool:
    """Whether a balanced data set keeps a window of this decision: by chance, see KEPT_SHARES."""
    return bool(rng.random() < KEPT_SHARES.get((decision.longitudinal, decision.lateral), 1.0))


def driven(egos: Sequence[Ego]) -> Trajectory:
    """The way of n + 1 egos, 0.1 s apart, as n points in the frame of the first one.

    Acceleration and curvature are the unicycle's actions between the points (`dynamics.integrate`): they give speeds and
    headings back exactly, and places as nearly as trapezoids do.
    """
    xy, speed = np.array([ego.xy_m for ego in egos]), np.array([ego.speed_mps for ego in egos])
    yaw = np.unwrap([ego.yaw_rad for ego in egos])
    cos, sin = np.cos(yaw[0]), np.sin(yaw[0])
    off = xy[1:] - xy[0]
    moved = STEP_S * (speed[:-1] + speed[1:]) / 2
    steered = np.array([ego.curvature_1pm for ego in egos[1:]])
    curvature = np.divide(np.diff(yaw), moved, out=steered, where=moved > _MOVED_M)
    return Trajectory(
        t_s=STEP_S * np.arange(1.0, len(egos)),
        xyz=np.column_stack([off[:, 0] * cos + off[:, 1] * sin, off[:, 1] * cos - off[:, 0] * sin, np.zeros(len(off))]),
        yaw_rad=yaw[1:] - yaw[0],
        speed_mps=speed[1:],
        accel_mps2=np.diff(speed) / STEP_S,
        curvature_1pm=curvature,
    )


@dataclass(frozen=True)
class Figures:
    """What labels are worth as data."""

    labels: int
    longitudinal: dict[str, float]  # share of the labels per decision, "None" included
    lateral: dict[str, float]
    consistency: float  # share of decisions that agree with what was driven
    shuffled: float  # with what was driven elsewhere


def figures(labels: Sequence[Label]) -> Figures:
    """Shares and consistency of at least two labels. Raises InvalidInput for fewer."""
    decisions, made = [label.decision for label in labels], [label.meta_actions for label in labels]
    return Figures(
        labels=len(labels),
        shuffled=shuffled_consistency(decisions, made, seed=0),
        consistency=sum(label.consistent.agrees is True for label in labels) / len(labels),
        longitudinal=_shares([str(decision.longitudinal) for decision in decisions]),
        lateral=_shares([str(decision.lateral) for decision in decisions]),
    )


def _shares(names: Sequence[str]) -> dict[str, float]:
    counts = Counter(names)
    return {name: counts[name] / len(names) for name in sorted(counts)}
