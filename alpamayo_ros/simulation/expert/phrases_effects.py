"""How decisions are said, and for which causes they are made, as tables.

An effect is said bare ("stop", then "since ...") or with its cause as its object ("stop for {noun}"). In braces also: {dir}
"left", {side} "left " (empty where no side is known), {noun} the cause. Each effect names the motions it may be said of, as
letters: (s)tanding, (h)alting, slowing (d)own, (k)eeping speed, getting (f)aster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from alpamayo_ros.simulation.expert.intention import CauseKind
from alpamayo_ros.types import Lateral, Longitudinal

Motion = Literal["s", "h", "d", "k", "f"]
ANY = "shdkf"


@dataclass(frozen=True)
class Effect:
    """A way to say what is done."""

    words: str
    motions: str = ANY
    kinds: tuple[CauseKind, ...] = ()  # causes it is said for; none are all
    alone: bool = False  # not beside a move to the side: "pass the car and accelerate" is overtaking


KINDS: tuple[CauseKind, ...] = get_args(CauseKind)
LEADS: tuple[CauseKind, ...] = ("lead", "slow_lead", "stopped_lead", "braking_lead")
AGENTS: tuple[CauseKind, ...] = ("pedestrian", "child", "cyclist", "crossing_vehicle", "oncoming_vehicle", "cut_in")
CONTROLS: tuple[CauseKind, ...] = ("red_light", "yellow_light", "stop_sign", "yield_sign")
STANDING: tuple[CauseKind, ...] = ("parked_car", "broken_down_car", "truck", "cones", "barrier")
_VEHICLES: tuple[CauseKind, ...] = ("parked_car", "broken_down_car", "truck")
_WALKERS: tuple[CauseKind, ...] = ("pedestrian", "child", "cyclist")

LONGITUDINAL_CAUSES: dict[Longitudinal, tuple[CauseKind, ...]] = {
    "set_speed_tracking": ("clear_road", "green_light", "stop_sign", "yield_sign"),
    "lead_obstacle_following": (*LEADS, "cut_in", *_VEHICLES),
    "speed_adaptation": ("curve", "advisory_sign", "turn", "exit", "on_ramp", "lane_ends", "kerb", *STANDING),
    "gap_searching": ("vehicle_alongside", "lane_wanted", "lane_ends", "on_ramp", "exit", "turn", *LEADS, *STANDING),
    "acceleration_for_passing": (*LEADS, *_VEHICLES, "cyclist"),
    "yield": (*AGENTS, "vehicle_alongside", "yield_sign", "lane_wanted", "lane_ends", "on_ramp", "exit"),
    "stop_for_static_constraints": (*CONTROLS, "kerb", "lane_ends", *STANDING),
}
"""Causes that a longitudinal decision can be made for."""

LATERAL_CAUSES: dict[Lateral, tuple[CauseKind, ...]] = {
    "lane_keeping": ("clear_road", "curve", "green_light", "oncoming_vehicle", "vehicle_alongside"),
    "merge_split": ("on_ramp", "exit", "lane_ends", "lane_wanted"),
    "out_of_lane_nudge": (*STANDING, *_WALKERS, *LEADS),
    "in_lane_nudge": (*STANDING, *_WALKERS, "oncoming_vehicle", "vehicle_alongside", "cut_in"),
    "lane_change": (*LEADS, *STANDING, "lane_wanted", "free_lane", "lane_ends", "exit", "turn", "clear_road"),
    "pull_over": ("kerb",),
    "turn": ("turn", "green_light", "clear_road"),
    "maneuver_abort": ("vehicle_alongside", *AGENTS, *LEADS),
}
"""Causes that a lateral decision can be made for."""

_LINE: tuple[CauseKind, ...] = CONTROLS
_INTO = tuple(kind for kind in KINDS if kind != "exit")
_PLAIN_ROAD: tuple[CauseKind, ...] = ("clear_road", "green_light")

LONGITUDINAL_BARE: dict[Longitudinal, tuple[Effect, ...]] = {
    "set_speed_tracking": (
        Effect("keep speed", "shdk"),
        Effect("maintain speed", "hdk"),
        Effect("keep the current speed", "dk"),
        Effect("hold speed", "dk"),
        Effect("resume speed", "f"),
        Effect("accelerate", "f", (*_PLAIN_ROAD, *CONTROLS), alone=True),
        Effect("speed up", "f", (*_PLAIN_ROAD, *CONTROLS), alone=True),
        Effect("proceed", "kf"),
        Effect("keep speed through the intersection", "dk", ("green_light",)),
        Effect("proceed through the intersection", "dkf", ("green_light", "stop_sign", "yield_sign")),
        Effect("accelerate to proceed through the intersection", "f", ("green_light", "stop_sign", "yield_sign"), alone=True),
        Effect("accelerate through the intersection", "f", ("green_light",), alone=True),
        Effect("accelerate to cruising speed", "f", ("clear_road",), alone=True),
        Effect("speed up to cruising speed", "f", ("clear_road",), alone=True),
    ),
    "lead_obstacle_following": (
        Effect("keep a safe distance"),
        Effect("maintain a safe distance"),
        Effect("keep distance"),
        Effect("stop to keep a safe distance", "h"),
        Effect("slow down to keep a safe distance", "d"),
        Effect("remain stopped to keep a safe distance", "s"),
    ),
    "speed_adaptation": (
        Effect("slow down", "shd"),
        Effect("reduce speed", "hd"),
        Effect("adapt speed"),
        Effect("adjust speed", "dkf"),
    ),
    "gap_searching": (
        Effect("search for a gap in the {side}lane"),
        Effect("look for a gap in the {side}lane"),
        Effect("wait for a gap in the {side}lane", "shdk"),
        Effect("adjust speed to find a gap in the {side}lane", "dkf"),
        Effect("slow down to create a gap in the {side}lane", "hd"),
    ),
    "acceleration_for_passing": (
        Effect("accelerate to pass"),
        Effect("speed up to pass"),
        Effect("accelerate to overtake"),
        Effect("speed up to overtake"),
    ),
    "yield": (
        Effect("yield"),
        Effect("give way"),
        Effect("slow down to yield", "hd"),
        Effect("stop to yield", "h"),
        Effect("remain stopped to yield", "s"),
    ),
    "stop_for_static_constraints": (
        Effect("stop", "hdkf"),
        Effect("come to a stop", "hdkf"),
        Effect("slow down to stop", "hd"),
        Effect("stop at the stop line", "hdkf", _LINE),
        Effect("remain stopped", "s"),
        Effect("stay stopped", "s"),
        Effect("remain stopped at the stop line", "s", _LINE),
    ),
}

LONGITUDINAL_WITH: dict[Longitudinal, tuple[Effect, ...]] = {
    "set_speed_tracking": (),
    "lead_obstacle_following": (
        Effect("keep distance to {noun}"),
        Effect("keep a safe distance to {noun}"),
        Effect("maintain a safe distance to {noun}"),
        Effect("keep distance from {noun}"),
        Effect("follow {noun} at a safe distance", "dkf", (*LEADS, "cut_in")),
        Effect("adjust speed to keep distance to {noun}", "dkf"),
        Effect("slow down to keep distance to {noun}", "hd"),
        Effect("slow down behind {noun}", "hd"),
        Effect("stop to keep distance to {noun}", "h"),
        Effect("stop behind {noun}", "h"),
        Effect("remain stopped behind {noun}", "s"),
        Effect("stay stopped to keep distance to {noun}", "s"),
        Effect("accelerate to follow {noun}", "f", ("lead", "slow_lead", "cut_in"), alone=True),
    ),
    "speed_adaptation": (
        Effect("slow down for {noun}", "shd"),
        Effect("reduce speed for {noun}", "hd"),
        Effect("adapt speed for {noun}"),
        Effect("adjust speed for {noun}", "dkf"),
        Effect("adapt speed to follow {noun}", ANY, ("curve",)),
        Effect("slow down to pass {noun}", "hd", STANDING),
    ),
    "gap_searching": (),
    "acceleration_for_passing": (
        Effect("accelerate to pass {noun}"),
        Effect("speed up to pass {noun}"),
        Effect("accelerate to overtake {noun}"),
        Effect("speed up to overtake {noun}"),
        Effect("increase speed to pass {noun}"),
    ),
    "yield": (
        Effect("yield to {noun}", ANY, (*AGENTS, "vehicle_alongside")),
        Effect("give way to {noun}", ANY, (*AGENTS, "vehicle_alongside")),
        Effect("slow down to yield to {noun}", "hd", (*AGENTS, "vehicle_alongside")),
        Effect("stop to yield to {noun}", "h", (*AGENTS, "vehicle_alongside")),
        Effect("remain stopped to yield to {noun}", "s", (*AGENTS, "vehicle_alongside")),
        Effect("yield at {noun}", ANY, ("yield_sign",)),
    ),
    "stop_for_static_constraints": (
        Effect("stop for {noun}", "hdkf"),
        Effect("come to a stop for {noun}", "hdkf"),
        Effect("slow down to stop for {noun}", "hd"),
        Effect("slow down for {noun}", "d", CONTROLS),
        Effect("stop at the stop line for {noun}", "hdkf", ("red_light", "yellow_light")),
        Effect("stop at {noun}", "hd", ("stop_sign", "yield_sign", "cones", "barrier")),
        Effect("stop behind {noun}", "h", _VEHICLES),
        Effect("remain stopped for {noun}", "s", (*CONTROLS, *STANDING)),
        Effect("remain stopped at {noun}", "s", (*CONTROLS, "barrier", "cones")),
        Effect("hold position for {noun}", "s", (*CONTROLS, *STANDING)),
    ),
}

LATERAL_BARE: dict[Lateral, tuple[Effect, ...]] = {
    "lane_keeping": (
        Effect("keep lane"),
        Effect("maintain lane"),
        Effect("stay in the lane"),
        Effect("stay in our lane"),
        Effect("keep at the center of the lane"),
    ),
    "merge_split": (
        Effect("merge {dir}", ANY, _INTO),
        Effect("merge to the {dir}", ANY, _INTO),
        Effect("merge {dir} onto the main road", ANY, ("on_ramp",)),
        Effect("split {dir}", ANY, ("exit",)),
        Effect("split to the {dir}", ANY, ("exit",)),
    ),
    "out_of_lane_nudge": (
        Effect("nudge {dir} across the lane line"),
        Effect("nudge to the {dir} over the lane line"),
        Effect("nudge {dir} out of the lane"),
        Effect("straddle the lane line to the {dir}"),
    ),
    "in_lane_nudge": (
        Effect("nudge {dir}"),
        Effect("nudge to the {dir}"),
        Effect("nudge slightly {dir}"),
        Effect("nudge {dir} within the lane"),
        Effect("shift slightly to the {dir}"),
    ),
    "lane_change": (
        Effect("change lanes to the {dir}"),
        Effect("change to the {dir} lane"),
        Effect("move into the {dir} lane"),
        Effect("make a lane change to the {dir}"),
    ),
    "pull_over": (
        Effect("pull over to the {dir}"),
        Effect("pull over to the {dir} curb"),
        Effect("pull over to the {dir} side"),
    ),
    "turn": (
        Effect("turn {dir}"),
        Effect("turn {dir} at the intersection"),
        Effect("make a {dir} turn at the intersection"),
        Effect("make the {dir} turn"),
    ),
    "maneuver_abort": (
        Effect("abort the move to the {dir}"),
        Effect("abort the maneuver to the {dir}"),
        Effect("cancel the move to the {dir}"),
        Effect("abort the move to the {dir} and return to the lane center"),
        Effect("abort the lane change to the {dir}", ANY, ("vehicle_alongside",)),
        Effect("cancel the lane change to the {dir}", ANY, ("vehicle_alongside",)),
    ),
}

LATERAL_WITH: dict[Lateral, tuple[Effect, ...]] = {
    "lane_keeping": (
        Effect("keep lane through {noun}", ANY, ("curve",)),
        Effect("keep lane to follow {noun}", ANY, ("curve",)),
        Effect("stay in the lane through {noun}", ANY, ("curve",)),
    ),
    "merge_split": (
        Effect("merge {dir} from {noun}", ANY, ("on_ramp",)),
        Effect("merge to the {dir} from {noun} onto the main road", ANY, ("on_ramp",)),
        Effect("merge {dir} from {noun}", ANY, ("lane_ends",)),
        Effect("split to the {dir} to take {noun}", ANY, ("exit",)),
        Effect("split {dir} for {noun}", ANY, ("exit",)),
    ),
    "out_of_lane_nudge": (
        Effect("nudge {dir} across the lane line to pass {noun}"),
        Effect("nudge to the {dir} over the lane line to avoid {noun}"),
        Effect("nudge {dir} out of the lane to pass {noun}"),
        Effect("nudge {dir} out of the lane to avoid {noun}"),
        Effect("straddle the lane line to the {dir} to pass {noun}"),
    ),
    "in_lane_nudge": (
        Effect("nudge {dir} to pass {noun}", ANY, (*STANDING, *_WALKERS)),
        Effect("nudge to the {dir} to pass {noun}", ANY, (*STANDING, *_WALKERS)),
        Effect("nudge {dir} to avoid {noun}"),
        Effect("nudge to the {dir} to increase clearance from {noun}"),
        Effect("nudge slightly {dir} within the lane to avoid {noun}"),
        Effect("shift slightly to the {dir} to increase clearance from {noun}"),
    ),
    "lane_change": (
        Effect("change lanes to the {dir} to pass {noun}", ANY, (*LEADS, *STANDING)),
        Effect("change to the {dir} lane to pass {noun}", ANY, (*LEADS, *STANDING)),
        Effect("move into the {dir} lane to pass {noun}", ANY, (*LEADS, *STANDING)),
        Effect("change lanes to the {dir} to avoid {noun}", ANY, STANDING),
        Effect("change to the {dir} lane for {noun}", ANY, ("exit", "turn")),
        Effect("change lanes to the {dir} for {noun}", ANY, ("exit", "turn")),
        Effect("change lanes to the {dir} to leave {noun}", ANY, ("lane_ends",)),
    ),
    "pull_over": (),
    "turn": (),
    "maneuver_abort": (),
}
