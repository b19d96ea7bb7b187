"""Things that stand in the way: badly parked cars, breakdowns, lorries, roadworks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from alpamayo_ros.simulation.families.dice import Dice, opposite, signed
from alpamayo_ros.simulation.families.streets import LANE_M, START_M, CrossSection, length_m, straight, street, winding
from alpamayo_ros.simulation.families.surroundings import follower, oncoming, paint, parked, spaced
from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.scenario import ROUTE, Scenario, Sign, Standing, StandingKind, Start, Vehicle
from alpamayo_ros.types import Direction

_HALF_CAR_M = 0.92
_PASSES_M = 16.0  # past an obstacle: the ego is back in its place


def parked_cars(dice: Dice) -> Scenario:
    """A parked car sticks into the lane, from either side: there is room beside it within the lane."""
    side, limit = dice.side(), dice.between(8.0, 10.0)
    section = CrossSection(left_kerb="parking", oncoming=0) if side == "left" else CrossSection(left_kerb="parking")
    road = street(dice, winding(dice, length_m(dice, limit), (250.0, 400.0)), limit, section)
    first = START_M + dice.between(56.0, 68.0)
    places = (first, first + dice.between(60.0, 68.0))
    cars = tuple(
        Standing(
            f"badly parked {k}", "parked_car", ROUTE, at, _sticking_out_m(dice, side), dice.between(-0.04, 0.04), paint(dice)
        )
        for k, at in enumerate(places)
    )
    rest = parked(dice, road, [(at - 9.0, at + 9.0) for at in places], dice.between(0.3, 0.8))
    vehicles = _oncoming(dice, road, limit) if section.oncoming else ()
    return _drive(dice, road, limit, first + 25.0, vehicles, (*cars, *rest))


def broken_down_car(dice: Dice) -> Scenario:
    """A car with a breakdown blocks the lane of a street with two: round it, when nobody comes the other way."""
    limit = dice.between(7.5, 10.0)
    section = CrossSection(centre="dashed", right_kerb=dice.one_of(("none", "parking")))
    road = street(dice, straight(length_m(dice, limit)), limit, section)
    place = START_M + dice.between(50.0, 70.0)
    car = Standing(
        "breakdown", "broken_down_car", ROUTE, place, dice.between(-0.9, 0.0), dice.between(-0.06, 0.06), paint(dice)
    )
    vehicles = _meeting(dice, road, limit, place)
    return _drive(dice, road, limit, place, vehicles, (car, *parked(dice, road, [(place - 25.0, place + 25.0)], 0.4)))


def breakdown_on_the_left(dice: Dice) -> Scenario:
    """On a one-way street, a car with a breakdown stands left in the lane: round it over the right line."""
    limit = dice.between(7.5, 10.0)
    section = CrossSection(oncoming=0, right_kerb="shoulder", pavement=dice.chance(0.6))
    road = street(dice, winding(dice, length_m(dice, limit), (250.0, 400.0)), limit, section)
    place = START_M + dice.between(50.0, 70.0)
    kind: StandingKind = dice.one_of(("broken_down_car", "barrier"))
    left = dice.between(0.5, 0.85)
    yaw = dice.between(-0.05, 0.05) + (np.pi / 2 if kind == "barrier" else 0.0)
    thing = Standing("breakdown", kind, ROUTE, place, left, yaw, paint(dice))
    vehicles = (follower(dice, limit),) if dice.chance(0.4) else ()
    return _drive(dice, road, limit, place, vehicles, (thing,))


def delivery_truck(dice: Dice) -> Scenario:
    """A lorry unloads at the kerb and takes half of the lane."""
    limit = dice.between(7.5, 10.0)
    road = street(dice, straight(length_m(dice, limit)), limit, CrossSection(centre="dashed", right_kerb="parking"))
    place = START_M + dice.between(50.0, 65.0)
    truck = Standing("delivery", "truck", ROUTE, place, dice.between(-2.0, -1.3), 0.0, paint(dice))
    rest = parked(dice, road, [(place - 25.0, place + 25.0)], 0.5)
    return _drive(dice, road, limit, place, _meeting(dice, road, limit, place), (truck, *rest))


def roadworks(dice: Dice) -> Scenario:
    """Cones close the lane: into the next one, on either side."""
    side, limit = dice.side(), dice.between(9.5, 12.5)
    section = CrossSection(left=1) if side == "left" else CrossSection(right=1)
    road = street(dice, winding(dice, length_m(dice, limit), (250.0, 400.0)), limit, section)
    begins = START_M + dice.between(75.0, 95.0)
    sign = Sign("roadworks", ROUTE, begins - dice.between(30.0, 40.0), section.right_edge_m - 1.2, side=opposite(side))
    edge = signed(opposite(side), LANE_M / 2 - 0.3)
    end = begins + dice.between(34.0, 50.0)
    border = [(begins + 3.0 * k, edge * (1.0 - 0.4 * k)) for k in range(6)]  # a taper, then along the line between the lanes
    border += [(float(at), -edge) for at in np.arange(begins + 19.0, end, 4.0)]
    cones = tuple(Standing(f"cone {k}", "cone", ROUTE, at, left, colour=(235, 110, 30)) for k, (at, left) in enumerate(border))
    works = tuple(
        Standing(f"works {k}", "barrier", ROUTE, float(at), 0.0, np.pi / 2, (225, 70, 50))
        for k, at in enumerate(np.linspace(begins + 20.0, end, 3))
    )
    vehicles = (Vehicle("beside", "car", ROUTE, side, START_M + dice.between(-45.0, -28.0), 0.9 * limit, colour=paint(dice)),)
    beside = vehicles if dice.chance(0.5) else ()
    return replace(_drive(dice, road, limit, end - 10.0, beside, (*cones, *works)), signs=(sign,))


def _sticking_out_m(dice: Dice, side: Direction) -> float:
    """left_m of a car that is so far over the edge of the ego's lane that there is room to pass, but little."""
    into_lane = dice.between(0.5, 0.8)
    return signed(side, LANE_M / 2 + _HALF_CAR_M - into_lane)


def _oncoming(dice: Dice, road: Road, limit_mps: float) -> tuple[Vehicle, ...]:
    return oncoming(dice, road, ROUTE, spaced(dice, START_M + 40.0, road.length_m - 40.0, (45.0, 90.0)), 0.9 * limit_mps)


def _meeting(dice: Dice, road: Road, limit_mps: float, place_m: float) -> tuple[Vehicle, ...]:
    """Often, somebody who comes the other way and is beside the obstacle when the ego reaches it."""
    if dice.chance(0.4):
        return ()
    speed = 0.9 * limit_mps
    meets_s = (place_m - START_M) / limit_mps + dice.between(-1.0, 1.0)
    places = [place_m + speed * meets_s]
    if dice.chance(0.3):
        places.append(places[0] + dice.between(13.0, 16.0))
    return oncoming(dice, road, ROUTE, places, speed)


def _drive(
    dice: Dice, road: Road, limit_mps: float, place_m: float, vehicles: tuple[Vehicle, ...], standing: tuple[Standing, ...]
) -> Scenario:
    bare = dice.drive((road,), Start(START_M, limit_mps * dice.between(0.8, 0.98)), place_m + _PASSES_M)
    return replace(bare, vehicles=vehicles, standing=standing)


FAMILIES: tuple[Callable[[Dice], Scenario], ...] = (
    parked_cars,
    broken_down_car,
    breakdown_on_the_left,
    delivery_truck,
    roadworks,
)
