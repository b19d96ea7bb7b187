"""Town: a long drive of any duration, on which most of what happens in a street happens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from alpamayo_ros.simulation.families.dice import Dice, stopping_m
from alpamayo_ros.simulation.families.streets import AHEAD_M, START_M, CrossSection, bend, ends_m, street
from alpamayo_ros.simulation.families.surroundings import oncoming, paint, parked
from alpamayo_ros.simulation.road import Piece, Road
from alpamayo_ros.simulation.scenario import ROUTE, Crosswalk, LightColour, Scenario, Start, TrafficLight, Trigger, Vehicle

_FASTEST_MPS = 11.0
_MEAN_MPS = 6.0  # with the waits at lights
_MET_M = 170.0  # from the ego: where those who come the other way set out, out of sight


def town(dice: Dice) -> Scenario:
    """Bends to both sides, a lead that brakes once, a follower, others on both sides, lights that turn red ahead of the ego."""
    limit = dice.between(9.5, 10.5)
    road, lines = _street(dice, START_M + _FASTEST_MPS * dice.duration_s + AHEAD_M, limit)
    lights = tuple(_light(dice, road, line, limit, ahead_of_ego=k % 3 != 1) for k, line in enumerate(lines))
    vehicles = (*_companions(dice, limit), *_others(dice, road))
    goal = START_M + (0.58 if dice.duration_s < 60 else 0.9) * _MEAN_MPS * dice.goal_s
    bare = dice.drive((road,), Start(START_M, 7.5), goal)
    free = [(line - 8.0, line + 18.0) for line in lines]
    walks = tuple(Crosswalk(ROUTE, line + 1.0, line + 4.0) for line in lines)
    return replace(bare, lights=lights, crosswalks=walks, vehicles=vehicles, standing=parked(dice, road, free, 0.3))


def _street(dice: Dice, length: float, limit_mps: float) -> tuple[Road, list[float]]:
    """A straight start, then blocks of: bend to the left, straight with a stop line, bend to the right, straight."""
    pieces, lines = [Piece(START_M + 6.0, 0.0)], []
    while ends_m(pieces) < length:
        left, right = dice.between(42.0, 60.0), dice.between(42.0, 60.0)
        pieces += bend(1.0 / left, dice.between(32.0, 38.0) / left, 16.0)
        lines.append(ends_m(pieces) + 30.0)
        pieces += (Piece(64.0, 0.0), *bend(-1.0 / right, dice.between(32.0, 38.0) / right, 16.0), Piece(70.0, 0.0))
    return street(dice, tuple(pieces), limit_mps, CrossSection(left=1)), lines


def _light(dice: Dice, road: Road, line_m: float, limit_mps: float, *, ahead_of_ego: bool) -> TrafficLight:
    """One that turns red ahead of the ego, or one that keeps its own time."""
    lanes = tuple(lane.name for lane in road.lanes if not lane.oncoming)
    phases: tuple[tuple[LightColour, float], ...] = (("yellow", 2.5), ("red", dice.between(4.5, 6.0)), ("green", 16.0))
    lamp = (line_m + 11.5, -5.0)
    if not ahead_of_ego:
        return TrafficLight(ROUTE, line_m, lanes, phases, dice.between(0.0, 20.0), lamp)
    turns = Trigger(ego_past_m=line_m - 3.8 - stopping_m(limit_mps) - dice.between(6.0, 12.0))
    return TrafficLight(ROUTE, line_m, lanes, phases, 0.0, lamp, turns)


def _companions(dice: Dice, limit_mps: float) -> tuple[Vehicle, ...]:
    """Who goes the ego's way: a lead that brakes once, early, somebody behind, somebody in the next lane."""
    brakes_s = dice.between(0.8, 1.2)
    wishes = ((Trigger(at_s=0.0), 9.0), (Trigger(at_s=brakes_s), 5.0), (Trigger(at_s=brakes_s + 1.6), limit_mps + 0.5))
    lead = Vehicle("lead", "car", ROUTE, "ego", START_M + 1.4 + dice.between(18.0, 21.0), 9.0, wishes, colour=paint(dice))
    follower = Vehicle("follower", "car", ROUTE, "ego", START_M - dice.between(16.0, 22.0), 7.5, colour=paint(dice))
    passing = Vehicle("passing", "car", ROUTE, "left", START_M - dice.between(8.0, 14.0), 9.0, colour=paint(dice))
    return lead, follower, passing


def _others(dice: Dice, road: Road) -> tuple[Vehicle, ...]:
    """Cars that come the other way, about one every 60 m; later ones wait out of sight until the ego is near."""
    cars: list[Vehicle] = []
    at = START_M + dice.between(20.0, 50.0)
    while at < road.length_m - 60.0:
        [car] = oncoming(dice, road, ROUTE, [at], 8.0)
        waits = Trigger(ego_past_m=at - _MET_M) if at > START_M + _MET_M else None
        cars.append(replace(car, name=f"oncoming {len(cars)}", waits=waits, wishes=((Trigger(at_s=0.0), 8.0),)))
        at += dice.between(50.0, 75.0)
    return tuple(cars)


FAMILIES: tuple[Callable[[Dice], Scenario], ...] = (town,)
