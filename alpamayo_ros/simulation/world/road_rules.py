"""Where a driver stops, and for whom: lights, stop and yield signs, crosswalks, somebody about to step into its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alpamayo_ros.simulation.scenario import Crosswalk, LightColour, Scenario
from alpamayo_ros.simulation.world.progress import Ahead, Progress, stop_before
from alpamayo_ros.simulation.world.tracks import Spot, Track

YELLOW_BRAKING_MPS2 = 3.0  # who would have to brake harder passes
RED_BRAKING_MPS2 = 6.0
STOPPED_S = 1.0  # at a stop or yield sign
SIDE_MARGIN_M = 0.25  # to what is passed
BESIDE_WALKER_M = 1.0
DRIFT_S = 0.5  # who drives along the road is not expected to leave its lane later than this
ALONG_COS = 0.9
BEFORE_WALKER_S = 1.5  # that one has passed before somebody who walks is near


@dataclass(frozen=True)
class Line:
    """A stop line across a track, of a light or of a sign."""

    s_m: float
    light: int | None = None
    sign: int | None = None


def lines_of(scenario: Scenario, track: Track) -> tuple[Line, ...]:
    """The stop lines across a track, in the order of driving. A sign is for those who have it on their right."""
    found = []
    for index, light in enumerate(scenario.lights):
        if light.road == track.road_index and any(lane.name in light.lanes for lane in track.lanes):
            found.append(Line(track.s_m(light.stop_line_m), light=index))
    for index, sign in enumerate(scenario.signs):
        at_right = track.sign * (track.left_m - sign.left_m) > 0
        if sign.road == track.road_index and sign.stop_line_m is not None and at_right and sign.kind in ("stop", "yield"):
            found.append(Line(track.s_m(sign.stop_line_m), sign=index))
    return tuple(sorted(found, key=lambda line: line.s_m))


class Obedience:
    """What one driver remembers of lights and signs."""

    def __init__(self) -> None:
        self.held: set[int] = set()  # lights that it has decided to stop at
        self.served: set[int] = set()  # signs that it has stood at
        self.stood_s = 0.0

    def look(self, lines: Sequence[Line], colours: Sequence[LightColour], me: Progress, dt_s: float) -> float | None:
        """Progress of the line at which the driver stops, or None."""
        for line in lines:
            way_m = line.s_m - me.front_m
            if way_m < -0.5:
                continue
            if line.light is not None and self._stops_at(line.light, colours[line.light], way_m, me.speed_mps):
                return line.s_m
            if (
                line.sign is not None
                and line.sign not in self.served
                and not self._served(line.sign, way_m, me.speed_mps, dt_s)
            ):
                return line.s_m
        return None

    def _stops_at(self, light: int, colour: LightColour, way_m: float, speed_mps: float) -> bool:
        if colour == "green":
            self.held.discard(light)
        elif light not in self.held:
            bearable = RED_BRAKING_MPS2 if colour == "red" else YELLOW_BRAKING_MPS2
            if speed_mps**2 <= 2 * bearable * max(way_m - 0.3, 0.0):
                self.held.add(light)
        return light in self.held

    def _served(self, sign: int, way_m: float, speed_mps: float, dt_s: float) -> bool:
        self.stood_s = self.stood_s + dt_s if speed_mps < 0.05 and way_m < 2.5 else 0.0
        if self.stood_s < STOPPED_S - 1e-9:
            return False
        self.served.add(sign)
        self.stood_s = 0.0
        return True


class Crossing(NamedTuple):
    """Somebody who walks across a road."""

    along_m: float
    left_m: float
    velocity_mps: float  # to the left
    to_left_m: float  # where it stops


def before_walker(me: Progress, crosswalk: Crosswalk, walker: Crossing) -> Ahead | None:
    """Where a driver stops for somebody who walks on a crosswalk, if it does not pass well before or well after."""
    near_m, far_m = sorted((me.track.s_m(crosswalk.from_m), me.track.s_m(crosswalk.to_m)))
    way_m, side = near_m - me.front_m, float(np.sign(walker.velocity_mps))
    half_m = me.width_m / 2 + BESIDE_WALKER_M
    to_centre_m = side * (me.track.left_m - walker.left_m)
    comes = to_centre_m > -half_m and side * (walker.to_left_m - me.track.left_m) > -half_m
    on_it = crosswalk.from_m - 1.0 < walker.along_m < crosswalk.to_m + 1.0
    if way_m < 0 or not on_it or not comes or me.speed_mps**2 > 2 * RED_BRAKING_MPS2 * way_m:
        return None
    passed_s = (far_m - me.rear_m) / max(me.speed_mps, 0.1)
    passes = passed_s + BEFORE_WALKER_S < (to_centre_m - half_m) / abs(walker.velocity_mps)
    return None if passes else stop_before(way_m)


class Ghost(NamedTuple):
    """Where somebody will be in a moment, if it goes on as it does now."""

    spot: Spot
    after_s: float
    speed_mps: float


def before_ghost(me: Progress, left_m: float, ghost: Ghost) -> Ahead | None:
    """What a driver at a place across its road keeps behind because it is about to get in its way."""
    spot, half_m = ghost.spot, me.width_m / 2 + SIDE_MARGIN_M
    drifts = abs(np.cos(spot.yaw_rad)) > ALONG_COS and ghost.after_s > DRIFT_S
    if drifts or not spot.within(left_m - half_m, left_m + half_m):
        return None
    way_m = me.track.s_m(spot.along_m) - me.s_m
    speed = ghost.speed_mps * me.track.sign * float(np.cos(spot.yaw_rad))
    gap_m = way_m - speed * ghost.after_s - spot.half_along_m - me.length_m / 2
    if gap_m < 0 or way_m < spot.half_along_m + me.length_m / 2:
        return None  # beside or behind
    if (way_m + spot.half_along_m + me.length_m / 2) < me.speed_mps * (ghost.after_s - 0.3):
        return None  # it comes after I have passed
    return Ahead(gap_m, speed)


class Sweep(NamedTuple):
    """A strip of the road that a vehicle will be driving through in a moment, too fast to stop."""

    from_along_m: float
    to_along_m: float
    low_left_m: float
    high_left_m: float


def sweep_of(spot: Spot, speed_mps: float, *, yields: bool) -> Sweep:
    """The strip ahead of a vehicle in which it cannot stop, or does not."""
    way_m = speed_mps**2 / (2 * YELLOW_BRAKING_MPS2) + 1.0 if yields else 3.0 * speed_mps
    front = spot.along_m + np.copysign(spot.half_along_m + way_m, np.cos(spot.yaw_rad))
    return Sweep(
        min(spot.along_m, float(front)),
        max(spot.along_m, float(front)),
        spot.left_m - spot.half_left_m,
        spot.left_m + spot.half_left_m,
    )
