"""Round what stands in the way: within the lane where there is room, over its line where the other side is free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.simulation.expert.intention import Cause, CauseKind
from alpamayo_ros.simulation.expert.manoeuvres import Phase, Wait
from alpamayo_ros.simulation.expert.path import TIGHT_1PM, Knot, reach_m
from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.expert.scene import Scene
from alpamayo_ros.simulation.expert.speed import Why
from alpamayo_ros.simulation.expert.things import Thing
from alpamayo_ros.simulation.road import Lane
from alpamayo_ros.simulation.state import FRONT_M, REAR_M, WIDTH_M
from alpamayo_ros.types import Direction, Lateral

CLEAR_M, LEAST_CLEAR_M = 0.8, 0.5  # wanted beside an obstacle, and enough to stay in the lane for
LINE_M = 0.08  # from the ego's side to the lane's line
BESIDE_M = 1.0  # before and behind an obstacle that the ego has its whole offset
TOGETHER_M = 30.0  # obstacles so close are passed in one go
WAITS_M = 2.0  # before where the ego can still pull out
TIGHTEST_1PM, WAIT_BRAKING_MPS2 = 0.15, 2.2  # how it pulls out where it would have to brake harder for waiting
PASSED_M = 3.0  # past its near end, whoever came the other way is no matter any more
AFTERWARDS_S = 1.5  # from when the ego is back until somebody comes the other way
LEAST_MOVE_S = 2.2  # for small ones
_KINDS: dict[str, CauseKind] = {
    "parked_car": "parked_car", "broken_down_car": "broken_down_car", "truck": "truck", "cone": "cones", "barrier": "barrier"
}  # fmt: skip


@dataclass(frozen=True)
class Obstacle:
    """Things that are passed in one go, on one side."""

    things: tuple[Thing, ...]
    side: Direction  # on which the ego passes
    left_m: float  # of the ego's rear axle beside them
    within: bool  # the lane
    from_m: float  # of the ends of the things
    to_m: float
    limit_mps: float  # there


def obstacles(scene: Scene, route: Route, base_left_m: float, from_m: float) -> list[Obstacle]:
    """What stands so near the lane with this centre that the ego has to give way, in its order, beyond a place."""
    found: list[Obstacle] = []
    things = [t for t in scene.things if t.fixed and t.front_m > from_m and t.off(base_left_m) < WIDTH_M / 2 + CLEAR_M - 0.1]
    for thing in sorted(things, key=lambda t: t.rear_m):
        lane = route.lane(base_left_m, thing.rear_m)
        if lane is None:
            continue
        new = _obstacle(route, thing, base_left_m, lane)
        if found and new.from_m - found[-1].to_m < TOGETHER_M and (new.side == found[-1].side or not new.within):
            new = _together(found.pop(), new, base_left_m)
        found.append(new)
    return [_between(scene, obstacle, base_left_m) for obstacle in found]


def causes(obstacle: Obstacle, scene: Scene) -> tuple[Cause, ...]:
    """The obstacle as a cause."""
    first = obstacle.things[0]
    kind = "barrier" if all(t.body.kind == "barrier" for t in obstacle.things) else _KINDS[first.body.kind]
    names = tuple(t.body.name for t in obstacle.things if t.body.kind == first.body.kind)
    side: Direction = "left" if obstacle.side == "right" else "right"
    return (Cause(kind, names, obstacle.from_m - scene.front_m, side),)


def nudge(obstacle: Obstacle, scene: Scene, base_left_m: float, from_m: float = -math.inf) -> tuple[tuple[Knot, ...], Phase]:
    """The way round an obstacle; it does not begin before a place of the rear axle."""
    speed = _expected_mps(obstacle, scene)
    offset, least = obstacle.left_m - base_left_m, LEAST_MOVE_S * speed
    out, back = max(reach_m(offset, speed, TIGHT_1PM), least), max(reach_m(offset, speed), least)
    begin, end = obstacle.from_m - BESIDE_M - FRONT_M, obstacle.to_m + BESIDE_M + REAR_M
    leaves = max(begin - out, from_m)
    beside = Knot(begin, obstacle.left_m), Knot(end, obstacle.left_m)
    knots = (Knot(leaves, base_left_m), *beside, Knot(end + back, base_left_m))
    decision: Lateral = "in_lane_nudge" if obstacle.within else "out_of_lane_nudge"
    return knots, Phase(leaves, begin, decision, obstacle.side, causes(obstacle, scene))


def coming(obstacle: Obstacle, scene: Scene, base_left_m: float) -> tuple[Thing, float] | None:
    """Somebody who comes the other way first, and when the last such one has passed; None: there is time to go round."""
    back = obstacle.to_m + 0.7 * reach_m(obstacle.left_m - base_left_m, 5.0)
    start_s, first = 0.0, None
    for thing in sorted(scene.things, key=lambda t: float(t.along_m[0])):
        if thing.fixed or thing.walks or np.cos(thing.heading_rad[0]) > -0.5 or thing.front_m < scene.rear_m:
            continue
        beside = abs(thing.left_m[0] - obstacle.left_m) < thing.half_left_m[0] + WIDTH_M / 2 + 0.3
        speed = max(thing.body.speed_mps, 1.0)
        needs_s = _takes_s(back - scene.stance.along_m, scene.speed_mps if first is None else min(scene.speed_mps, 3.0))
        if beside and (thing.rear_m - back) / speed < start_s + needs_s + AFTERWARDS_S:
            start_s = max(start_s, (thing.front_m - obstacle.from_m + PASSED_M) / speed)
            first = first or thing
    return None if first is None else (first, start_s)


def wait(obstacle: Obstacle, scene: Scene, base_left_m: float, other: Thing, until_s: float) -> Wait:
    """Behind an obstacle until somebody has passed: so far away that there is room to pull out, nearer where it is late."""
    offset, away = obstacle.left_m - base_left_m, other.rear_m - scene.front_m
    far, near = (obstacle.from_m - WAITS_M - BESIDE_M - reach_m(offset, 0.0, bend) for bend in (TIGHT_1PM, TIGHTEST_1PM))
    comfortable = scene.front_m + scene.speed_mps**2 / (2 * WAIT_BRAKING_MPS2)
    why = Why("yield", (Cause("oncoming_vehicle", (other.body.name,), away), *causes(obstacle, scene)))
    return Wait(min(max(far, comfortable), near), why, until_s)


def _obstacle(route: Route, thing: Thing, base: float, lane: Lane) -> Obstacle:
    left, half = float(thing.left_m[0]), float(thing.half_left_m[0])
    side: Direction = (
        "right" if left > base + 0.3 or (left > base - 0.3 and not _ground(route, thing.rear_m, lane, "left")) else "left"
    )
    sign = 1.0 if side == "left" else -1.0
    edge = sign * (left - base) + half  # of the thing, counted to the ego's side
    most = lane.width_m / 2 - WIDTH_M / 2 - LINE_M
    wanted = edge + CLEAR_M + WIDTH_M / 2
    within = edge + LEAST_CLEAR_M + WIDTH_M / 2 <= most
    return Obstacle(
        (thing,),
        side,
        base + sign * (min(wanted, most) if within else wanted),
        within,
        thing.rear_m,
        thing.front_m,
        lane.limit_mps,
    )


def _together(one: Obstacle, other: Obstacle, base: float) -> Obstacle:
    wider = max((one, other), key=lambda o: (not o.within, abs(o.left_m - base)))
    things, within = (*one.things, *other.things), one.within and other.within
    return Obstacle(things, wider.side, wider.left_m, within, one.from_m, max(one.to_m, other.to_m), one.limit_mps)


def _between(scene: Scene, obstacle: Obstacle, base: float) -> Obstacle:
    """The same way round, but in the middle where something stands close on the other side, too."""
    sign = 1.0 if obstacle.side == "left" else -1.0
    near = [t for t in scene.things if t.fixed and t.front_m > obstacle.from_m - 15.0 and t.rear_m < obstacle.to_m + 15.0]
    edges = [sign * (float(t.left_m[0]) - base) - float(t.half_left_m[0]) for t in near if t not in obstacle.things]
    away = sign * (obstacle.left_m - base)
    other = min((edge for edge in edges if edge > away), default=np.inf)
    own = max(sign * (float(t.left_m[0]) - base) + float(t.half_left_m[0]) for t in obstacle.things)
    if other - away - WIDTH_M / 2 >= LEAST_CLEAR_M + 0.1:
        return obstacle
    return replace(obstacle, left_m=base + sign * min(away, (own + other) / 2))


def _ground(route: Route, along_m: float, lane: Lane, side: Direction) -> bool:
    """Whether one can drive beside a lane."""
    there = lane.left_m + (lane.width_m if side == "left" else -lane.width_m)
    lanes = any(abs(other.left_m - there) < 1.0 and other.from_m <= along_m < other.to_m for other in route.road.lanes)
    strips = any(
        strip.kind == "shoulder" and strip.from_m <= along_m < strip.to_m and strip.right_m <= there <= strip.left_m
        for strip in route.road.strips
    )
    return lanes or strips


def _expected_mps(obstacle: Obstacle, scene: Scene) -> float:
    """How fast the ego, speeding up without haste, is going to be near an obstacle."""
    away = max(obstacle.from_m - scene.front_m - 20.0, 0.0)
    return max(scene.speed_mps, min(math.sqrt(scene.speed_mps**2 + 1.6 * away), obstacle.limit_mps))


def _takes_s(distance_m: float, speed_mps: float) -> float:
    """To drive a distance, without haste: at the present speed, or as one that gets up to 5 m/s."""
    speed = max(0.85 * speed_mps, 5.0)
    return distance_m / speed + max(speed - speed_mps, 0.0) ** 2 / (2 * 1.2 * speed)


def first_blocking(found: Sequence[Obstacle]) -> Obstacle | None:
    """The first one that cannot be passed within the lane."""
    return next((obstacle for obstacle in found if not obstacle.within), None)
