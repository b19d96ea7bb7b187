"""What others on the road ask of the ego: whom it follows, and whom it lets go first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.simulation.expert.intention import Cause, CauseKind
from alpamayo_ros.simulation.expert.path import Path
from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.expert.rules import Rules
from alpamayo_ros.simulation.expert.scene import Scene
from alpamayo_ros.simulation.expert.speed import (
    GAP_M,
    HARDEST_BRAKING_MPS2,
    Drive,
    Leader,
    Limit,
    Stop,
    Why,
    braking_needed_mps2,
)
from alpamayo_ros.simulation.expert.things import DRIFT_MPS, Thing, expected_to_walk
from alpamayo_ros.simulation.scenario import ROUTE, Crosswalk, Scenario
from alpamayo_ros.simulation.state import FRONT_M, REAR_M, WIDTH_M
from alpamayo_ros.types import STEP_S, Direction, Longitudinal

MARGIN_M = 0.3  # between sides: who comes nearer is in the way
WALKER_MARGIN_M = 0.9
SAME_WAY_COS = 0.6
BEFORE_S, AFTER_S = 1.5, 0.6  # between the ego and a vehicle in the same place
WALKER_BEFORE_S, WALKER_AFTER_S = 2.0, 0.8
GAP_TO_VEHICLE_M, GAP_TO_WALKER_M = 1.5, 3.0
LINE_BEFORE_M = 16.0  # a line so far before a place is where one waits for it
OTHER_STOPS_MPS2 = 3.0  # who would have to brake harder does not wait for the ego
KERB_M = 2.6  # from the lanes: who waits so near a crosswalk is about to cross
PATIENCE_S = 3.0
COURTESY_MPS2 = 1.5  # braking for somebody who indicates
MAKES_ROOM_STEPS = 25  # how long before somebody is in its way the ego begins to leave them room
RECENT_S = 2.0  # how long somebody who moved in is called cut-in
_SLOW_SHARE = 0.75  # of the limit


@dataclass(frozen=True)
class _Meeting:
    """A stretch of the route that somebody passes across, and when."""

    thing: Thing
    from_m: float
    to_m: float
    from_s: float
    until_s: float


class Traffic:
    """Others, and how long the ego has waited for them."""

    def __init__(self, scenario: Scenario, route: Route, rules: Rules) -> None:
        self._scenario = scenario
        self._route = route
        self._rules = rules
        self._crosswalks = [(i, c) for i, c in enumerate(scenario.crosswalks) if c.road == ROUTE]
        self._moved_s: dict[str, float] = {}  # when others last moved sideways, or were about to
        self._let_in: set[str] = set()  # for whom the ego has made room once
        self._waited_s: dict[str, float] = {}  # since when the ego stands for those who only wait themselves

    def leaders(self, scene: Scene, path: Path, limit_mps: float) -> Iterator[Limit]:
        """Whoever is ahead in the ego's way, or is going to be, and goes the same way or stands."""
        for thing in scene.things:
            apart = _apart_m(thing, path)
            if abs(thing.drift_mps) > DRIFT_MPS or (thing.body.indicator != "off" and apart[0] > MARGIN_M):
                self._moved_s[thing.body.name] = scene.t_s
            ahead = thing.along_m[0] > scene.stance.along_m + (FRONT_M - REAR_M) / 2
            if not ahead or apart.min() > MARGIN_M:
                continue
            if thing.fixed or (thing.stands and apart[0] < MARGIN_M):
                yield self._obstacle(scene, thing)
            elif not thing.walks and not thing.stands:
                yield from self._leader(scene, thing, apart, limit_mps)

    def meetings(self, scene: Scene, path: Path, free: Drive) -> Iterator[Limit]:
        """Whoever crosses the ego's way and goes first; `free` is how the ego would go without them."""
        for thing in scene.things:
            if thing.fixed:
                continue
            waits = self._about_to_cross(scene, thing)
            meeting = _meeting(expected_to_walk(thing) if waits else thing, path, scene)
            if meeting is None or self._gives_way(scene, meeting):
                continue
            if _in_conflict(meeting, free):
                yield from self._hold(scene, meeting)

    def _leader(self, scene: Scene, thing: Thing, apart: NDArray[np.float64], limit_mps: float) -> Iterator[Limit]:
        present = (apart < MARGIN_M) & (np.cos(thing.heading_rad) > SAME_WAY_COS)
        if not present.any():
            return
        first = int(np.argmax(present))
        present[max(first - MAKES_ROOM_STEPS, 0) : first] = True
        speed = np.gradient(thing.along_m, STEP_S)
        recent = scene.t_s - self._moved_s.get(thing.body.name, -np.inf) < RECENT_S
        why = _following(scene, thing, recent, limit_mps)
        rear = thing.along_m - thing.half_along_m
        indicates = apart[0] > MARGIN_M and abs(thing.drift_mps) < DRIFT_MPS
        if indicates and thing.body.name not in self._let_in and _closing_needs_mps2(scene, thing) > COURTESY_MPS2:
            return  # and will wait until the ego has passed
        self._let_in.add(thing.body.name)
        yield Leader(why, rear, np.maximum(speed, 0.0), present)

    def _obstacle(self, scene: Scene, thing: Thing) -> Stop:
        """Something that stands in the way."""
        away = thing.rear_m - scene.front_m
        kinds: dict[str, CauseKind] = {
            "parked_car": "parked_car", "broken_down_car": "broken_down_car", "cone": "cones", "barrier": "barrier",
            "pedestrian": "pedestrian", "child": "child", "cyclist": "cyclist",
        }  # fmt: skip
        kind = "truck" if thing.fixed and thing.body.kind == "truck" else kinds.get(thing.body.kind, "stopped_lead")
        decision: Longitudinal = "yield" if thing.walks else "lead_obstacle_following"
        if thing.fixed:
            decision = "stop_for_static_constraints"
        why = Why(decision, (Cause(kind, (thing.body.name,), away),))
        gap = GAP_TO_WALKER_M if thing.walks else GAP_M
        return Stop(why, thing.rear_m - gap, scene.stance.along_m, scene.speed_mps)

    def _about_to_cross(self, scene: Scene, thing: Thing) -> bool:
        """Whether somebody waits at a crosswalk, facing the road; the ego's patience ends after a while."""
        if not thing.stands:
            self._waited_s.pop(thing.body.name, None)
        if not (thing.walks and thing.stands and self._crosswalk(thing) is not None):
            return False
        edges = [
            edge
            for lane in self._scenario.route.lanes
            for edge in (lane.left_m - lane.width_m / 2, lane.left_m + lane.width_m / 2)
        ]
        left = float(thing.left_m[0])
        beyond = max(left - max(edges), min(edges) - left)
        if beyond > KERB_M or -np.sign(left) * np.sin(thing.heading_rad[0]) < 0.7:
            return False
        since = self._waited_s.get(thing.body.name, scene.t_s)
        if scene.t_s - since < PATIENCE_S and scene.speed_mps > 0.1:
            self._waited_s.pop(thing.body.name, None)
            return True
        return scene.t_s - self._waited_s.setdefault(thing.body.name, scene.t_s) < PATIENCE_S

    def _crosswalk(self, thing: Thing) -> tuple[int, Crosswalk] | None:
        at = float(thing.along_m[0])
        return next(((i, c) for i, c in self._crosswalks if c.from_m - 1.5 <= at <= c.to_m + 1.5), None)

    def _gives_way(self, scene: Scene, meeting: _Meeting) -> bool:
        """Whether somebody has to wait for the ego and still can."""
        thing = meeting.thing
        if thing.walks or thing.road in (None, ROUTE):
            return False
        heading = np.cos(thing.heading_rad[0] + self._route.heading(float(thing.along_m[0])) - scene.ego.yaw_rad)
        across = heading > -0.5 and self._rules.has_green(scene)
        # who goes first is known of the route as a map knows it: the others' signs face away, and are no cause that is told
        signed = any(sign.road == thing.road and sign.kind in ("stop", "yield") for sign in self._scenario.signs)
        if not across and not (signed and not self._rules.has_sign(scene)):
            return False
        return braking_needed_mps2(thing.body.speed_mps * meeting.from_s - 1.0, thing.body.speed_mps) < OTHER_STOPS_MPS2

    def _hold(self, scene: Scene, meeting: _Meeting) -> Iterator[Limit]:
        """Wait before the place where the ways meet."""
        thing = meeting.thing
        if scene.front_m > meeting.from_m - 0.3:
            return  # already there: on, and out of the way
        at = meeting.from_m - (GAP_TO_WALKER_M if thing.walks else GAP_TO_VEHICLE_M)
        lines = [*self._rules.lines_m(), *(c.from_m - 1.0 for _, c in self._crosswalks if thing.walks)]
        lines = [line for line in lines if scene.front_m - 0.5 < line and meeting.from_m - LINE_BEFORE_M < line < at + 2.0]
        at = min(lines, default=at)
        if braking_needed_mps2(at - scene.front_m, scene.speed_mps) > HARDEST_BRAKING_MPS2:
            at = meeting.from_m - 0.5
            if braking_needed_mps2(at - scene.front_m, scene.speed_mps) > HARDEST_BRAKING_MPS2:
                return
        after = WALKER_AFTER_S if thing.walks else AFTER_S
        causes = self._crossing_causes(scene, meeting)
        yield Stop(Why("yield", causes), at, scene.stance.along_m, scene.speed_mps, meeting.until_s + after)

    def _crossing_causes(self, scene: Scene, meeting: _Meeting) -> tuple[Cause, ...]:
        thing, away = meeting.thing, meeting.from_m - scene.front_m
        side: Direction = "left" if thing.left_m[0] > 0 else "right"
        walkers: dict[str, CauseKind] = {"pedestrian": "pedestrian", "child": "child", "cyclist": "cyclist"}
        opposite = np.cos(thing.body.yaw_rad - scene.ego.yaw_rad) < -0.7
        kind: CauseKind = walkers.get(thing.body.kind, "oncoming_vehicle" if opposite else "crossing_vehicle")
        things = [thing.body.name]
        if (found := self._crosswalk(thing)) is not None and thing.walks and f"crosswalk {found[0]}" in scene.in_sight:
            things.append(f"crosswalk {found[0]}")
        return (Cause(kind, tuple(things), max(away, 0.0), side),)


