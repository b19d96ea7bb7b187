"""Which lane the ego keeps, and how it gets into another one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.simulation.expert.around import causes, first_blocking, obstacles
from alpamayo_ros.simulation.expert.gaps import UNDER_WAY, in_lane, leader_of_gap, obstructing
from alpamayo_ros.simulation.expert.intention import Cause, CauseKind
from alpamayo_ros.simulation.expert.manoeuvres import Manoeuvre, Phase, Wait
from alpamayo_ros.simulation.expert.path import Knot
from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.expert.scene import Scene
from alpamayo_ros.simulation.expert.speed import Gap, Why
from alpamayo_ros.simulation.expert.things import Thing
from alpamayo_ros.simulation.scenario import ROUTE, Command, Scenario
from alpamayo_ros.simulation.state import FRONT_M
from alpamayo_ros.types import STEP_S, Direction, Lateral

CHANGE_S, LEAST_CHANGE_M = 4.8, 26.0  # of a change by one lane
QUICK_CHANGE_S = 3.6  # where the lane is closed ahead
BEFORE_END_M = 10.0  # where the ego stops at the latest in a lane that ends
LOOK_AHEAD_M = 160.0  # for the end of a lane
ABORTABLE = 0.45  # of the way across: who is farther goes on
RETRY_S = 2.5  # after giving up
SLOW_SHARE, SLOW_WITHIN_S = 0.72, 3.5  # of the limit; whoever is ahead and slower, and so near, is worth passing
PASSED_M = 10.0  # behind the ego's rear bumper: who was passed does not mind a return
OPEN_M = 60.0  # ahead that a lane must be worth returning to
PULL_OVER_M = 35.0  # length of the move to the kerb: a shorter one swings the front over it


@dataclass(frozen=True)
class Change:
    """A way into another lane: wished for, or under way once `until_m` is known."""

    from_left_m: float
    to_left_m: float
    decision: Lateral
    direction: Direction
    causes: tuple[Cause, ...]
    by_m: float = np.inf  # where it has to be done
    begun_m: float = np.nan
    until_m: float = np.nan


class Lanes:
    """The lane that the ego is in, and its changes."""

    def __init__(self, scenario: Scenario, route: Route) -> None:
        self._scenario = scenario
        self._route = route
        start = scenario.start
        lane = route.lane(start.left_m, start.along_m)
        self.left_m = start.left_m if lane is None else lane.left_m  # of the lane that the ego keeps or changes into
        self._goal_m = self.left_m  # of the lane that the route wants
        self._change: Change | None = None
        self._not_before_s = 0.0
        self._passing: tuple[Cause, ...] = ()  # whoever is being passed

    def plan(self, scene: Scene) -> Manoeuvre:
        """What the ego does about its lane now; its knots are those of the lane alone."""
        if (kerb := self._pull_over(scene)) is not None:
            return kerb
        self._passing = self._still_passing(scene)
        if self._change is not None:
            return replace(self._under_way(scene, self._change), passing=self._passing)
        return replace(self._in_lane(scene), passing=self._passing)

    def _in_lane(self, scene: Scene) -> Manoeuvre:
        wish = self._wish(scene)
        if wish is None:
            return Manoeuvre((Knot(np.inf, self.left_m),))
        if scene.t_s < self._not_before_s or (other := obstructing(scene, wish.to_left_m)) is not None:
            return self._searching(scene, wish, None if scene.t_s < self._not_before_s else other)
        return self._begin(scene, wish)

    def _still_passing(self, scene: Scene) -> tuple[Cause, ...]:
        """Until the ego's rear bumper is level with the other's front."""
        thing = scene.thing(self._passing[0].things[0]) if self._passing else None
        if thing is None or thing.front_m < scene.rear_m:
            return ()
        return (replace(self._passing[0], distance_m=max(thing.rear_m - scene.front_m, 0.0)),)

    @property
    def changes(self) -> bool:
        """Whether a change is under way."""
        return self._change is not None

    def _begin(self, scene: Scene, wish: Change) -> Manoeuvre:
        here = scene.stance.along_m
        length = max(CHANGE_S * scene.speed_mps, LEAST_CHANGE_M)
        least = max(QUICK_CHANGE_S * scene.speed_mps, LEAST_CHANGE_M - 8.0)
        if here + length > wish.by_m:
            length = max(wish.by_m - here, least)
        change = replace(wish, begun_m=here, until_m=here + length)
        self._change, self.left_m = change, wish.to_left_m
        self._passing = wish.causes if wish.causes[0].kind == "slow_lead" else ()
        return self._moving(scene, change)

    def _under_way(self, scene: Scene, change: Change) -> Manoeuvre:
        done = (scene.stance.left_m - change.from_left_m) / (change.to_left_m - change.from_left_m)
        if scene.stance.along_m > change.until_m - 1.0 or (done > 0.97 and abs(scene.stance.heading_rad) < 0.01):
            self._change = None
            return Manoeuvre((Knot(np.inf, self.left_m),))
        other = (
            obstructing(scene, change.to_left_m, UNDER_WAY)
            if change.decision != "maneuver_abort" and done < ABORTABLE
            else None
        )
        if other is None:
            return self._moving(scene, change)
        self._not_before_s = scene.t_s + RETRY_S
        alongside = Cause("vehicle_alongside", (other.body.name,), max(other.rear_m - scene.front_m, 0.0), change.direction)
        here, length = scene.stance.along_m, max(0.75 * CHANGE_S * scene.speed_mps, LEAST_CHANGE_M)
        back = Change(
            change.to_left_m,
            change.from_left_m,
            "maneuver_abort",
            change.direction,
            (alongside, *change.causes),
            np.inf,
            here,
            here + length,
        )
        self._change, self.left_m, self._passing = back, change.from_left_m, ()
        return self._moving(scene, back)

    def _moving(self, scene: Scene, change: Change) -> Manoeuvre:
        phase = Phase(change.begun_m, change.until_m, change.decision, change.direction, change.causes)
        knots = Knot(change.until_m, change.to_left_m), Knot(np.inf, change.to_left_m)
        indicator = "off" if change.decision == "maneuver_abort" else change.direction
        return Manoeuvre(knots, (phase,), indicator=indicator)

    def _searching(self, scene: Scene, wish: Change, other: Thing | None) -> Manoeuvre:
        """In the lane that is to be left: fall in with the traffic of the other one."""
        keep = (Knot(np.inf, self.left_m),)
        if wish.causes[0].kind == "slow_lead":  # nothing is lost by staying
            return Manoeuvre(keep)
        alongside = (
            ()
            if other is None
            else (Cause("vehicle_alongside", (other.body.name,), max(other.rear_m - scene.front_m, 0.0), wish.direction),)
        )
        why = Why("gap_searching", (*alongside, *wish.causes))
        end = self._route.end_m(self.left_m, scene.stance.along_m)
        ends = Cause("lane_ends", ("road",), end - scene.front_m, wish.direction)
        waits = (Wait(end - BEFORE_END_M, Why("stop_for_static_constraints", (ends,))),) if np.isfinite(end) else ()
        ahead = leader_of_gap(scene, wish.to_left_m)
        gaps = () if ahead is None else (_gap(ahead, why),)
        return Manoeuvre(keep, waits=waits, gaps=gaps, indicator=wish.direction)

    def _wish(self, scene: Scene) -> Change | None:
        """Into which lane the ego wants now, and why."""
        here, left = scene.stance.along_m, self.left_m
        command = self._command(scene)
        if command is not None and command.to_left_m is not None:
            self._goal_m = command.to_left_m
        if (wish := self._off_blocked(scene)) is not None:
            return wish
        if abs(self._goal_m - left) > 1.0:
            return self._towards_goal(scene, command)
        end = self._route.end_m(left, here)
        if end < here + LOOK_AHEAD_M:
            for side in ("left", "right"):
                if (
                    wish := self._to(scene, side, (Cause("lane_ends", ("road",), end - scene.front_m, None),), end)
                ) is not None:
                    return wish
        return self._overtake(scene)

    def _to(self, scene: Scene, side: Direction, why: tuple[Cause, ...], by_m: float = np.inf) -> Change | None:
        beside = self._route.beside(self.left_m, scene.stance.along_m, side)
        if beside is None or self._route.end_m(beside.left_m, scene.stance.along_m) < scene.stance.along_m + 100.0:
            return None
        return Change(self.left_m, beside.left_m, "lane_change", side, why, by_m)

    def _towards_goal(self, scene: Scene, command: Command | None) -> Change | None:
        side: Direction = "left" if self._goal_m > self.left_m else "right"
        here, commanded = scene.stance.along_m, command is not None and command.to_left_m == self._goal_m
        if not commanded and not self._is_open(scene, self._goal_m):
            return None
        end = self._route.end_m(self.left_m, here)
        by = min(end, command.at_m if command is not None and commanded else np.inf)
        ends = bool(np.isfinite(end))
        ramp = ends and self._is_ramp(side)
        kind: CauseKind = "on_ramp" if ramp else "lane_ends" if ends else "lane_wanted"
        away = max(by - scene.front_m, 0.0) if np.isfinite(by) else 0.0
        cause = Cause(kind, ("road",) if ends else ("route",), away, side)
        wish = self._to(scene, side, (cause,), by)
        return replace(wish, decision="merge_split") if wish is not None and ramp else wish

    def _is_ramp(self, side: Direction) -> bool:
        """Whether the ego's lane comes from elsewhere: it may not be left everywhere."""
        here = [lane for lane in self._route.lanes if abs(lane.left_m - self.left_m) < 0.6]
        paints = {lane.left_paint if side == "left" else lane.right_paint for lane in here}
        return {"solid", "dashed"} <= paints

    def _off_blocked(self, scene: Scene) -> Change | None:
        """Out of a lane that is closed, where there is one beside it."""
        blocking = first_blocking(obstacles(scene, self._route, self.left_m, scene.rear_m))
        sides: tuple[Direction, ...] = ("left", "right") if blocking is None or blocking.side == "left" else ("right", "left")
        if blocking is not None:
            by = blocking.from_m - FRONT_M - 2.0
            found = [self._to(scene, side, causes(blocking, scene), by) for side in sides]
            return next((wish for wish in found if wish is not None and self._is_open(scene, wish.to_left_m)), None)
        for i, sign in enumerate(self._scenario.signs):
            ahead = sign.along_m - scene.front_m
            if sign.road == ROUTE and sign.kind == "roadworks" and sign.side and f"sign {i}" in scene.in_sight and 0 < ahead:
                side: Direction = "left" if sign.side == "right" else "right"
                return self._to(scene, side, (Cause("cones", (f"sign {i}",), ahead, sign.side),))
        return None

    def _overtake(self, scene: Scene) -> Change | None:
        """Past somebody slow ahead."""
        lead = self._lead(scene, self.left_m)
        if lead is None or lead.fixed or lead.stands:
            return None
        limit = float(self._route.limits_mps(np.array([self.left_m]), np.array([scene.stance.along_m]))[0])
        gap, speed = lead.rear_m - scene.front_m, lead.body.speed_mps
        if speed > SLOW_SHARE * limit or gap > SLOW_WITHIN_S * max(scene.speed_mps, 5.0):
            return None
        wish = self._to(scene, "left", (Cause("slow_lead", (lead.body.name,), gap),))
        if wish is None:
            return None
        beside = self._lead(scene, wish.to_left_m)
        free = beside is None or beside.rear_m - scene.front_m > 40.0 or beside.body.speed_mps > speed + 2.0
        return wish if free else None

    def _lead(self, scene: Scene, left_m: float) -> Thing | None:
        """The next one ahead in a lane."""
        ahead = [thing for thing in in_lane(scene, left_m) if thing.along_m[0] > scene.stance.along_m + FRONT_M]
        return ahead[-1] if ahead else None

    def _is_open(self, scene: Scene, left_m: float) -> bool:
        """Whether nothing stands and nobody dawdles in a lane, from the ego on for a while."""
        if first_blocking(obstacles(scene, self._route, left_m, scene.rear_m - PASSED_M)) is not None:
            return False
        return not any(
            scene.rear_m - PASSED_M < thing.front_m
            and thing.rear_m < scene.front_m + OPEN_M
            and thing.body.speed_mps < scene.speed_mps - 1.0
            for thing in in_lane(scene, left_m)
            if not thing.fixed
        )

    def _command(self, scene: Scene) -> Command | None:
        """The newest command for another lane."""
        given = [
            c for c in self._scenario.commands
            if c.to_left_m is not None and c.maneuver != "pull_over" and c.given_from_m <= scene.stance.along_m
        ]  # fmt: skip
        return given[-1] if given else None

    def _pull_over(self, scene: Scene) -> Manoeuvre | None:
        for command in self._scenario.commands:
            here = scene.stance.along_m
            if command.maneuver == "pull_over" and command.to_left_m is not None and command.given_from_m <= here:
                side: Direction = "left" if command.to_left_m > self.left_m else "right"
                begin, end = command.at_m - PULL_OVER_M, command.at_m - 1.0
                cause = Cause("kerb", ("route",), max(command.at_m - here, 0.0), side)
                phase = Phase(begin, end, "pull_over", side, (cause,))
                knots = Knot(begin, self.left_m), Knot(end, command.to_left_m), Knot(np.inf, command.to_left_m)
                stop = Wait(command.at_m + FRONT_M, Why("stop_for_static_constraints", (cause,)))
                return Manoeuvre(knots, (phase,), (stop,), indicator=side)
        return None


def _gap(thing: Thing, why: Why) -> Gap:
    speed = np.maximum(np.gradient(thing.along_m, STEP_S), 0.0)
    return Gap(why, thing.along_m - thing.half_along_m, speed)
