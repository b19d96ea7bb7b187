"""What moves across the road consist of: stretches with a lateral decision, and places to wait at."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from alpamayo_ros.simulation.expert.intention import Cause
from alpamayo_ros.simulation.expert.path import Knot
from alpamayo_ros.simulation.expert.speed import COMFORTABLE_BRAKING_MPS2, Gap, Why
from alpamayo_ros.types import Direction, Lateral, TurnIndicator


@dataclass(frozen=True)
class Phase:
    """A stretch of the route where the ego steers for a lateral decision."""

    from_m: float
    to_m: float
    decision: Lateral
    direction: Direction
    causes: tuple[Cause, ...]


@dataclass(frozen=True)
class Wait:
    """A place that the front bumper does not pass before a move, until a time from now."""

    at_m: float
    why: Why
    until_s: float = inf
    braking_mps2: float = COMFORTABLE_BRAKING_MPS2


@dataclass(frozen=True)
class Manoeuvre:
    """Where the ego wants to go across the road, and what that asks of its speed."""

    knots: tuple[Knot, ...]  # not before the ego's rear axle; at least one
    phases: tuple[Phase, ...] = ()
    waits: tuple[Wait, ...] = ()
    gaps: tuple[Gap, ...] = ()  # to fall in, in a lane that is wanted
    searching: Why | None = None  # for such a gap
    passing: tuple[Cause, ...] = ()  # whoever is being passed
    indicator: TurnIndicator = "off"
