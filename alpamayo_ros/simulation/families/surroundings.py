"""What makes one drive look unlike another: light and weather, houses and trees, colours, traffic that does not matter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np

from alpamayo_ros.simulation.families.dice import Dice
from alpamayo_ros.simulation.families.streets import START_M, lane_at
from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.scenario import (
    ROUTE,
    Daylight,
    LaneChange,
    Look,
    Rgb,
    Scenario,
    Scenery,
    Standing,
    Trigger,
    Vehicle,
    Walker,
    Weather,
)
from alpamayo_ros.types import F64, Direction

STREET_NAMES = ("Harbour Street", "Mill Lane", "Station Road", "Park Avenue", "Oak Street", "Bridge Street", "School Lane")

_PAINTS: tuple[Rgb, ...] = (
    (205, 58, 42), (70, 110, 165), (228, 228, 224), (40, 44, 48), (150, 152, 156), (232, 196, 60),
    (52, 92, 66), (110, 34, 44), (96, 74, 58), (176, 196, 208), (38, 54, 104), (214, 120, 44),
)  # fmt: skip
_CLOTHES: tuple[Rgb, ...] = ((190, 62, 52), (56, 86, 150), (228, 206, 70), (70, 128, 84), (150, 92, 160), (222, 222, 216))
_DAYLIGHTS: dict[Daylight, float] = {"day": 0.7, "dusk": 0.15, "night": 0.15}
_WEATHERS: dict[Weather, float] = {"clear": 0.5, "overcast": 0.25, "rain": 0.15, "fog": 0.1}
_TREE_CLEAR_M = 3.0  # from the edge of any road
_HOUSE_CLEAR_M = 5.0
_SIGHT_M = 13.0  # from a road that crosses: who waits there sees along it
_TIGHT_1PM = 1 / 40
_WATCHED_M = 45.0  # from the route, along the streets that cross it
_SCENERY_STEP_M = 9.0
_RANGE_M = 120.0  # as far as anything is drawn


def paint(dice: Dice) -> Rgb:
    """A car's colour."""
    return dice.one_of(_PAINTS)


def clothes(dice: Dice) -> Rgb:
    """Somebody's colour."""
    return dice.one_of(_CLOTHES)


def look(dice: Dice) -> Look:
    """Light, weather and texture."""
    daylight: Daylight = dice.rng.choice(list(_DAYLIGHTS), p=list(_DAYLIGHTS.values())).item()
    weather: Weather = dice.rng.choice(list(_WEATHERS), p=list(_WEATHERS.values())).item()
    return Look(daylight, weather, dice.between(-np.pi, np.pi), dice.between(2.0, 8.0), dice.count(0, 2**31 - 1))


def scenery(dice: Dice, scenario: Scenario) -> tuple[Scenery, ...]:
    """Trees and houses along all roads, clear of every one; houses where there are pavements."""
    route, start = scenario.route, scenario.start.along_m
    fastest = max(lane.limit_mps for lane in route.lanes)
    driven = route.place(np.arange(start - 50.0, start + 0.9 * fastest * scenario.duration_s, 8.0), 0.0)[0]
    walks = [_walk(scenario.roads[walker.road], walker) for walker in scenario.walkers]
    ground = np.concatenate([*(_outline(road) for road in scenario.roads), *walks])
    watched = np.concatenate([_watched(scenario.roads), *walks])
    things: list[Scenery] = []
    for index, road in enumerate(scenario.roads):
        houses = 0.55 if any(strip.kind == "pavement" for strip in road.strips) else 0.06
        along = np.arange(2.0, road.length_m, _SCENERY_STEP_M)
        near = [at for at, xy in zip(along, road.place(along, 0.0)[0], strict=True) if _away_m(driven, xy) < _RANGE_M]
        for at, side in product(near, (1.0, -1.0)):
            thing = _beside(dice, road, index, float(at), side, houses)
            xy, _ = road.place(thing.along_m, thing.left_m)
            reach = max(thing.length_m, thing.width_m) / 2
            hides = thing.kind == "building" and _away_m(watched, xy) < reach + _SIGHT_M
            if dice.chance(0.8) and not hides and _away_m(ground, xy) > reach + 1.5:
                things.append(thing)
                ground = np.concatenate(
                    [ground, xy + np.outer((-0.7, 0.0, 0.7), (reach, 0.0)), xy + np.outer((-0.7, 0.7), (0.0, reach))]
                )
    return tuple(things)


def _beside(dice: Dice, road: Road, index: int, along: float, side: float, houses: float) -> Scenery:
    """A house, with this probability, or a tree."""
    edge = _edge_m(road, along, side)
    if not dice.chance(houses):
        green = (dice.count(35, 75), dice.count(85, 130), dice.count(30, 58))
        crown, place = dice.between(2.5, 4.5), edge + side * dice.between(_TREE_CLEAR_M, 9.0)
        return Scenery("tree", index, along + dice.between(-3.0, 3.0), place, crown, crown, dice.between(4.5, 9.0), green)
    length, width, height = dice.between(5.5, 8.5), dice.between(6.0, 9.0), dice.between(3.5, 14.0)
    grey = dice.count(110, 215)
    red, green_, blue = (int(np.clip(grey + dice.count(-22, 22), 0, 255)) for _ in range(3))
    place = edge + side * (dice.between(_HOUSE_CLEAR_M, 9.0) + width / 2)
    return Scenery("building", index, along, place, length, width, height, (red, green_, blue))


