"""Examples as they are shown to a model: which of them, with and without navigation, as a question, and words for actions."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from alpamayo_ros.simulation.expert.label import is_kept
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import MetaAction


def drop_navigation(example: Example, probability: float, seed: int, epoch: int) -> Example:
    """For guidance: with this probability the example as it would be without a command, the same for the same seed and epoch.

    Guidance is the difference between what a model does with a command and without (`Observation.navigation` None).
    """
    rng = np.random.default_rng([seed, epoch, *_key(example)])
    if example.observation.navigation is None or rng.random() >= probability:
        return example
    return replace(example, observation=replace(example.observation, navigation=None))


def drawn_question(example: Example, probability: float, seed: int, epoch: int) -> tuple[str, str] | None:
    """With this probability one of an example's questions, with its answer; the same for the same seed and epoch."""
    rng = np.random.default_rng([seed, epoch, *_key(example), 1])  # another chance than that of `drop_navigation`
    if not example.questions or rng.random() >= probability:
        return None
    return example.questions[rng.integers(len(example.questions))]


def is_balanced(example: Example, seed: int) -> bool:
    """Whether a balanced part of the data has it: of usual decisions some, of others every one (`label.KEPT_SHARES`).

    The same for the same seed; another seed chooses others. What nobody labelled is in it.
    """
    if example.reasoning is None:
        return True
    return is_kept(example.reasoning.decision, np.random.default_rng([seed, *_key(example)]))


def _key(example: Example) -> tuple[int, int]:
    return zlib.crc32(example.clip.encode()), example.observation.stamp_ns


def meta_action_words(actions: Sequence[MetaAction]) -> str:
    """Meta-actions as a model states them: "maintain speed, gentle decelerate; go straight", longitudinal ones first."""
    axes = [[action.action for action in actions if action.axis == axis] for axis in ("longitudinal", "lateral")]
    return "; ".join(", ".join(name.replace("_", " ") for name, _ in groupby(names)) for names in axes if names)
