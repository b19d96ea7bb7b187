"""Who can drive: the contract of a policy, and the two that need no engine.

A policy sees the world every 0.1 s from the start on, and plans when it is asked to. What it may know of a snapshot is its own
affair, said in `senses`.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from alpamayo_ros import dynamics
from alpamayo_ros.simulation.episode import Planned
from alpamayo_ros.simulation.expert import Expert
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.types import F64, HORIZON, STEP_S

COMFORTABLE_BRAKE_MPS2 = 2.0


class Policy(Protocol):
    """Drives one scenario after the other. What becomes of one does not depend on those before it."""

    name: str
    senses: str

    def begin(self, scenario: Scenario) -> None:
        """A new drive. Raises EngineFailure when it cannot be made ready for one."""

    def see(self, snapshot: Snapshot) -> None:
        """The world at a tick, also while somebody else drives. Raises EngineFailure."""

    def plan(self) -> Planned:
        """A plan, or why there is none, from the newest snapshot. Raises EngineFailure when it will have none any more."""

    def close(self) -> None:
        """Give back what it holds. Closing twice is allowed."""


class ExpertPolicy:
    """The expert, who knows what is in sight."""

    name = "expert"
    senses = "what is in sight, as the world has it"

    def __init__(self) -> None:
        self._expert: Expert | None = None
        self._now: Snapshot | None = None

    def begin(self, scenario: Scenario) -> None:
        """See Policy."""
        self._expert = Expert(scenario)

    def see(self, snapshot: Snapshot) -> None:
        """See Policy."""
        assert self._expert is not None
        self._expert.see(snapshot)
        self._now = snapshot

    def plan(self) -> Planned:
        """See Policy."""
        assert self._expert is not None
        assert self._now is not None
        intention = self._expert.plan()
        return Planned(self._now.t_s, self._now.ego, intention.trajectory, intention=intention)

    def close(self) -> None:
        """See Policy."""


class AlwaysStop:
    """Brakes comfortably to a stand, wherever it is, its wheels as they are: what a suite must not reward."""

    name = "always_stop"
    senses = "its own speed and steering"

    def __init__(self) -> None:
        self._now: Snapshot | None = None
        self._began: Snapshot | None = None

    def begin(self, scenario: Scenario) -> None:  # noqa: ARG002 - what Policy asks for
        """See Policy."""
        self._began = None

    def see(self, snapshot: Snapshot) -> None:
        """See Policy."""
        self._now = snapshot

    def plan(self) -> Planned:
        """See Policy."""
        assert self._now is not None
        self._began = self._began or self._now
        ego, since_s = self._now.ego, self._now.t_s - self._began.t_s
        wanted = _stopping_mps(self._began.ego.speed_mps, since_s + STEP_S * np.arange(1.0, HORIZON + 1))
        accel = np.diff(wanted, prepend=ego.speed_mps) / STEP_S
        return Planned(self._now.t_s, ego, dynamics.trajectory(accel, np.full(HORIZON, ego.curvature_1pm), ego.speed_mps))

    def close(self) -> None:
        """See Policy."""


def _stopping_mps(from_mps: float, t_s: F64) -> F64:
    """Speeds of a stop that begins and ends gently: half a cosine, of COMFORTABLE_BRAKE_MPS2 at its steepest."""
    lasts_s = max(from_mps * np.pi / (2 * COMFORTABLE_BRAKE_MPS2), 2.0)
    return np.asarray(from_mps * (1 + np.cos(np.pi * np.minimum(t_s / lasts_s, 1.0))) / 2)
