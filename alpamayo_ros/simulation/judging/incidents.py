"""What ends a drive, and which rules it broke: collisions, leaving the road, red lights, stop signs.

Collisions and leaving the road are AlpaSim's (scorers `collision` and `offroad`): a collision is of the front when the body
touches the ego's front end, of the rear when it touches only the rear end, else of the side; the ego is at fault in all but
those of the rear, even where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import shapely

from alpamayo_ros.simulation.episode import Incident, IncidentKind
from alpamayo_ros.simulation.judging.footprints import REACH_M, between, body_pose, bumpers, ego_pose, shape
from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.scenario import ROUTE, Scenario, Sign, TrafficLight
from alpamayo_ros.simulation.state import FRONT_M, BodyKind, Snapshot
from alpamayo_ros.types import F64

MOST_APART_M = 0.5  # relative travel between two instants at which a collision is looked for
STOOD_MPS, STOOD_WITHIN_M = 0.3, 3.0  # what counts as having stopped at a stop line
SLIVER_M = 0.05  # gaps between the grounds of two lanes that are none
_EDGE_STEP_M, _EDGE_ERROR_M = 0.5, 0.005
_LANE_M = 3.5  # farther than this from the middle of any lane, a stop line does not reach
_WORST_FIRST: tuple[IncidentKind, ...] = ("collision_front", "collision_lateral", "collision_rear")


class Grounds:
    """The ground that may be driven on: lanes, shoulders and parking strips of every road; pavements may not."""

    def __init__(self, scenario: Scenario) -> None:
        stretches = [stretch for road in scenario.roads for stretch in _stretches(road)]
        joined = shapely.union_all(stretches).buffer(SLIVER_M, join_style="mitre").buffer(-SLIVER_M, join_style="mitre")
        self.area = joined.simplify(_EDGE_ERROR_M)
        shapely.prepare(self.area)

    def hold(self, footprint: shapely.Polygon) -> bool:
        """Whether a footprint lies on them entirely."""
        return bool(self.area.covers(footprint))


def _stretches(road: Road) -> Iterator[shapely.Polygon]:
    for lane in road.lanes:
        yield _stretch(road, lane.from_m, lane.to_m, lane.left_m - lane.width_m / 2, lane.left_m + lane.width_m / 2)
    for strip in road.strips:
        if strip.kind != "pavement":
            yield _stretch(road, strip.from_m, strip.to_m, strip.right_m, strip.left_m)


def _stretch(road: Road, from_m: float, to_m: float, right_m: float, left_m: float) -> shapely.Polygon:
    along = np.linspace(from_m, to_m, max(math.ceil((to_m - from_m) / _EDGE_STEP_M), 1) + 1)
    right, _ = road.place(along, right_m)
    left, _ = road.place(along, left_m)
    return shapely.Polygon(np.concatenate([right, left[::-1]])).buffer(0.0)


def incident_of(grounds: Grounds, before: Snapshot, now: Snapshot) -> Incident | None:
    """What happened in the step from one snapshot to the next; None when nothing did.

    Collisions are looked for as often as anything near has moved by half a metre against the ego, between the snapshots in a
    straight line, so that nothing passes through it unseen, and told at the time of the first; of several at one time the one
    that weighs most. Whether it is on the road is asked at `now`.
    """
    collision = _collision(before, now)
    if collision is None and not grounds.hold(shape("car", ego_pose(now.ego))):
        return Incident("offroad", now.t_s, "")
    return collision


class _Mover(NamedTuple):
    """A body that may touch the ego within the step."""

    name: str
    kind: BodyKind
    before: F64  # poses
    now: F64


def _collision(before: Snapshot, now: Snapshot) -> Incident | None:
    was, ego = ego_pose(before.ego), ego_pose(now.ego)
    movers = _movers(before, now, was, ego)
    if not movers:
        return None
    moved = ego[:2] - was[:2]
    most = max(float(np.linalg.norm(mover.now[:2] - mover.before[:2] - moved)) for mover in movers)
    instants = max(math.ceil(most / MOST_APART_M), 1)
    for fraction in np.arange(1, instants + 1) / instants:
        if touched := _touched(between(was, ego, fraction), movers, fraction):
            kind, thing = min(touched, key=lambda touch: _WORST_FIRST.index(touch[0]))
            return Incident(kind, float(before.t_s + fraction * (now.t_s - before.t_s)), thing)
    return None


def _movers(before: Snapshot, now: Snapshot, was: F64, ego: F64) -> list[_Mover]:
    """The bodies whose circle meets the ego's within the step; one that was not there before is taken as it is now."""
    if not now.bodies:
        return []
    centres = np.array([body.xy_m for body in now.bodies])
    reach = np.array([REACH_M[body.kind] for body in now.bodies]) + REACH_M["car"]
    speeds = np.array([abs(body.speed_mps) for body in now.bodies])
    moved = float(np.linalg.norm(ego[:2] - was[:2])) + speeds * (now.t_s - before.t_s) + MOST_APART_M
    near = np.flatnonzero(np.linalg.norm(centres - ego[:2], axis=1) < reach + moved)
    earlier = {body.name: body for body in before.bodies} if len(near) else {}
    bodies = [now.bodies[index] for index in near]
    return [_Mover(b.name, b.kind, body_pose(earlier.get(b.name, b)), body_pose(b)) for b in bodies]


