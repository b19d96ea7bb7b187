"""The road of the driving world, its lanes, and the traffic lights on it.

Places are given as `along_m` on the centre line and `left_m` of it, metres. The centre line divides the two directions:
ours is on its right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from alpamayo_ros.types import F64

_SAMPLE_M = 0.1

LightColour = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Piece:
    """A stretch of road whose curvature changes linearly, from the one before it to `curvature_1pm` (a clothoid)."""

    length_m: float
    curvature_1pm: float  # at its end, positive turns left


@dataclass(frozen=True)
class Road:
    """A centre line from the origin along x."""

    pieces: tuple[Piece, ...]

    @property
    def length_m(self) -> float:
        """Length of the centre line, m."""
        return sum(piece.length_m for piece in self.pieces)

    def curvature_1pm(self, along_m: F64 | float) -> F64:
        """Curvature of the centre line, positive turns left."""
        ends = np.cumsum([0.0, *(piece.length_m for piece in self.pieces)])
        return np.asarray(np.interp(along_m, ends, [0.0, *(piece.curvature_1pm for piece in self.pieces)]))

    def place(self, along_m: F64 | float, left_m: float) -> tuple[F64, F64]:
        """Places (N,) on the road -> xy (N, 2) m and the road's heading there (N,) rad, unwrapped.

        Before its start and after its end the road goes on with the curvature it has there.
        """
        xy, heading, curvature = self._samples
        index = np.clip(np.asarray(along_m) / _SAMPLE_M, 0, len(xy) - 1).astype(np.int64)
        ahead: F64 = np.asarray(along_m - index * _SAMPLE_M, np.float64)
        yaw, halfway = _turned(heading[index], curvature[index], self.curvature_1pm(along_m), ahead)
        centre = xy[index] + np.stack([ahead * np.cos(halfway), ahead * np.sin(halfway)], axis=-1)
        return centre + left_m * np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1), yaw

    @cached_property
    def _samples(self) -> tuple[F64, F64, F64]:
        """xy (N, 2) m, heading (N,) rad and curvature (N,) 1/m of the centre line every _SAMPLE_M."""
        curvature = self.curvature_1pm(np.arange(0.0, self.length_m + _SAMPLE_M, _SAMPLE_M))
        turns, _ = _turned(np.zeros(len(curvature) - 1), curvature[:-1], curvature[1:], _SAMPLE_M)
        heading = np.concatenate([[0.0], np.cumsum(turns)])
        _, halfway = _turned(heading[:-1], curvature[:-1], curvature[1:], _SAMPLE_M)
        steps = _SAMPLE_M * np.column_stack([np.cos(halfway), np.sin(halfway)])
        return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)]), heading, curvature


def _turned(heading: F64, curvature0: F64, curvature1: F64, ahead_m: F64 | float) -> tuple[F64, F64]:
    """Headings after `ahead_m` of a clothoid, and after half of it, which is the direction of the chord to third order."""
    return heading + (curvature0 + curvature1) / 2 * ahead_m, heading + (3 * curvature0 + curvature1) / 8 * ahead_m


@dataclass(frozen=True)
class TrafficLight:
    """A light with its stop line; it repeats its phases for ever."""

    stop_line_m: float  # along the road; the lamps stand behind it
    phases: tuple[tuple[LightColour, float], ...]  # colour and duration, s
    offset_s: float  # time of the start of the first phase

    def colour(self, t_s: float) -> LightColour:
        """The lit lamp."""
        within = (t_s - self.offset_s) % sum(duration for _, duration in self.phases)
        for colour, duration in self.phases:
            if within < duration:
                return colour
            within -= duration
        return self.phases[-1][0]