def _following(scene: Scene, thing: Thing, recent: bool, limit_mps: float) -> Why:
    away, name = thing.rear_m - scene.front_m, thing.body.name
    if recent:
        side: Direction = "left" if thing.left_m[0] > scene.stance.left_m else "right"
        return Why("yield", (Cause("cut_in", (name,), away, side),))
    slow = thing.body.speed_mps < _SLOW_SHARE * limit_mps
    kind: CauseKind = "braking_lead" if thing.body.accel_mps2 < -0.7 else "slow_lead" if slow else "lead"
    return Why("lead_obstacle_following", (Cause(kind, (name,), away),))


def _closing_needs_mps2(scene: Scene, thing: Thing) -> float:
    """To come down to somebody's speed before the ego is beside them."""
    closing = max(scene.speed_mps - thing.along_mps, 0.0)
    return closing**2 / (2 * max(thing.rear_m - scene.front_m - 1.0, 0.1))


def _apart_m(thing: Thing, path: Path) -> NDArray[np.float64]:
    """Between a thing's side and the ego's where it will be (65,); negative: the ego would touch it."""
    return np.asarray(np.abs(thing.left_m - path.left_at(thing.along_m)) - thing.half_left_m - WIDTH_M / 2)


def _meeting(thing: Thing, path: Path, scene: Scene) -> _Meeting | None:
    """Where and when a thing first crosses the ego's way; None: it does not, or goes the same way."""
    margin = WALKER_MARGIN_M if thing.walks else MARGIN_M
    in_way = (_apart_m(thing, path) < margin) & (thing.along_m + thing.half_along_m > scene.rear_m)
    if not thing.walks:
        in_way &= np.cos(thing.heading_rad) < SAME_WAY_COS
    if not in_way.any() or (thing.stands and in_way.all()):
        return None
    first = int(np.argmax(in_way))
    gone = ~in_way[first:]
    last = first + int(np.argmax(gone)) if gone.any() else len(in_way) - 1
    stretch = slice(first, last + 1)
    low = float((thing.along_m - thing.half_along_m)[stretch].min())
    high = float((thing.along_m + thing.half_along_m)[stretch].max())
    return _Meeting(thing, low, high, first * STEP_S, last * STEP_S if gone.any() else np.inf)


def _in_conflict(meeting: _Meeting, free: Drive) -> bool:
    """Whether the ego would be there together with the other, or shortly before or after."""
    before, after = (WALKER_BEFORE_S, WALKER_AFTER_S) if meeting.thing.walks else (BEFORE_S, AFTER_S)
    arrives = free.reaches_s(meeting.from_m - FRONT_M)
    leaves = free.reaches_s(meeting.to_m + REAR_M)
    return arrives < meeting.until_s + after and leaves > meeting.from_s - before
