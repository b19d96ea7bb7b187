"""A model drives, and the expert says at every step what it would have done there: how to get out of the model's own mistakes.

What a model gets wrong brings it where its data never were, and there it gets more wrong. A push (`straying`) guesses what
those places are; here the model goes there itself. Source: Ross, Gordon, Bagnell 2011 (DAgger, arXiv 1011.0686).
"""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy, Policy
from alpamayo_ros.simulation.episode import Planned
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Snapshot

BEGINS_S = (2.0, 8.0)
SEES_BEFORE_S = 3.0
"""How long before it drives the model is shown the world: its history is shorter."""


def begins_s(scenario: Scenario) -> float:
    """When the model begins to drive: the same for a scenario."""
    rng = np.random.default_rng([zlib.crc32(b"leading"), zlib.crc32(scenario.family.encode()), scenario.seed])
    return float(rng.uniform(*BEGINS_S))


class LedExpert(ExpertPolicy):
    """The expert, in whose stead a model drives from some time on. What it intends is its own: where the vehicle goes is not.

    Where the model has no plan the expert's is followed, and `refused` says why. The model is the caller's to close.
    """

    def __init__(self, model: Policy) -> None:
        super().__init__()
        self.name = f"expert led by {model.name}"
        self._model = model
        self._begins_s = 0.0

    def begin(self, scenario: Scenario) -> None:
        """See Policy."""
        super().begin(scenario)
        self._begins_s = begins_s(scenario)
        self._model.begin(scenario)

    def see(self, snapshot: Snapshot) -> None:
        """See Policy."""
        super().see(snapshot)
        if snapshot.t_s >= self._begins_s - SEES_BEFORE_S:
            self._model.see(snapshot)

    def plan(self) -> Planned:
        """See Policy."""
        planned = super().plan()
        if planned.t0_s < self._begins_s:
            return planned
        led = self._model.plan()
        return replace(planned, trajectory=led.trajectory or planned.trajectory, refused=led.refused)
