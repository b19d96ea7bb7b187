"""Footprints as judges see them: boxes a little smaller than the real ones, their corners rounded, as AlpaSim's scorers do.

Source: AlpaSim `eval/data.py` and the values of its `base_config.yaml`: 2 % shorter and narrower, corners of half of half the
width. A pose is x, y in m and yaw in rad, of a footprint's centre in the world.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import shapely

from alpamayo_ros.simulation.state import FRONT_M, REAR_M, SIZES, Body, BodyKind, Ego, Snapshot
from alpamayo_ros.types import F64

SHRINK = 0.02
ROUNDNESS = 0.5
_ARC_PIECES = 8  # per corner: within 2 mm of a circle on a car

REACH_M: dict[BodyKind, float] = {kind: float(np.hypot(size.length_m, size.width_m)) / 2 for kind, size in SIZES.items()}
"""From a footprint's centre to the farthest point it may have."""


def ego_pose(ego: Ego) -> F64:
    """Pose (3,) of the centre of the ego's footprint."""
    ahead = (FRONT_M - REAR_M) / 2
    return np.array(
        [ego.xy_m[0] + ahead * np.cos(ego.yaw_rad), ego.xy_m[1] + ahead * np.sin(ego.yaw_rad), ego.yaw_rad], np.float64
    )


def body_pose(body: Body) -> F64:
    """Pose (3,) of a body."""
    return np.append(body.xy_m, body.yaw_rad)


def between(before: F64, now: F64, fraction: float) -> F64:
    """The pose (3,) a fraction of the way from one pose to the next, turning the shorter way."""
    change = now - before
    change[2] = np.arctan2(np.sin(change[2]), np.cos(change[2]))
    return before + fraction * change


def shape(kind: BodyKind, pose: F64) -> shapely.Polygon:
    """The footprint of a kind at a pose; the ego's kind is car."""
    return shapely.polygons(_placed(_outline_m(kind), pose))


def bumpers(pose: F64) -> tuple[shapely.Polygon, shapely.Polygon]:
    """The ends of the ego's footprint, front and rear, as deep as its corners are round; what lies between is its side."""
    front = _front_m()
    return shapely.polygons(_placed(front, pose)), shapely.polygons(_placed(-front, pose))


def clearance_m(snapshot: Snapshot) -> float:
    """Distance between the ego's footprint and the nearest body's, m, 0 where they touch; infinite without bodies."""
    if not snapshot.bodies:
        return float("inf")
    ego = ego_pose(snapshot.ego)
    apart = np.linalg.norm(np.array([body.xy_m for body in snapshot.bodies]) - ego[:2], axis=1)
    least = apart - REACH_M["car"] - np.array([REACH_M[body.kind] for body in snapshot.bodies])
    near = [body for body, m in zip(snapshot.bodies, least.tolist(), strict=True) if m <= apart.min()]
    shapes = np.array([shape(body.kind, body_pose(body)) for body in near])
    return float(shapely.distance(shape("car", ego), shapes).min())


@cache
def _outline_m(kind: BodyKind) -> F64:
    """Points (n, 2) around a footprint whose centre is the origin, facing x."""
    return np.asarray(shapely.get_coordinates(_rounded(kind)))


@cache
def _front_m() -> F64:
    """Points (n, 2) around the front end of the ego's footprint."""
    whole = _rounded("car")
    _, bottom, right, top = whole.bounds
    edge = shapely.LineString([(right, bottom), (right, top)])
    return np.asarray(shapely.get_coordinates(whole & edge.buffer(_corner_m("car"))))


def _rounded(kind: BodyKind) -> shapely.Polygon:
    length, width = ((1 - SHRINK) * side / 2 for side in SIZES[kind][:2])
    radius = _corner_m(kind)
    return shapely.box(-length + radius, -width + radius, length - radius, width - radius).buffer(radius, quad_segs=_ARC_PIECES)


def _corner_m(kind: BodyKind) -> float:
    """Radius of a footprint's corners."""
    return ROUNDNESS * (1 - SHRINK) * min(SIZES[kind][:2]) / 2


def _placed(points: F64, pose: F64) -> F64:
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]) + pose[:2])
