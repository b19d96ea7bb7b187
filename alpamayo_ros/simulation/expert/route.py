"""The route as its driver knows it: how it bends, which lanes it has, where they end."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.simulation.road import Lane, Road
from alpamayo_ros.types import F64, Direction

GRID_M = 0.5
BEYOND_M = 300.0  # the road goes on after its end as it is there
_SAME_LANE_M = 0.6  # centres of lanes that follow each other


class Route:
    """The ego's road on a grid along its reference line."""

    def __init__(self, road: Road) -> None:
        self.road = road
        self.along_m = np.arange(0.0, road.length_m + BEYOND_M, GRID_M)
        _, self.heading_rad = road.place(self.along_m, 0.0)
        self.curvature_1pm = road.curvature_1pm(self.along_m)
        self.bending_1pm2 = np.gradient(self.curvature_1pm, GRID_M)
        self.lanes = tuple(lane for lane in road.lanes if not lane.oncoming)

    def heading(self, along_m: float) -> float:
        """Of the reference line, rad, unwrapped."""
        return float(np.interp(along_m, self.along_m, self.heading_rad))

    def lane(self, left_m: float, along_m: float) -> Lane | None:
        """The lane in the ego's direction whose centre is nearest, where that is at most its width away."""
        there = [lane for lane in self.lanes if lane.from_m <= along_m < lane.to_m]
        nearest = min(there, key=lambda lane: abs(lane.left_m - left_m), default=None)
        return nearest if nearest is not None and abs(nearest.left_m - left_m) < nearest.width_m else None

    def end_m(self, left_m: float, along_m: float) -> float:
        """Where the lane with this centre ends, the lanes that continue it included; `along_m` where there is none."""
        end = along_m
        for lane in sorted(self.lanes, key=lambda lane: lane.from_m):
            if abs(lane.left_m - left_m) < _SAME_LANE_M and lane.from_m <= end + 0.1 and lane.to_m > end:
                end = lane.to_m
        return end if end < self.road.length_m - 1.0 else np.inf

    def beside(self, left_m: float, along_m: float, side: Direction) -> Lane | None:
        """The lane beside this one that may be changed into at this place: same direction, a dashed line between."""
        here = self.lane(left_m, along_m)
        if here is None or (here.left_paint if side == "left" else here.right_paint) != "dashed":
            return None
        centre = left_m + (here.width_m if side == "left" else -here.width_m)
        there = self.lane(centre, along_m)
        return there if there is not None and abs(there.left_m - centre) < _SAME_LANE_M else None

    def oncoming(self, left_m: float, along_m: float) -> bool:
        """Whether a place is in a lane of the other direction."""
        return any(
            lane.oncoming and lane.from_m <= along_m < lane.to_m and abs(lane.left_m - left_m) <= lane.width_m / 2
            for lane in self.road.lanes
        )

    def limits_mps(self, left_m: F64, along_m: F64) -> F64:
        """Speed limits (n,) at places (n,): of the nearest lane; beyond all lanes that of the last one."""
        limits = np.full(len(along_m), np.nan)
        nearest = np.full(len(along_m), np.inf)
        for lane in self.lanes:
            away = np.where((lane.from_m <= along_m) & (along_m < lane.to_m), np.abs(left_m - lane.left_m), np.inf)
            limits, nearest = np.where(away < nearest, lane.limit_mps, limits), np.minimum(away, nearest)
        known = np.maximum.accumulate(np.where(np.isnan(limits), 0, np.arange(len(limits))))
        limits = limits[known]
        return np.where(np.isnan(limits), max(lane.limit_mps for lane in self.lanes), limits)
