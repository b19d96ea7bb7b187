"""Who knows everything gets full marks, who knows nothing does not, and the gap between them is measured."""

from dataclasses import replace

import numpy as np
import pytest
from training.lessons import debug_codec, scene

from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.training.encoding import true_actions
from alpamayo_ros.training.exam import (
    Answer,
    Sitting,
    answers,
    gap_closed,
    led_elsewhere,
    marks,
    obeys,
    sittings,
    with_eyes_shut,
)
from alpamayo_ros.types import CameraFrame, EngineFailure, ModelOutput, Navigation, Observation, Request

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


@pytest.fixture(scope="module")
def asked() -> list[Sitting]:
    return list(sittings([scene()], debug_codec().profile))


@pytest.fixture(scope="module")
def known(asked: list[Sitting]) -> list[Answer]:
    return list(answers(Knows(asked), asked, SIX, RELEASED))


@pytest.fixture(scope="module")
def kinematic(asked: list[Sitting]) -> list[Answer]:
    return list(answers(KinematicEngine(), asked, Request(), RELEASED))


def test_who_knows_everything_gets_full_marks(known: list[Answer]) -> None:
    full = marks(known)
    assert full.without_plan == 0
    assert full.means["decision"].mean == 1.0
    assert full.means["ade_1_m"].mean < 0.3
    assert full.means["min_ade_6_m"].mean == pytest.approx(full.means["ade_1_m"].mean)


def test_the_gap_is_between_who_needs_no_eyes_and_the_expert(known: list[Answer], kinematic: list[Answer]) -> None:
    baseline = marks(kinematic)
    assert gap_closed(baseline, baseline) == 0.0
    assert gap_closed(marks(known), baseline) == pytest.approx(1.0, abs=0.2)
    assert baseline.means["decision"].mean == 0.0, "it says nothing"
    assert "min_ade_6_m" not in baseline.means, "it has one trajectory"


def test_a_window_without_a_plan_counts_against_what_is_decided_and_has_no_distance(
    asked: list[Sitting], known: list[Answer]
) -> None:
    half = len(asked) // 2
    failed = list(answers(Knows(asked, fails=True), asked[:half], SIX, RELEASED))
    mixed = marks([*failed, *known[half:]])
    assert mixed.without_plan == half
    assert mixed.means["decision"].mean == pytest.approx(1 - half / len(asked))
    assert mixed.means["ade_1_m"].mean == pytest.approx(marks(known[half:]).means["ade_1_m"].mean)


def test_a_model_that_never_plans_has_gone_no_way(asked: list[Sitting], kinematic: list[Answer]) -> None:
    never = marks(list(answers(Knows(asked, fails=True), asked, SIX, RELEASED)))
    assert never.without_plan == len(asked)
    assert never.means["decision"].mean == never.means["consistency"].mean == 0.0
    assert gap_closed(never, marks(kinematic)) is None


def test_with_eyes_shut_every_picture_is_grey_and_nothing_else_is_changed(asked: list[Sitting]) -> None:
    shut = with_eyes_shut(asked[0]).example.observation
    assert all((frame.image == 127).all() for frames in shut.frames.values() for frame in frames)
    assert shut.history is asked[0].example.observation.history
    assert not (asked[0].example.observation.frames["front_wide"][0].image == 127).all()


def told(sitting: Sitting, maneuver: str | None) -> Sitting:
    said = None if maneuver is None else Navigation(maneuver, 20.0, "", 10**18)  # type: ignore[arg-type]
    example = sitting.example
    return sitting._replace(example=replace(example, observation=replace(example.observation, navigation=said)))


def test_a_command_is_led_to_the_other_side(asked: list[Sitting]) -> None:
    for maneuver, other in (("turn_left", "turn_right"), ("keep_right", "keep_left")):
        led = led_elsewhere(told(asked[0], maneuver))
        assert led is not None
        assert led.example.observation.navigation == Navigation(other, 20.0, "", 10**18)  # type: ignore[arg-type]
    assert led_elsewhere(told(asked[0], "continue")) is None
    assert led_elsewhere(told(asked[0], None)) is None


@pytest.mark.parametrize(
    ("maneuver", "driven_rad", "planned_rad", "want"),
    [
        ("turn_left", 1.2, 0.8, True),
        ("turn_left", 1.2, 0.2, False),
        ("turn_left", 1.2, -0.8, False),
        ("turn_right", -1.2, -0.8, True),
        ("turn_right", 0.0, -0.8, None),
        ("continue", 1.2, 1.2, None),
        (None, 1.2, 1.2, None),
    ],
)
def test_a_junction_command_is_obeyed_by_the_heading_at_the_end(
    known: list[Answer], maneuver: str | None, driven_rad: float, planned_rad: float, want: bool | None
) -> None:
    answer = known[0]
    assert answer.plan is not None

    def turning(way: object, to_rad: float) -> object:
        return replace(way, yaw_rad=np.linspace(0.0, to_rad, 64))  # type: ignore[type-var]

    sitting = told(answer.sitting, maneuver)
    sitting = sitting._replace(example=replace(sitting.example, future=turning(sitting.example.future, driven_rad)))
    planned = replace(answer.plan, trajectory=turning(answer.plan.trajectory, planned_rad))
    assert obeys(Answer(sitting, planned, None)) is want
    assert obeys(Answer(sitting, None, None)) is (None if want is None else False)
