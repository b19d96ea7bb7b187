"""Tracks: what one drives along without steering out of a lane, and where things are beside them.

A track is a chain of lanes of one road that follow each other at the same place. Progress `s_m` runs from its start in the
direction of driving, in metres of the road's reference line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from alpamayo_ros.simulation.road import Lane, Paint, Road
from alpamayo_ros.types import F64

MAX_LATERAL_MPS2 = 2.0  # of a driver in curves
EASY_BRAKING_MPS2 = 1.2  # ahead of curves and lower limits

_GRID_M = 1.0
_TOGETHER_M = 0.01  # lanes whose ends lie so close follow each other
_OPEN: tuple[Paint, ...] = ("dashed", "none")


class Spot(NamedTuple):
    """Where the footprint of a thing is on a road: its centre, and how far it reaches along and across."""

    along_m: float
    left_m: float
    half_along_m: float
    half_left_m: float
    yaw_rad: float  # against the reference line, -pi..pi

    def within(self, low_left_m: float, high_left_m: float) -> bool:
        """Whether it reaches into a strip of the road."""
        return self.left_m + self.half_left_m > low_left_m and self.left_m - self.half_left_m < high_left_m

    def gap_m(self, other: Spot) -> float:
        """Along the road between two footprints; negative where they are beside each other."""
        return abs(self.along_m - other.along_m) - self.half_along_m - other.half_along_m


@dataclass(frozen=True, eq=False)
class Track:
    """Lanes that are driven through one after the other; compared by identity."""

    road_index: int
    road: Road
    lanes: tuple[Lane, ...]  # in the order of driving

    @property
    def left_m(self) -> float:
        """Of its centre."""
        return self.lanes[0].left_m

    @cached_property
    def sign(self) -> float:
        """+1 along the reference line, -1 against it."""
        return -1.0 if self.lanes[0].oncoming else 1.0

    @cached_property
    def start_m(self) -> float:
        """Place on the road where it is entered."""
        return self.lanes[0].to_m if self.lanes[0].oncoming else self.lanes[0].from_m

    @cached_property
    def length_m(self) -> float:
        """Of its stretch of the reference line."""
        return sum(lane.to_m - lane.from_m for lane in self.lanes)

    @property
    def ends_early(self) -> bool:
        """Whether the road goes on where it ends."""
        last = self.road.length_m if self.sign > 0 else 0.0
        return abs(self.along_m(self.length_m) - last) > 1.0

    def s_m(self, along_m: float) -> float:
        """Progress at a place of the road."""
        return self.sign * (along_m - self.start_m)

    def along_m(self, s_m: float) -> float:
        """Inverse of `s_m`."""
        return self.start_m + self.sign * s_m

    def lane_at(self, along_m: float) -> Lane | None:
        """The lane of a place, None before its start and after its end."""
        return next((lane for lane in self.lanes if lane.from_m <= along_m < lane.to_m), None)

    def limit_mps(self, s_m: float) -> float:
        """Speed limit, or less where a lower one ahead is slowed down for."""
        return self._limits[min(max(int(s_m / _GRID_M), 0), len(self._limits) - 1)]

    def curve_mps(self, s_m: float) -> float:
        """Speed at which the curves here and ahead can be taken."""
        return self._curves[min(max(int(s_m / _GRID_M), 0), len(self._curves) - 1)]

    @cached_property
    def _grid(self) -> F64:
        """Places along the road, in the order of driving."""
        return np.asarray(self.start_m + self.sign * np.arange(0.0, self.length_m + _GRID_M, _GRID_M))

    @cached_property
    def _limits(self) -> list[float]:
        limits = np.full(len(self._grid), self.lanes[-1].limit_mps)
        for lane in self.lanes:
            limits[(self._grid >= lane.from_m) & (self._grid < lane.to_m)] = lane.limit_mps
        return _in_time(limits)

    @cached_property
    def _curves(self) -> list[float]:
        curvature = self.road.curvature_1pm(self._grid)
        per_lane = np.abs(curvature / (1.0 - self.left_m * curvature))
        return _in_time(np.sqrt(MAX_LATERAL_MPS2 / np.maximum(per_lane, 1e-4)))

    @cached_property
    def centre(self) -> tuple[F64, F64]:
        """Every metre of `s_m`: xy (N, 2) and the heading of driving (N,)."""
        xy, yaw = self.road.place(self._grid, self.left_m)
        return xy, yaw if self.sign > 0 else yaw + np.pi


def _in_time(speeds: F64) -> list[float]:
    """The fastest that one can be at each place so as to be slow enough at all later ones."""
    ramp = 2 * EASY_BRAKING_MPS2 * _GRID_M * np.arange(len(speeds))
    squared = np.minimum.accumulate((speeds**2 + ramp)[::-1])[::-1] - ramp
    speeds_in_time: list[float] = np.sqrt(squared).tolist()
    return speeds_in_time


def tracks_of(roads: Sequence[Road]) -> tuple[Track, ...]:
    """All tracks of roads, those of a road from right to left."""
    return tuple(track for index, road in enumerate(roads) for track in _tracks_of(index, road))


def _tracks_of(index: int, road: Road) -> Iterator[Track]:
    places = sorted({(lane.oncoming, lane.left_m) for lane in road.lanes}, key=lambda place: (place[1], place[0]))
    for oncoming, left_m in places:
        row = [lane for lane in road.lanes if lane.oncoming == oncoming and lane.left_m == left_m]
        row.sort(key=lambda lane: lane.from_m)
        cuts = [k + 1 for k, (one, two) in enumerate(pairwise(row)) if abs(two.from_m - one.to_m) > _TOGETHER_M]
        for first, last in pairwise([0, *cuts, len(row)]):
            chain = row[first:last]
            yield Track(index, road, tuple(chain[::-1] if oncoming else chain))


def track_with(tracks: Sequence[Track], road_index: int, lane: str) -> Track:
    """The track that a lane is part of. Raises StopIteration when there is none."""
    return next(track for track in tracks if track.road_index == road_index and any(part.name == lane for part in track.lanes))


def beside(track: Track, other: Track) -> bool:
    """Whether two tracks are neighbours of one road and direction, somewhere."""
    apart = abs(track.left_m - other.left_m)
    near = 0.1 < apart < (track.lanes[0].width_m + other.lanes[0].width_m) / 2 + 0.5
    return track.road is other.road and track.sign == other.sign and near


def may_change(track: Track, to: Track, along_m: float) -> bool:
    """Whether the line between two neighbours may be crossed at a place."""
    here, there = track.lane_at(along_m), to.lane_at(along_m)
    if here is None or there is None:
        return False
    if there.left_m > here.left_m:
        return here.left_paint in _OPEN and there.right_paint in _OPEN
    return here.right_paint in _OPEN and there.left_paint in _OPEN


def spots(road: Road, xy_m: F64, yaw_rad: F64, length_m: F64, width_m: F64) -> list[Spot]:
    """Where footprints (N,) are on a road, from their centres (N, 2), headings and sizes in the world."""
    along, left = road.locate(xy_m)
    _, heading = road.place(along, 0.0)
    yaw = (yaw_rad - heading + np.pi) % (2 * np.pi) - np.pi
    cos, sin = np.abs(np.cos(yaw)) / 2, np.abs(np.sin(yaw)) / 2
    columns = (along, left, cos * length_m + sin * width_m, sin * length_m + cos * width_m, yaw)
    return [Spot(*row) for row in np.stack(columns, axis=1).tolist()]