def _touched(ego: F64, movers: Sequence[_Mover], fraction: float) -> list[tuple[IncidentKind, str]]:
    footprint = shape("car", ego)
    shapes = [shape(mover.kind, between(mover.before, mover.now, fraction)) for mover in movers]
    hits = [(other, mover.name) for other, mover in zip(shapes, movers, strict=True) if footprint.intersects(other)]
    return [(_side(ego, other), name) for other, name in hits]


def _side(ego: F64, other: shapely.Polygon) -> IncidentKind:
    front, rear = bumpers(ego)
    if front.intersects(other):
        return "collision_front"
    return "collision_rear" if rear.intersects(other) else "collision_lateral"


@dataclass(frozen=True)
class Violation:
    """A rule broken without anything being hit: reported, no incident."""

    kind: Literal["red_light", "stop_sign"]
    t_s: float
    thing: str  # "light 0", "sign 1": places in the scenario


def violations_of(scenario: Scenario, snapshots: Sequence[Snapshot]) -> tuple[Violation, ...]:
    """The red lights and stop signs of its route that the ego drove through, in order.

    Red: the front bumper crosses the line in a step that begins red. Stop sign: it does so without having been slower than
    0.3 m/s less than 3 m before it. A light holds for its lanes, and for whoever passes it on the wrong side of the road.
    """
    fronts = np.array([snapshot.ego.xy_m for snapshot in snapshots])
    yaw = np.array([snapshot.ego.yaw_rad for snapshot in snapshots])
    along, left = scenario.route.locate(fronts + FRONT_M * np.column_stack([np.cos(yaw), np.sin(yaw)]))
    found = []
    for index, light in enumerate(scenario.lights):
        step = _crossing(light.stop_line_m, along) if light.road == ROUTE else None
        if step is not None and snapshots[step].lights[index] == "red" and _held(scenario.route, light, float(left[step])):
            found.append(Violation("red_light", snapshots[step + 1].t_s, f"light {index}"))
    speed = np.array([snapshot.ego.speed_mps for snapshot in snapshots])
    for index, sign in enumerate(scenario.signs):
        if (step := _ran(sign, along, speed)) is not None:
            found.append(Violation("stop_sign", snapshots[step + 1].t_s, f"sign {index}"))
    return tuple(sorted(found, key=lambda violation: violation.t_s))


def _crossing(line_m: float, along: F64) -> int | None:
    """The step (from snapshot i to i + 1) in which places (n,) pass a line."""
    steps = np.flatnonzero((along[:-1] <= line_m) & (along[1:] > line_m))
    return int(steps[0]) if len(steps) else None


def _held(route: Road, light: TrafficLight, left_m: float) -> bool:
    there = [lane for lane in route.lanes if lane.from_m <= light.stop_line_m <= lane.to_m]
    apart = [(abs(lane.left_m - left_m), not (lane.oncoming or lane.name in light.lanes)) for lane in there]
    nearest_m, other = min(apart, default=(math.inf, True))
    return nearest_m < _LANE_M and not other


def _ran(sign: Sign, along: F64, speed: F64) -> int | None:
    if sign.kind != "stop" or sign.road != ROUTE or sign.stop_line_m is None:
        return None
    step = _crossing(sign.stop_line_m, along)
    stood = (along > sign.stop_line_m - STOOD_WITHIN_M) & (along <= sign.stop_line_m) & (speed < STOOD_MPS)
    return None if step is None or stood.any() else step
