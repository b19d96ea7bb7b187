"""Where the ego goes across the road: its lane or the next one, round obstacles, round corners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from alpamayo_ros.simulation.expert.around import Obstacle, causes, coming, nudge, obstacles, wait
from alpamayo_ros.simulation.expert.intention import Cause, CauseKind
from alpamayo_ros.simulation.expert.lanes import Lanes
from alpamayo_ros.simulation.expert.manoeuvres import Manoeuvre, Phase, Wait
from alpamayo_ros.simulation.expert.path import Knot, settled_m
from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.expert.scene import Scene
from alpamayo_ros.simulation.expert.speed import Why
from alpamayo_ros.simulation.scenario import Command, Scenario
from alpamayo_ros.simulation.state import FRONT_M
from alpamayo_ros.types import Direction, Lateral

LEAST_S, LEAST_M = 0.6, 4.0  # to the next knot
BEHIND_M = 40.0  # obstacles so far behind may still be left for the lane
GOES_S = 5.0  # who can go so soon plans to
NUDGED = 0.35  # of the way to the side: who has gone farther goes on
INDICATES_S = 3.0


class Across:
    """Moves across the road, and those that the ego has begun."""

    def __init__(self, scenario: Scenario, route: Route) -> None:
        self._route = route
        self._lanes = Lanes(scenario, route)
        self._bends = tuple(phase for command in scenario.commands if (phase := _bend(command)) is not None)

    def plan(self, scene: Scene) -> Manoeuvre:
        """What the ego does now; all knots are ahead of it."""
        lane = self._lanes.plan(scene)
        begins = [phase.from_m for phase in lane.phases if phase.decision == "pull_over"]
        beyond = lane.knots[0].along_m if self._lanes.changes else scene.rear_m - BEHIND_M
        found = obstacles(scene, self._route, self._lanes.left_m, beyond)
        around = self._around(scene, [obstacle for obstacle in found if obstacle.from_m < min(begins, default=np.inf)])
        knots = sorted((*lane.knots, *around.knots))
        phases = (*lane.phases, *around.phases, *self._bends)
        indicator = lane.indicator if lane.indicator != "off" else around.indicator
        soon = [p for p in self._bends if p.from_m - scene.stance.along_m < INDICATES_S * max(scene.speed_mps, 5.0)]
        turning = [p.direction for p in soon if p.to_m > scene.stance.along_m + 3.0]
        return replace(
            lane,
            knots=_ahead(knots, scene),
            phases=phases,
            waits=(*lane.waits, *around.waits),
            indicator=indicator if indicator != "off" or not turning else turning[0],
        )

    def _around(self, scene: Scene, found: Sequence[Obstacle]) -> Manoeuvre:
        """Round what stands in the way, as far as nobody comes."""
        knots: list[Knot] = []
        phases: list[Phase] = []
        waits: list[Wait] = []
        base = self._lanes.left_m
        for obstacle in found:
            hold = None if obstacle.within else self._hold(scene, obstacle, base)
            if hold is not None:
                waits.append(hold)
                if hold.until_s > GOES_S:
                    break
            more, phase = nudge(obstacle, scene, base, -np.inf if hold is None else hold.at_m - FRONT_M)
            if knots and knots[-1].along_m > more[0].along_m:  # no time to go back in between
                knots, more = knots[:-1], more[1:]
            knots += more
            phases.append(phase)
        out = [
            p for p in phases if p.decision == "out_of_lane_nudge" and p.from_m < scene.stance.along_m + 15.0 < p.to_m + 15.0
        ]
        return Manoeuvre(tuple(knots), tuple(phases), tuple(waits), indicator=out[0].direction if out else "off")

    def _hold(self, scene: Scene, obstacle: Obstacle, base: float) -> Wait | None:
        """Where to wait before an obstacle that takes the lane; None: go round it."""
        if obstacle.to_m < scene.rear_m:
            return None
        if self._route.beside(base, scene.stance.along_m, obstacle.side) is not None:  # a change of lane is wanted, not a nudge
            return Wait(obstacle.from_m - 12.0, Why("stop_for_static_constraints", causes(obstacle, scene)))
        gone = (scene.stance.left_m - base) / (obstacle.left_m - base)
        other = coming(obstacle, scene, base)
        return None if other is None or gone > NUDGED else wait(obstacle, scene, base, *other)


def _ahead(knots: Sequence[Knot], scene: Scene) -> tuple[Knot, ...]:
    """Knots that a path can begin with: none behind the ego or too near, none twice."""
    here = scene.stance.along_m
    kept: list[Knot] = []
    least = here + max(LEAST_S * scene.speed_mps, LEAST_M)
    for knot, following in zip(knots, [*knots[1:], None], strict=True):
        if not kept and knot.along_m < least and following is not None:
            if knot.along_m < here + 0.5 or following.along_m < least + LEAST_M:
                continue
            knot = Knot(least, knot.left_m)
        if kept and knot.along_m < kept[-1].along_m + 1.0:
            continue
        if np.isinf(knot.along_m):
            if kept and abs(kept[-1].left_m - knot.left_m) < 1e-9:
                continue
            begin = kept[-1].along_m if kept else here
            knot = Knot(begin + settled_m(scene.speed_mps, knot.left_m - scene.stance.left_m), knot.left_m)
        kept.append(knot)
    return tuple(kept)


def _bend(command: Command) -> Phase | None:
    """Where the route itself turns off at a junction or leaves a road."""
    if command.to_left_m is not None or command.maneuver not in ("turn_left", "turn_right", "keep_left", "keep_right"):
        return None
    side: Direction = "left" if command.maneuver.endswith("left") else "right"
    decision: Lateral = "turn" if command.maneuver.startswith("turn") else "merge_split"
    kind: CauseKind = "turn" if decision == "turn" else "exit"
    return Phase(command.at_m, command.until_m, decision, side, (Cause(kind, ("route",), command.at_m, side),))
