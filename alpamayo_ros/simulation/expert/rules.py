"""What lights and signs ask of the ego: where it stops, for how long, and how slowly it comes near."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from alpamayo_ros.simulation.expert.intention import Cause, CauseKind
from alpamayo_ros.simulation.expert.path import Path
from alpamayo_ros.simulation.expert.route import Route
from alpamayo_ros.simulation.expert.scene import Scene
from alpamayo_ros.simulation.expert.speed import Limit, Pace, Stop, Why, braking_needed_mps2
from alpamayo_ros.simulation.scenario import ROUTE, Scenario, Sign, TrafficLight

LINE_GAP_M = 0.8  # before a line
YELLOW_BRAKING_MPS2 = 2.8  # who would have to brake harder passes
RED_BRAKING_MPS2 = 6.5
WAIT_S = 1.2  # at a stop sign
YIELD_LINE_MPS = 4.0  # slow enough to stop for whoever comes
PASSED_M = 1.0  # a line that is so far behind the front bumper is no matter any more
RESUMES_S = 4.0  # how long a light that turned green is why the ego drives off
_CURVE_1PM = 0.005
_ADVISED_M = 160.0  # how far behind its sign an advised speed begins to hold at most


class Rules:
    """Lights and signs of the route, and what the ego has done about them."""

    def __init__(self, scenario: Scenario, route: Route) -> None:
        self._route = route
        self._lights = [(i, light) for i, light in enumerate(scenario.lights) if _holds(light, route)]
        self._signs = {i: sign for i, sign in enumerate(scenario.signs) if sign.road == ROUTE}
        self._passing: set[int] = set()  # lights that turned yellow too late to stop
        self._green_s: dict[int, float] = {}  # since when lights are green that were not
        self._known: set[int] = set()  # stop signs that were seen: a line that is out of sight later is still stopped at
        self._stood_s: dict[int, float] = {}  # since when the ego stands at stop signs

    def note(self, scene: Scene) -> None:
        """Take in what the ego does between plans."""
        for i, light in self._lights:
            colour = scene.lights.get(i)
            if colour == "yellow" and i not in self._passing and not _can_stop(scene, light):
                self._passing.add(i)
            if colour == "red" and _can_stop(scene, light):
                self._passing.discard(i)
            if colour == "green":
                self._passing.discard(i)
                self._green_s.setdefault(i, scene.t_s)
            elif colour is not None:
                self._green_s.pop(i, None)
        for i, sign in self._signs.items():
            near = sign.stop_line_m is not None and -PASSED_M < sign.stop_line_m - scene.front_m < 4.0
            if sign.kind == "stop" and near and scene.speed_mps < 0.1:
                self._stood_s.setdefault(i, scene.t_s)

    def limits(self, scene: Scene, path: Path) -> Iterator[Limit]:
        """What holds the ego now."""
        for i, light in self._lights:
            yield from self._light(scene, i, light)
        for i, sign in self._signs.items():
            if sign.kind == "stop":
                yield from self._stop_sign(scene, i, sign)
            elif sign.kind == "yield" and sign.stop_line_m is not None:
                yield from self._yield_sign(scene, path, i, sign)
            elif sign.kind == "advisory_speed":
                yield from self._advised(scene, path, i, sign)

    def lines_m(self) -> list[float]:
        """Where the ego waits for others."""
        return [sign.stop_line_m - LINE_GAP_M for sign in self._signs.values() if sign.stop_line_m is not None]

    def has_green(self, scene: Scene) -> bool:
        """Whether a light that the ego has come to or just passed lets it go."""
        return any(
            scene.lights.get(i) == "green" and -25.0 < light.stop_line_m - scene.front_m < 40.0 for i, light in self._lights
        )

    def has_sign(self, scene: Scene) -> bool:
        """Whether a sign that the ego has come to or just passed tells it to give way: who goes first, seen or not."""
        near = [sign.stop_line_m for sign in self._signs.values() if sign.stop_line_m is not None]
        return any(-25.0 < line - scene.front_m < 60.0 for line in near)

    def resumes(self, scene: Scene) -> Cause | None:
        """The light that turned green, where it is why the ego drives on."""
        for i, light in self._lights:
            since = scene.t_s - self._green_s.get(i, -np.inf)
            if since < RESUMES_S and f"light {i}" in scene.in_sight and light.stop_line_m > scene.front_m - PASSED_M:
                return _cause("green_light", f"light {i}", light.stop_line_m - scene.front_m)
        for i in self._stood_s:
            away = (self._signs[i].stop_line_m or -np.inf) - scene.front_m
            if away > -PASSED_M and f"sign {i}" in scene.in_sight:
                return _cause("stop_sign", f"sign {i}", away)
        return None

    def _light(self, scene: Scene, i: int, light: TrafficLight) -> Iterator[Limit]:
        away, colour = light.stop_line_m - scene.front_m, scene.lights.get(i)
        if away < -PASSED_M or colour in (None, "green") or i in self._passing:
            return
        if braking_needed_mps2(away, scene.speed_mps) > RED_BRAKING_MPS2:
            return
        kind: CauseKind = "red_light" if colour == "red" else "yellow_light"
        why = Why("stop_for_static_constraints", (_cause(kind, f"light {i}", away),))
        yield Stop(why, light.stop_line_m - LINE_GAP_M, scene.stance.along_m, scene.speed_mps)

    def _stop_sign(self, scene: Scene, i: int, sign: Sign) -> Iterator[Limit]:
        if f"sign {i}" in scene.in_sight:
            self._known.add(i)
        if i not in self._known or sign.stop_line_m is None or sign.stop_line_m < scene.front_m - PASSED_M:
            return
        stood = scene.t_s - self._stood_s.get(i, np.inf)
        if stood >= WAIT_S:
            return
        why = Why("stop_for_static_constraints", (_cause("stop_sign", f"sign {i}", sign.stop_line_m - scene.front_m),))
        until = WAIT_S - stood if i in self._stood_s else np.inf
        yield Stop(why, sign.stop_line_m - LINE_GAP_M, scene.stance.along_m, scene.speed_mps, until)

    def _yield_sign(self, scene: Scene, path: Path, i: int, sign: Sign) -> Iterator[Limit]:
        assert sign.stop_line_m is not None
        if sign.stop_line_m < scene.front_m - PASSED_M or f"sign {i}" not in scene.in_sight:
            return
        away = sign.stop_line_m - scene.front_m
        line = sign.stop_line_m - scene.front_m + scene.stance.along_m
        speed = np.where(np.abs(path.along_m - line) < 1.0, YIELD_LINE_MPS, 100.0)
        yield Pace(Why("yield", (_cause("yield_sign", f"sign {i}", away),)), path, speed, 1.2)

    def _advised(self, scene: Scene, path: Path, i: int, sign: Sign) -> Iterator[Limit]:
        """In the bend behind the sign."""
        if sign.speed_mps is None or f"sign {i}" not in scene.in_sight:
            return
        bends = np.abs(np.interp(path.along_m, self._route.along_m, self._route.curvature_1pm)) > _CURVE_1PM
        there = bends & (path.along_m > sign.along_m) & (path.along_m < sign.along_m + _ADVISED_M)
        if there.any():
            away = float(path.along_m[np.argmax(there)]) - scene.front_m
            causes = (
                Cause("curve", ("road",), away, sign.side),
                Cause("advisory_sign", (f"sign {i}",), sign.along_m - scene.front_m, sign.side),
            )
            yield Pace(Why("speed_adaptation", causes), path, np.where(there, sign.speed_mps, 100.0), 1.2)


def _holds(light: TrafficLight, route: Route) -> bool:
    """Whether it holds for the ego's lane."""
    lane = route.lane(0.0, light.stop_line_m - 1.0)
    return light.road == ROUTE and lane is not None and lane.name in light.lanes


def _can_stop(scene: Scene, light: TrafficLight) -> bool:
    away = light.stop_line_m - scene.front_m
    return away > -PASSED_M and braking_needed_mps2(away, scene.speed_mps) <= YELLOW_BRAKING_MPS2


def _cause(kind: CauseKind, thing: str, distance_m: float) -> Cause:
    return Cause(kind, (thing,), distance_m)
