"""Junctions: lights, stop and yield signs, turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from alpamayo_ros.simulation.families.dice import Dice, stopping_m
from alpamayo_ros.simulation.families.streets import (
    LANE_M,
    START_M,
    Corner,
    CrossSection,
    Junction,
    corner,
    crossed,
    length_m,
    straight,
    street,
)
from alpamayo_ros.simulation.families.surroundings import STREET_NAMES, clothes, follower, oncoming, paint, parked
from alpamayo_ros.simulation.scenario import (
    ROUTE,
    Command,
    Crosswalk,
    LightColour,
    Scenario,
    Sign,
    Start,
    TrafficLight,
    Trigger,
    Vehicle,
    Walker,
)
from alpamayo_ros.types import Direction, Maneuver

_FRONT_M = 3.8  # of the ego, ahead of its rear axle
_LINE_M = 4.0  # from a stop line to the ground of the crossing street: room for people who cross
_LAMP_M = 13.5  # from the stop line to the lamps across the junction
_LEAVES_M = 14.0  # past a stop line: the ego has got going again
_CROSSING = 1  # index of the crossing street among the roads
_MAIN, _SIDE = 1, 2  # of the street that a turn leaves, and of the one that it enters


def red_light(dice: Dice) -> Scenario:
    """The light ahead is red, and turns green some seconds after the ego came near."""
    junction, limit, line = _junction(dice, dice.between(50.0, 62.0))
    speed = limit * dice.between(0.8, 1.0)
    phases: list[tuple[LightColour, float]] = [("red", dice.between(6.0, 9.0)), ("green", 40.0), ("yellow", 3.0), ("red", 8.0)]
    light = _light(junction, line, phases, Trigger(ego_past_m=line - dice.between(22.0, 27.0)))
    closed_s = (line - 27.0 - START_M) / limit + phases[0][1] - 1.0
    crossers = _crossers(dice, junction, _around(dice, _reaches_s(speed, junction), closed_s), limit)
    vehicles = (*crossers, *((follower(dice, speed),) if dice.chance(0.5) else ()))
    return replace(
        _across(dice, junction, speed, line + _LEAVES_M, vehicles), lights=(light,), crosswalks=_zebra(dice, junction)
    )


def light_turns(dice: Dice) -> Scenario:
    """The light turns yellow as the ego comes near: it stops where it can, goes on where it is too late."""
    junction, limit, line = _junction(dice, dice.between(48.0, 62.0))
    speed = limit * dice.between(0.85, 1.0)
    late = dice.chance(0.3)
    ahead = dice.between(1.0, 1.5) * limit if late else dice.between(3.0, 12.0) + stopping_m(limit)
    red_s = dice.between(5.5, 7.0)
    phases: list[tuple[LightColour, float]] = [("yellow", 3.0), ("red", red_s), ("green", 30.0)]
    light = _light(junction, line, phases, Trigger(ego_past_m=line - _FRONT_M - ahead))
    turns_s = (line - _FRONT_M - ahead - START_M) / speed
    arrivals = [] if late else _around(dice, _reaches_s(speed, junction), turns_s + 3.0 + red_s - 1.0, turns_s + 3.2)
    goal = line + _LEAVES_M + (10.0 if late else 0.0)
    crossers = _crossers(dice, junction, arrivals, limit)
    return replace(_across(dice, junction, speed, goal, crossers), lights=(light,), crosswalks=_zebra(dice, junction))


def stop_sign(dice: Dice) -> Scenario:
    """A stop sign; somebody may be crossing."""
    junction, limit, line = _junction(dice, dice.between(40.0, 60.0))
    speed = limit * dice.between(0.75, 0.95)
    first = _reaches_s(speed, junction) + dice.between(-0.4, 0.4)
    arrivals = [first, *((first + dice.between(2.5, 4.0),) if dice.chance(0.5) else ())]
    sign = Sign("stop", ROUTE, line + 0.5, -LANE_M, stop_line_m=line)
    crossers = _crossers(dice, junction, arrivals if dice.chance(0.8) else (), limit)
    return replace(_across(dice, junction, speed, line + _LEAVES_M, crossers), signs=(sign,))


def yield_sign(dice: Dice) -> Scenario:
    """The street ahead has priority: others come along it, from either side."""
    junction, limit, line = _junction(dice, dice.between(45.0, 65.0))
    speed = limit * dice.between(0.75, 0.95)
    first = _reaches_s(speed, junction) + dice.between(-0.3, 0.5)
    arrivals = [first, *((first + dice.between(1.8, 3.0),) if dice.chance(0.7) else ())]
    sign = Sign("yield", ROUTE, line + 0.5, -LANE_M, stop_line_m=line)
    crossers = _crossers(dice, junction, arrivals, limit)
    return replace(_across(dice, junction, speed, line + _LEAVES_M, crossers), signs=(sign,))


def turn_left(dice: Dice) -> Scenario:
    """Navigation turns left at a junction; those who come the other way go first."""
    bend, limit = _corner(dice, "left", dice.between(11.5, 13.0))
    speed = limit * dice.between(0.75, 1.0)
    meets_s = (bend.from_m - START_M) / speed + 1.0
    arrivals = [meets_s + dice.between(-1.0, 2.5), *((meets_s + dice.between(3.0, 4.5),) if dice.chance(0.4) else ())]
    places = [bend.from_m + 8.0 + 0.9 * limit * arrival for arrival in arrivals if arrival > 0]
    vehicles = oncoming(dice, bend.main, _MAIN, places, 0.9 * limit) if dice.chance(0.75) else ()
    return _round(dice, bend, "left", speed, vehicles)


def turn_right(dice: Dice) -> Scenario:
    """Navigation turns right at a junction."""
    bend, limit = _corner(dice, "right", dice.between(8.0, 9.5))
    speed = limit * dice.between(0.75, 1.0)
    vehicles = oncoming(dice, bend.main, _MAIN, [bend.from_m + dice.between(30.0, 90.0)], 0.8 * limit)
    return _round(dice, bend, "right", speed, vehicles)


def turn_across_walkers(dice: Dice) -> Scenario:
    """A turn to either side, and people cross the street that it leads into."""
    side = dice.side()
    bend, limit = _corner(dice, side, dice.between(8.5, 9.5) if side == "right" else dice.between(11.5, 13.0))
    speed = limit * dice.between(0.75, 1.0)
    crosswalk = Crosswalk(ROUTE, bend.to_m + 2.0, bend.to_m + 5.0)
    walkers = tuple(
        Walker(
            f"walker {k}",
            "pedestrian",
            ROUTE,
            bend.to_m + 3.0 + 1.2 * k + dice.between(-0.2, 0.2),
            *((-4.6, 6.5) if dice.chance(0.5) else (6.2, -4.9)),
            dice.between(1.2, 1.6),
            Trigger(ego_past_m=bend.from_m - dice.between(2.0, 12.0) + 4.0 * k),
            clothes(dice),
        )
        for k in range(dice.count(1, 2))
    )
    return replace(_round(dice, bend, side, speed), walkers=walkers, crosswalks=(crosswalk,))


def _junction(dice: Dice, ahead_m: float) -> tuple[Junction, float, float]:
    """A street that is crossed by another, its limit, and where the stop line is: so far ahead of the ego's rear axle."""
    limit = dice.between(8.0, 10.5)
    section = dice.one_of((CrossSection(), CrossSection(right_kerb="none"), CrossSection(left=1)))
    road = street(dice, straight(length_m(dice, limit)), limit, section)
    line = START_M + ahead_m
    return crossed(road, section, line + _LINE_M + LANE_M + 1.0, limit), limit, line


