"""One moment of a drive as a model learns from it, wherever it was recorded."""

from __future__ import annotations

from dataclasses import dataclass

from alpamayo_ros.types import CriticalComponent, Decision, MetaAction, Observation, Trajectory


@dataclass(frozen=True)
class Reasoning:
    """A Chain of Causation: what is decided, for what, and in which words (paper, section 4)."""

    decision: Decision
    components: tuple[CriticalComponent, ...]  # the deciding one first
    text: str


@dataclass(frozen=True)
class Example:
    """What was seen, what was driven then, and where somebody said so why."""

    clip: str  # the drive; all examples of one belong to the same split
    observation: Observation  # frames at the profile's size
    future: Trajectory  # driven: 64 points, ego_t0
    meta_actions: tuple[MetaAction, ...]  # of the future, by rule
    reasoning: Reasoning | None = None  # None: nobody labelled it
    questions: tuple[tuple[str, str], ...] = ()  # and their answers
