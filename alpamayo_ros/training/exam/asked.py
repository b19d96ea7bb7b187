"""What is asked: held-out windows of the driving world, as they are, with eyes shut, led elsewhere, and in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from alpamayo_ros.profile import InputProfile
from alpamayo_ros.simulation.data.pairs import ScenePair
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.simulation.expert.intention import CauseKind
from alpamayo_ros.simulation.expert.label import Label
from alpamayo_ros.training.dataset.world import scene_examples
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.shelf import GREY
from alpamayo_ros.types import U8, Maneuver

TURNED_RAD = np.pi / 6
"""A heading that ended further to a side has turned to it."""

KINDS: Mapping[str, frozenset[CauseKind]] = {
    "red light": frozenset({"red_light"}),
    "lead": frozenset({"lead", "slow_lead", "stopped_lead", "braking_lead", "cut_in"}),
    "junction": frozenset({"turn", "stop_sign", "yield_sign", "crossing_vehicle"}),
}
"""Windows for which cameras matter, by what the expert decided for: any of its causes at t0. A window may be of several."""

MIRRORED: Mapping[Maneuver, Maneuver] = {"turn_left": "turn_right", "turn_right": "turn_left"}

T = TypeVar("T")


class Sitting(NamedTuple):
    """A window, and what is known of it."""

    family: str
    example: Example
    label: Label

    def is_of(self, kind: str) -> bool:
        """Whether it belongs to one of KINDS."""
        return any(cause.kind in KINDS[kind] for cause in self.label.causes)

    @property
    def turns(self) -> Maneuver | None:
        """The junction command that was carried out within the horizon; None where there is none."""
        said = self.example.observation.navigation
        ended_rad = float(self.example.future.yaw_rad[-1])
        if said is None or abs(ended_rad) < TURNED_RAD:
            return None
        return said.maneuver if said.maneuver in MIRRORED else None


def sittings(scenes: Iterable[SceneSamples], profile: InputProfile) -> Iterator[Sitting]:
    """All windows of scenes."""
    for taken in scenes:
        for sample, example in zip(taken.samples, scene_examples(taken, profile), strict=True):
            yield Sitting(taken.scene.id.family, example, sample.label)


def evenly(asked: Sequence[T], most: int) -> list[T]:
    """At most so many, from the whole of them."""
    places = np.unique(np.linspace(0, len(asked) - 1, min(most, len(asked))).round().astype(int))
    return [asked[place] for place in places]


def with_eyes_shut(sitting: Sitting) -> Sitting:
    """The same window, all pictures of one grey."""
    seen = sitting.example.observation.frames
    frames = {role: tuple(replace(frame, image=_grey(frame.image.shape)) for frame in each) for role, each in seen.items()}
    return _with(sitting, frames=frames)


def led_elsewhere(sitting: Sitting) -> Sitting | None:
    """The same window with its turn commanded to the other side; None where it does not turn."""
    said = sitting.example.observation.navigation
    if said is None or sitting.turns is None:
        return None
    return _with(sitting, navigation=replace(said, maneuver=MIRRORED[sitting.turns]))


def both_of(pair: ScenePair, profile: InputProfile) -> tuple[Sitting, Sitting]:
    """The two windows of a pair, in its order."""
    one, other = sittings(pair.members, profile)
    return one, other


@cache
def _grey(shape: tuple[int, ...]) -> U8:
    return np.full(shape, GREY, np.uint8)


def _with(sitting: Sitting, **changes: Any) -> Sitting:
    return sitting._replace(example=replace(sitting.example, observation=replace(sitting.example.observation, **changes)))
