"""The expert driver of the world: how far along its lane a car is, over time.

It follows the Intelligent Driver Model (Treiber, Hennecke, Helbing 2000) behind the car ahead and towards a closed traffic
light, and slows down for curves in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.simulation.road import Road, TrafficLight
from alpamayo_ros.types import F64

MOTION_HZ = 100
"""Rate at which drives are integrated and stored."""

SPEED_MPS = 11.0
"""The fastest that anybody wishes to go."""

MAX_ACCEL_MPS2 = 1.8
COMFORTABLE_BRAKING_MPS2 = 2.2
MAX_BRAKING_MPS2 = 4.0
MAX_JERK_MPS3 = 6.0
MAX_LATERAL_MPS2 = 2.0  # in curves
CURVE_BRAKING_MPS2 = 1.2  # ahead of curves
YELLOW_BRAKING_MPS2 = 3.0  # who would have to brake harder passes
HEADWAY_S = 1.1
GAP_TO_VEHICLE_M = 2.5
GAP_TO_LINE_M = 1.0
REAR_M = 1.0  # from a car's rear axle to its rear bumper
FRONT_M = 3.8  # from a car's rear axle to its front bumper

_GRID_M = 0.1


@dataclass(frozen=True)
class Motion:
    """A drive along a lane; between its times it is interpolated."""

    times: F64  # (n,) s, from 0
    along: F64  # (n,) m, of the rear axle on the road's centre line
    speed: F64  # (n,) m/s, along the lane
    accel: F64  # (n,) m/s^2

    def along_m(self, t_s: F64 | float) -> F64:
        """Place on the road's centre line at the times, m."""
        return self._at(t_s, self.along)

    def speed_mps(self, t_s: F64 | float) -> F64:
        """Speed at the times."""
        return self._at(t_s, self.speed)

    def accel_mps2(self, t_s: F64 | float) -> F64:
        """Acceleration at the times."""
        return self._at(t_s, self.accel)

    def _at(self, t_s: F64 | float, values: F64) -> F64:
        return np.asarray(np.interp(t_s, self.times, values))


def drive(
    road: Road,
    left_m: float,
    start_m: float,
    start_mps: float,
    wish_mps: F64,
    lights: Sequence[TrafficLight],
    ahead: Motion | None,
) -> Motion:
    """A drive in the lane at `left_m`, one step per `wish_mps` (n,), the speed wished there; `ahead` is another drive's result.

    `lights` are in the order in which they are met.
    """
    centre_per_lane, limit_mps = _along_lane(road, left_m)
    along, speed, accel = np.empty((3, len(wish_mps)))
    s, v, a, coming = start_m, start_mps, 0.0, list(lights)
    for k, wish in enumerate(wish_mps):
        along[k], speed[k], accel[k] = s, v, a
        here = min(round(s / _GRID_M), len(limit_mps) - 1)
        while coming and coming[0].stop_line_m <= s + FRONT_M:
            coming.pop(0)
        target = _wished_accel(v, min(wish, limit_mps[here]), _obstacles(s, v, k, coming[:1], ahead))
        a += min(max(target - a, -MAX_JERK_MPS3 / MOTION_HZ), MAX_JERK_MPS3 / MOTION_HZ)
        before, v = v, v + a / MOTION_HZ
        if v <= 0.0:
            v, a = 0.0, 0.0
        step = (before + v) / 2 / MOTION_HZ
        s += step * _between(centre_per_lane, (s + step / 2 * centre_per_lane[here]) / _GRID_M)  # midpoint rule
    return Motion(np.arange(len(wish_mps)) / MOTION_HZ, along, speed, accel)


def _along_lane(road: Road, left_m: float) -> tuple[list[float], list[float]]:
    """Per grid point: metres on the centre line per metre of the lane, and the speed at which curves ahead can be taken."""
    curvature = road.curvature_1pm(np.arange(0.0, road.length_m + _GRID_M, _GRID_M))
    centre_per_lane = 1.0 / (1.0 - left_m * curvature)
    squared = MAX_LATERAL_MPS2 / np.maximum(np.abs(curvature * centre_per_lane), 1e-4)
    ramp = 2 * CURVE_BRAKING_MPS2 * _GRID_M * np.arange(len(squared))
    in_time = np.minimum.accumulate((squared + ramp)[::-1])[::-1] - ramp
    return centre_per_lane.tolist(), np.sqrt(in_time).tolist()


def _between(values: list[float], at: float) -> float:
    k = min(int(at), len(values) - 2)
    return values[k] + (at - k) * (values[k + 1] - values[k])


def _obstacles(
    s: float, v: float, k: int, lights: Sequence[TrafficLight], ahead: Motion | None
) -> list[tuple[float, float, float]]:
    """What the driver keeps behind: distance m, closing speed m/s, distance to keep at rest m."""
    found = []
    if ahead is not None:
        found.append((float(ahead.along[k]) - s - REAR_M - FRONT_M, v - float(ahead.speed[k]), GAP_TO_VEHICLE_M))
    for light in lights:
        gap, colour = light.stop_line_m - s - FRONT_M, light.colour(k / MOTION_HZ)
        if colour == "red" or (colour == "yellow" and v * v / (2 * gap) <= YELLOW_BRAKING_MPS2):
            found.append((gap, v, GAP_TO_LINE_M))
    return found


def _wished_accel(v: float, wish: float, obstacles: list[tuple[float, float, float]]) -> float:
    accel = 1.0 - (v / wish) ** 4
    for gap, closing, at_rest in obstacles:
        if v < 0.5 and gap < at_rest + 0.5:
            return -1.0  # the model itself would creep up to the obstacle for ever
        dynamic = v * HEADWAY_S + v * closing / (2 * (MAX_ACCEL_MPS2 * COMFORTABLE_BRAKING_MPS2) ** 0.5)
        accel = min(accel, 1.0 - (v / wish) ** 4 - ((at_rest + max(0.0, dynamic)) / max(gap, 0.1)) ** 2)
    return max(-MAX_BRAKING_MPS2, MAX_ACCEL_MPS2 * accel)
