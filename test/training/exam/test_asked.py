"""Eyes are shut and commands turned round without a change to anything else; kinds of windows go by the truth."""

from dataclasses import replace

import numpy as np
import pytest
from training.exam.examinees import windows

from alpamayo_ros.simulation.expert.intention import Cause
from alpamayo_ros.training.exam.asked import KINDS, Sitting, evenly, led_elsewhere, with_eyes_shut
from alpamayo_ros.types import Maneuver, Navigation


def told(sitting: Sitting, maneuver: Maneuver | None, ended_rad: float) -> Sitting:
    """With a command, and a future that turned so far."""
    said = None if maneuver is None else Navigation(maneuver, 20.0, "", 10**18)
    example = sitting.example
    future = replace(example.future, yaw_rad=np.linspace(0.0, ended_rad, 64))
    return sitting._replace(example=replace(example, observation=replace(example.observation, navigation=said), future=future))


def test_with_eyes_shut_every_picture_is_grey_and_nothing_else_is_changed() -> None:
    first = windows()[0]
    shut = with_eyes_shut(first).example.observation
    assert all((frame.image == 127).all() for frames in shut.frames.values() for frame in frames)
    assert shut.history is first.example.observation.history
    for role, frames in first.example.observation.frames.items():
        assert [frame.stamp_ns for frame in shut.frames[role]] == [frame.stamp_ns for frame in frames]
    assert not (first.example.observation.frames["front_wide"][0].image == 127).all()


def test_the_command_of_a_turn_is_led_to_the_other_side() -> None:
    for maneuver, other, ended_rad in (("turn_left", "turn_right", 1.2), ("turn_right", "turn_left", -1.2)):
        led = led_elsewhere(told(windows()[0], maneuver, ended_rad))
        assert led is not None
        assert led.example.observation.navigation == Navigation(other, 20.0, "", 10**18)
        assert led.turns == other


@pytest.mark.parametrize(
    ("maneuver", "ended_rad"), [("continue", 1.2), (None, 1.2), ("turn_left", 0.1), ("keep_left", 1.2), ("pull_over", 0.0)]
)
def test_who_does_not_turn_at_a_junction_cannot_be_led_elsewhere(maneuver: Maneuver | None, ended_rad: float) -> None:
    assert led_elsewhere(told(windows()[0], maneuver, ended_rad)) is None


def test_a_window_is_of_the_kinds_of_its_causes() -> None:
    label = windows()[0].label
    sitting = windows()[0]._replace(
        label=replace(label, causes=(Cause("braking_lead", ("lead",), 9.0), Cause("red_light", ("light 0",), 30.0)))
    )
    assert [kind for kind in KINDS if sitting.is_of(kind)] == ["red light", "lead"]
    nothing = windows()[0]._replace(label=replace(label, causes=(Cause("clear_road", ("road",), 0.0),)))
    assert not any(nothing.is_of(kind) for kind in KINDS)


def test_the_scene_of_a_red_light_has_windows_of_that_kind() -> None:
    assert any(sitting.is_of("red light") for sitting in windows())


def test_windows_are_taken_evenly_and_each_once() -> None:
    every = list(windows())
    assert evenly(every, 1000) == every
    some = evenly(every, 3)
    assert [sitting.label.t0_s for sitting in some] == [every[k].label.t0_s for k in (0, round((len(every) - 1) / 2), -1)]
