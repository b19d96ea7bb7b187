"""Changing places on the road: passing, following the route into another lane, giving up, pulling over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from alpamayo_ros.simulation.families.dice import Dice, covered_m, signed
from alpamayo_ros.simulation.families.streets import (
    LANE_M,
    PARKING_M,
    START_M,
    CrossSection,
    length_m,
    straight,
    street,
    winding,
)
from alpamayo_ros.simulation.families.surroundings import STREET_NAMES, follower, paint, parked, steady, taker
from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.scenario import ROUTE, Command, Scenario, Start, Trigger, Vehicle
from alpamayo_ros.types import Direction, Maneuver

_FRONT_M = 3.8  # of the ego, ahead of its rear axle
_LATE_M = 60.0  # a change that begins where it should be over is over so far beyond


def overtake(dice: Dice) -> Scenario:
    """A slow lorry is ahead and the next lane is free, or will be."""
    road, limit = _fast_road(dice, CrossSection(left=1))
    speed, slow = limit * dice.between(0.75, 0.9), limit * dice.between(0.35, 0.45)
    truck = Vehicle(
        "truck",
        "truck",
        ROUTE,
        "ego",
        START_M + _FRONT_M + 28.0 + 1.5 * speed + dice.between(0.0, 15.0),
        slow,
        ((Trigger(at_s=0.0), slow),),
        colour=paint(dice),
    )
    vehicles = [truck]
    if dice.chance(0.5):
        vehicles.append(Vehicle("passing", "car", ROUTE, "left", START_M - dice.between(2.0, 14.0), limit, colour=paint(dice)))
    if dice.chance(0.3):
        vehicles.append(follower(dice, speed))
    goal = START_M + 0.75 * covered_m(speed, limit, dice.goal_s)
    return _drive(dice, road, speed, goal, tuple(vehicles))


def aborted_overtake(dice: Dice) -> Scenario:
    """The same, but as the ego moves over, somebody from the lane beyond takes the place."""
    road, limit = _fast_road(dice, CrossSection(left=2))
    speed, slow = limit * dice.between(0.93, 1.0), limit * dice.between(0.45, 0.55)
    waits_m = dice.between(12.0, 20.0)  # until the lorry is near enough to be worth passing
    gap = 3.5 * speed + waits_m * (1.0 - slow / speed)
    place = START_M + _FRONT_M + gap + 4.25
    truck = Vehicle("truck", "truck", ROUTE, "ego", place, slow, steady(slow), colour=paint(dice))
    goal = START_M + 0.7 * covered_m(speed, slow, dice.goal_s)
    return _drive(dice, road, speed, goal, (truck, taker(dice, "left", speed, START_M + waits_m)))


def aborted_change(dice: Dice) -> Scenario:
    """The route wants the next lane, on either side, but as the ego moves over somebody from beyond takes the place."""
    side = dice.side()
    road, limit = _fast_road(dice, CrossSection(left=2) if side == "left" else CrossSection(right=2))
    speed = limit * dice.between(0.95, 1.0)
    given_m = START_M + dice.between(8.0, 25.0)
    goal = START_M + 0.7 * covered_m(speed, speed, dice.goal_s)
    command = _command(
        dice, "keep_left" if side == "left" else "keep_right", given_m, START_M + 15.0 * speed, signed(side, LANE_M)
    )
    return replace(_drive(dice, road, speed, goal, (taker(dice, side, speed, given_m),)), commands=(command,))


def route_changes_lane(dice: Dice) -> Scenario:
    """Navigation wants the next lane, on either side, and there is traffic in it: find a gap."""
    side = dice.side()
    section = CrossSection(left=1) if side == "left" else CrossSection(right=1)
    road, limit = _fast_road(dice, section)
    speed = limit * dice.between(0.75, 0.9)
    others = speed + dice.between(-1.5, 1.5)
    given_m = START_M + dice.between(5.0, 30.0)
    beside = _stream(dice, side, others, dice.count(0, 4))
    command = _command(
        dice, "keep_left" if side == "left" else "keep_right", given_m, START_M + 15.0 * speed, signed(side, LANE_M)
    )
    goal = START_M + 0.7 * covered_m(speed, others, dice.goal_s)
    return replace(_drive(dice, road, speed, goal, beside), commands=(command,))


def pull_over(dice: Dice) -> Scenario:
    """The route ends at the kerb, on the right, or on the left of a one-way street."""
    side: Direction = "left" if dice.chance(0.25) else "right"
    section = CrossSection(oncoming=0, right_kerb="none", left_kerb="parking") if side == "left" else CrossSection()
    limit = dice.between(7.5, 10.0)
    road = street(dice, straight(length_m(dice, limit)), limit, section)
    speed = limit * dice.between(0.8, 0.98)
    stands_m = START_M + dice.between(70.0, 90.0)
    kerb_m = signed(side, (LANE_M + PARKING_M) / 2)
    command = _command(dice, "pull_over", stands_m - dice.between(50.0, 65.0), stands_m, kerb_m)
    standing = parked(dice, road, [(stands_m - 26.0, stands_m + 14.0)], dice.between(0.4, 0.9))
    vehicles = (follower(dice, speed, behind_m=(30.0, 45.0)),) if dice.chance(0.4) else ()
    return replace(_drive(dice, road, speed, stands_m - 6.0, vehicles), commands=(command,), standing=standing)


def _fast_road(dice: Dice, section: CrossSection) -> tuple[Road, float]:
    """A road of several lanes, and its limit."""
    limit = dice.between(11.0, 15.0)
    section = section._replace(right_kerb=dice.one_of(("none", "shoulder")), pavement=dice.chance(0.5))
    return street(dice, winding(dice, length_m(dice, limit), (220.0, 400.0)), limit, section), limit


def _stream(dice: Dice, lane: str, speed: float, ahead: int) -> tuple[Vehicle, ...]:
    """Traffic in a lane: some cars beside and behind the ego at short distances, others ahead, one longer gap between."""
    places, at = [], START_M + dice.between(4.0, 12.0)
    for k in range(5):
        places.append(at)
        at -= dice.between(16.0, 20.0) + (dice.between(16.0, 24.0) if k == 1 else 0.0)
    places += [START_M + dice.between(26.0, 32.0) + 20.0 * k for k in range(ahead)]
    return tuple(
        Vehicle(f"stream {k}", "car", ROUTE, lane, place, speed, steady(speed), colour=paint(dice))
        for k, place in enumerate(places)
    )


def _command(dice: Dice, maneuver: Maneuver, given_m: float, at_m: float, to_left_m: float) -> Command:
    return Command(maneuver, given_m, at_m, to_left_m, dice.one_of(STREET_NAMES), at_m + _LATE_M)


def _drive(dice: Dice, road: Road, speed_mps: float, goal_m: float, vehicles: tuple[Vehicle, ...]) -> Scenario:
    return replace(dice.drive((road,), Start(START_M, speed_mps, dice.between(-0.1, 0.1)), goal_m), vehicles=vehicles)


FAMILIES: tuple[Callable[[Dice], Scenario], ...] = (overtake, aborted_overtake, aborted_change, route_changes_lane, pull_over)
