"""What a family builds a scenario from: the seed's random numbers, and how long the drive takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.scenario import Scenario, Start
from alpamayo_ros.types import Direction

_T = TypeVar("_T")

DURATION_S = 20.0
"""Of a drive, unless told otherwise."""

SETTLED_MPS2 = 0.8  # with which an unhurried driver comes up to speed


@dataclass(frozen=True)
class Dice:
    """The random numbers of one scenario."""

    family: str
    seed: int
    duration_s: float
    rng: np.random.Generator

    @property
    def goal_s(self) -> float:
        """The time that goals are meant for; `make_scenario` brings those of shorter drives nearer."""
        return max(self.duration_s, DURATION_S)

    def drive(self, roads: tuple[Road, ...], start: Start, goal_m: float) -> Scenario:
        """Empty roads to drive on; families put things on them."""
        return Scenario(self.family, self.seed, self.duration_s, roads, start, goal_m)

    def between(self, low: float, high: float) -> float:
        """A number, evenly spread."""
        return float(self.rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """Whether something with this probability happens."""
        return bool(self.rng.random() < probability)

    def one_of(self, options: Sequence[_T]) -> _T:
        """One of several, all equally likely."""
        return options[int(self.rng.integers(len(options)))]

    def side(self) -> Direction:
        """Left or right."""
        return "left" if self.chance(0.5) else "right"


def signed(side: Direction, size: float) -> float:
    """A size to a side: positive is left."""
    return size if side == "left" else -size


def opposite(side: Direction) -> Direction:
    """The other side."""
    return "right" if side == "left" else "left"


def stopping_m(speed_mps: float) -> float:
    """What an attentive driver needs to stop without haste: one second to see it, then 2.5 m/s^2."""
    return speed_mps + speed_mps**2 / 5.0


def covered_m(speed_mps: float, wish_mps: float, duration_s: float) -> float:
    """What an unhurried driver covers who comes from one speed to another and keeps it."""
    seconds = min(duration_s, abs(wish_mps - speed_mps) / SETTLED_MPS2)
    return speed_mps * seconds + (wish_mps - speed_mps) * seconds / 2 + wish_mps * (duration_s - seconds)
