"""Which lane the ego keeps, and how it gets into another one, to the kerb, or back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from alpamayo_ros.simulation.expert.gaps import UNDER_WAY, leader_of_gap, obstructing
from alpamayo_ros.simulation.expert.intention import Cause
from alpamayo_ros.simulation.expert.manoeuvres import Manoeuvre, Phase, Wait
from alpamayo_ros.simulation.expert.path import Knot
from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.expert.scene import Scene
from alpamayo_ros.simulation.expert.speed import Gap, Why, braking_needed_mps2
from alpamayo_ros.simulation.expert.things import Thing
from alpamayo_ros.simulation.expert.wishes import Wish, Wishes
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import FRONT_M
from alpamayo_ros.types import STEP_S, Direction, Lateral

CHANGE_S, LEAST_CHANGE_M = 4.8, 26.0  # of a change by one lane
QUICK_CHANGE_S, QUICK_CHANGE_M = 3.6, 18.0  # where the lane is closed ahead
RETURN_SHARE = 0.75  # of that, for going back
ABORTABLE = 0.45  # of the way across: who is farther goes on
RETRY_S = 2.5  # after giving up
BEFORE_END_M, LATE_MPS2, LATE_BRAKING_MPS2 = 8.0, 1.6, 2.2  # before that a gap is hoped for, at the end of a lane
URGENT_M, LEAST_GAPS = 90.0, 0.5  # from the end of a lane on gaps may be shorter, down to this share
PULL_OVER_M = 35.0  # length of the move to the kerb: a shorter one swings the front over it


@dataclass(frozen=True)
class Change:
    """A way into another lane, under way."""

    wish: Wish
    from_left_m: float
    begun_m: float
    until_m: float
    gives_up: bool = False  # `wish` is the one that is given up, and the way leads back


class Lanes:
    """The lane that the ego is in, and its changes."""

    def __init__(self, scenario: Scenario, route: Route) -> None:
        self._commands = [c for c in scenario.commands if c.maneuver == "pull_over" and c.to_left_m is not None]
        self._route = route
        self._wishes = Wishes(scenario, route)
        start = scenario.start
        lane = route.lane(start.left_m, start.along_m)
        self.left_m = start.left_m if lane is None else lane.left_m  # of the lane that the ego keeps or changes into
        self._change: Change | None = None
        self._not_before_s = 0.0
        self._passes = ""  # whoever is being passed
        self._behind = "nobody yet"  # behind whom it looks for a gap

    @property
    def changes(self) -> bool:
        """Whether a change is under way."""
        return self._change is not None

    def plan(self, scene: Scene) -> Manoeuvre:
        """What the ego does about its lane now; its knots are those of the lane alone."""
        if (kerb := self._pull_over(scene)) is not None:
            return kerb
        plan = self._in_lane(scene) if self._change is None else self._under_way(scene, self._change)
        passed = scene.thing(self._passes)
        if passed is None or passed.front_m < scene.rear_m:
            return plan
        return replace(plan, passing=(Cause("slow_lead", (self._passes,), passed.rear_m - scene.front_m),))

    def _in_lane(self, scene: Scene) -> Manoeuvre:
        wish = self._wishes.wish(scene, self.left_m)
        if wish is None:
            return Manoeuvre((Knot(np.inf, self.left_m),))
        other = self._in_the_way(scene, wish)
        if other is not None or not wish.allowed or scene.t_s < self._not_before_s:
            return self._searching(scene, wish, other)
        here = scene.stance.along_m
        length = max(CHANGE_S * scene.speed_mps, LEAST_CHANGE_M)
        if here + length > wish.by_m:
            length = max(wish.by_m - here, QUICK_CHANGE_S * scene.speed_mps, QUICK_CHANGE_M)
        self._change, self._passes = Change(wish, self.left_m, here, here + length), ""
        self.left_m = wish.to_left_m
        if wish.overtakes:
            self._passes = wish.causes[0].things[0]
        return self._moving(scene, self._change)

    def _in_the_way(self, scene: Scene, wish: Wish) -> Thing | None:
        """Who leaves no gap; the nearer the end of the lane, the shorter a gap will do."""
        left = min(self._route.end_m(self.left_m, scene.stance.along_m) - scene.front_m, URGENT_M) / URGENT_M
        return obstructing(scene, wish.to_left_m, LEAST_GAPS + (1.0 - LEAST_GAPS) * max(left, 0.0))

    def _searching(self, scene: Scene, wish: Wish, other: Thing | None) -> Manoeuvre:
        """In the lane that is to be left: fall in with the traffic of the other one."""
        keep = (Knot(np.inf, self.left_m),)
        if wish.can_wait:
            return Manoeuvre(keep)
        why = Why("gap_searching", (*_alongside(scene, other, wish.side), *wish.causes))
        end = self._route.end_m(self.left_m, scene.stance.along_m)
        late = braking_needed_mps2(end - BEFORE_END_M - scene.front_m, scene.speed_mps) > LATE_MPS2
        waits = (Wait(end - BEFORE_END_M, why, braking_mps2=LATE_BRAKING_MPS2),) if late else ()
        limit = float(self._route.limits_mps(np.array([self.left_m]), np.array([scene.stance.along_m]))[0])
        ahead = leader_of_gap(scene, wish.to_left_m, limit, self._behind)
        self._behind = "" if ahead is None else ahead.body.name
        gaps = () if ahead is None else (_gap(ahead, why),)
        return Manoeuvre(keep, waits=waits, gaps=gaps, searching=why, indicator=wish.side)

    def _under_way(self, scene: Scene, change: Change) -> Manoeuvre:
        done = (scene.stance.left_m - change.from_left_m) / (self.left_m - change.from_left_m)
        if scene.stance.along_m > change.until_m - 1.0 or (done > 0.97 and abs(scene.stance.heading_rad) < 0.01):
            self._change = None
            return Manoeuvre((Knot(np.inf, self.left_m),))
        if change.gives_up or done > ABORTABLE or (other := obstructing(scene, self.left_m, UNDER_WAY)) is None:
            return self._moving(scene, change)
        here, length = scene.stance.along_m, max(RETURN_SHARE * CHANGE_S * scene.speed_mps, LEAST_CHANGE_M)
        given_up = replace(change.wish, causes=(*_alongside(scene, other, change.wish.side), *change.wish.causes))
        self._change = Change(given_up, self.left_m, here, here + length, gives_up=True)
        self.left_m, self._passes, self._not_before_s = change.from_left_m, "", scene.t_s + RETRY_S
        return self._moving(scene, self._change)

    def _moving(self, scene: Scene, change: Change) -> Manoeuvre:
        """The way across, once it has begun."""
        wish = change.wish
        causes = tuple(_from_here(cause, scene, scene.stance.along_m - change.begun_m) for cause in wish.causes)
        decision: Lateral = "maneuver_abort" if change.gives_up else wish.decision
        phase = Phase(change.begun_m, change.until_m, decision, wish.side, causes)
        knots = Knot(change.until_m, self.left_m), Knot(np.inf, self.left_m)
        return Manoeuvre(knots, (phase,), indicator="off" if change.gives_up else wish.side)

    def _pull_over(self, scene: Scene) -> Manoeuvre | None:
        here = scene.stance.along_m
        for command in self._commands:
            if command.given_from_m <= here and command.to_left_m is not None:
                side: Direction = "left" if command.to_left_m > self.left_m else "right"
                begin, end = command.at_m - PULL_OVER_M, command.at_m - 1.0
                cause = Cause("kerb", ("route",), command.at_m - here, side)
                knots = Knot(begin, self.left_m), Knot(end, command.to_left_m), Knot(np.inf, command.to_left_m)
                stop = Wait(command.at_m + FRONT_M, Why("stop_for_static_constraints", (cause,)))
                return Manoeuvre(knots, (Phase(begin, end, "pull_over", side, (cause,)),), (stop,), indicator=side)
        return None


def _from_here(cause: Cause, scene: Scene, driven_m: float) -> Cause:
    """A cause as far away as it is now."""
    thing = scene.thing(cause.things[0])
    away = cause.distance_m - driven_m if thing is None else thing.rear_m - scene.front_m
    return replace(cause, distance_m=away)


def _alongside(scene: Scene, other: Thing | None, side: Direction) -> tuple[Cause, ...]:
    return () if other is None else (Cause("vehicle_alongside", (other.body.name,), other.rear_m - scene.front_m, side),)


def _gap(thing: Thing, why: Why) -> Gap:
    speed = np.maximum(np.gradient(thing.along_m, STEP_S), 0.0)
    return Gap(why, thing.along_m - thing.half_along_m, speed)
