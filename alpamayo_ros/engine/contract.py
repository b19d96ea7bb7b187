"""What an engine is. Slow and fast engines stand behind this and are proven equal.

Law: `add_frame` and everything that went before are hints. The output depends only on (observation, request); for
sampled text under speculation, its distribution does. Dropping, repeating or reordering hints changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from alpamayo_ros.bundle.provenance import Weights as Weights  # noqa: PLC0414 - what an engine of one's own says of itself
from alpamayo_ros.types import CameraFrame, ModelOutput, Observation, Request


class Engine(Protocol):
    """One loaded model on one device. Not thread-safe: one caller at a time."""

    weights: Weights

    def add_frame(self, frame: CameraFrame) -> None:
        """A hint that this frame may be part of a coming observation. May do nothing; an EngineFailure is logged."""

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        """Actions and words for one observation. Raises EngineFailure."""

    def reset(self, epoch: int) -> None:
        """The clock jumped: forget every frame of earlier epochs."""

    def close(self) -> None:
        """Give back the device. The engine is unusable afterwards; closing twice is allowed."""


@runtime_checkable
class Prepares(Engine, Protocol):
    """An engine that wants to know what it will be asked: to refuse it before anybody drives, and to have it run once."""

    def prepare(self, requests: Sequence[Request]) -> None:
        """Whatever comes will be asked like one of these, but for its seed. Raises InvalidInput, EngineFailure."""


@runtime_checkable
class AnswersQuestions(Engine, Protocol):
    """An engine that can also be asked in words. Never on a vehicle: an answer is no plan."""

    def ask(self, observation: Observation, question: str, request: Request) -> str:
        """The model's answer to a question about an observation. Raises InvalidInput, EngineFailure."""
