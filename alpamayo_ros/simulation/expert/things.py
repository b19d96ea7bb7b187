"""Other bodies in the route's coordinates, and where they will be if they go on as they do.

A vehicle follows the lane that it is in at its speed; one that brakes now brakes for a while; one that drifts, or indicates
beside another lane, changes its lane. Everybody else goes straight on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.road import Lane, Road
from alpamayo_ros.simulation.scenario import ROUTE, Scenario
from alpamayo_ros.simulation.state import Body
from alpamayo_ros.types import F64, HORIZON, STEP_S

AHEAD_S = np.linspace(0.0, HORIZON * STEP_S, HORIZON + 1)
"""Times of a prediction, from now on."""

WALKS_OFF_S = 0.7  # how long somebody who sets out is taken to get faster
BRAKES_ON_S = 2.0  # how long somebody who brakes now is taken to go on braking
DRIFTS_ON_S = 2.5  # and who moves sideways
DRIFT_MPS = 0.25  # sideways: less is no lane change
LANE_CHANGE_MPS = 1.0  # sideways, of somebody who indicates
WALK_MPS = 1.4  # of somebody who waits to cross
_WALKERS = ("pedestrian", "child", "cyclist")
_SAMPLE_M = 1.0
_ASTRAY_RAD = 0.8  # against a lane's direction: whoever heads elsewhere is not in it


@dataclass(frozen=True, eq=False)
class Thing:
    """A body as it is known, and as it is expected at the times AHEAD_S; equal only to itself."""

    body: Body
    along_m: F64  # (65,) of its centre on the route
    left_m: F64  # (65,)
    heading_rad: F64  # (65,) against the route's
    half_along_m: F64  # (65,) of its footprint, along the route
    half_left_m: F64  # (65,)
    fixed: bool  # placed there for good
    road: int | None = None  # the road whose lane it follows; None for whoever follows none
    drift_mps: float = 0.0  # across that lane, now

    @property
    def walks(self) -> bool:
        """Whether it is a vulnerable road user."""
        return self.body.kind in _WALKERS

    @property
    def stands(self) -> bool:
        """Whether it does not move now."""
        return abs(self.body.speed_mps) < 0.3

    @property
    def along_mps(self) -> float:
        """Its speed along the route now."""
        return self.body.speed_mps * float(np.cos(self.heading_rad[0]))

    @property
    def rear_m(self) -> float:
        """Its near end on the route now."""
        return float(self.along_m[0] - self.half_along_m[0])

    @property
    def front_m(self) -> float:
        """Its far end on the route now."""
        return float(self.along_m[0] + self.half_along_m[0])

    def off(self, left_m: float) -> float:
        """How far the nearer of its sides is from a line along the route, now; negative where it covers the line."""
        return float(abs(self.left_m[0] - left_m) - self.half_left_m[0])


@dataclass(frozen=True)
class _Way:
    """A lane and what follows it on its road, from the route."""

    lane: Lane
    place_m: F64  # (n,) on its own road, increasing
    along_m: F64  # (n,) on the route
    left_m: F64  # (n,)
    heading_rad: F64  # (n,) of its traffic, against the route's
    neighbours: tuple[bool, bool]  # whether a lane of its direction lies left and right of it, seen in that direction


class Foresight:
    """Predictions for the bodies of one scenario; what its lanes look like from the route is worked out once."""

    def __init__(self, scenario: Scenario, route: Route) -> None:
        self._route = route
        self._roads = scenario.roads
        self._fixed_names = frozenset(thing.name for thing in scenario.standing)
        self._fixed: dict[str, Thing] = {}
        self._ways: dict[tuple[int, str], _Way] = {}

    def things(self, bodies: Sequence[Body], ages_s: Sequence[float]) -> tuple[Thing, ...]:
        """Bodies as they were so long ago -> as they are expected from now on."""
        new = [k for k, body in enumerate(bodies) if body.name not in self._fixed]
        places = self._places([bodies[k] for k in new])
        found = {k: self._thing(bodies[k], ages_s[k], place) for k, place in zip(new, places, strict=True)}
        self._fixed.update({thing.body.name: thing for thing in found.values() if thing.fixed})
        return tuple(found[k] if k in found else self._fixed[body.name] for k, body in enumerate(bodies))

    def _places(self, bodies: Sequence[Body]) -> list[list[tuple[float, float, float]]]:
        """Per body and road: along, left, and its heading against the road's."""
        if not bodies:
            return []
        xy, yaw = np.array([body.xy_m for body in bodies]), np.array([body.yaw_rad for body in bodies])
        rows = []
        for road in self._roads:
            along, left = road.locate(xy)
            _, heading = road.place(along, left)
            rows.append(np.column_stack([along, left, _wrapped(yaw - heading)]))
        return [[(float(a), float(b), float(c)) for a, b, c in places] for places in np.stack(rows, axis=1)]

    def _thing(self, body: Body, age_s: float, places: list[tuple[float, float, float]]) -> Thing:
        fixed = body.name in self._fixed_names
        found = None if fixed or body.kind in _WALKERS else self._lane_of(places)
        covered = _covered_m(body, AHEAD_S + age_s)
        if found is None:
            along, left, heading = places[ROUTE]
            headings = np.full(len(covered), heading)
            return _thing(body, along + covered * np.cos(heading), left + covered * np.sin(heading), headings, fixed=fixed)
        index, lane = found
        return _in_lane(body, covered, index, self._way(index, lane), *places[index])

    def _way(self, index: int, lane: Lane) -> _Way:
        if (index, lane.name) not in self._ways:
            self._ways[index, lane.name] = _way(self._route, index, self._roads[index], lane)
        return self._ways[index, lane.name]

    def _lane_of(self, places: list[tuple[float, float, float]]) -> tuple[int, Lane] | None:
        """The road and lane that fit a body's places best; where two fit alike, not the route's."""
        best, found = np.inf, None
        for index, (along, left, heading) in enumerate(places):
            for lane in self._roads[index].lanes:
                astray = abs(float(_wrapped(np.array(heading + (np.pi if lane.oncoming else 0.0)))))
                off = abs(left - lane.left_m)
                inside = lane.from_m - 1.0 <= along <= lane.to_m + 1.0 and off < lane.width_m / 2 + 0.3
                misfit = astray + 0.2 * off + 1e-3 * (index == ROUTE)
                if inside and astray < _ASTRAY_RAD and misfit < best:
                    best, found = misfit, (index, lane)
        return found