def _corner(dice: Dice, turn: Direction, radius_m: float) -> tuple[Corner, float]:
    limit = dice.between(8.0, 10.5)
    return corner(dice, turn, radius_m, START_M + dice.between(30.0, 48.0), limit, length_m(dice, limit)), limit


def _light(junction: Junction, line_m: float, phases: Sequence[tuple[LightColour, float]], trigger: Trigger) -> TrafficLight:
    """For all lanes of the route's direction."""
    lanes = tuple(lane.name for lane in junction.route.lanes if not lane.oncoming and lane.from_m < line_m < lane.to_m)
    right = min(strip.right_m for strip in junction.route.strips)
    return TrafficLight(ROUTE, line_m, lanes, tuple(phases), 0.0, (line_m + _LAMP_M, max(right + 1.0, -5.0)), trigger)


def _reaches_s(speed_mps: float, junction: Junction) -> float:
    """When the ego would be in the junction if it did not slow down."""
    return (junction.at_m - 1.4 - START_M) / speed_mps


def _zebra(dice: Dice, junction: Junction) -> tuple[Crosswalk, ...]:
    """Sometimes, a crosswalk between the stop line and the junction; nobody is on it."""
    return (Crosswalk(ROUTE, junction.from_m - 3.3, junction.from_m - 0.3),) if dice.chance(0.5) else ()


