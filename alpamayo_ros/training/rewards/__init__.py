"""Rewards of rollouts: plain functions over the same definitions that reports and the driving world's judging use.

`terms_of` measures a rollout, `reward` weighs what was measured by a `RewardConfig`.
"""

from alpamayo_ros.training.rewards.driving import Consequences, Surroundings, consequences, drive_along, surroundings_at
from alpamayo_ros.training.rewards.redriven import Redriven
from alpamayo_ros.training.rewards.terms import Judge, Rollout, Terms, Truth, consistency, reasoning_quality, terms_of, truth_of
from alpamayo_ros.training.rewards.weighing import CONFIGS, PAPER, RELEASED, WORLD, Reward, RewardConfig, reward, weigh

__all__ = [
    "CONFIGS",
    "PAPER",
    "RELEASED",
    "WORLD",
    "Consequences",
    "Judge",
    "Redriven",
    "Reward",
    "RewardConfig",
    "Rollout",
    "Surroundings",
    "Terms",
    "Truth",
    "consequences",
    "consistency",
    "drive_along",
    "reasoning_quality",
    "reward",
    "surroundings_at",
    "terms_of",
    "truth_of",
    "weigh",
]
