"""What a row of the catalogue is made of: a fault, how hard and when it comes, and what is expected of the planner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from alpamayo_ros.profile import Rig
from alpamayo_ros.simulation.faults.acts import Act
from alpamayo_ros.simulation.faults.judging import Expect

Phase = Literal["start", "cruise", "inference"]
"""When a fault begins: before the planner does, anywhere between two pictures, or right after the last picture of a t0."""

KEEPS = Expect(keeps=True)
STOPS = Expect(says=frozenset({"stopping"}))
GOES_SILENT = Expect(says=frozenset({"silent"}))
STAYS_SAFE = Expect()
"""It may go on, hold, stop or be silent; what it publishes is right, and it recovers."""
STOP_DUE = Expect(says=frozenset({"stopping"}), stop_due=True)
LATCHES = Expect(says=frozenset({"stopped"}), latches=True, recovers_s=5.0)
WAITS = Expect(nothing=True)


@dataclass(frozen=True)
class Case:
    """What the seed decides."""

    rig: Rig
    rng: np.random.Generator

    @property
    def role(self) -> str:
        """One camera, never the anchor; another one each time it is asked for."""
        return str(self.rng.choice([role for role in self.rig.cameras if role != self.rig.anchor]))

    @property
    def roles(self) -> tuple[str, ...]:
        """Every camera."""
        return tuple(self.rig.cameras)


@dataclass(frozen=True)
class Level:
    """One severity of a fault."""

    act: Callable[[Case], Act]
    expect: Expect
    seconds: float = 1.2  # that it lasts


@dataclass(frozen=True)
class Fault:
    """A row that is driven through."""

    id: str
    name: str
    levels: Mapping[str, Level]
    phases: Sequence[Phase] = ("cruise",)
    clock: Literal["system", "simulated"] = "system"
    ends_engine: bool = False  # the engine's process ends: too often in a row, and it is given up
    repeats: int = 1  # so many times as often as others


@dataclass(frozen=True)
class Refusal:
    """A row of a planner that must not start: exit status 1, the reason on stderr, nothing published."""

    id: str
    name: str
    levels: Mapping[str, Callable[[Path], Mapping[str, object]]]  # parameters, with what they need made in a folder


Row = Fault | Refusal


@dataclass(frozen=True)
class Skipped:
    """A row that is not run here, and why."""

    id: str
    name: str
    why: str