def _around(dice: Dice, met_s: float, until_s: float, from_s: float = 0.5) -> list[float]:
    """Times at which somebody crosses: when the ego would be there if it did not stop, and some before and after."""
    times = [met_s + dice.between(-0.2, 0.2)]
    while times[-1] + 3.2 < until_s:
        times.append(times[-1] + dice.between(2.0, 3.2))
    if times[0] - 3.0 > from_s and dice.chance(0.5):
        times.append(times[0] - dice.between(2.0, 3.0))
    return [time for time in times if from_s < time < until_s]


def _crossers(dice: Dice, junction: Junction, arrivals_s: Sequence[float], speed_mps: float) -> tuple[Vehicle, ...]:
    """Cars that are in the middle of the junction at these times, some from the left and some from the right.

    They have the right of way, and make use of it.
    """
    cars = []
    for k, arrival in enumerate(arrivals_s):
        from_right = dice.chance(0.5)
        stem, way = ("from_right", -1.0) if from_right else ("from_left 3", 1.0)
        place = junction.middle_m + way * speed_mps * arrival
        cars.append(Vehicle(f"crossing {k}", "car", _CROSSING, stem, place, speed_mps, yields=False, colour=paint(dice)))
    return tuple(cars)


def _across(dice: Dice, junction: Junction, speed_mps: float, goal_m: float, vehicles: tuple[Vehicle, ...]) -> Scenario:
    """A drive straight over the junction."""
    bare = dice.drive((junction.route, junction.crossing), Start(START_M, speed_mps), goal_m)
    standing = parked(dice, junction.route, [(junction.from_m - 22.0, junction.to_m + 12.0)], dice.between(0.1, 0.7))
    command = Command("continue", START_M, junction.at_m, done_m=junction.to_m)
    return replace(bare, vehicles=vehicles, standing=standing, commands=(command,) if dice.chance(0.5) else ())


def _round(dice: Dice, bend: Corner, turn: Direction, speed_mps: float, vehicles: tuple[Vehicle, ...] = ()) -> Scenario:
    """A drive round the corner."""
    bare = dice.drive(bend.roads, Start(START_M, speed_mps), bend.to_m + 20.0)
    standing = parked(dice, bend.route, [(bend.from_m - 16.0, bend.to_m + 16.0)], dice.between(0.1, 0.6))
    maneuver: Maneuver = "turn_left" if turn == "left" else "turn_right"
    command = Command(maneuver, START_M, bend.from_m, road_name=dice.one_of(STREET_NAMES), done_m=bend.to_m)
    return replace(bare, vehicles=vehicles, standing=standing, commands=(command,))


FAMILIES: tuple[Callable[[Dice], Scenario], ...] = (
    red_light,
    light_turns,
    stop_sign,
    yield_sign,
    turn_left,
    turn_right,
    turn_across_walkers,
)
