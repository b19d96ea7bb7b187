"""People on foot and on bicycles who cross the street."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from alpamayo_ros.simulation.families.dice import Dice, stopping_m
from alpamayo_ros.simulation.families.streets import START_M, CrossSection, length_m, straight, street, winding
from alpamayo_ros.simulation.families.surroundings import clothes, follower, oncoming, parked, spaced
from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.scenario import ROUTE, Crosswalk, Scenario, Start, Trigger, Vehicle, Walker, WalkerKind

_FRONT_M = 3.8  # of the ego, ahead of its rear axle
_KERB_GAP_M = 16.0  # without parked cars before a place where somebody steps out: they are seen in time


def crosswalk(dice: Dice) -> Scenario:
    """People cross at a zebra crossing, from either side."""
    section = dice.one_of((CrossSection(), CrossSection(right_kerb="none"), CrossSection(left_kerb="parking")))
    limit = dice.between(7.5, 10.0)
    place = START_M + dice.between(55.0, 78.0)
    road = street(dice, straight(length_m(dice, limit)), limit, section)
    first = _walker(dice, road, "walker 0", "pedestrian", place, limit, dice.between(1.2, 1.6))
    others = [
        _walker(
            dice,
            road,
            f"walker {k}",
            "pedestrian",
            place + 1.2 * (-1) ** k + dice.between(-0.2, 0.2),
            limit,
            dice.between(1.2, 1.6),
        )
        for k in range(1, dice.count(1, 3))
    ]
    zebra = Crosswalk(ROUTE, place - 2.0, place + 2.0)
    vehicles = _traffic(dice, road, limit, place)
    return replace(_drive(dice, road, limit, (first, *others), place), vehicles=vehicles, crosswalks=(zebra,))


def stepping_out(dice: Dice) -> Scenario:
    """A child or a grown-up runs across the street between parked cars, in sight early enough."""
    limit = dice.between(6.5, 8.0)
    place = START_M + dice.between(45.0, 70.0)
    road = street(dice, winding(dice, length_m(dice, limit), (200.0, 400.0)), limit, CrossSection(left_kerb="parking"))
    kind: WalkerKind = "child" if dice.chance(0.7) else "pedestrian"
    walker = _walker(dice, road, kind, kind, place, limit, dice.between(1.6, 2.1))
    return _drive(dice, road, limit, (walker,), place)


def crossing_cyclist(dice: Dice) -> Scenario:
    """Somebody rides a bicycle across the street."""
    limit = dice.between(7.5, 10.0)
    place = START_M + dice.between(50.0, 75.0)
    section = CrossSection(right_kerb=dice.one_of(("none", "shoulder")), centre="dashed")
    road = street(dice, winding(dice, length_m(dice, limit), (200.0, 400.0)), limit, section)
    cyclist = _walker(dice, road, "cyclist", "cyclist", place, limit, dice.between(2.0, 3.2))
    return replace(_drive(dice, road, limit, (cyclist,), place), vehicles=_traffic(dice, road, limit, place))


def _walker(dice: Dice, road: Road, name: str, kind: WalkerKind, along_m: float, limit_mps: float, speed: float) -> Walker:
    """Somebody who would be in front of an ego that goes on at the limit, and sets out when it can still stop gently."""
    right, left = min(strip.right_m for strip in road.strips) + 0.9, max(strip.left_m for strip in road.strips) - 0.9
    away_m = stopping_m(limit_mps) + dice.between(2.0, 5.0)
    way_m = speed * away_m / limit_mps  # to the middle of the ego's lane, so that both would be there together
    from_left, to_left = (min(right, -way_m), left) if dice.chance(0.5) else (max(left, way_m), right)
    starts_m = max(along_m - _FRONT_M - limit_mps * abs(from_left) / speed, START_M + 1.0)
    return Walker(name, kind, ROUTE, along_m, from_left, to_left, speed, Trigger(ego_past_m=starts_m), clothes(dice))


def _traffic(dice: Dice, road: Road, limit_mps: float, place_m: float) -> tuple[Vehicle, ...]:
    """Somebody behind, and those who have just come by the other way."""
    behind = (follower(dice, limit_mps),) if dice.chance(0.4) else ()
    gone = oncoming(dice, road, ROUTE, spaced(dice, START_M + 10.0, place_m - 10.0, (30.0, 60.0)), limit_mps)
    return (*behind, *gone) if dice.chance(0.6) else behind


def _drive(dice: Dice, road: Road, limit_mps: float, walkers: tuple[Walker, ...], place_m: float) -> Scenario:
    bare = dice.drive((road,), Start(START_M, limit_mps * dice.between(0.8, 0.98), dice.between(-0.15, 0.15)), place_m + 12.0)
    standing = parked(dice, road, [(place_m - _KERB_GAP_M, place_m + 2.5)], dice.between(0.4, 0.9))
    return replace(bare, walkers=walkers, standing=standing)


FAMILIES: tuple[Callable[[Dice], Scenario], ...] = (crosswalk, stepping_out, crossing_cyclist)
