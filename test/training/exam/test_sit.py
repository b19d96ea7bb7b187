"""An exam from scenes to a page, by an engine that takes what it sees for a decision."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from training.exam.examinees import windows
from training.lessons import scene

from alpamayo_ros.profile import read_rig
from alpamayo_ros.training.exam.sit import Exam, sit
from alpamayo_ros.types import CameraFrame, EngineFailure, InvalidInput, ModelOutput, Observation, Request

ENGINE = "an_engine_of_one_opinion"


class Stops:
    """It always stops for a red light, whatever it sees."""

    weights = "none"

    def add_frame(self, frame: CameraFrame) -> None:
        pass

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        actions = np.full((request.samples, 64, 2), -0.5, np.float32)
        for_red = next(sitting.label.text for sitting in windows() if sitting.is_of("red light"))
        return ModelOutput(actions, (for_red,), (1,), (True,))

    def reset(self, epoch: int) -> None:
        pass

    def close(self) -> None:
        pass


class StopsInTheDark(Stops):
    """The same, of somebody who cannot bear to see anything."""

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        if any((frame.image != 127).any() for frames in observation.frames.values() for frame in frames):
            raise EngineFailure("too bright")
        return super().infer(observation, request)


@pytest.fixture(scope="module", autouse=True)
def engines() -> Iterator[None]:
    """Engines of one's own are found by name."""
    module = type(sys)(ENGINE)
    vars(module).update(Stops=Stops, StopsInTheDark=StopsInTheDark)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, ENGINE, module)
        yield


def exam(windows: int = 600, pairs: int = 1, workers: int = 1) -> Exam:
    return Exam(f"{ENGINE}:Stops", f"{ENGINE}:StopsInTheDark", windows, pairs, read_rig("seven_camera"), workers)


@pytest.fixture(scope="module")
def sat(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    out = tmp_path_factory.mktemp("exam")
    return sit(exam(), [scene()], "validation", out), out


@pytest.mark.thorough
def test_who_has_one_opinion_is_right_in_one_window_of_each_pair(sat: tuple[dict, Path]) -> None:
    figures, _ = sat
    assert figures["windows"] == len(windows())
    assert figures["figures"]["light pairs: decision right"] == 0.5
    assert figures["figures"]["light pairs: right in both windows"] == 0.0
    assert figures["figures"]["lead pairs: decision right"] == 0.0


@pytest.mark.thorough
def test_who_does_not_look_is_no_better_than_a_control_that_is_shown_grey(sat: tuple[dict, Path]) -> None:
    figures, _ = sat
    right = figures["figures"]["decision right, all windows"]
    assert right > 0.0
    assert figures["figures"]["decision right, control trained blind"] == right
    assert figures["figures"]["ADE_1 below that with blanked cameras by"] == 0.0
    assert figures["figures"]["ADE_1 below the control trained blind by"] == 0.0
    assert figures["goals_met"] < figures["goals"]


@pytest.mark.thorough
def test_what_is_written_says_the_same(sat: tuple[dict, Path]) -> None:
    figures, out = sat
    told = json.loads((out / "exam.json").read_text())
    assert {each["name"]: each["mean"] for each in told["figures"]} == figures["figures"]
    assert "1 kept" in told["about"]["light pairs"]
    assert "split validation" in (out / "exam.md").read_text()
    assert figures["files"] == [str(out / name) for name in ("exam.json", "exam.md", "exam.png")]
    drawn = cv2.imread(str(out / "exam.png"))
    assert drawn is not None
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 1000, "pictures, not only lines"


def test_no_exam_without_windows() -> None:
    for wrong in ({"windows": 0}, {"pairs": -1}, {"workers": 0}):
        with pytest.raises(InvalidInput, match="want 1 window, 0 pairs, 1 worker"):
            exam(**wrong)
    with pytest.raises(InvalidInput, match="no window"):
        sit(exam(pairs=0), [], "test", Path("nowhere"))
