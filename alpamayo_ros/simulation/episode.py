"""One drive through a scenario, as it happened: what the closed loop makes and outcomes, films, bags and data read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alpamayo_ros.simulation.expert.intention import Intention
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Ego, Snapshot
from alpamayo_ros.types import Plan, Trajectory

IncidentKind = Literal["collision_front", "collision_lateral", "collision_rear", "offroad"]


@dataclass(frozen=True)
class Incident:
    """What ends a drive."""

    kind: IncidentKind
    t_s: float
    thing: str  # the body's name; empty when off the road

    @property
    def at_fault(self) -> bool:
        """AlpaSim: everything but being hit from behind."""
        return self.kind != "collision_rear"


@dataclass(frozen=True)
class Planned:
    """What one planning cycle gave."""

    t0_s: float
    ego: Ego  # at t0
    trajectory: Trajectory | None  # ego at t0; None: no plan came, and the one before is followed to its end
    plan: Plan | None = None  # of an engine
    intention: Intention | None = None  # of the expert
    refused: str = ""  # why no plan came

    @property
    def has_strayed(self) -> bool:
        """Whether the vehicle was made to go elsewhere than the expert intended."""
        return self.intention is not None and self.trajectory is not self.intention.trajectory


@dataclass(frozen=True)
class Episode:
    """A drive, from t = 0 to its end or its incident."""

    scenario: Scenario
    policy: str
    snapshots: tuple[Snapshot, ...]  # every 0.1 s from 0
    egos: tuple[Ego, ...]  # every 0.01 s from 0; egos[::10] are those of the snapshots
    planned: tuple[Planned, ...]
    incident: Incident | None = None
    failure: str = ""  # the policy crashed, hung or went silent: such a drive counts as failed
    warm_up_s: float = 2.0  # driven by the expert; `planned` begins with the policy's first plan, after it
    latency_s: float = 0.0  # from a plan's t0 until it was followed
