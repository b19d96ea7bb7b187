"""Where the ego goes, whenever it gets there: a path in the route's coordinates through places where it is level.

Between them it is the quintic polynomial of least jerk (Flash, Hogan 1985), from the ego's own offset, slope and curvature on:
planned again on the way, such a path is the same path. Curvature in a road's coordinates: Werling et al., *Optimal trajectory
generation for dynamic street scenarios in a Frenet frame*, ICRA 2010.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alpamayo_ros.simulation.expert.route import GRID_M, Route
from alpamayo_ros.types import F64

SETTLING_S, LEAST_SETTLING_M = 1.8, 7.0  # how far ahead small offsets are gone
LATERAL_MPS2 = 1.0  # of a move to the side at constant speed
TIGHT_1PM, WIDE_1PM = 0.065, 0.045  # of moves from a stand: as tight as one may, and without sharp steering
_QUINTIC_PEAK = 5.77  # of the second derivative, by offset and square of the length


class Knot(NamedTuple):
    """A place that the path passes parallel to the road."""

    along_m: float
    left_m: float


@dataclass(frozen=True)
class Stance:
    """Where the ego is on the route."""

    along_m: float
    left_m: float
    heading_rad: float  # against the road
    curvature_1pm: float


@dataclass(frozen=True)
class Path:
    """The way of the ego's rear axle, every GRID_M of the route from where it is now."""

    along_m: F64  # (n,)
    left_m: F64  # (n,)
    curvature_1pm: F64  # (n,) of the path itself
    progress: F64  # (n,) metres along the route per metre of the path

    def left_at(self, along_m: F64 | float) -> F64:
        """Offsets at places of the route; before its start that of the start, after its end that of the end."""
        return np.asarray(np.interp(along_m, self.along_m, self.left_m))


def reach_m(offset_m: float, speed_mps: float, bend_1pm: float = WIDE_1PM) -> float:
    """Length of a move to the side by an offset, at a speed; its path bends by no more."""
    rise = _QUINTIC_PEAK * abs(offset_m)
    return max(speed_mps * math.sqrt(rise / LATERAL_MPS2), math.sqrt(rise / bend_1pm))


def settled_m(speed_mps: float, offset_m: float) -> float:
    """How far ahead an offset from where the ego wants to be is gone."""
    return max(SETTLING_S * speed_mps, LEAST_SETTLING_M, reach_m(offset_m, speed_mps))


def path(route: Route, stance: Stance, knots: Sequence[Knot], reach_m: float) -> Path:
    """The path from a stance through knots, in their order, and straight on: `reach_m` of the route or a little more."""
    along = stance.along_m + np.arange(0.0, reach_m + GRID_M, GRID_M)
    bend, bending = (np.interp(along, route.along_m, values) for values in (route.curvature_1pm, route.bending_1pm2))
    left, slope, second = _offsets(along, _start(stance, float(bend[0]), float(bending[0])), knots)
    open_ = np.maximum(1.0 - bend * left, 0.2)
    angle = np.arctan2(slope, open_)
    cos, tan = np.cos(angle), np.tan(angle)
    curvature = ((second + (bending * left + bend * slope) * tan) * cos**2 / open_ + bend) * cos / open_
    return Path(along, left, curvature, cos / open_)


def _start(stance: Stance, bend: float, bending: float) -> tuple[float, float, float]:
    """Offset and its first two derivatives along the route."""
    open_ = max(1.0 - bend * stance.left_m, 0.2)
    tan, cos = np.tan(stance.heading_rad), np.cos(stance.heading_rad)
    slope = tan * open_
    second = open_ / cos**2 * (stance.curvature_1pm * open_ / cos - bend) - (bending * stance.left_m + bend * slope) * tan
    return stance.left_m, float(slope), float(second)


def _offsets(along: F64, start: tuple[float, float, float], knots: Sequence[Knot]) -> tuple[F64, F64, F64]:
    """Offsets, slopes and second derivatives (n,) each."""
    left, slope, second = np.full(len(along), knots[-1].left_m), np.zeros(len(along)), np.zeros(len(along))
    begin, state = float(along[0]), start
    for knot in knots:
        low, high = np.searchsorted(along, (begin - 1e-9, knot.along_m))
        x = along[low:high] - begin
        c = _quintic(state, knot.left_m, knot.along_m - begin)
        left[low:high] = c[0] + x * (c[1] + x * (c[2] + x * (c[3] + x * (c[4] + x * c[5]))))
        slope[low:high] = c[1] + x * (2 * c[2] + x * (3 * c[3] + x * (4 * c[4] + x * 5 * c[5])))
        second[low:high] = 2 * c[2] + x * (6 * c[3] + x * (12 * c[4] + x * 20 * c[5]))
        begin, state = knot.along_m, (knot.left_m, 0.0, 0.0)
    return left, slope, second


def _quintic(start: tuple[float, float, float], end: float, length: float) -> tuple[float, float, float, float, float, float]:
    """Coefficients of the quintic from a value and its derivatives to a level end."""
    c0, c1, c2 = start[0], start[1], start[2] / 2
    rise = end - (c0 + c1 * length + c2 * length**2)
    turn = -(c1 + 2 * c2 * length) * length
    bow = -2 * c2 * length**2
    c3 = (10 * rise - 4 * turn + bow / 2) / length**3
    c4 = (-15 * rise + 7 * turn - bow) / length**4
    c5 = (6 * rise - 3 * turn + bow / 2) / length**5
    return c0, c1, c2, c3, c4, c5
