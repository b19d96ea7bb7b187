"""Every window is answered in its order, by one process or several, with eyes open or shut."""

import sys

import numpy as np
import pytest
from training.exam.examinees import kinematic, unknown, windows

from alpamayo_ros.training.exam.answered import Answer, Paper, answered
from alpamayo_ros.types import CameraFrame, EngineFailure, ModelOutput, Observation, Request


class DrivesByBrightness:
    """An engine that accelerates by what it sees, and has no answer where that is grey."""

    weights = "none"

    def add_frame(self, frame: CameraFrame) -> None:
        pass

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        image = observation.frames["front_wide"][-1].image
        if (image == 127).all():
            raise EngineFailure("nothing to be seen")
        actions = np.full((request.samples, 64, 2), image.mean() / 255, np.float32)
        return ModelOutput(actions, ("Keep the lane since the road is clear.",), (1,), (True,))

    def reset(self, epoch: int) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def seeing(monkeypatch: pytest.MonkeyPatch) -> str:
    """An engine of one's own is found by its name, in processes of this one, too."""
    module = type(sys)("an_engine_that_sees")
    vars(module).update(DrivesByBrightness=DrivesByBrightness)
    monkeypatch.setitem(sys.modules, "an_engine_that_sees", module)
    return "an_engine_that_sees:DrivesByBrightness"


def ends_m(given: list[Answer]) -> list[float]:
    return [float(answer.plan.trajectory.xyz[-1, 0]) for answer in given if answer.plan is not None]


def test_several_processes_answer_what_one_does(seeing: str) -> None:
    paper = Paper("seeing", seeing, windows(), Request())
    one, two = answered(paper, 1), answered(paper, 2)
    assert ends_m(one) == ends_m(two)
    assert len(set(ends_m(one))) > 1, "windows look different"
    assert [answer.sitting for answer in two] == list(windows())
    assert [answer.metrics for answer in one] == [answer.metrics for answer in two]


@pytest.mark.parametrize("workers", [1, 2])
def test_with_eyes_shut_the_engine_is_shown_grey_and_its_silence_is_an_answer(seeing: str, workers: int) -> None:
    given = answered(Paper("shut", seeing, windows(), Request(), eyes_shut=True), workers)
    assert [answer.plan for answer in given] == [None] * len(windows())
    assert [answer.metrics for answer in given] == [None] * len(windows())
    assert not (given[0].sitting.example.observation.frames["front_wide"][0].image == 127).all(), "the answer keeps the window"


def test_the_kinematic_baseline_is_an_engine_like_any_other() -> None:
    given = answered(Paper("kinematic", "kinematic", windows(), Request()), 1)
    assert [answer.metrics for answer in given] == [answer.metrics for answer in kinematic()]
    assert unknown()[0].plan is None
