"""What the expert intends and why: the contract between its planner, its words, the data and the closed loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alpamayo_ros.types import Decision, Direction, Trajectory, TurnIndicator

CauseKind = Literal[
    "lead",  # the vehicle ahead in the lane
    "slow_lead",  # one that is worth passing
    "stopped_lead",
    "braking_lead",
    "cut_in",
    "crossing_vehicle",
    "oncoming_vehicle",
    "vehicle_alongside",  # in the lane that is wanted, or coming up in it
    "pedestrian",
    "child",
    "cyclist",
    "red_light",
    "yellow_light",
    "green_light",
    "stop_sign",
    "yield_sign",
    "curve",
    "advisory_sign",
    "parked_car",
    "broken_down_car",
    "truck",  # that stands in the way
    "cones",
    "barrier",
    "lane_ends",
    "on_ramp",
    "exit",  # the route leaves by it
    "turn",  # the route turns at the junction
    "lane_wanted",  # the route wants another lane
    "free_lane",  # the lane that the ego came from, nobody is in the way there any more
    "kerb",  # the route ends there
    "clear_road",  # nothing is in the way
]


@dataclass(frozen=True)
class Cause:
    """Something outside the vehicle that a decision is made for; never the ego's own state."""

    kind: CauseKind
    things: tuple[str, ...]  # names of bodies; "light 0", "sign 1", "crosswalk 0": places in the scenario; "route", "road"
    distance_m: float  # ahead of the front bumper
    side: Direction | None = None  # where it is or comes from


@dataclass(frozen=True)
class Intention:
    """What the expert does from now on, knowing what is to be seen now and was during the last 2 s."""

    trajectory: Trajectory  # 64 points, ego_t0
    decision: Decision  # the first one on each axis, as the paper's table 1 counts them
    causes: tuple[Cause, ...]  # the deciding one first
    indicator: TurnIndicator
