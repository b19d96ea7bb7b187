"""Motorways: entering, leaving, forks, lanes that end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from alpamayo_ros.simulation.families.dice import Dice, covered_m, opposite
from alpamayo_ros.simulation.families.streets import (
    LANE_M,
    SHOULDER_M,
    START_M,
    CrossSection,
    bend,
    ends_m,
    lane_at,
    length_m,
    straight,
    street,
)
from alpamayo_ros.simulation.families.surroundings import paint, spaced, taker
from alpamayo_ros.simulation.road import Lane, Paint, Piece, Road, Strip
from alpamayo_ros.simulation.scenario import ROUTE, Command, Scenario, Sign, Standing, Start, Trigger, Vehicle
from alpamayo_ros.types import Direction

_SECTION = CrossSection(left=1, oncoming=0, right_kerb="shoulder", left_kerb="shoulder", pavement=False)
_APART_M = 55.0  # after a split, the branches have lines of their own
_RUN_OUT_M = 25.0  # of ground behind the end of a lane, with a barrier on it
_MAIN = 1  # index of the motorway among the roads, where the route leaves it
_EXITS = ("Exit 12", "Exit 7", "Airport", "City Centre", "Harbour")


def on_ramp(dice: Dice) -> Scenario:
    """The ego's lane joins the motorway from the right and ends: into a gap on the left."""
    limit = dice.between(14.0, 18.0)
    nose, end = START_M + dice.between(15.0, 35.0), START_M + dice.between(150.0, 180.0)
    section = _SECTION._replace(left=2)
    road = street(dice, straight(length_m(dice, limit) + 60.0), limit, section, "motorway")
    road = _ending(road, "left", nose, end)
    speed = limit * dice.between(0.7, 0.85)
    flow = limit * dice.between(0.8, 0.95)
    vehicles = _flow(dice, (road,), ROUTE, LANE_M, flow, (34.0, 48.0))
    command = Command("keep_left", START_M, end - 10.0, LANE_M, "Motorway", end + _RUN_OUT_M)
    sign = Sign("merge", ROUTE, nose - 5.0, -LANE_M, side="right")
    goal = START_M + 0.8 * covered_m(speed, flow, dice.goal_s)
    return replace(_drive(dice, (road,), speed, goal, vehicles, command, sign), standing=(_barrier(end),))


def aborted_merge(dice: Dice) -> Scenario:
    """The same, with nobody about but one, who comes over from the lane beyond while the ego moves in."""
    limit = dice.between(13.0, 17.0)
    nose, end = START_M + dice.between(12.0, 25.0), START_M + dice.between(215.0, 240.0)
    road = street(dice, straight(length_m(dice, limit) + 60.0), limit, _SECTION._replace(left=2), "motorway")
    road = _ending(road, "left", nose, end)
    speed = limit * dice.between(0.93, 1.0)
    vehicles = (taker(dice, "left", speed, nose), _ahead(dice, "left 2", 1.0 * limit))
    command = Command("keep_left", START_M, end - 10.0, LANE_M, "Motorway", end + _RUN_OUT_M)
    sign = Sign("merge", ROUTE, nose - 5.0, -LANE_M, side="right")
    goal = START_M + 0.7 * covered_m(speed, speed, dice.goal_s)
    return replace(_drive(dice, (road,), speed, goal, vehicles, command, sign), standing=(_barrier(end),))


def lane_ends(dice: Dice) -> Scenario:
    """The ego's lane, the left one, ends: merge to the right."""
    limit = dice.between(12.0, 16.0)
    end = START_M + dice.between(140.0, 170.0)
    section = _SECTION._replace(left=0, right=1)
    road = street(dice, straight(length_m(dice, limit)), limit, section, "motorway")
    road = _ending(road, "right", START_M - 60.0, end)
    speed = limit * dice.between(0.75, 0.9)
    flow = limit * dice.between(0.75, 0.9)
    vehicles = _flow(dice, (road,), ROUTE, -LANE_M, flow, (32.0, 46.0))
    command = Command("keep_right", START_M + dice.between(5.0, 20.0), end - 10.0, -LANE_M, done_m=end + _RUN_OUT_M)
    sign = Sign("merge", ROUTE, end - 90.0, 3.0, side="left")
    goal = START_M + 0.8 * covered_m(speed, flow, dice.goal_s)
    return replace(_drive(dice, (road,), speed, goal, vehicles, command, sign), standing=(_barrier(end),))


def leave_by_exit(dice: Dice) -> Scenario:
    """The route leaves the motorway by an exit on the right, which bends."""
    limit = dice.between(14.0, 18.0)
    splits = START_M + dice.between(60.0, 100.0)
    radius = dice.between(60.0, 90.0)
    away = (*bend(-1.0 / 200.0, 0.16, 30.0), *bend(1.0 / 250.0, 0.08, 18.0), *bend(-1.0 / radius, dice.between(0.7, 1.1), 30.0))
    roads = _split(dice, limit, splits, away, "right")
    speed = limit * dice.between(0.85, 0.98)
    vehicles = (*_flow(dice, roads, _MAIN, LANE_M, limit, (35.0, 60.0)), _ahead(dice, "ego", speed))
    command = Command("keep_right", START_M, splits, road_name=dice.one_of(_EXITS), done_m=splits + _APART_M)
    sign = Sign("exit", ROUTE, splits - 8.0, -LANE_M / 2 - SHOULDER_M - 1.0, side="right")
    return _drive(dice, roads, speed, splits + 75.0, vehicles, command, sign)