def _edge_m(road: Road, along_m: float, side: float) -> float:
    """left_m of the outermost lane or strip there."""
    here = [lane.left_m + side * lane.width_m / 2 for lane in road.lanes if lane.from_m <= along_m < lane.to_m]
    here += [strip.left_m if side > 0 else strip.right_m for strip in road.strips if strip.from_m <= along_m < strip.to_m]
    return max(here, default=0.0) if side > 0 else min(here, default=0.0)


def _outline(road: Road) -> F64:
    """Points (N, 2) all over a road's lanes and strips, m."""
    bands = [(lane.from_m, lane.to_m, lane.left_m + side * lane.width_m / 2) for lane in road.lanes for side in (-1, 0, 1)]
    bands += [(strip.from_m, strip.to_m, left) for strip in road.strips for left in (strip.right_m, strip.left_m)]
    along = np.concatenate([np.arange(low, high, 4.0) for low, high, _ in bands])
    left = np.concatenate([np.full(len(np.arange(low, high, 4.0)), left) for low, high, left in bands])
    return road.place(along, left)[0]


def _watched(roads: Sequence[Road]) -> F64:
    """Points (N, 2) that a driver must see early: tight bends of the route, other streets where they come near it."""
    along = np.arange(0.0, roads[ROUTE].length_m, 6.0)
    route, _ = roads[ROUTE].place(along, 0.0)
    lines = [road.place(np.arange(0.0, road.length_m, 4.0), 0.0)[0] for road in roads[1:]]
    others = np.concatenate([np.empty((0, 2)), *lines])
    away = np.sqrt(((others[:, None] - route) ** 2).sum(axis=2).min(axis=1))
    tight = np.abs(roads[ROUTE].curvature_1pm(along)) > _TIGHT_1PM
    return np.concatenate([route[tight], others[(away > _SIGHT_M) & (away < _WATCHED_M)]])


def _walk(road: Road, walker: Walker) -> F64:
    """Points (N, 2) of the way of somebody who crosses."""
    left = np.linspace(walker.from_left_m, walker.to_left_m, 5)
    return road.place(np.full(5, walker.along_m), left)[0]


def _away_m(points: F64, xy: F64) -> float:
    """From the nearest of the points."""
    return float(np.sqrt(((points - xy) ** 2).sum(axis=1).min(initial=np.inf)))


def follower(dice: Dice, speed_mps: float, lane: str = "ego", behind_m: tuple[float, float] = (18.0, 30.0)) -> Vehicle:
    """Somebody behind the ego who goes with it."""
    return Vehicle("follower", "car", ROUTE, lane, START_M - dice.between(*behind_m), speed_mps, colour=paint(dice))


def oncoming(dice: Dice, road: Road, index: int, places_m: Iterable[float], speed_mps: float) -> tuple[Vehicle, ...]:
    """Cars that come the other way, one at each place."""
    left = next(lane.left_m for lane in road.lanes if lane.oncoming)
    return tuple(
        Vehicle(f"oncoming {k}", "car", index, lane_at(road, left, along).name, along, speed_mps, colour=paint(dice))
        for k, along in enumerate(places_m)
    )


def taker(dice: Dice, side: Direction, speed: float, begins_m: float) -> Vehicle:
    """Somebody two lanes away who takes the lane between, beside the ego, while the ego changes into it from here on."""
    change = LaneChange(side, Trigger(ego_past_m=begins_m + speed * dice.between(1.3, 1.8)), dice.between(2.0, 2.6))
    place = START_M + dice.between(-1.0, 4.0)
    leaves = (Trigger(at_s=dice.between(8.0, 9.5)), speed + 3.0)
    return Vehicle("taker", "car", ROUTE, f"{side} 2", place, speed, (*steady(speed), leaves), (change,), colour=paint(dice))


def steady(speed: float) -> tuple[tuple[Trigger, float], ...]:
    """A wish for this speed, from the start."""
    return ((Trigger(at_s=0.0), speed),)


def spaced(dice: Dice, from_m: float, to_m: float, gaps_m: tuple[float, float]) -> list[float]:
    """Places at random distances."""
    places, at = [], from_m + dice.between(0.0, gaps_m[1])
    while at < to_m:
        places.append(at)
        at += dice.between(*gaps_m)
    return places


def parked(dice: Dice, road: Road, free_m: Sequence[tuple[float, float]] = (), density: float = 0.6) -> tuple[Standing, ...]:
    """Cars on the parking strips of the route, none of them between the places of `free_m`."""
    cars: list[Standing] = []
    strips = [strip for strip in road.strips if strip.kind == "parking"]
    for strip in strips:
        for along in np.arange(max(strip.from_m, START_M - 60.0) + 4.0, strip.to_m - 4.0, 7.0):
            taken = dice.chance(density) and not any(low - 3.0 < along < high + 3.0 for low, high in free_m)
            if taken:
                left = (strip.left_m + strip.right_m) / 2 + dice.between(-0.08, 0.08)
                place = float(along) + dice.between(-0.7, 0.7)
                cars.append(Standing(f"parked {len(cars)}", "parked_car", ROUTE, place, left, colour=paint(dice)))
    return tuple(cars)


def later(
    dice: Dice, wishes_mps: Sequence[float], every_s: tuple[float, float], first_s: float
) -> tuple[tuple[Trigger, float], ...]:
    """Speeds wished one after the other."""
    times = first_s + np.cumsum([0.0, *(dice.between(*every_s) for _ in wishes_mps[1:])])
    return tuple((Trigger(at_s=float(at)), wish) for at, wish in zip(times, wishes_mps, strict=True))
