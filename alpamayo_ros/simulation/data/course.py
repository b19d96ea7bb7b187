"""Where the road goes, as somebody sees who drives on it: what a vision tower can be taught beside what stands on the road."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.simulation.road import Lane, Road
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Ego
from alpamayo_ros.types import F32

COURSE_M = (6.0, 12.0, 25.0, 40.0, 60.0, 85.0)
"""How far ahead along the road it is asked where it is."""


def course(scenario: Scenario, ego: Ego) -> F32:
    """Bearings (COURSE_M,) rad, ego frame, left positive, of the middle of the ego's lane so far ahead on its route."""
    along_m, left_m = (float(value) for value in scenario.route.locate(ego.xy_m))
    middle_m = _middle_of_lane(scenario.route, along_m, left_m)
    xy, _ = scenario.route.place(along_m + np.array(COURSE_M), np.full(len(COURSE_M), middle_m))
    away = xy - ego.xy_m
    bearing = np.arctan2(away[:, 1], away[:, 0]) - ego.yaw_rad
    return np.asarray((bearing + np.pi) % (2 * np.pi) - np.pi, np.float32)


def _middle_of_lane(route: Road, along_m: float, left_m: float) -> float:
    """Of the lane in the ego's direction that is nearest; where there is none, where the ego is."""

    def beside_m(lane: Lane) -> float:
        return abs(lane.left_m - left_m)

    here = [lane for lane in route.lanes if lane.from_m <= along_m < lane.to_m and not lane.oncoming]
    return min(here, key=beside_m).left_m if here else left_m
