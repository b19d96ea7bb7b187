"""The expert driver: what it sees -> what it intends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alpamayo_ros import dynamics
from alpamayo_ros.simulation.expert.decision import clear_road, decide
from alpamayo_ros.simulation.expert.intention import Cause, Intention
from alpamayo_ros.simulation.expert.lateral import Across
from alpamayo_ros.simulation.expert.manoeuvres import Manoeuvre
from alpamayo_ros.simulation.expert.path import Path, path
from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.expert.rules import Rules
from alpamayo_ros.simulation.expert.scene import Eyes, Scene
from alpamayo_ros.simulation.expert.speed import Drive, Limit, Pace, Stop, Why, drive
from alpamayo_ros.simulation.expert.traffic import Traffic
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.types import F64, HORIZON, STEP_S, Trajectory

LATERAL_MPS2 = 1.9  # in bends
BEND_BRAKING_MPS2, LIMIT_BRAKING_MPS2 = 1.2, 1.0  # ahead of bends and lower limits
MOVES_SHARE = 1.3  # of that speed, in moves across the road
_STRAIGHT_1PM = 1e-4
_BEND_1PM = 0.004  # of the route: a gentler one is no reason for anything


class Expert:
    """Drives one scenario; call `see` for every snapshot, `plan` whenever a plan is wanted."""

    def __init__(self, scenario: Scenario) -> None:
        self._route = Route(scenario.route)
        self._eyes = Eyes(scenario, self._route)
        self._rules = Rules(scenario, self._route)
        self._traffic = Traffic(scenario, self._route, self._rules)
        self._across = Across(scenario, self._route)

    def see(self, snapshot: Snapshot) -> None:
        """Take in the world 0.1 s after the snapshot before. Raises InvalidInput for one that is not newer."""
        self._eyes.see(snapshot)
        self._rules.note(self._eyes.glance())

    def plan(self) -> Intention:
        """What to do from the newest snapshot on. Raises InvalidInput before the first one."""
        scene = self._eyes.scene()
        manoeuvre = self._across.plan(scene)
        way = path(self._route, scene.stance, manoeuvre.knots, max(8.0 * scene.speed_mps + 45.0, 100.0))
        going = self._drive(scene, manoeuvre, way)
        trajectory = _trajectory(scene, way, going)
        decision, causes = decide(scene, manoeuvre, going, trajectory, self._rules.resumes(scene))
        return Intention(trajectory, decision, causes, manoeuvre.indicator)

    def _drive(self, scene: Scene, manoeuvre: Manoeuvre, way: Path) -> Drive:
        limit = float(self._route.limits_mps(way.left_m[:1], way.along_m[:1])[0])
        limits: list[Limit] = [
            *self._paces(scene, manoeuvre, way),
            *self._rules.limits(scene, way),
            *self._traffic.leaders(scene, way, limit),
            *manoeuvre.gaps,
            *(Stop(w.why, w.at_m, scene.stance.along_m, scene.speed_mps, w.until_s, w.braking_mps2) for w in manoeuvre.waits),
        ]
        free = drive(way, scene.speed_mps, scene.ego.accel_mps2, limits)
        others = list(self._traffic.meetings(scene, way, free))
        return drive(way, scene.speed_mps, scene.ego.accel_mps2, [*limits, *others]) if others else free

    def _paces(self, scene: Scene, manoeuvre: Manoeuvre, way: Path) -> Iterator[Limit]:
        """The limit, and the speed of bends."""
        set_speed = Why("set_speed_tracking", (clear_road(),))
        yield Pace(set_speed, way, self._route.limits_mps(way.left_m, way.along_m), LIMIT_BRAKING_MPS2)
        road_1pm = np.interp(way.along_m, self._route.along_m, self._route.curvature_1pm)
        road_1pm = road_1pm / (1.0 - way.left_m * road_1pm)
        if (np.abs(road_1pm) > _BEND_1PM).any():
            bend = Why("speed_adaptation", (self._bend(scene, manoeuvre, way, road_1pm),))
            yield Pace(bend, way, _fast_mps(road_1pm), BEND_BRAKING_MPS2)
        yield Pace(set_speed, way, MOVES_SHARE * _fast_mps(way.curvature_1pm), BEND_BRAKING_MPS2)

    def _bend(self, scene: Scene, manoeuvre: Manoeuvre, way: Path, bends: F64) -> Cause:
        """The next bend or turn of the route, whatever the ego's own moves across it are."""
        first = int(np.argmax(np.abs(bends) > _BEND_1PM))
        away = max(float(way.along_m[first]) - scene.front_m, 0.0)
        for phase in manoeuvre.phases:
            if phase.decision == "turn" and phase.to_m > scene.stance.along_m and phase.from_m < way.along_m[first] + 10.0:
                return Cause("turn", ("route",), max(phase.from_m - scene.front_m, 0.0), phase.direction)
        return Cause("curve", ("road",), away, "left" if bends[first] > 0 else "right")


def _fast_mps(curvature_1pm: F64) -> F64:
    """How fast a curvature may be driven."""
    return np.asarray(np.sqrt(LATERAL_MPS2 / np.maximum(np.abs(curvature_1pm), _STRAIGHT_1PM)))


def _trajectory(scene: Scene, way: Path, going: Drive) -> Trajectory:
    """As an exact unicycle: in every step the path's curvature in the middle of it."""
    middles = (going.along_m[1:] + going.along_m[:-1]) / 2
    curvature = np.interp(middles, way.along_m, way.curvature_1pm)
    assert len(curvature) == HORIZON
    return dynamics.trajectory(going.accel_mps2, curvature, scene.speed_mps, dt_s=STEP_S)
