"""What a rollout is worth in each respect, measured: nothing is weighed here.

Every quantity has its one definition elsewhere: words in `reasoning`, distances and comfort in `evaluation.metrics`, incidents
and progress in `simulation.judging`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from alpamayo_ros.dynamics import RELEASED, ActionSpace, estimate_v0
from alpamayo_ros.evaluation.metrics import COMFORT_BOUNDS, ade_m, displacement_m, kept, quantities_by_actions
from alpamayo_ros.reasoning import clean, consistent, meta_actions, parse_trace
from alpamayo_ros.training.coc.judge import Judgement
from alpamayo_ros.training.example import Example, Reasoning
from alpamayo_ros.training.rewards.driving import Surroundings, consequences
from alpamayo_ros.types import STEP_S, InvalidInput, Trajectory

Judge = Callable[[str, Reasoning], Judgement]
"""(predicted text, truth) -> score: `judged_by_rule`, or `partial(judged_by_model, client)`."""


@dataclass(frozen=True)
class Rollout:
    """What a policy wrote for one example."""

    text: str
    is_complete: bool  # it asked for a trajectory and ended it
    trajectory: Trajectory | None  # of its tokens; None where they are no actions, never a default in their place


@dataclass(frozen=True)
class Truth:
    """What a rollout is measured against."""

    future: Trajectory  # driven, ego_t0
    v0_mps: float  # from which rollouts start
    reasoning: Reasoning
    surroundings: Surroundings | None = None  # None: not of the driving world, incidents and progress are not known


def truth_of(example: Example, surroundings: Surroundings | None = None, space: ActionSpace = RELEASED) -> Truth:
    """What rollouts of an example are measured against. Raises InvalidInput for an example that nobody labelled."""
    if example.reasoning is None:
        raise InvalidInput(f"{example.clip}: want a labelled example, this one at {example.observation.stamp_ns} ns is not")
    history = example.observation.history
    return Truth(example.future, estimate_v0(history.xyz, history.rot, space), example.reasoning, surroundings)


@dataclass(frozen=True)
class Terms:
    """One well-formed rollout, measured."""

    reasoning: float  # 0 .. 1
    consistent: bool
    l2_m: float  # ADE
    l2_m2: float  # mean squared distance
    comfort: float  # 0 .. 1: share of the six COMFORT_BOUNDS kept, by actions
    jerk_mps3: float  # mean magnitude
    collision: bool | None  # at fault; None without surroundings, as the next two
    off_road: bool | None
    progress: float | None  # 0 .. 1 of the expert's way


def terms_of(text: str, trajectory: Trajectory, truth: Truth, judge: Judge) -> Terms:
    """Measure a rollout's words and way.

    Raises InvalidInput for a trajectory with other points than the driven one, and what the judge raises.
    """
    own = quantities_by_actions(trajectory.speed_mps, trajectory.accel_mps2, trajectory.curvature_1pm, STEP_S)
    bounds = kept(own, COMFORT_BOUNDS)
    drive = None if truth.surroundings is None else consequences(truth.surroundings, trajectory)
    return Terms(
        reasoning=reasoning_quality(text, truth.reasoning, judge),
        consistent=consistency(text, trajectory, truth.v0_mps),
        l2_m=ade_m(trajectory.xyz, truth.future.xyz),
        l2_m2=float((displacement_m(trajectory.xyz, truth.future.xyz) ** 2).mean()),
        comfort=sum(bounds.values()) / len(bounds),
        jerk_mps3=float(abs(own["jerk_mps3"]).mean()),
        collision=drive.collision if drive else None,
        off_road=drive.off_road if drive else None,
        progress=drive.progress if drive else None,
    )


def reasoning_quality(text: str, truth: Reasoning, judge: Judge) -> float:
    """The judge's score of a text as 0 .. 1 (paper, section 5: reasoning reward); 0 for no words, nobody is asked then."""
    if not (words := clean(text)):
        return 0.0
    return judge(words, truth).share


def consistency(text: str, trajectory: Trajectory, v0_mps: float) -> bool:
    """Whether the trajectory does on both axes what the text says; with a text that names no decision none does (paper)."""
    decision = parse_trace(text, tokens=0, complete=True).decision
    return consistent(decision, meta_actions(trajectory, v0_mps)).agrees is True
