"""Driving along: an open road, others ahead in the lane, bends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from alpamayo_ros.simulation.families.dice import Dice, covered_m, signed, stopping_m
from alpamayo_ros.simulation.families.streets import (
    AHEAD_M,
    LANE_M,
    START_M,
    CrossSection,
    bend,
    ends_m,
    length_m,
    straight,
    street,
    winding,
)
from alpamayo_ros.simulation.families.surroundings import follower, later, oncoming, paint, parked, spaced
from alpamayo_ros.simulation.road import Piece, Road
from alpamayo_ros.simulation.scenario import ROUTE, LaneChange, Scenario, Sign, Start, Trigger, Vehicle

_CAR_M = 4.8
_LATERAL_MPS2 = 1.9  # that an advisory sign allows


def free_road(dice: Dice) -> Scenario:
    """Nothing is in the way: up to the limit, and keep the lane through gentle bends."""
    road, limit = _any_road(dice)
    speed = limit * dice.between(0.45, 1.0)
    vehicles = (*_opposite(dice, road, limit), *((follower(dice, speed),) if dice.chance(0.4) else ()))
    goal = START_M + 0.8 * covered_m(speed, limit, dice.goal_s)
    return _drive(dice, road, speed, goal, vehicles)


def follow_lead(dice: Dice) -> Scenario:
    """Somebody slower is ahead in the lane, and cannot be passed."""
    road, limit = _any_road(dice)
    speed = limit * dice.between(0.75, 1.0)
    slow = limit * dice.between(0.5, 0.7)
    lead = _lead(
        dice, dice.between(12.0, 22.0) + 0.8 * speed, slow, later(dice, (slow, slow * dice.between(0.8, 1.2)), (6, 10), 0.0)
    )
    goal = START_M + 0.8 * covered_m(slow, 0.9 * slow, dice.goal_s)
    return _drive(dice, road, speed, goal, (lead, *_opposite(dice, road, limit)))


def braking_lead(dice: Dice) -> Scenario:
    """The car ahead brakes, sometimes to a stop, and goes on after a while."""
    road, limit = _any_road(dice)
    speed = limit * dice.between(0.75, 0.95)
    brakes_s, low = dice.between(1.5, 4.0), dice.one_of((0.0, 2.0, 3.5))
    wishes = (
        (Trigger(at_s=0.0), 0.95 * speed),
        (Trigger(at_s=brakes_s), low),
        (Trigger(at_s=brakes_s + dice.between(3.5, 5.0)), limit),
    )
    lead = _lead(dice, 6.0 + 1.5 * speed, 0.95 * speed, wishes)
    goal = START_M + 0.4 * covered_m(speed, speed, dice.goal_s)
    return _drive(dice, road, speed, goal, (lead, *_opposite(dice, road, limit)))


def stop_and_go(dice: Dice) -> Scenario:
    """The end of a queue that moves on in jerks."""
    road, limit = _any_road(dice)
    speed, creep = limit * dice.between(0.65, 0.95), dice.between(2.5, 4.0)
    jerks = later(dice, (creep, 0.0, creep + 1.0, 0.0, creep + 2.0, limit), (3.0, 4.5), 0.0)
    gap, spacing, cars = 10.0 + stopping_m(speed), dice.between(8.5, 10.0), dice.count(2, 4)
    queue = [
        _lead(dice, gap + k * spacing, creep, jerks if k == cars - 1 else (), "lead" if k == 0 else f"queue {k}")
        for k in range(cars)
    ]
    goal = START_M + 0.6 * gap + 0.4 * creep * dice.goal_s
    return _drive(dice, road, speed, goal, (*queue, *_opposite(dice, road, limit)))


def cut_in(dice: Dice) -> Scenario:
    """Somebody from the next lane moves in close ahead, from either side."""
    side = dice.side()
    section = CrossSection(left=1) if side == "left" else CrossSection(right=1)
    limit = dice.between(10.5, 14.0)
    road = street(dice, winding(dice, length_m(dice, limit), (180.0, 350.0)), limit, section)
    speed, slow = limit * dice.between(0.8, 0.95), limit - dice.between(2.0, 4.0)
    moves_m = START_M + dice.between(20.0, 55.0)
    gap = dice.between(11.0, 16.0) + (limit - slow) * (moves_m - START_M) / limit
    wish = ((Trigger(at_s=0.0), slow), (Trigger(at_s=dice.between(10.0, 13.0)), limit))
    change = LaneChange("ego", Trigger(ego_past_m=moves_m), dice.between(2.5, 3.5))
    place = START_M + 3.8 + gap + _CAR_M / 2
    cutter = Vehicle("cutter", "car", ROUTE, side, place, slow, wish, (change,), colour=paint(dice))
    behind = Vehicle("behind", "car", ROUTE, side, START_M - dice.between(15.0, 30.0), speed, colour=paint(dice))
    goal = START_M + 0.8 * slow * dice.goal_s
    return _drive(dice, road, speed, goal, (cutter, behind, *_opposite(dice, road, limit)))


def curve(dice: Dice) -> Scenario:
    """A tight bend, to either side, with a sign that advises a speed."""
    side, radius, limit = dice.side(), dice.between(20.0, 38.0), dice.between(10.5, 13.5)
    advised = float(np.sqrt(_LATERAL_MPS2 * radius))
    begins = START_M + dice.between(45.0, 75.0)
    turning = bend(signed(side, 1.0 / radius), np.radians(dice.between(50.0, 105.0)), dice.between(12.0, 16.0))
    pieces: tuple[Piece, ...] = (*straight(begins), *turning, Piece(length_m(dice, limit) - begins, 0.0))
    road = street(dice, pieces, limit, dice.one_of((CrossSection(), CrossSection(pavement=False, right_kerb="shoulder"))))
    sign = Sign("advisory_speed", ROUTE, begins - dice.between(25.0, 38.0), -LANE_M, speed_mps=round(advised, 1), side=side)
    speed = limit * dice.between(0.75, 0.95)
    goal = begins + ends_m(turning) + 5.0
    vehicles = oncoming(
        dice, road, ROUTE, spaced(dice, START_M + 60.0, road.length_m - AHEAD_M / 2, (50.0, 90.0)), 0.7 * advised
    )
    return replace(_drive(dice, road, speed, goal, vehicles if dice.chance(0.5) else ()), signs=(sign,))


def _any_road(dice: Dice) -> tuple[Road, float]:
    """A winding road of one of several kinds, and its limit."""
    kinds = (
        (CrossSection(), (8.0, 10.5)),
        (CrossSection(centre="dashed", right_kerb="shoulder", pavement=False), (11.0, 14.0)),
        (CrossSection(right_kerb="none", left_kerb="parking"), (8.0, 10.5)),
    )
    section, limits = dice.one_of(kinds)
    limit = dice.between(*limits)
    return street(dice, winding(dice, length_m(dice, limit), (90.0, 260.0)), limit, section), limit


def _lead(
    dice: Dice, gap_m: float, speed: float, wishes: tuple[tuple[Trigger, float], ...] = (), name: str = "lead"
) -> Vehicle:
    """Somebody ahead in the ego's lane, with so much between the bumpers."""
    return Vehicle(name, "car", ROUTE, "ego", START_M + 3.8 + gap_m + _CAR_M / 2, speed, wishes, colour=paint(dice))


def _opposite(dice: Dice, road: Road, limit_mps: float) -> tuple[Vehicle, ...]:
    """Sometimes, cars that come the other way."""
    if dice.chance(0.4):
        return ()
    places = spaced(dice, START_M + 40.0, road.length_m - 40.0, (35.0, 90.0))
    return oncoming(dice, road, ROUTE, places, 0.9 * limit_mps)


def _drive(dice: Dice, road: Road, speed_mps: float, goal_m: float, vehicles: tuple[Vehicle, ...]) -> Scenario:
    bare = dice.drive((road,), Start(START_M, speed_mps, dice.between(-0.15, 0.15)), goal_m)
    return replace(bare, vehicles=vehicles, standing=parked(dice, road, density=dice.between(0.1, 0.7)))


FAMILIES: tuple[Callable[[Dice], Scenario], ...] = (free_road, follow_lead, braking_lead, stop_and_go, cut_in, curve)