def expected_to_walk(thing: Thing) -> Thing:
    """Somebody who waits, as if they walked from now on."""
    covered = WALK_MPS * AHEAD_S
    along, left = thing.along_m + covered * np.cos(thing.heading_rad), thing.left_m + covered * np.sin(thing.heading_rad)
    return replace(thing, along_m=along, left_m=left)


def _in_lane(body: Body, covered: F64, index: int, way: _Way, along: float, left: float, heading: float) -> Thing:
    """On a lane of a road, from its place there and its heading against that road's."""
    direction = -1.0 if way.lane.oncoming else 1.0
    at = along + direction * covered
    drift = body.speed_mps * float(np.sin(heading + (np.pi if way.lane.oncoming else 0.0)))
    sideways = _sideways_m(body, drift, direction * (left - way.lane.left_m), way)
    headings = np.interp(at, way.place_m, way.heading_rad)
    along_m = np.interp(at, way.place_m, way.along_m) - sideways * np.sin(headings)
    left_m = np.interp(at, way.place_m, way.left_m) + sideways * np.cos(headings)
    return replace(_thing(body, along_m, left_m, headings), road=index, drift_mps=drift)


def _thing(body: Body, along: F64, left: F64, heading: F64, *, fixed: bool = False) -> Thing:
    cos, sin = np.abs(np.cos(heading)), np.abs(np.sin(heading))
    length, width = body.size.length_m / 2, body.size.width_m / 2
    return Thing(body, along, left, heading, length * cos + width * sin, length * sin + width * cos, fixed)


def _covered_m(body: Body, t_s: F64) -> F64:
    """Distances after times: who brakes, brakes on for a while; who walks off gets faster, who drives keeps the speed."""
    speed, accel = body.speed_mps, min(body.accel_mps2, 0.0)
    if body.kind in _WALKERS and body.accel_mps2 > 0.0:
        return (speed + WALKS_OFF_S * body.accel_mps2) * t_s
    if accel > -0.5 or speed <= 0.0:
        return speed * t_s
    braking = np.minimum(t_s, min(BRAKES_ON_S, speed / -accel))
    return speed * braking + accel * braking**2 / 2 + (speed + accel * braking) * (t_s - braking)


def _sideways_m(body: Body, drift: float, off_m: float, way: _Way) -> F64:
    """Offsets to the left of the lane's centre, seen in the body's direction."""
    width = way.lane.width_m
    if abs(drift) < DRIFT_MPS and body.speed_mps > 2.0:
        left, right = way.neighbours
        drift = LANE_CHANGE_MPS * ((body.indicator == "left" and left) - (body.indicator == "right" and right))
    elif abs(drift) < DRIFT_MPS:
        drift = 0.0
    moved = off_m + drift * np.minimum(AHEAD_S, DRIFTS_ON_S)
    return np.asarray(np.clip(moved, min(off_m, -width), max(off_m, width)))


def _way(route: Route, index: int, road: Road, lane: Lane) -> _Way:
    places = np.arange(
        -100.0 if lane.oncoming else lane.from_m - 5.0, lane.to_m + 5.0 if lane.oncoming else road.length_m + 100.0
    )
    along, left = places, np.full(len(places), lane.left_m)
    if index != ROUTE:
        xy, _ = road.place(places, left)
        along, left = route.road.locate(xy)
    _, yaw = road.place(places, 0.0)
    heading = yaw + (np.pi if lane.oncoming else 0.0) - np.interp(along, route.along_m, route.heading_rad)
    sides = [_is_lane(road, lane, lane.left_m + shift) for shift in (lane.width_m, -lane.width_m)]
    neighbours = (sides[1], sides[0]) if lane.oncoming else (sides[0], sides[1])
    return _Way(lane, places, along, left, np.unwrap(heading), neighbours)


def _is_lane(road: Road, beside: Lane, left_m: float) -> bool:
    return any(lane.oncoming == beside.oncoming and abs(lane.left_m - left_m) < 0.6 for lane in road.lanes)


def _wrapped(angle: F64) -> F64:
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)
