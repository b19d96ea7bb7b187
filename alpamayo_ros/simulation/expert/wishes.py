"""Which lane the ego wants to be in, and why: the route's, a free one, a faster one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.simulation.expert.around import causes, first_blocking, obstacles
from alpamayo_ros.simulation.expert.gaps import in_lane
from alpamayo_ros.simulation.expert.intention import Cause, CauseKind
from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.expert.scene import Scene
from alpamayo_ros.simulation.expert.things import Thing
from alpamayo_ros.simulation.navigation import command_at
from alpamayo_ros.simulation.scenario import ROUTE, Command, Scenario
from alpamayo_ros.simulation.state import FRONT_M
from alpamayo_ros.types import Direction, Lateral

LOOK_AHEAD_M = 160.0  # for the end of a lane
SOON_M = 40.0  # ahead of where a lane may be changed, its traffic matters
WORTH_M = 100.0  # of a lane that is changed into
SLOW_SHARE, SLOW_WITHIN_S = 0.72, 3.5  # of the limit; whoever is ahead and slower, and so near, is worth passing
FREE_M, FASTER_MPS = 40.0, 2.0  # ahead in the lane for passing, or faster than the one to be passed
PASSED_M = 10.0  # behind the ego's rear bumper: who was passed does not mind a return
OPEN_M = 60.0  # ahead that a lane must be worth returning to
NEAR_M = 2.0  # before an obstacle a change must be done


@dataclass(frozen=True)
class Wish:
    """Another lane, and why."""

    to_left_m: float
    side: Direction
    decision: Lateral
    causes: tuple[Cause, ...]
    by_m: float = np.inf  # where the ego has to be there
    allowed: bool = True  # here already

    @property
    def overtakes(self) -> bool:
        """Whether it is only for getting on faster."""
        return self.causes[0].kind == "slow_lead"

    @property
    def can_wait(self) -> bool:
        """Whether nothing is lost by staying."""
        return self.causes[0].kind in ("slow_lead", "free_lane")


class Wishes:
    """What the ego wants of the lanes beside its own."""

    def __init__(self, scenario: Scenario, route: Route) -> None:
        self._scenario = scenario
        self._route = route
        self._goal_m: float | None = None  # left of the lane that the route wants; None: the one it starts in

    def wish(self, scene: Scene, left_m: float) -> Wish | None:
        """Where an ego in the lane with this centre wants to go now; None: it stays."""
        command = self._command(scene)
        if command is not None:
            self._goal_m = command.to_left_m
        elif self._goal_m is None:
            self._goal_m = left_m
        if (wish := self._off_blocked(scene, left_m)) is not None:
            return wish
        if self._goal_m is not None and abs(self._goal_m - left_m) > 1.0:
            return self._towards_goal(scene, left_m, self._goal_m, command)
        return self._off_ending(scene, left_m) or self._past(scene, left_m)

    def _to(self, scene: Scene, left_m: float, side: Direction, why: tuple[Cause, ...], by_m: float = np.inf) -> Wish | None:
        here = scene.stance.along_m
        found = [(at, self._route.beside(left_m, at, side)) for at in (here, here + SOON_M)]
        at, beside = next(((at, lane) for at, lane in found if lane is not None), (here, None))
        if beside is None or self._route.end_m(beside.left_m, at) < here + WORTH_M:
            return None
        decision: Lateral = "merge_split" if why[0].kind == "on_ramp" else "lane_change"
        return Wish(beside.left_m, side, decision, why, by_m, allowed=at == here)

    def _command(self, scene: Scene) -> Command | None:
        """For another lane, while navigation says it."""
        command = command_at(self._scenario, scene.ego)
        return None if command is None or command.to_left_m is None or command.maneuver == "pull_over" else command

    def _towards_goal(self, scene: Scene, left_m: float, goal_m: float, command: Command | None) -> Wish | None:
        """Into the lane that the route wants; without its command, back into it only where that is open."""
        if command is None and not self._is_open(scene, goal_m):
            return None
        side: Direction = "left" if goal_m > left_m else "right"
        end = self._route.end_m(left_m, scene.stance.along_m)
        by = end if command is None else min(end, command.at_m)
        ends = bool(np.isfinite(end))
        kind: CauseKind = "free_lane" if command is None else "lane_wanted"
        if ends:
            kind = "on_ramp" if self._is_ramp(left_m, side) else "lane_ends"
        away = by - scene.front_m if np.isfinite(by) else 0.0
        thing = "route" if kind == "lane_wanted" else "road"
        return self._to(scene, left_m, side, (Cause(kind, (thing,), away, side),), by)

    def _is_ramp(self, left_m: float, side: Direction) -> bool:
        """Whether a lane comes from elsewhere: it may not be left everywhere."""
        here = [lane for lane in self._route.lanes if abs(lane.left_m - left_m) < 0.6]
        return {"solid", "dashed"} <= {lane.left_paint if side == "left" else lane.right_paint for lane in here}

    def _off_ending(self, scene: Scene, left_m: float) -> Wish | None:
        """Out of a lane that ends, where no command says so."""
        end = self._route.end_m(left_m, scene.stance.along_m)
        if end > scene.stance.along_m + LOOK_AHEAD_M:
            return None
        why = (Cause("lane_ends", ("road",), end - scene.front_m),)
        return self._to(scene, left_m, "left", why, end) or self._to(scene, left_m, "right", why, end)

    def _off_blocked(self, scene: Scene, left_m: float) -> Wish | None:
        """Out of a lane that is closed, where there is one beside it."""
        blocking = first_blocking(obstacles(scene, self._route, left_m, scene.rear_m))
        if blocking is None:
            return self._off_roadworks(scene, left_m)
        other: Direction = "left" if blocking.side == "right" else "right"
        by = blocking.from_m - FRONT_M - NEAR_M
        found = [self._to(scene, left_m, side, causes(blocking, scene), by) for side in (blocking.side, other)]
        return next((wish for wish in found if wish is not None and self._is_open(scene, wish.to_left_m)), None)

    def _off_roadworks(self, scene: Scene, left_m: float) -> Wish | None:
        """Out of a lane that a sign says is closed ahead."""
        for i, sign in enumerate(self._scenario.signs):
            ahead = sign.along_m - scene.front_m
            if sign.road == ROUTE and sign.kind == "roadworks" and f"sign {i}" in scene.in_sight and ahead > 0 and sign.side:
                side: Direction = "left" if sign.side == "right" else "right"
                return self._to(scene, left_m, side, (Cause("cones", (f"sign {i}",), ahead, sign.side),))
        return None

    def _past(self, scene: Scene, left_m: float) -> Wish | None:
        """Past somebody slow ahead."""
        lead = _next(scene, left_m)
        if lead is None or lead.fixed or lead.stands:
            return None
        limit = float(self._route.limits_mps(np.array([left_m]), np.array([scene.stance.along_m]))[0])
        gap, speed = lead.rear_m - scene.front_m, lead.body.speed_mps
        if speed > SLOW_SHARE * limit or gap > SLOW_WITHIN_S * max(scene.speed_mps, 5.0):
            return None
        wish = self._to(scene, left_m, "left", (Cause("slow_lead", (lead.body.name,), gap),))
        beside = None if wish is None else _next(scene, wish.to_left_m)
        free = beside is None or beside.rear_m - scene.front_m > FREE_M or beside.body.speed_mps > speed + FASTER_MPS
        return wish if free else None

    def _is_open(self, scene: Scene, left_m: float) -> bool:
        """Whether nothing stands and nobody dawdles in a lane, from the ego on for a while."""
        if first_blocking(obstacles(scene, self._route, left_m, scene.rear_m - PASSED_M)) is not None:
            return False
        near = [t for t in in_lane(scene, left_m) if scene.rear_m - PASSED_M < t.front_m and t.rear_m < scene.front_m + OPEN_M]
        return all(thing.fixed or thing.body.speed_mps > scene.speed_mps - 1.0 for thing in near)


def _next(scene: Scene, left_m: float) -> Thing | None:
    """Whoever is next ahead in a lane."""
    ahead = [thing for thing in in_lane(scene, left_m) if thing.along_m[0] > scene.stance.along_m + FRONT_M]
    return ahead[-1] if ahead else None
