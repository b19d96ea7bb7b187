"""Who sits exams in tests: one scene's windows, somebody who knows every answer, and somebody who knows none."""

from functools import cache

import numpy as np
from training.lessons import debug_codec, scene

from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.training.encoding import true_actions
from alpamayo_ros.training.exam.answered import Answer, answers
from alpamayo_ros.training.exam.asked import Sitting, sittings
from alpamayo_ros.types import CameraFrame, EngineFailure, ModelOutput, Observation, Request

SIX = Request(samples=6, greedy=False)


class Knows:
    """An engine that has seen the answers: it says what was labelled and drives what was driven."""

    weights = "none"

    def __init__(self, asked: list[Sitting], *, fails: bool = False) -> None:
        self._known = {sitting.example.observation.stamp_ns: sitting.example for sitting in asked}
        self._fails = fails

    def add_frame(self, frame: CameraFrame) -> None:
        pass

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        if self._fails:
            raise EngineFailure("no answer")
        example = self._known[observation.stamp_ns]
        assert example.reasoning is not None
        actions = np.repeat(true_actions(example, debug_codec().config)[None], request.samples, axis=0)
        return ModelOutput(actions, (example.reasoning.text,), (1,), (True,))

    def reset(self, epoch: int) -> None:
        pass

    def close(self) -> None:
        pass


@cache
def windows() -> tuple[Sitting, ...]:
    return tuple(sittings([scene()], debug_codec().profile))


@cache
def known() -> tuple[Answer, ...]:
    return tuple(answers(Knows(list(windows())), windows(), SIX, RELEASED))


@cache
def unknown() -> tuple[Answer, ...]:
    return tuple(answers(Knows([], fails=True), windows(), SIX, RELEASED))


@cache
def kinematic() -> tuple[Answer, ...]:
    return tuple(answers(KinematicEngine(), windows(), Request(), RELEASED))