def fork(dice: Dice) -> Scenario:
    """The motorway divides, and the route is the branch on the left."""
    limit = dice.between(13.0, 17.0)
    splits = START_M + dice.between(60.0, 100.0)
    away = (*bend(1.0 / 220.0, dice.between(0.2, 0.35), 30.0), *straight(40.0))
    roads = _split(dice, limit, splits, away, "left")
    speed = limit * dice.between(0.85, 0.98)
    vehicles = (*_flow(dice, roads, _MAIN, -LANE_M, 0.9 * limit, (35.0, 60.0)), _ahead(dice, "ego", speed))
    command = Command("keep_left", START_M, splits, road_name=dice.one_of(_EXITS), done_m=splits + _APART_M)
    sign = Sign("exit", ROUTE, splits - 8.0, LANE_M / 2 + SHOULDER_M + 1.0, side="left")
    return _drive(dice, roads, speed, splits + 80.0, vehicles, command, sign)


def _ending(road: Road, beside: Direction, nose_m: float, end_m: float) -> Road:
    """The road whose lane "ego" ends, and may be left for the one beside it from the nose on."""
    ego, other = road.lane("ego"), road.lane(beside)
    parts = _parts(ego, [0.0, nose_m, end_m], beside) + _parts(other, [0.0, nose_m, end_m, other.to_m], opposite(beside))
    rest = [lane for lane in road.lanes if lane not in (ego, other)]
    ground = Strip("shoulder", end_m, end_m + _RUN_OUT_M, -LANE_M / 2, LANE_M / 2)
    return replace(road, lanes=(*parts, *rest), strips=(*road.strips, ground))


def _barrier(end_m: float) -> Standing:
    """Across the ground behind the end of a lane."""
    return Standing("barrier", "barrier", ROUTE, end_m + 12.0, 0.0, np.pi / 2, (225, 70, 50))


def _parts(lane: Lane, edges_m: Sequence[float], side: Direction) -> list[Lane]:
    """A lane in pieces, called "ego", "ego along", "ego beyond": only along the second is the line on this side dashed."""
    parts = []
    for start, end, after in zip(edges_m[:-1], edges_m[1:], ("", " along", " beyond"), strict=False):
        line: Paint = "dashed" if after == " along" else "solid"
        part = replace(lane, name=lane.name + after, from_m=start, to_m=end)
        parts.append(replace(part, left_paint=line) if side == "left" else replace(part, right_paint=line))
    return parts


def _split(dice: Dice, limit: float, splits_m: float, away: tuple[Piece, ...], side: Direction) -> tuple[Road, Road]:
    """The route, one lane that leaves a motorway where `away` begins, and the motorway."""
    beyond = max(length_m(dice, limit) - splits_m - ends_m(away), 60.0)
    section = _SECTION if side == "right" else _SECTION._replace(left=0, right=1)
    main = street(dice, straight(length_m(dice, limit) + 60.0), limit, section, "motorway")
    through = _parts(replace(main.lane("ego"), name="through"), [0.0, splits_m, splits_m + _APART_M, main.length_m], side)
    lanes = (*through, *(lane for lane in main.lanes if lane.name != "ego"))
    pieces = (*straight(splits_m), *away, Piece(beyond, 0.0))
    end = ends_m(pieces)
    parts = (
        Lane("ego", 0.0, 0.0, splits_m, limit, left_paint="none", right_paint="none"),
        Lane("ego 2", 0.0, splits_m, splits_m + _APART_M, limit, left_paint="none", right_paint="none"),
        Lane("ego 3", 0.0, splits_m + _APART_M, end, limit),
    )
    shoulders = (
        Strip("shoulder", splits_m, end, -LANE_M / 2 - SHOULDER_M, -LANE_M / 2),
        Strip("shoulder", splits_m + _APART_M, end, LANE_M / 2, LANE_M / 2 + 1.0),
    )
    return Road("exit", pieces, parts, shoulders, main.start_xy_m, main.start_yaw_rad), replace(main, lanes=lanes)


def _flow(
    dice: Dice, roads: tuple[Road, ...], index: int, left_m: float, speed: float, gaps_m: tuple[float, float]
) -> tuple[Vehicle, ...]:
    """Traffic in a lane, from behind the ego to ahead of it, at such distances."""
    return tuple(
        Vehicle(
            f"flow {k}",
            "car",
            index,
            lane_at(roads[index], left_m, at).name,
            at,
            speed,
            ((Trigger(at_s=0.0), speed),),
            colour=paint(dice),
        )
        for k, at in enumerate(spaced(dice, 5.0, START_M + 120.0, gaps_m))
    )


def _ahead(dice: Dice, lane: str, speed: float) -> Vehicle:
    """Somebody well ahead."""
    return Vehicle("ahead", "car", ROUTE, lane, START_M + dice.between(42.0, 58.0), speed, colour=paint(dice))


def _drive(
    dice: Dice,
    roads: tuple[Road, ...],
    speed_mps: float,
    goal_m: float,
    vehicles: tuple[Vehicle, ...],
    command: Command,
    sign: Sign,
) -> Scenario:
    bare = dice.drive(roads, Start(START_M, speed_mps), goal_m)
    return replace(bare, vehicles=vehicles, commands=(command,), signs=(sign,))


FAMILIES: tuple[Callable[[Dice], Scenario], ...] = (on_ramp, aborted_merge, lane_ends, leave_by_exit, fork)
