"""A model drives for some seconds, then the expert takes over: drives that show the way back from the model's own mistakes.

What a model gets wrong brings it where its data never were, and there it gets more wrong. A push (`straying`) guesses what
those places are; here the model goes there itself. Source: Ross, Gordon, Bagnell 2011 (DAgger, arXiv 1011.0686), with what the
expert then drove as the label.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy, Policy
from alpamayo_ros.simulation.episode import Planned
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Snapshot

BEGINS_S = (2.0, 6.0)
LASTS_S = (1.5, 4.0)
SEES_BEFORE_S = 3.0
"""How long before it drives the model is shown the world: its history is shorter."""


@dataclass(frozen=True)
class Lead:
    """When the model drives, once."""

    begins_s: float
    ends_s: float

    def covers(self, t_s: float) -> bool:
        """Whether the model drives at a time."""
        return self.begins_s <= t_s < self.ends_s

    def is_seen(self, t_s: float) -> bool:
        """Whether the model is shown the world at a time."""
        return self.begins_s - SEES_BEFORE_S <= t_s < self.ends_s


def lead_of(scenario: Scenario) -> Lead:
    """The same for a scenario."""
    rng = np.random.default_rng([zlib.crc32(b"leading"), zlib.crc32(scenario.family.encode()), scenario.seed])
    begins_s = rng.uniform(*BEGINS_S)
    return Lead(begins_s, begins_s + rng.uniform(*LASTS_S))


class LedExpert(ExpertPolicy):
    """The expert, in whose stead a model drives for a while. What it intends is its own: where the vehicle went is not.

    Where the model has no plan the expert's is followed, and `refused` says why. The model is the caller's to close.
    """

    def __init__(self, model: Policy) -> None:
        super().__init__()
        self.name = f"expert led by {model.name}"
        self._model = model
        self._lead: Lead | None = None

    def begin(self, scenario: Scenario) -> None:
        """See Policy."""
        super().begin(scenario)
        self._lead = lead_of(scenario)
        self._model.begin(scenario)

    def see(self, snapshot: Snapshot) -> None:
        """See Policy."""
        super().see(snapshot)
        assert self._lead is not None
        if self._lead.is_seen(snapshot.t_s):
            self._model.see(snapshot)

    def plan(self) -> Planned:
        """See Policy."""
        planned = super().plan()
        assert self._lead is not None
        if not self._lead.covers(planned.t0_s):
            return planned
        led = self._model.plan()
        return replace(planned, trajectory=led.trajectory or planned.trajectory, refused=led.refused)
