"""What drivers expect of others who are not in their way yet: that they go on as they do now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.scenario import Crosswalk, Trigger
from alpamayo_ros.simulation.state import SIZES, Ego
from alpamayo_ros.simulation.world.progress import Ahead, Progress, stop_before
from alpamayo_ros.simulation.world.road_rules import Crossing, Ghost, before_ghost, before_walker
from alpamayo_ros.simulation.world.tracks import Spot, Track, spots
from alpamayo_ros.simulation.world.walkers import Stroll
from alpamayo_ros.types import F64

EGO_GHOSTS_S = (0.5, 1.0, 1.5)  # farther ahead, its curvature says little
WALKER_GHOSTS_S = (0.5, 1.0, 1.5, 2.0)

_IN_LANE_M = 1.75  # from its centre
_ALIGNED_COS = 0.85


class Around(NamedTuple):
    """What every driver sees at one instant."""

    fired: Mapping[Trigger, float]  # when
    drivers: Sequence[Progress]
    ego_on: Sequence[Progress]
    walking: Sequence[tuple[int, Crossing]]  # index of the road, who
    ghosts: Sequence[Sequence[Ghost]]  # per road


def ego_on(tracks: Sequence[Track], on: Sequence[Spot], ego: Ego) -> list[Progress]:
    """Every track that the ego may be driving along; `on` are its places per road."""
    found = []
    for track in tracks:
        spot = on[track.road_index]
        s = track.s_m(spot.along_m)
        aligned = track.sign * np.cos(spot.yaw_rad) > _ALIGNED_COS
        if aligned and abs(spot.left_m - track.left_m) < _IN_LANE_M and 0 <= s < track.length_m:
            found.append(Progress(track, s, ego.speed_mps, *SIZES["car"][:2], order=-1))
    return found


def ghosts(roads: Sequence[Road], ego: Ego, centre_m: F64, strolls: Sequence[Stroll]) -> list[list[Ghost]]:
    """Per road: where the ego, whose centre is given, and walkers are going to be."""
    rows: list[tuple[float, ...]] = []
    for t in EGO_GHOSTS_S if ego.speed_mps > 0.5 else ():
        braking = min(ego.accel_mps2, 0.0)
        until_s = min(t, -ego.speed_mps / braking) if braking else t  # it does not go backwards
        way = ego.speed_mps * until_s + braking * until_s**2 / 2
        turn = way * ego.curvature_1pm
        x, y = centre_m + way * np.array([np.cos(ego.yaw_rad + turn / 2), np.sin(ego.yaw_rad + turn / 2)])
        rows.append((x, y, ego.yaw_rad + turn, *SIZES["car"][:2], t, ego.speed_mps))
    for stroll in strolls:
        for t in WALKER_GHOSTS_S if stroll.speed_mps > 0.1 else ():
            way = min(stroll.speed_mps * t, max(stroll.remaining_m, 0.0))
            (x, y), yaw = stroll.pose
            ahead = (x + way * np.cos(yaw), y + way * np.sin(yaw))
            rows.append((*ahead, yaw, *SIZES[stroll.walker.kind][:2], t, stroll.speed_mps))
    if not rows:
        return [[] for _ in roads]
    x, y, yaw, length, width, when, speed = np.array(rows).T
    places = [spots(road, np.column_stack([x, y]), yaw, length, width) for road in roads]
    return [[Ghost(*row) for row in zip(on, when.tolist(), speed.tolist(), strict=True)] for on in places]


def not_in_its_way(
    me: Progress, left_m: float, line_m: float | None, crosswalks: Sequence[Crosswalk], around: Around
) -> Iterator[Ahead]:
    """What a driver, `left_m` of its road's reference line, stops for though nobody is in its way yet.

    A line, the end of its lane, people on crosswalks, and whoever is about to get in its way.
    """
    if line_m is not None:
        yield stop_before(line_m - me.front_m)
    if me.track.ends_early:
        yield stop_before(me.track.length_m - me.front_m)
    for road, walker in around.walking:
        if road == me.track.road_index:
            yield from filter(None, (before_walker(me, walk, walker) for walk in crosswalks if walk.road == road))
    yield from filter(None, (before_ghost(me, left_m, ghost) for ghost in around.ghosts[me.track.road_index]))
