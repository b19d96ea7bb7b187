"""Polygons to pixels: a small software renderer for pinhole cameras that stand upright.

Ground first, in order; then solids from far to near (painter's algorithm), without their back faces. Everything fades into
the haze of the horizon with distance.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.cameras import Pinhole
from alpamayo_ros.simulation.scene import Polygons, Scene
from alpamayo_ros.types import F64, U8, InvalidInput

RANGE_M = 220.0  # nothing farther is drawn
NEAR_M = 0.4  # polygons are cut here before the division by the depth
HAZE_M = 260.0  # distance at which 63 % of a colour is haze
HAZE = np.array([206.0, 216.0, 226.0])
ZENITH = np.array([92.0, 140.0, 205.0])
GRASS = np.array([110.0, 142.0, 80.0])
_SHIFT = 4  # fractional bits of the corners handed to OpenCV
_GUARD_PX = 4000.0  # polygons that reach farther outside the image are cut there


def render(scene: Scene, camera: Pinhole, odom_from_optical: F64) -> U8:
    """What an undistorted camera at a pose (4, 4) sees: RGB (height, width, 3) uint8.

    Raises InvalidInput for a distorted camera and for one that is rolled about its optical axis.
    """
    rotation, origin = odom_from_optical[:3, :3], odom_from_optical[:3, 3]
    if any(camera.distortion) or abs(rotation[2, 0]) > 1e-3:
        raise InvalidInput(f"can only render upright cameras without distortion, got {camera} at {odom_from_optical.tolist()}")
    image = _background(camera, rotation, float(origin[2]))
    for polygons in (scene.ground, _towards(scene, origin)):
        _paint(image, polygons, camera, rotation, origin)
    return image


def _background(camera: Pinhole, rotation: F64, height_m: float) -> U8:
    """Sky and grass: one colour per row, as the camera is upright."""
    upwards = rotation[2, 1] * (np.arange(camera.height) - camera.cy) / camera.fy + rotation[2, 2]
    elevation = np.clip(upwards, 0.0, 0.6)[:, None] / 0.6
    sky = HAZE + (ZENITH - HAZE) * np.sqrt(elevation)
    ground = _hazy(np.tile(GRASS, (camera.height, 1)), height_m / np.maximum(-upwards, 1e-6))
    rows = np.where(upwards[:, None] > 0, sky, ground).astype(np.uint8)
    # OpenCV's resize repeats a column 7 times faster than numpy.
    return np.asarray(cv2.resize(rows[:, None], (camera.width, camera.height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _hazy(colours: F64, distance_m: F64) -> F64:
    faded: F64 = HAZE + (colours - HAZE) * np.exp(-distance_m / HAZE_M)[:, None]
    return faded


def _towards(scene: Scene, origin: F64) -> Polygons:
    """The faces of all solids within range that look at `origin`, far solids first."""
    distance = np.linalg.norm(scene.centres - origin, axis=1)
    near = [k for k in np.argsort(-distance, kind="stable") if distance[k] < RANGE_M]
    if not near:
        return Polygons(np.empty((0, 4, 3)), np.empty((0, 3)))
    corners = np.concatenate([scene.solids[k].corners for k in near])
    colours = np.concatenate([scene.solids[k].colours for k in near])
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.einsum("ni,ni->n", normals, corners[:, 0] - origin) < 0
    return Polygons(corners[facing], colours[facing])


def _paint(image: U8, polygons: Polygons, camera: Pinhole, rotation: F64, origin: F64) -> None:
    to_corner = polygons.corners[:, 0, :2] - origin[:2]
    close = np.einsum("ni,ni->n", to_corner, to_corner) < RANGE_M**2
    corners = (polygons.corners[close] - origin) @ rotation
    seen = _in_view(corners, camera)
    corners = corners[seen]
    colours = _hazy(polygons.colours[close][seen], np.linalg.norm(corners.mean(axis=1), axis=1))
    for outline, colour in zip(_outlines(corners, camera), colours.round().tolist(), strict=True):
        if len(outline) >= 3:
            cv2.fillConvexPoly(image, outline, colour, cv2.LINE_8, _SHIFT)


def _planes(camera: Pinhole, margin_px: float) -> F64:
    """Inward normals (5, 3) of the near plane and of the four planes through the image's edges, `margin_px` outside."""
    left, right = camera.cx + 0.5 + margin_px, camera.width - 0.5 - camera.cx + margin_px
    top, bottom = camera.cy + 0.5 + margin_px, camera.height - 0.5 - camera.cy + margin_px
    fx, fy = camera.fx, camera.fy
    return np.array([[0.0, 0.0, 1.0], [fx, 0.0, left], [-fx, 0.0, right], [0.0, fy, top], [0.0, -fy, bottom]])


_PLANE_OFFSETS = np.array([NEAR_M, 0.0, 0.0, 0.0, 0.0])


def _in_view(corners: F64, camera: Pinhole) -> NDArray[np.bool_]:
    """Which polygons (N, 4, 3), optical frame, are not wholly outside one plane of the view."""
    inside = np.greater_equal(corners @ _planes(camera, 0.0).T, _PLANE_OFFSETS)
    return np.asarray(inside.any(axis=1).all(axis=1), np.bool_)


def _outlines(corners: F64, camera: Pinhole) -> list[NDArray[np.int32]]:
    """Polygons (N, 4, 3), optical frame -> outlines in pixels with _SHIFT fractional bits, empty where nothing is left."""
    planes = _planes(camera, _GUARD_PX)
    simple = np.all(np.greater_equal(corners @ planes.T, _PLANE_OFFSETS), axis=(1, 2))
    outlines = list(_pixels(np.where(simple[:, None, None], corners, 1.0), camera))
    for k in np.flatnonzero(~simple):
        outlines[k] = _pixels(_clipped(corners[k], planes), camera)
    return outlines


def _pixels(xyz: F64, camera: Pinhole) -> NDArray[np.int32]:
    uv = xyz[..., :2] / xyz[..., 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    return np.rint(uv * (1 << _SHIFT)).astype(np.int32)


def _clipped(polygon: F64, planes: F64) -> F64:
    """A convex polygon (n, 3) cut at all planes (Sutherland and Hodgman, 1974): (m, 3), m may be 0."""
    for plane, offset in zip(planes, _PLANE_OFFSETS, strict=True):
        inside = polygon @ plane - offset
        kept: list[F64] = []
        for k, point in enumerate(polygon):
            before, depth, previous = inside[k - 1], inside[k], polygon[k - 1]
            if (depth >= 0) != (before >= 0):
                kept.append(previous + (point - previous) * (before / (before - depth)))
            if depth >= 0:
                kept.append(point)
        polygon = np.array(kept).reshape(-1, 3)
    return polygon
