"""Roads: a reference line of clothoids with lanes beside it.

Places are given as `along_m` on the reference line and `left_m` of it, metres; the world frame is the odometry frame of the
simulated vehicle: x, y in the plane, z up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from alpamayo_ros.types import F64

_SAMPLE_M = 0.1

Paint = Literal["none", "dashed", "solid", "double"]
"""A line on the ground; "double" is the yellow one between the directions."""


@dataclass(frozen=True)
class Piece:
    """A stretch of road whose curvature changes linearly, from the one before it to `curvature_1pm` (a clothoid)."""

    length_m: float
    curvature_1pm: float  # at its end, positive turns left


@dataclass(frozen=True)
class Lane:
    """A lane beside the reference line, where `from_m` <= along < `to_m`.

    Lanes of one road and direction that follow each other at the same `left_m` are driven through; lanes that lie side by
    side over the same stretch may be changed between where the line between them is dashed.
    """

    name: str  # unique in its road
    left_m: float  # of its centre
    from_m: float
    to_m: float
    limit_mps: float
    oncoming: bool = False  # driven against the reference line
    width_m: float = 3.5
    left_paint: Paint = "solid"  # at left_m + width_m / 2, whichever the direction
    right_paint: Paint = "solid"


@dataclass(frozen=True)
class Strip:
    """Ground beside lanes: a shoulder or a parking strip may be driven on, a pavement may not."""

    kind: Literal["shoulder", "parking", "pavement"]
    from_m: float
    to_m: float
    right_m: float  # left_m of its right edge
    left_m: float  # of its left edge


@dataclass(frozen=True)
class Road:
    """A reference line that starts at (x, y) with a heading, and what lies along it."""

    name: str
    pieces: tuple[Piece, ...]
    lanes: tuple[Lane, ...]
    strips: tuple[Strip, ...] = ()
    start_xy_m: tuple[float, float] = (0.0, 0.0)
    start_yaw_rad: float = 0.0

    @cached_property
    def length_m(self) -> float:
        """Length of the reference line."""
        return sum(piece.length_m for piece in self.pieces)

    def lane(self, name: str) -> Lane:
        """The lane of a name. Raises KeyError."""
        return {lane.name: lane for lane in self.lanes}[name]

    def curvature_1pm(self, along_m: F64 | float) -> F64:
        """Curvature of the reference line, positive turns left."""
        return np.asarray(np.interp(along_m, self._ends, [0.0, *(piece.curvature_1pm for piece in self.pieces)]))

    def place(self, along_m: F64 | float, left_m: F64 | float) -> tuple[F64, F64]:
        """Places (N,) on the road, or one -> xy (N, 2) m, or (2,), and the reference line's heading there (N,) rad, unwrapped.

        Before its start and after its end the road goes on with the curvature it has there.
        """
        xy, heading, curvature = self._samples
        index = np.clip(np.asarray(along_m) / _SAMPLE_M, 0, len(xy) - 1).astype(np.int64)
        ahead: F64 = np.asarray(along_m - index * _SAMPLE_M, np.float64)
        yaw, halfway = _turned(heading[index], curvature[index], self.curvature_1pm(along_m), ahead)
        chord = ahead * np.sinc((yaw - heading[index]) / (2 * np.pi))
        centre = xy[index] + np.stack([chord * np.cos(halfway), chord * np.sin(halfway)], axis=-1)
        return centre + np.asarray(left_m)[..., None] * np.stack([-np.sin(yaw), np.cos(yaw)], axis=-1), yaw

    def locate(self, xy_m: F64) -> tuple[F64, F64]:
        """Inverse of `place` for points (N, 2), or one (2,): along and left of the nearest place of the reference line, m."""
        grid, _, _ = self._grid
        flat = np.reshape(xy_m, (-1, 2))
        along: F64 = np.argmin(((flat[:, None] - grid) ** 2).sum(axis=-1), axis=1).astype(np.float64)
        left = np.zeros_like(along)
        for _ in range(3):  # Newton's method along the line
            centre, yaw = self.place(along, 0.0)
            off = flat - centre
            forward, left = off[:, 0] * np.cos(yaw) + off[:, 1] * np.sin(yaw), off[:, 1] * np.cos(yaw) - off[:, 0] * np.sin(yaw)
            along = along + forward / np.maximum(1.0 - left * self.curvature_1pm(along), 0.2)
        return along.reshape(np.shape(xy_m)[:-1]), left.reshape(np.shape(xy_m)[:-1])

    @cached_property
    def _ends(self) -> F64:
        return np.cumsum([0.0, *(piece.length_m for piece in self.pieces)])

    @cached_property
    def _grid(self) -> tuple[F64, F64, F64]:
        """Every metre of `_samples`."""
        xy, heading, curvature = self._samples
        every = round(1.0 / _SAMPLE_M)
        return xy[::every], heading[::every], curvature[::every]

    @cached_property
    def _samples(self) -> tuple[F64, F64, F64]:
        """xy (N, 2) m, heading (N,) rad and curvature (N,) 1/m of the reference line every _SAMPLE_M."""
        curvature = self.curvature_1pm(np.arange(0.0, self.length_m + _SAMPLE_M, _SAMPLE_M))
        turns, _ = _turned(np.zeros(len(curvature) - 1), curvature[:-1], curvature[1:], _SAMPLE_M)
        heading = self.start_yaw_rad + np.concatenate([[0.0], np.cumsum(turns)])
        _, halfway = _turned(heading[:-1], curvature[:-1], curvature[1:], _SAMPLE_M)
        steps = _SAMPLE_M * np.column_stack([np.cos(halfway), np.sin(halfway)])
        return np.concatenate([np.array([self.start_xy_m]), self.start_xy_m + np.cumsum(steps, axis=0)]), heading, curvature


def _turned(heading: F64, curvature0: F64, curvature1: F64, ahead_m: F64 | float) -> tuple[F64, F64]:
    """Headings after `ahead_m` of a clothoid, and after half of it, which is the direction of the chord to third order."""
    return heading + (curvature0 + curvature1) / 2 * ahead_m, heading + (3 * curvature0 + curvature1) / 8 * ahead_m
