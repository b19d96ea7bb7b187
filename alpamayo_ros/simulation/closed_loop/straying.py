"""The expert in a vehicle that once does not go where it is steered: drives that show the way back.

Who learns from drives that never leave the middle of the lane has not seen what it sees after a mistake of its own, and the
next mistake is larger. Sources: Bojarski et al. 2016 (arXiv 1604.07316, shifted cameras); Laskey et al. 2017 (DART, arXiv
1703.09327, noise while the expert drives).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros import dynamics
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.episode import Planned
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.types import HORIZON, Trajectory

LASTS_S = 1.0
BEGINS_S = (2.0, 5.0)
TURNED_RAD = (0.03, 0.15)
"""How far the heading is off at the end; to the left as often as to the right."""
PUSHED_MPS2 = 1.0
"""Faster or slower by up to this; both happen at once."""
SIDEWAYS_MPS2 = 2.5
"""At most, beside what the expert's own way asks for."""
SLOWEST_MPS = 2.0
"""Who is slower does not stray: a standing vehicle would be pushed over its line."""


@dataclass(frozen=True)
class Straying:
    """What happens to the vehicle, once."""

    begins_s: float
    turns_rad: float
    pushed_mps2: float

    def covers(self, t_s: float) -> bool:
        """Whether it goes on at a time."""
        return self.begins_s <= t_s < self.begins_s + LASTS_S

    def bent(self, wanted: Trajectory, speed_mps: float) -> Trajectory:
        """Where the vehicle goes instead."""
        most_1pm = SIDEWAYS_MPS2 / speed_mps**2
        curvature_1pm = float(np.clip(self.turns_rad / (speed_mps * LASTS_S), -most_1pm, most_1pm))
        pushed = wanted.accel_mps2 + np.full(HORIZON, self.pushed_mps2)
        return dynamics.trajectory(pushed, wanted.curvature_1pm + curvature_1pm, speed_mps)


def straying_of(scenario: Scenario) -> Straying:
    """The same for a scenario."""
    rng = np.random.default_rng([zlib.crc32(b"straying"), zlib.crc32(scenario.family.encode()), scenario.seed])
    side = rng.choice([-1.0, 1.0])
    return Straying(rng.uniform(*BEGINS_S), side * rng.uniform(*TURNED_RAD), rng.uniform(-PUSHED_MPS2, PUSHED_MPS2))


class StrayingExpert(ExpertPolicy):
    """The expert, whose plans are not followed for a second. What it intends is its own: where the vehicle went is not."""

    def __init__(self) -> None:
        super().__init__()
        self._straying: Straying | None = None

    def begin(self, scenario: Scenario) -> None:
        """See Policy."""
        super().begin(scenario)
        self._straying = straying_of(scenario)

    def plan(self) -> Planned:
        """See Policy."""
        planned = super().plan()
        assert self._straying is not None
        assert planned.trajectory is not None
        if not self._straying.covers(planned.t0_s) or planned.ego.speed_mps < SLOWEST_MPS:
            return planned
        return replace(planned, trajectory=self._straying.bent(planned.trajectory, planned.ego.speed_mps))
