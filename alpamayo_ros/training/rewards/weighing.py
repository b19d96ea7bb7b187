"""Measured terms -> one number: which term counts how much, and what is worth nothing at all.

The paper (arXiv 2511.00088, section 5) has a reasoning score, consistency and a trajectory reward λ_L2 |x - x_expert|^2 +
λ_coll 1[collision] + λ_jerk J; it publishes neither weights nor signs nor J. The article on it adds boundary violation, comfort
and efficiency: leaving the road, the bounds of the released recipe, progress. Weights are ours unless a line says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from alpamayo_ros.training.rewards.terms import Judge, Rollout, Terms, Truth, terms_of
from alpamayo_ros.types import InvalidInput


@dataclass(frozen=True)
class RewardConfig:
    """What each term earns or costs. All are magnitudes, so that no sign can be wrong; 0 leaves a term out."""

    floor: float  # of what is malformed; no other reward is below it
    reasoning: float = 0.0  # earned by a perfect trace
    reasoning_from: float = 0.0  # 0 .. 1: the quality from which it earns, in proportion up to 1; the floor is for less
    consistency: float = 0.0  # earned by a trajectory that does what the trace says
    progress: float = 0.0  # earned by all of the expert's way
    l2_per_m: float = 0.0  # cost of the ADE
    l2_per_m2: float = 0.0  # cost of the mean squared distance
    l2_limit_m: float = math.inf  # from this ADE on the floor
    discomfort: float = 0.0  # cost of breaking all six bounds
    jerk_per_mps3: float = 0.0  # cost of the mean jerk
    collision: float = 0.0  # cost of one at fault
    off_road: float = 0.0

    def __post_init__(self) -> None:
        others = [getattr(self, field.name) for field in fields(self) if field.name not in ("floor", "l2_limit_m")]
        sound = all(0 <= value < math.inf for value in others) and self.reasoning_from < 1 and self.l2_limit_m > 0
        if not sound or not math.isfinite(self.floor):
            raise InvalidInput(f"reward: want a finite floor, magnitudes >= 0, reasoning_from < 1, l2_limit_m > 0, got {self}")

    @property
    def of_the_world(self) -> tuple[str, ...]:
        """Terms that count and that only the driving world can measure."""
        return tuple(name for name in ("collision", "off_road", "progress") if getattr(self, name) > 0)


PAPER = RewardConfig(floor=-3.0, reasoning=1.0, consistency=1.0, l2_per_m2=0.02, collision=1.0, jerk_per_mps3=0.02)
"""The terms of the paper."""

RELEASED = RewardConfig(
    floor=-1.0, reasoning=0.3, reasoning_from=0.6, consistency=0.6, l2_per_m=0.2 / 3.0, l2_limit_m=3.0, discomfort=0.0
)
"""The released recipe's reward with reasoning (`aggregated_reward_with_reasoning.py`), but for two things.

Released: -1 unless the ADE is below 3 m and the judged quality above 0.6; weights 0.2, 0.0 and 0.3. Its sign quirk is not
taken over: there words earn 0.3 (1 - quality) / 0.4, the more the worse they are; here it is 0.3 (quality - 0.6) / 0.4.
A quality of just 0.6 passes, for models score in whole fifths. Added is the paper's consistency, which it lacks: without
it a right trace wins over any trajectory within 3 m; at 0.6 it counts more than words and nearness can earn together.
The other released reward, of the motion alone, is not here: it does not see the words, so the emptiest ones would do.
"""

WORLD = RewardConfig(
    floor=-3.0,
    reasoning=1.0,
    consistency=1.0,
    progress=0.3,
    l2_per_m=0.07,
    discomfort=0.2,
    collision=1.0,
    off_road=1.0,
)
"""Every term the driving world can measure.

Chosen so that the guards in the tests hold with some room: of a template that agrees with every motion, a right trace over
another path, an empty trace and standing still none wins over a mediocre rollout, though all else about it is perfect.
"""

CONFIGS: Mapping[str, RewardConfig] = MappingProxyType({"paper": PAPER, "released": RELEASED, "world": WORLD})


@dataclass(frozen=True)
class Reward:
    """What a rollout is worth, and why."""

    total: float
    parts: Mapping[str, float]  # earned and, negative, what it cost, by the names of RewardConfig
    terms: Terms | None  # None of a malformed rollout
    floored: str = ""  # why the total is the floor and not the sum of the parts


def reward(rollout: Rollout, truth: Truth, judge: Judge, config: RewardConfig) -> Reward:
    """What a rollout is worth. Malformed ones get the floor: the judge is not asked, nothing is measured.

    Raises InvalidInput as `terms_of` does.
    """
    if not rollout.is_complete or rollout.trajectory is None:
        why = "its tokens are no trajectory" if rollout.is_complete else "it is not complete"
        return Reward(config.floor, MappingProxyType({}), None, why)
    return weigh(terms_of(rollout.text, rollout.trajectory, truth, judge), config)


def weigh(terms: Terms, config: RewardConfig) -> Reward:
    """The reward of a well-formed rollout: the sum of its parts, or the floor, which is the least there is."""
    parts = MappingProxyType(_parts(terms, config))
    total, floored = sum(parts.values()), ""
    if terms.reasoning < config.reasoning_from:
        floored = f"reasoning {terms.reasoning:.2f} is below {config.reasoning_from:g}"
    elif terms.l2_m >= config.l2_limit_m:
        floored = f"{terms.l2_m:.1f} m from the driven path, limit {config.l2_limit_m:g}"
    elif total < config.floor:
        floored = f"its parts are worth {total:.2f}"
    return Reward(config.floor if floored else total, parts, terms, floored)


def _parts(terms: Terms, config: RewardConfig) -> dict[str, float]:
    measured = {
        "reasoning": (terms.reasoning - config.reasoning_from) / (1.0 - config.reasoning_from),
        "consistency": terms.consistent,
        "progress": terms.progress,
        "l2_per_m": -terms.l2_m,
        "l2_per_m2": -terms.l2_m2,
        "discomfort": terms.comfort - 1.0,
        "jerk_per_mps3": -terms.jerk_mps3,
        "collision": None if terms.collision is None else -terms.collision,
        "off_road": None if terms.off_road is None else -terms.off_road,
    }
    weights = {name: getattr(config, name) for name in measured}
    return {name: weights[name] * value for name, value in measured.items() if weights[name] > 0 and value is not None}
